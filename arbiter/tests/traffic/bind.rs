//! A BIND 9 of our own: random port on loopback, its own directory, killed when dropped.

use std::fmt::Write as _;
use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// Secret of the key that the update-policy lets in.
pub const SECRET: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
/// Secret of a key that BIND knows and whose policy lets nothing change.
const OTHER_SECRET: &str = "ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA=";
/// Longest wait for BIND to answer, in polls of [`POLL`].
const POLLS_MAX: u32 = 200;
const POLL: Duration = Duration::from_millis(50);

/// A running named.
pub struct Bind {
    dir: TempDir,
    child: Option<Child>,
    port: u16,
}

impl Bind {
    /// Start with zone `example.test.`, where `records` are added, and zone `broken.test.`, which
    /// does not load.
    pub fn start(records: &str) -> Self {
        Self::with(records, "")
    }

    /// The same with more options for `example.test.`.
    pub fn with(records: &str, zone_options: &str) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let port = free_port();
        let mut bind = Self { dir, child: None, port };
        bind.write("example.zone", &format!(
            "$TTL 60\n@ IN SOA ns.example.test. Host\\.master.example.test. 1 3600 600 86400 60\n\
             @ IN NS ns\nns IN A 127.0.0.1\n{records}\n"
        ));
        bind.write("broken.zone", "this is no zone\n");
        let zone = format!(
            "type primary; file \"example.zone\";\n\
             update-policy {{ grant good zonesub ANY; }}; {zone_options}"
        );
        bind.configure(&zone);
        bind.up();
        bind
    }

    /// A secondary of `primary`, whose zone allows transfers. It takes no updates.
    pub fn secondary(primary: &Self) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let mut bind = Self { dir, child: None, port: free_port() };
        let zone = format!("type secondary; primaries {{ 127.0.0.1 port {}; }};", primary.port);
        bind.write("broken.zone", "this is no zone\n");
        bind.configure(&zone);
        bind.up();
        bind
    }

    /// Write the configuration, with `zone` as what example.test is, and the keys.
    fn configure(&self, zone: &str) {
        let (path, port) = (self.dir.path().display().to_string(), self.port);
        self.write(
            "named.conf",
            &format!(
                "key \"good\" {{ algorithm hmac-sha256; secret \"{SECRET}\"; }};\n\
             key \"other\" {{ algorithm hmac-sha256; secret \"{OTHER_SECRET}\"; }};\n\
             options {{ directory \"{path}\"; listen-on port {port} {{ 127.0.0.1; }};\n\
               listen-on-v6 {{ none; }}; pid-file none; session-keyfile none; recursion no;\n\
               dnssec-validation no; allow-transfer {{ none; }}; notify no;\n\
               key-directory \"{path}\"; }};\n\
             controls {{ }};\n\
             zone \"example.test\" {{ {zone} }};\n\
             zone \"broken.test\" {{ type primary; file \"broken.zone\"; }};\n"
            ),
        );
        self.key("good.key", "good", SECRET);
        self.key("other.key", "other", OTHER_SECRET);
    }

    /// Start it again on the same port and files.
    pub fn up(&mut self) {
        let log = std::fs::File::create(self.path("named.log")).expect("a log");
        let child = Command::new("/usr/sbin/named")
            .args(["-g", "-n", "1", "-c"])
            .arg(self.path("named.conf"))
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("bind9 is installed");
        self.child = Some(child);
        for _ in 0..POLLS_MAX {
            if self.dig("example.test", "SOA").contains("ns.example.test") {
                return;
            }
            std::thread::sleep(POLL);
        }
        panic!("named does not answer:\n{}", self.log());
    }

    /// What it logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path("named.log")).unwrap_or_default()
    }

    /// Kill it.
    pub fn down(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// `host:port`.
    pub fn server(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// A file in its directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).expect("writable");
    }

    /// Write a key file.
    pub fn key(&self, file: &str, name: &str, secret: &str) {
        let text = format!("key \"{name}\" {{ algorithm hmac-sha256; secret \"{secret}\"; }};\n");
        self.write(file, &text);
    }

    /// What stands there, as dig says it: data only, sorted.
    pub fn dig(&self, name: &str, kind: &str) -> String {
        let mut dig = Command::new("dig");
        dig.args(["@127.0.0.1", "-p", &self.port.to_string(), "+short", "+norec", "+time=1"]);
        let output = dig.args(["+tries=1", name, kind]).output().expect("dig is installed");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let mut lines: Vec<&str> = text.lines().filter(|line| !line.starts_with(';')).collect();
        lines.sort_unstable();
        lines.join(" ")
    }

    /// Change the zone by hand, with somebody else's tool.
    pub fn by_hand(&self, changes: &[&str]) {
        let mut script = format!("server 127.0.0.1 {}\nzone example.test\n", self.port);
        for change in changes {
            let _ = writeln!(script, "{change}");
        }
        script.push_str("send\n");
        self.write("by-hand", &script);
        let status = Command::new("nsupdate")
            .arg("-k")
            .arg(self.path("good.key"))
            .arg(self.path("by-hand"))
            .status();
        assert!(status.expect("nsupdate is installed").success(), "{script}");
    }
}

impl Drop for Bind {
    fn drop(&mut self) {
        self.down();
    }
}

/// A port that is free on loopback for TCP and UDP.
pub fn free_port() -> u16 {
    for _ in 0..100 {
        let tcp = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = tcp.local_addr().expect("an address").port();
        if UdpSocket::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no port is free for both TCP and UDP");
}

/// Settings of the driver for app.example.test at `server`.
pub fn settings<'a>(server: &'a str, key: &'a Path) -> Vec<(&'a str, &'a str)> {
    vec![
        ("zone", "example.test."),
        ("name", "app.example.test."),
        ("ttl", "5"),
        ("server", server),
        ("tsig_key_file", key.to_str().expect("text")),
        ("value.eu", "192.0.2.1"),
        ("value.us", "192.0.2.2"),
    ]
}
