//! Back onto the upstream's line with `pg_rewind`, which copies only what changed since.
//!
//! Knows the tool, what it says and what it leaves behind. Never trusts its word alone: it can say
//! that it is done and leave a server that does not start, where the new primary has made no
//! checkpoint since its promotion (PostgreSQL 15, measured).

use super::control::show_lsn;
use super::history;
use super::rejoin::Rewound;
use super::{Postgres, files};
use crate::drivers::{Command, DriverError, Output};
use arbiter_core::Position;
use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

/// Marks data that is being rewound: where it still stands, the data is of no use.
pub(super) const DIRTY: &str = "rewinding";
/// Where the server's own configuration waits, since a rewind brings the upstream's.
const OWN_FILES: &str = "conf";
/// Longest recovery after a crash.
const RECOVERY_LIMIT: Duration = Duration::from_secs(3600);
/// Longest look whether and where the lines diverged.
const DRY_LIMIT: Duration = Duration::from_secs(600);
/// Longest rewind.
const REWIND_LIMIT: Duration = Duration::from_secs(6 * 3600);
/// How long a standby without anybody to follow may take to stop.
const STOP_LIMIT: Duration = Duration::from_secs(60);
/// First version whose pg_rewind is told where the configuration is.
const CONFIG_FILE_SINCE: u32 = 15;

impl Postgres {
    /// Rewind the stopped server to `at`, onto the line of `upstream`.
    pub(super) async fn rewind(
        &self,
        upstream: &str,
        at: Position,
    ) -> Result<Rewound, DriverError> {
        if !self.control().await?.rewindable {
            let why = "it has neither data checksums nor wal_log_hints";
            return Ok(Rewound::Never(why.to_owned()));
        }
        self.ready_to_be_read(upstream).await?;
        self.stop_cleanly().await?;
        if let Some(why) = self.would_rewind(upstream, at).await? {
            return Ok(Rewound::Never(why));
        }
        self.tell(format!("rewinding to {}", history::show(at)));
        let failed = |error: io::Error| self.retry(format!("cannot prepare a rewind: {error}"));
        self.save_own_files().map_err(failed)?;
        let dirty = self.beside(DIRTY);
        // From here on the data is of no use until the mark is gone again.
        files::write_private(&dirty, upstream, &self.set.data_dir).map_err(failed)?;
        let output = self.pg_rewind(upstream, &[], REWIND_LIMIT).await?;
        if output.code != Some(0) {
            return Ok(Rewound::Never(format!("pg_rewind broke off: {}", last_error(&output))));
        }
        self.restore_own_files(&self.set.data_dir).map_err(failed)?;
        self.prepare_standby(&self.set.data_dir, upstream)?;
        files::remove(&dirty).map_err(failed)?;
        self.tell(format!("rewound to {}", history::show(at)));
        Ok(Rewound::Yes)
    }

    /// Whether the upstream has made a checkpoint since its promotion.
    async fn ready_to_be_read(&self, upstream: &str) -> Result<(), DriverError> {
        let now = self.identify(upstream).await?.line.0.last().map_or(0, |now| now.timeline);
        let sql = "SELECT timeline_id FROM pg_control_checkpoint()";
        let info = self.rewind_info(upstream)?;
        let args = ["-X", "-A", "-t", "-w", "-d", &info, "-c", sql];
        let answer = self.upstream_tool(upstream, "psql", &args).await?;
        if answer.trim().parse() == Ok(now) {
            return Ok(());
        }
        Err(self.retry(format!(
            "{upstream} has made no checkpoint on timeline {now} yet; it is rewound after that"
        )))
    }

    /// Recover a server that did not stop cleanly, so that it can be rewound.
    async fn stop_cleanly(&self) -> Result<(), DriverError> {
        if self.is_clean().await? {
            return Ok(());
        }
        self.tell("recovering it from its crash, to be rewound");
        if files::is_standby(&self.set.data_dir) {
            self.follow_nobody_from_start().await?;
            if !self.stop(STOP_LIMIT).await? {
                return Err(self.retry("the standby does not stop"));
            }
        } else {
            self.recover_alone().await?;
        }
        if self.is_clean().await? {
            return Ok(());
        }
        Err(self.retry("its recovery did not end with a clean stop"))
    }

    /// In single-user mode: nobody can connect, and nothing of the diverged WAL is archived.
    async fn recover_alone(&self) -> Result<(), DriverError> {
        let _permit = self.permit()?;
        let mut args = vec!["--single".to_owned(), "-F".into(), "-D".into()];
        args.push(self.set.data_dir.display().to_string());
        for setting in self.alone() {
            args.extend(["-c".to_owned(), setting]);
        }
        args.push("template1".into());
        let program = self.set.program("postgres");
        let (env, user) = (vec![("LC_ALL".into(), "C".into())], self.set.user.clone());
        let command = Command { program, args, env, user, limit: RECOVERY_LIMIT, log: None };
        let output = self.holder.run(&command).await?;
        if output.code == Some(0) {
            return Ok(());
        }
        Err(self.retry(format!("its recovery from a crash failed: {}", last_error(&output))))
    }

