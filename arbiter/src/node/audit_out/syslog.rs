//! A copy in syslog (RFC 5424), by UDP or a local socket. Neither says what arrived: what was sent
//! counts, and is sent again after a restart from the number that is kept.

use super::Copy;
use crate::audit_file::Line;
use crate::calendar;
use arbiter_core::AUDIT_DONE;
use std::io;
use std::net::{ToSocketAddrs, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

/// Facility 13 of RFC 5424: log audit.
const FACILITY: u8 = 13;
const NOTICE: u8 = 5;
const WARNING: u8 = 4;
const APP: &str = "arbiter";
/// Our structured data; 32473 is the number that RFC 5612 keeps for those who have none.
const DATA_ID: &str = "audit@32473";
/// Where the number that was reached is kept, in the data directory.
const FILE: &str = "audit-syslog";

enum Socket {
    Udp(UdpSocket),
    Unix(UnixDatagram),
}

pub(super) struct SyslogCopy {
    place: String,
    arbiter: String,
    host: String,
    kept: PathBuf,
    socket: Option<Socket>,
    reached: Option<u64>,
}

impl SyslogCopy {
    pub(super) fn new(place: &str, arbiter: &str, dir: &Path) -> Self {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        Self {
            place: place.to_owned(),
            arbiter: arbiter.to_owned(),
            host: word(host.trim()),
            kept: dir.join(FILE),
            socket: None,
            reached: None,
        }
    }

    fn open(&self) -> io::Result<Socket> {
        if let Some(path) = self.place.strip_prefix("unix:") {
            let socket = UnixDatagram::unbound()?;
            socket.connect(path)?;
            return Ok(Socket::Unix(socket));
        }
        let place = self.place.strip_prefix("udp://").unwrap_or(&self.place);
        let to = place.to_socket_addrs()?.next();
        let to = to.ok_or_else(|| io::Error::other("its name has no address"))?;
        let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(any)?;
        socket.connect(to)?;
        Ok(Socket::Udp(socket))
    }

    fn send(&mut self, message: &str) -> io::Result<()> {
        let socket = match self.socket.take() {
            Some(socket) => socket,
            None => self.open()?,
        };
        // A socket that failed is opened anew: the receiver may have been started again.
        match &socket {
            Socket::Udp(socket) => socket.send(message.as_bytes())?,
            Socket::Unix(socket) => socket.send(message.as_bytes())?,
        };
        self.socket = Some(socket);
        Ok(())
    }

    fn message(&self, line: &Line) -> io::Result<String> {
        let (severity, millis, id, data) = match line {
            Line::Gap { gap } => {
                (WARNING, None, "gap", format!(" from=\"{}\" to=\"{}\"", gap.from, gap.to))
            }
            Line::Record(record) => {
                let done = record.result == AUDIT_DONE;
                let data = format!(" seq=\"{}\" hash=\"{}\"", record.seq, record.hash);
                (if done { NOTICE } else { WARNING }, Some(record.wall.0), "audit", data)
            }
        };
        let priority = FACILITY * 8 + severity;
        let when = millis.map_or_else(|| "-".to_owned(), calendar::rfc3339);
        let (host, pid) = (&self.host, std::process::id());
        let arbiter = value(&self.arbiter);
        let text = line.text()?;
        let text = text.trim_end();
        Ok(format!(
            "<{priority}>1 {when} {host} {APP} {pid} {id} [{DATA_ID} arbiter=\"{arbiter}\"{data}] \
             {text}"
        ))
    }
}

/// A field of the head: visible ASCII, and something.
fn word(text: &str) -> String {
    let good: String = text.chars().filter(char::is_ascii_graphic).take(255).collect();
    if good.is_empty() { "-".to_owned() } else { good }
}

/// A value of structured data.
fn value(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace(']', "\\]")
}

impl Copy for SyslogCopy {
    fn reached(&mut self) -> io::Result<u64> {
        let kept = || std::fs::read_to_string(&self.kept).unwrap_or_default().trim().parse().ok();
        Ok(*self.reached.get_or_insert_with(|| kept().unwrap_or(0)))
    }

    fn take(&mut self, lines: &[Line]) -> io::Result<()> {
        for line in lines {
            let message = self.message(line)?;
            self.send(&message)?;
        }
        let reached = lines.last().map_or(0, Line::seq);
        self.reached = Some(reached);
        // Without it more is sent again after a restart.
        std::fs::write(&self.kept, format!("{reached}\n"))
    }

    fn place(&self) -> String {
        self.place.clone()
    }
}
