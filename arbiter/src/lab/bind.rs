//! A BIND 9 of the lab's own: one zone, one TSIG key. Knows named's files; never the arbiter.

use super::net::Net;
use super::process::{Process, Spec};
use std::fmt::Write as _;
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

/// The zone.
pub const ZONE: &str = "example.test.";
/// The name that clients use.
pub const NAME: &str = "app.example.test.";
/// The server's port.
pub const PORT: u16 = 53;
/// Name of the TSIG key.
const KEY_NAME: &str = "arbiter-key";

/// The running server.
#[derive(Debug)]
pub struct Bind {
    process: Option<Process>,
    spec: Spec,
    host: String,
    /// File with the TSIG key, as BIND writes it.
    pub key_file: PathBuf,
    /// Where it listens.
    pub address: Ipv4Addr,
}

/// A fresh key, in base64.
fn secret() -> io::Result<String> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bytes = [0u8; 33];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    let mut text = String::new();
    for part in bytes.chunks(3) {
        let word = part.iter().fold(0u32, |word, byte| word << 8 | u32::from(*byte));
        for shift in [18, 12, 6, 0] {
            text.push(DIGITS[(word >> shift & 63) as usize] as char);
        }
    }
    Ok(text)
}

impl Bind {
    /// Start a server on `host`, its files below `dir`; `initial` is what the name leads to.
    ///
    /// # Errors
    /// If named is missing (package `bind9`) or does not start.
    pub fn start(net: &Net, host: &str, dir: &Path, initial: Ipv4Addr) -> io::Result<Self> {
        std::fs::create_dir_all(dir)?;
        let address = net.host(host).address();
        let key_file = dir.join("tsig.key");
        let key =
            format!("key \"{KEY_NAME}\" {{ algorithm hmac-sha256; secret \"{}\"; }};\n", secret()?);
        std::fs::write(&key_file, key)?;
        std::fs::write(dir.join("zone.db"), zone(address, initial))?;
        let conf = dir.join("named.conf");
        std::fs::write(&conf, config(dir, &key_file, address))?;
        let conf = conf.to_string_lossy().into_owned();
        let spec = Spec::new("/usr/sbin/named", &["-f", "-c", &conf], dir.join("named.log"));
        let process = None;
        let mut bind = Self { process, spec, host: host.into(), key_file, address };
        bind.restart(net)?;
        Ok(bind)
    }

    /// Start it again after [`Bind::stop`].
    ///
    /// # Errors
    /// If it does not start.
    pub fn restart(&mut self, net: &Net) -> io::Result<()> {
        self.process = Some(Process::start(net, &self.host, &self.spec)?);
        Ok(())
    }

    /// Kill it.
    pub fn stop(&mut self) {
        self.process = None;
    }
}

fn zone(address: Ipv4Addr, initial: Ipv4Addr) -> String {
    let mut text = String::from("$TTL 5\n$ORIGIN example.test.\n");
    let _ = writeln!(text, "@ IN SOA ns hostmaster ( 1 3600 600 86400 5 )");
    let _ = writeln!(text, "@ IN NS ns");
    let _ = writeln!(text, "ns IN A {address}");
    let _ = writeln!(text, "app IN A {initial}");
    text
}

fn config(dir: &Path, key_file: &Path, address: Ipv4Addr) -> String {
    let (dir, key_file) = (dir.display(), key_file.display());
    format!(
        "include \"{key_file}\";\n\
         options {{ directory \"{dir}\"; pid-file none; session-keyfile none;\n\
         listen-on port {PORT} {{ {address}; }}; listen-on-v6 {{ none; }};\n\
         recursion no; dnssec-validation no; notify no; managed-keys-directory \"{dir}\"; }};\n\
         controls {{ }};\n\
         zone \"example.test\" {{ type primary; file \"{dir}/zone.db\";\n\
         update-policy {{ grant {KEY_NAME} zonesub any; }}; }};\n"
    )
}