    fn alone(&self) -> Vec<String> {
        let mut settings = vec!["archive_mode=on".to_owned(), "archive_command=false".to_owned()];
        if let Some(path) = &self.set.config_file {
            settings.push(format!("config_file={}", path.display()));
        }
        settings
    }

    /// Why a rewind cannot be, if it cannot: nothing is changed to find out.
    async fn would_rewind(
        &self,
        upstream: &str,
        at: Position,
    ) -> Result<Option<String>, DriverError> {
        let output = self.pg_rewind(upstream, &["--dry-run"], DRY_LIMIT).await?;
        let said = format!("{}{}", output.stderr, output.stdout);
        if output.code != Some(0) {
            return self.why_not(upstream, &output);
        }
        if said.contains("no rewind required") {
            return Ok(None);
        }
        let wanted = format!("WAL location {} on timeline {}", show_lsn(at.offset), at.timeline);
        if said.contains(&wanted) {
            return Ok(None);
        }
        let found = said.lines().find(|line| line.contains("diverged")).unwrap_or("no divergence");
        Ok(Some(format!("pg_rewind finds another place than {}: {found}", history::show(at))))
    }

    /// What mends itself or can be mended is no reason to copy everything.
    fn why_not(&self, upstream: &str, output: &Output) -> Result<Option<String>, DriverError> {
        let why = last_error(output);
        if why.contains("permission denied") {
            return Err(self.refuse(format!(
                "user {} may not read {upstream} for a rewind: {why}; GRANT EXECUTE ON FUNCTION \
                 pg_ls_dir(text, boolean, boolean), pg_stat_file(text, boolean), \
                 pg_read_binary_file(text), pg_read_binary_file(text, bigint, bigint, boolean) \
                 TO it there, or set rewind_user",
                self.set.rewind_user
            )));
        }
        if why.contains("connect") || why.contains("connection") {
            return Err(self.retry(format!("pg_rewind: {why}")));
        }
        Ok(Some(why))
    }

    async fn pg_rewind(
        &self,
        upstream: &str,
        more: &[&str],
        limit: Duration,
    ) -> Result<Output, DriverError> {
        let fetches = self.has_restore_command();
        // Only to know how old WAL is fetched does it read the configuration.
        let _permit = if fetches { Some(self.permit()?) } else { None };
        let dir = self.set.data_dir.display().to_string();
        let info = self.rewind_info(upstream)?;
        let mut args = vec!["-D", &dir, "--source-server", &info, "--no-ensure-shutdown"];
        if fetches {
            args.push("--restore-target-wal");
        }
        let config = self.set.config_file.as_ref().map(|path| path.display().to_string());
        if let Some(config) = config.as_ref().filter(|_| self.version() >= CONFIG_FILE_SINCE) {
            args.extend(["--config-file", config]);
        }
        args.extend(more);
        self.tool("pg_rewind", &args, &[], limit).await
    }

    fn has_restore_command(&self) -> bool {
        let files = [self.set.config_path(), self.set.data_dir.join(files::AUTO_CONF)];
        let says = |line: &str| {
            let line = line.trim_start();
            line.starts_with("restore_command") && !line.ends_with("''")
        };
        files.iter().any(|path| fs::read_to_string(path).is_ok_and(|text| text.lines().any(says)))
    }

    fn version(&self) -> u32 {
        let text = fs::read_to_string(self.set.data_dir.join("PG_VERSION")).unwrap_or_default();
        text.trim().parse().unwrap_or(0)
    }

    /// Put the server's own configuration where neither a rewind nor a copy reaches it.
    pub(super) fn save_own_files(&self) -> io::Result<()> {
        let place = self.beside(OWN_FILES);
        // A rewind that was broken off has left anything in their place; they were saved before it.
        if self.beside(DIRTY).exists() && place.exists() {
            return Ok(());
        }
        fs::create_dir_all(&place)?;
        for path in self.own_files() {
            let Some(name) = path.file_name() else { continue };
            let text = fs::read_to_string(&path)?;
            files::write_private(&place.join(name), &text, &path)?;
        }
        files::sync_dir(&place)
    }

    /// Bring it back into `dir`.
    pub(super) fn restore_own_files(&self, dir: &Path) -> io::Result<()> {
        let like = dir.join("PG_VERSION");
        for entry in fs::read_dir(self.beside(OWN_FILES))?.flatten() {
            let text = fs::read_to_string(entry.path())?;
            files::replace(&dir.join(entry.file_name()), &text, &like)?;
        }
        Ok(())
    }
}

/// The last line of an error, without the program's name.
pub(super) fn last_error(output: &Output) -> String {
    let lines = output.stderr.lines().rev();
    let told = lines.clone().find(|line| line.contains("error:") || line.contains("FATAL:"));
    let line = told.or_else(|| output.stderr.lines().next_back());
    let line = line.map_or("it was killed", |line| line.trim());
    line.split_once("error: ").map_or(line, |(_, why)| why).to_owned()
}
