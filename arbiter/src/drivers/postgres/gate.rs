//! The start gate: a server that nobody but the agent can start.
//!
//! The last line of `postgresql.conf` includes a file that only the agent writes, where a reboot
//! empties it. The file has three states. *Absent*: the server cannot start, and was asked to
//! stop. *Permit*: it can, and only while the agent starts it. *Held*: it runs; the file can be
//! read again on reload, but a server started by it would stop at a data directory that does not
//! exist. So an operator's `pg_ctl start` beside a crashed or a running one cannot make a second
//! writer that the deadman does not hold.
//!
//! Knows files and a line. Never knows leases.

use super::{Postgres, files, processes};
use crate::drivers::DriverError;
use nix::sys::signal::Signal;
use std::io;
use std::path::{Path, PathBuf};

/// Ends the line, so that it is found again, also in a copy of the configuration.
const MARK: &str = "# start gate of the region arbiter; `arbiter disarm` takes it out";
/// What the arbiter asks of a server that it may fence: a crashed one must not come back behind
/// the agent, and each side of the stream hears soon that the other is gone.
const PERMIT: &str = "restart_after_crash = off
wal_sender_timeout = 10s
wal_receiver_timeout = 10s
wal_receiver_status_interval = 1s
";
/// A name that explains itself in the error of a start by hand.
const NOWHERE: &str = "/only the region arbiter's agent starts this server";

/// A configuration without the lines of a start gate, whoever's they are.
pub(super) fn without_lines(text: &str) -> String {
    text.lines().filter(|line| !line.ends_with(MARK)).map(|line| format!("{line}\n")).collect()
}

impl Postgres {
    /// The file that the configuration includes.
    pub(super) fn start_file(&self) -> PathBuf {
        let safe = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
        let name: String = self.set.id.as_str().chars().map(safe).collect();
        self.holder.gate_dir().join(format!("{name}.start.conf"))
    }

    /// Whether the configuration has the line.
    pub(super) fn gated(&self) -> bool {
        let line = self.gate_line();
        std::fs::read_to_string(self.set.config_path())
            .is_ok_and(|text| text.lines().any(|other| other == line))
    }

    fn gate_line(&self) -> String {
        let path = self.start_file().display().to_string().replace('\'', "''");
        format!("include '{path}' {MARK}")
    }

    pub(super) async fn put_gate_in(&self) -> Result<(), DriverError> {
        let running = self.processes()?;
        let server = processes::postmaster(&running);
        if server.is_some() {
            self.reads_our_file().await?;
            self.hold()?;
        }
        if !self.gated() {
            self.rewrite(Some(self.gate_line()))?;
        }
        if let Some(server) = server {
            processes::send(server, Signal::SIGHUP);
        }
        Ok(())
    }

    pub(super) fn take_gate_out(&self) -> Result<(), DriverError> {
        self.rewrite(None)?;
        self.lock_out()?;
        if let Some(server) = processes::postmaster(&self.processes()?) {
            processes::send(server, Signal::SIGHUP);
        }
        Ok(())
    }

    /// A gate in a file that the running server does not read would stop nobody.
    async fn reads_our_file(&self) -> Result<(), DriverError> {
        let session = self.session().await.map_err(|error| self.retry(error))?;
        let row = session.row("SELECT current_setting('config_file') AS path").await;
        let theirs: String = row.map_err(|error| self.retry(error))?.get("path");
        let ours = self.set.config_path();
        let real = |path: &Path| std::fs::canonicalize(path).ok();
        if real(Path::new(&theirs)).is_some_and(|theirs| Some(theirs) == real(&ours)) {
            return Ok(());
        }
        Err(self.refuse(format!(
            "the running server reads {theirs} and the start gate would go into {}: set \
             config_file to the former",
            ours.display()
        )))
    }

    /// Let the agent's next start pass, for as long as what is returned lives.
    pub(super) fn permit(&self) -> Result<Permit<'_>, DriverError> {
        if !self.gated() {
            // Unarmed: a line that came with a copy of another instance's data must not stay.
            self.rewrite(self.holder.armed().then(|| self.gate_line()))?;
        }
        let permit = Permit(self);
        if self.gated() {
            self.write_start_file(PERMIT)?;
        }
        Ok(permit)
    }

    /// The server runs: nobody starts another.
    pub(super) fn hold(&self) -> Result<(), DriverError> {
        self.write_start_file(&format!("{PERMIT}data_directory = '{}'\n", quoted(NOWHERE)))
    }

    /// Nobody starts it: it was asked to stop. I4
    pub(super) fn lock_out(&self) -> Result<(), DriverError> {
        let path = self.start_file();
        files::remove(&path)
            .map_err(|error| self.retry(format!("cannot remove {}: {error}", path.display())))
    }

    /// Nobody starts it, now or after a reboot: where armed, the configuration has the line again
    /// if somebody took it away. I4
    pub(super) fn shut(&self) -> Result<(), DriverError> {
        if self.holder.armed() && !self.gated() {
            // No refusal: whoever mends the file need not tell anybody.
            self.rewrite(Some(self.gate_line())).map_err(|error| match error {
                DriverError::Refused(why) => DriverError::Retry(why),
                other => other,
            })?;
        }
        self.lock_out()
    }

    /// Whether it was asked to stop and not to start since.
    pub(super) fn locked_out(&self) -> bool {
        let asked = self.asked_to_stop.load(std::sync::atomic::Ordering::SeqCst);
        asked || self.gated() && !self.start_file().exists()
    }

    fn write_start_file(&self, text: &str) -> Result<(), DriverError> {
        let path = self.start_file();
        let write = || -> io::Result<()> {
            if std::fs::read_to_string(&path).is_ok_and(|before| before == text) {
                return Ok(());
            }
            let dir = self.holder.gate_dir();
            std::fs::create_dir_all(&dir)?;
            let new = path.with_extension("new");
            std::fs::write(&new, text)?;
            // The server's user reads it; only the agent's writes it.
            use std::os::unix::fs::PermissionsExt;
            std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o644))?;
            std::fs::rename(&new, &path)
        };
        write().map_err(|error| self.retry(format!("cannot write {}: {error}", path.display())))
    }

    /// The configuration without any gate line, then with `line` as its last.
    fn rewrite(&self, line: Option<String>) -> Result<(), DriverError> {
        let _one = self.rewriting.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let path = self.set.config_path();
        let change = || -> io::Result<()> {
            let before = std::fs::read_to_string(&path)?;
            let mut after = without_lines(&before);
            if let Some(line) = &line {
                after.push_str(&format!("{line}\n"));
            }
            if after == before { Ok(()) } else { files::replace(&path, &after, &path) }
        };
        change().map_err(|error| {
            self.refuse(format!(
                "cannot put the start gate into {}: {error}; set config_file to the server's \
                 postgresql.conf and let the agent write it",
                path.display()
            ))
        })
    }
}

/// The start file lets a server start. However the start ends, also when it is dropped, nobody
/// starts another.
pub(super) struct Permit<'a>(&'a Postgres);

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        let Self(server) = self;
        // Not there: somebody locked it out meanwhile.
        if !server.gated() || !server.start_file().exists() {
            return;
        }
        if let Err(error) = server.hold().or_else(|_| server.lock_out()) {
            tracing::error!(instance = %server.set.id, %error, "the start gate stays open");
        }
    }
}

fn quoted(text: &str) -> String {
    text.replace('\'', "''")
}
