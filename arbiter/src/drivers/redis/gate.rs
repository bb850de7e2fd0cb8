//! The start gate: a server that nobody but the agent can start.
//!
//! The last lines of `redis.conf` include a file that only the agent writes, where a reboot empties
//! it; a server whose configuration includes a file that is not there does not start. The file has
//! three states. *Absent*: the server cannot start, and was asked to stop. *Permit*: it can, and
//! only while the agent starts it. *Held*: it runs; Redis reads its configuration at the start
//! only, and one started by this file would stop at a directory that does not exist. So a start by
//! hand beside a crashed or a running server makes no second writer that the deadman does not hold.
//!
//! Knows files and lines. Never knows leases. A cache has no gate: no plan waits for it.

use super::{Redis, processes};
use crate::drivers::{DriverError, files};
use std::io;
use std::path::{Path, PathBuf};

/// Around what the agent writes, so that it is found again, also in a copy of the file. Redis takes
/// no comment behind a line.
const BEGIN: &str = "# begin: written by the region arbiter's agent, see arbiter disarm";
const END: &str = "# end: written by the region arbiter's agent";
/// What the arbiter asks of a server that it may fence: each side of the stream hears soon that the
/// other is gone, and what a replica that was away needs is kept however long.
pub(super) const TUNED: [(&str, &str); 3] =
    [("repl-ping-replica-period", "1"), ("repl-timeout", "10"), ("repl-backlog-ttl", "0")];
/// A name that explains itself in the error of a start by hand.
const NOWHERE: &str = "/only the region arbiter's agent starts this server";

impl Redis {
    /// The file that the configuration includes.
    pub(super) fn start_file(&self) -> PathBuf {
        let safe = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
        let name: String = self.set.id.as_str().chars().map(safe).collect();
        self.holder.gate_dir().join(format!("{name}.start.conf"))
    }

    /// Whether this server should have a gate now.
    pub(super) fn wants_gate(&self) -> bool {
        self.holder.armed() && !self.is_cache()
    }

    /// Whether the configuration has the line.
    pub(super) fn gated(&self) -> bool {
        let line = self.gate_line();
        std::fs::read_to_string(self.set.config_path())
            .is_ok_and(|text| text.lines().any(|other| other == line))
    }

    fn gate_line(&self) -> String {
        format!("include {}", quoted(&self.start_file().display().to_string()))
    }

    pub(super) async fn put_gate_in(&self) -> Result<(), DriverError> {
        if self.is_cache() {
            return Ok(());
        }
        // Redis takes a name with these for a pattern, and one that fits nothing for no file.
        if self.start_file().display().to_string().contains(['*', '?', '[']) {
            let path = self.start_file().display().to_string();
            return Err(self.refuse(format!("{path} holds *, ? or [: use another state directory")));
        }
        if processes::server(&self.processes()?).is_some() {
            self.reads_our_file().await?;
            self.hold()?;
        }
        if !self.gated() {
            self.rewrite(Some(self.gate_line()))?;
        }
        Ok(())
    }

    /// Take it out. What the agent gave at each start stays in its place: the role of the data.
    pub(super) fn take_gate_out(&self) -> Result<(), DriverError> {
        if self.gated() {
            let standing = self.standing().filter(|standing| !standing.primary);
            let upstream = standing.map(|standing| standing.upstream).unwrap_or_default();
            let (host, port) = super::upstream::split(&upstream).unwrap_or_default();
            self.rewrite((port != 0).then(|| format!("replicaof {host} {port}")))?;
        }
        self.lock_out()
    }

    /// A gate in a file that the running server does not read would stop nobody; and beside
    /// somebody else that decides there is to be none.
    async fn reads_our_file(&self) -> Result<(), DriverError> {
        let session = self.session().await.map_err(|error| self.retry(error))?;
        let info = session.info().await.map_err(|error| self.retry(error))?;
        self.alone(&session, &info).await?;
        let (theirs, ours) = (info.text("config_file"), self.set.config_path());
        let real = |path: &Path| std::fs::canonicalize(path).ok();
        if real(Path::new(theirs)).is_some_and(|theirs| Some(theirs) == real(&ours)) {
            for (name, value) in TUNED {
                session.set(name, value).await.map_err(|error| self.retry(error))?;
            }
            return self.learn(&info, &self.configured(&session).await);
        }
        let theirs = if theirs.is_empty() { "no configuration file" } else { theirs };
        Err(self.refuse(format!(
            "the running server reads {theirs} and the start gate would go into {}: set config_file \
             to the former, or restart it with the latter",
            ours.display()
        )))
    }

    /// Let the agent's next start pass, for as long as what is returned lives.
    pub(super) fn permit(&self) -> Result<Permit<'_>, DriverError> {
        if !self.gated() && self.wants_gate() {
            self.rewrite(Some(self.gate_line()))?;
        }
        let permit = Permit(self);
        if self.gated() {
            let lines = TUNED.map(|(name, value)| format!("{name} {value}\n"));
            self.write_start_file(&lines.concat())?;
        }
        Ok(permit)
    }

    /// The server runs: nobody starts another.
    pub(super) fn hold(&self) -> Result<(), DriverError> {
        self.write_start_file(&format!("dir {}\n", quoted(NOWHERE)))
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
        if self.wants_gate() && !self.gated() {
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

    /// The configuration without what the agent wrote, then with `line` as its last.
    fn rewrite(&self, line: Option<String>) -> Result<(), DriverError> {
        let _one = self.rewriting.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let path = self.set.config_path();
        let change = || -> io::Result<()> {
            let before = match std::fs::read_to_string(&path) {
                // Its own place is for the agent to make.
                Err(error)
                    if error.kind() == io::ErrorKind::NotFound
                        && self.set.config_file.is_none() =>
                {
                    String::new()
                }
                other => other?,
            };
            let mut after = without_ours(&before);
            if let Some(line) = &line {
                after.push_str(&format!("{BEGIN}\n{line}\n{END}\n"));
            }
            let like = if path.exists() { &path } else { &self.set.data_dir };
            if after == before { Ok(()) } else { files::replace(&path, &after, like) }
        };
        change().map_err(|error| {
            self.refuse(format!(
                "cannot put the start gate into {}: {error}; set config_file to the server's \
                 redis.conf and let the agent write it",
                path.display()
            ))
        })
    }
}

/// `text` without the marks and the line between them. Whoever took one mark away loses nothing.
fn without_ours(text: &str) -> String {
    let mut lines = text.lines();
    let mut kept = String::new();
    while let Some(line) = lines.next() {
        match line {
            BEGIN => drop(lines.next()),
            END => {}
            theirs => kept.push_str(&format!("{theirs}\n")),
        }
    }
    kept
}

/// The start file lets a server start. However the start ends, also when it is dropped, nobody
/// starts another.
pub(super) struct Permit<'a>(&'a Redis);

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

/// A word of a configuration file.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_agent_wrote_is_taken_out() {
        let theirs = "port 6379\n# begin: mine\nsave 60 1\n";
        let text = format!("{BEGIN}\ninclude x\n{END}\n{theirs}{BEGIN}\nreplicaof a 1\n{END}\n");
        assert_eq!(without_ours(&text), theirs);
        assert_eq!(without_ours(theirs), theirs);
        let torn = format!("{BEGIN}\ninclude x\n{theirs}{END}\n");
        assert_eq!(without_ours(&torn), theirs);
    }
}
