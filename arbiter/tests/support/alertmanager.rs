#![allow(dead_code, reason = "each test binary uses a part")]
//! An Alertmanager of our own: a random port on loopback, its own directory, killed when dropped;
//! and its own tool.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tempfile::TempDir;

/// Longest wait for it to listen, in polls of [`POLL`].
const POLLS_MAX: u32 = 400;
const POLL: Duration = Duration::from_millis(50);
/// Who is let in where a password is asked for, and its bcrypt hash.
pub const USER: (&str, &str) = ("arbiter", "open sesame");
const HASH: &str = "$2b$04$pigznUByG9Q/F.MCCn2pFuxpMW/9DnCrCp6XXDfG53JraKKjfWcMa";
/// Nobody is notified; one alert inhibits another of its region.
const CONFIG: &str = "route: {receiver: nobody}\nreceivers: [{name: nobody}]\ninhibit_rules:\n\
    - {source_matchers: [alertname=RegionGone], target_matchers: [alertname=ServiceDown], \
    equal: [region]}\n";

/// A running Alertmanager.
pub struct Alertmanager {
    dir: TempDir,
    child: Option<Child>,
    port: u16,
}

impl Alertmanager {
    /// Start one that lets everybody in.
    pub fn start() -> Self {
        Self::with("")
    }

    /// Start one that asks for a password.
    pub fn guarded() -> Self {
        Self::with(&format!("basic_auth_users: {{{}: '{HASH}'}}\n", USER.0))
    }

    fn with(web: &str) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join("am.yml"), CONFIG).expect("writable");
        std::fs::write(dir.path().join("web.yml"), web).expect("writable");
        let mut started = Self { dir, child: None, port: free_port() };
        started.up();
        started
    }

    /// Start it again on the same port and directory.
    pub fn up(&mut self) {
        let log = std::fs::File::create(self.path("log")).expect("a log");
        let at = |flag: &str, file: &str| format!("--{flag}={}", self.path(file).display());
        let child = Command::new("prometheus-alertmanager")
            .arg(at("config.file", "am.yml"))
            .arg(at("web.config.file", "web.yml"))
            .arg(at("storage.path", "data"))
            .arg(format!("--web.listen-address=127.0.0.1:{}", self.port))
            .arg("--cluster.listen-address=")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("prometheus-alertmanager is installed");
        self.child = Some(child);
        for _ in 0..POLLS_MAX {
            if self.answers().is_some() {
                return;
            }
            std::thread::sleep(POLL);
        }
        let log = std::fs::read_to_string(self.path("log")).unwrap_or_default();
        panic!("it does not answer:\n{log}");
    }

    /// Whether it speaks HTTP, whatever it says.
    fn answers(&self) -> Option<()> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.set_read_timeout(Some(POLL * 20)).ok()?;
        stream.write_all(b"GET /-/ready HTTP/1.0\r\n\r\n").ok()?;
        let mut first = [0; 5];
        stream.read_exact(&mut first).ok()?;
        (&first == b"HTTP/").then_some(())
    }

    /// Kill it.
    pub fn down(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// A file in its directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Run its tool; what it prints.
    pub fn amtool(&self, args: &[&str]) -> String {
        let url = format!("--alertmanager.url={}", self.url());
        let output = Command::new("amtool").arg(url).args(args).output();
        let output = output.expect("amtool is installed");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "amtool {args:?}: {error}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// An alert of a service of a region.
    pub fn alert(&self, name: &str, service: &str, region: &str) {
        let labels = [("alertname", name), ("service", service), ("region", region)];
        let labels = labels.map(|(label, value)| format!("{label}={value}"));
        let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
        self.amtool(&[&["alert", "add"], labels.as_slice()].concat());
    }

    /// The alerts that fire and match, as its tool tells them.
    pub fn firing(&self, matcher: &str) -> Vec<serde_json::Value> {
        let text = self.amtool(&["alert", "query", "--output=json", matcher]);
        serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}"))
    }
}

/// A port that is free now, and outside the range that connections are given: one of those could
/// reach itself.
fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    const FIRST: u32 = 10_000;
    const SPAN: u32 = 8_000;
    loop {
        let at = std::process::id().wrapping_mul(61) + NEXT.fetch_add(1, Ordering::Relaxed);
        let port = u16::try_from(FIRST + at % SPAN).expect("a port");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

impl Drop for Alertmanager {
    fn drop(&mut self) {
        self.down();
    }
}
