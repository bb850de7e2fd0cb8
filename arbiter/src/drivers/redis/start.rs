//! Starting the server's process, and seeing how far up it is.
//!
//! Knows commands and waits. Never gives it a role: it comes up as a replica of nobody.

use super::Redis;
use super::info::Info;
use super::processes::{self, Process};
use super::talk::{Session, Unreachable};
use super::upstream::NOBODY;
use crate::clock;
use crate::drivers::{Command, DriverError};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How long one call waits for a started server; the executor asks again.
pub(super) const START_WAIT_MAX: Duration = Duration::from_secs(20);
/// How long a started server may take until a process of it is seen.
const APPEAR_MAX: Duration = Duration::from_secs(5);
/// How long one look at a starting server waits for the next.
const START_POLL: Duration = Duration::from_millis(5);
/// Characters of a server's last warning that an error shows.
const WARNING_SHOWN_MAX: usize = 240;
/// Bytes at the end of the log that are searched for it.
const LOG_TAIL_BYTES: u64 = 16 * 1024;
/// No link is followed, and a pipe without a writer is not waited for.
const LOG_FLAGS: i32 = nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK;
/// Looks at a server that forks while it is adopted.
const ADOPT_PASSES_MAX: u32 = 8;

/// Whether the server is up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Up {
    /// No process of it.
    No,
    /// No server, but what it forked to save: it may still replace the saved data.
    Orphans(Vec<Process>),
    /// A server; it may be loading, stopping or hung.
    Yes(Process),
}

impl Redis {
    /// Whether the server is up, by its processes.
    pub(super) fn up(&self) -> Result<Up, DriverError> {
        let found = self.processes()?;
        Ok(match processes::server(&found).cloned() {
            Some(server) => Up::Yes(server),
            None if found.is_empty() => Up::No,
            None => Up::Orphans(found),
        })
    }

    /// Start the stopped server as a replica of nobody and wait until it has loaded its data.
    pub(super) async fn start(&self) -> Result<(Session, Info), DriverError> {
        if !self.set.data_dir.is_dir() {
            let dir = self.set.data_dir.display();
            return Err(self.refuse(format!(
                "{dir} is no directory: mount it, or make it and give it to the server's user"
            )));
        }
        let _permit = self.permit()?;
        self.asked_to_stop.store(false, Ordering::SeqCst);
        self.holder.start(&self.server_command(), false).await?;
        let up = self.await_start().await?;
        let found = self.processes()?;
        self.memory().from_disk = processes::server(&found).cloned();
        Ok(up)
    }

    /// See that the deadman holds a running server, whoever started it: it must be able to kill it.
    /// I4
    pub(super) async fn have_held(&self, server: &Process) -> Result<(), DriverError> {
        let held = || self.holder.processes();
        if !self.holder.armed() || self.is_cache() || held()?.contains(&server.pid) {
            return Ok(());
        }
        for _ in 0..ADOPT_PASSES_MAX {
            let held = held()?;
            let all = self.processes()?.into_iter().map(|process| process.pid);
            let outside: Vec<i32> = all.filter(|pid| !held.contains(pid)).collect();
            if outside.is_empty() {
                return Ok(());
            }
            self.holder.adopt(outside).await?;
        }
        Err(self.retry("the server forks faster than it can be held"))
    }

    /// What is given here wins over the configuration: a role, and how a process is to run that
    /// the agent holds.
    fn server_command(&self) -> Command {
        let set = &self.set;
        let mut args = Vec::new();
        let config = set.config_path();
        if set.config_file.is_some() || config.exists() {
            args.push(config.display().to_string());
        }
        let mut option = |name: &str, values: &[&str]| {
            args.push(format!("--{name}"));
            args.extend(values.iter().map(|value| (*value).to_owned()));
        };
        option("dir", &[&set.data_dir.display().to_string()]);
        option("port", &[&set.port.to_string()]);
        option("replicaof", &[NOBODY.0, &NOBODY.1.to_string()]);
        option("replica-read-only", &["yes"]);
        option("daemonize", &["no"]);
        option("supervised", &["no"]);
        option("logfile", &[""]);
        if !set.listen.is_empty() {
            let listen: Vec<&str> = set.listen.iter().map(String::as_str).collect();
            option("bind", &listen);
        }
        if let Some(socket) = &set.unix_socket {
            option("unixsocket", &[&socket.display().to_string()]);
        }
        Command {
            program: set.bin.clone(),
            args,
            env: Vec::new(),
            user: set.user.clone(),
            limit: START_WAIT_MAX,
            log: Some(set.log_file.clone()),
        }
    }

    /// Wait until a starting server has loaded its data; from then on nobody starts another.
    pub(super) async fn await_start(&self) -> Result<(Session, Info), DriverError> {
        let began = clock::now();
        let mut appeared = false;
        loop {
            let waited = clock::now().since(began);
            match self.up()? {
                Up::Yes(_) => {
                    appeared = true;
                    if let Some(up) = self.loaded().await? {
                        if self.gated() {
                            self.hold()?;
                        }
                        return Ok(up);
                    }
                }
                _ if appeared || waited > APPEAR_MAX => {
                    let why = self.warning(|_| true);
                    return Err(self.retry(format!("the server did not start{why}")));
                }
                _ => {}
            }
            if waited > START_WAIT_MAX {
                return Err(self.retry("the server is still loading its data, or does not answer"));
            }
            tokio::time::sleep(START_POLL).await;
        }
    }

    async fn loaded(&self) -> Result<Option<(Session, Info)>, DriverError> {
        let asked = async {
            let session = self.session().await?;
            let info = session.info().await?;
            Ok((session, info))
        };
        match asked.await {
            // A replica that copies its upstream's data loads it too: that is no start.
            Ok((session, info)) if !info.is_loading() || info.is_copying() => {
                Ok(Some((session, info)))
            }
            Err(error @ Unreachable::Denied(_)) => Err(self.refuse(error)),
            Ok(_) | Err(_) => Ok(None),
        }
    }

    /// `: ` and the last warning of the log that is `wanted`, if there is one. A line of the
    /// configuration, which the log repeats where it is wrong, may hold a password.
    pub(super) fn warning(&self, wanted: fn(&str) -> bool) -> String {
        use std::io::{Read, Seek, SeekFrom};
        use std::os::unix::fs::OpenOptionsExt;
        let read = || -> std::io::Result<String> {
            // The server's user may own the directory: a link may lead anywhere.
            let mut options = std::fs::OpenOptions::new();
            let mut file = options.read(true).custom_flags(LOG_FLAGS).open(&self.set.log_file)?;
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL_BYTES)))?;
            let mut bytes = Vec::new();
            file.take(LOG_TAIL_BYTES).read_to_end(&mut bytes)?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        let text = read().unwrap_or_default();
        let warns = |line: &&str| line.contains(" # ") || line.starts_with("Reading the config");
        let mut lines = text.lines().rev().filter(warns).filter(|line| !line.contains(">>>"));
        let line = lines.find(|line| wanted(line));
        let line = line.map(|line| line.split_once(" # ").map_or(line, |(_, said)| said));
        let see = format!("; see {}", self.set.log_file.display());
        let shown = line.map(|line| line.chars().take(WARNING_SHOWN_MAX).collect::<String>());
        shown.map_or(see.clone(), |line| format!(": {line}{see}"))
    }
}
