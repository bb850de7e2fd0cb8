//! The start gate of a managed server, in two files that only the agent writes, where a reboot
//! empties them: with the *start file* the manager can start its server, with the *active file* it
//! can promote it. The manager's own configuration asks for both.
//!
//! Knows files and a text. Never knows leases. The manager starts and stops its server as it
//! sees fit, so while it runs the start file stays: what somebody starts beside it is held as soon
//! as it is seen.

use super::Delegated;
use crate::drivers::{DriverError, files};
use std::io;
use std::path::{Path, PathBuf};

/// Written into both. A server may read one as its configuration.
const TEXT: &str = "# written by the region arbiter's agent; see arbiter disarm\n";

impl Delegated {
    /// With it the manager can start its server.
    pub(super) fn start_file(&self) -> PathBuf {
        self.gate_file("start.conf")
    }

    /// With it the manager can promote its server.
    pub(super) fn active_file(&self) -> PathBuf {
        self.gate_file("active")
    }

    fn gate_file(&self, last: &str) -> PathBuf {
        let safe = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
        let name: String = self.script.id.as_str().chars().map(safe).collect();
        self.holder.gate_dir().join(format!("{name}.{last}"))
    }

    /// Whether the manager's configuration asks for both files.
    pub(super) fn gated(&self) -> bool {
        let text = std::fs::read_to_string(&self.set.manager_config).unwrap_or_default();
        let asks = |path: &Path| {
            let path = path.display().to_string();
            text.lines().any(|line| !line.trim_start().starts_with('#') && line.contains(&path))
        };
        asks(&self.start_file()) && asks(&self.active_file())
    }

    /// Armed, what is not gated could be started by anybody. I4
    pub(super) fn must_be_gated(&self) -> Result<(), DriverError> {
        if self.gated() {
            return Ok(());
        }
        Err(self.refuse(format!(
            "{} does not ask for {} before a server starts and for {} before one is promoted: \
             with Patroni set postgresql.custom_conf to the former and postgresql.pre_promote to \
             `test -e` of the latter",
            self.set.manager_config.display(),
            self.start_file().display(),
            self.active_file().display()
        )))
    }

    pub(super) async fn put_gate_in(&self) -> Result<(), DriverError> {
        self.must_be_gated()?;
        // What runs goes on as it is, until it is ordered.
        if self.found()?.is_empty() { self.lock_out() } else { self.have_held().await }
    }

    /// Unarmed, the agent keeps nobody from anything.
    pub(super) fn take_gate_out(&self) -> Result<(), DriverError> {
        self.write(&self.start_file())?;
        self.write(&self.active_file())
    }

    /// The manager may start its server, and promote it where `active`.
    pub(super) fn permit(&self, active: bool) -> Result<(), DriverError> {
        if self.holder.armed() {
            self.must_be_gated()?;
        }
        if active {
            self.write(&self.active_file())?;
        } else {
            self.remove(&self.active_file())?;
        }
        self.write(&self.start_file())
    }

    /// Whatever runs on: nothing is promoted any more.
    pub(super) fn no_promotion(&self) -> Result<(), DriverError> {
        self.remove(&self.active_file())
    }

    /// Nobody starts it, and nobody promotes it. I4
    pub(super) fn lock_out(&self) -> Result<(), DriverError> {
        self.remove(&self.active_file())?;
        self.remove(&self.start_file())
    }

    pub(super) fn locked_out(&self) -> bool {
        !self.start_file().exists()
    }

    fn remove(&self, path: &Path) -> Result<(), DriverError> {
        files::remove(path)
            .map_err(|error| self.retry(format!("cannot remove {}: {error}", path.display())))
    }

    fn write(&self, path: &Path) -> Result<(), DriverError> {
        let write = || -> io::Result<()> {
            if std::fs::read_to_string(path).is_ok_and(|before| before == TEXT) {
                return Ok(());
            }
            std::fs::create_dir_all(self.holder.gate_dir())?;
            let mut new = path.as_os_str().to_owned();
            new.push(".new");
            std::fs::write(&new, TEXT)?;
            // The server's user reads it; only the agent's writes it.
            use std::os::unix::fs::PermissionsExt;
            std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o644))?;
            std::fs::rename(&new, path)
        };
        write().map_err(|error| self.retry(format!("cannot write {}: {error}", path.display())))
    }
}
