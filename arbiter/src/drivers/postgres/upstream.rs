//! Whom a standby follows: the connection string, and what the upstream says of itself.
//!
//! Knows one upstream, through its replication protocol only, so that `pg_hba.conf` needs no more
//! than the one line that replication needs. Never changes anything there but its own slot.

use super::control::parse_lsn;
use super::history::Lineage;
use super::sql::{Session, Unreachable, quote, secret};
use super::{Postgres, files};
use crate::drivers::DriverError;
use arbiter_core::Position;
use std::path::PathBuf;
use std::time::Duration;

/// Limit of one question to the upstream.
const ASK_LIMIT: Duration = Duration::from_secs(4);

/// What an upstream says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    /// Identity of its data.
    pub system_id: String,
    /// Its line of changes.
    pub line: Lineage,
}

impl Postgres {
    /// The connection string for `upstream`, `host:port`; empty for nobody. It holds no secret:
    /// others can read it, in the configuration and in the log.
    pub(super) fn conninfo(&self, upstream: &str) -> Result<String, DriverError> {
        if upstream.is_empty() {
            return Ok(String::new());
        }
        self.info_as(&self.set.replication_user, upstream)
    }

    /// The connection string for a rewind from `upstream`.
    pub(super) fn rewind_info(&self, upstream: &str) -> Result<String, DriverError> {
        Ok(format!("{} dbname=postgres", self.info_as(&self.set.rewind_user, upstream)?))
    }

    fn info_as(&self, user: &str, upstream: &str) -> Result<String, DriverError> {
        let Some((host, port)) = split(upstream) else {
            return Err(self.refuse(format!("upstream {upstream:?} is not host:port")));
        };
        let set = &self.set;
        let mut info = format!(
            "host={} port={port} user={} application_name={} connect_timeout=3 keepalives_idle=2 \
             keepalives_interval=2 keepalives_count=3 tcp_user_timeout=8000",
            value(host),
            value(user),
            value(&set.application_name)
        );
        if let Some(file) = self.passfile()? {
            info.push_str(&format!(" passfile={}", value(&file.display().to_string())));
        }
        if !set.replication_options.is_empty() {
            info.push_str(&format!(" {}", set.replication_options));
        }
        Ok(info)
    }

    /// The passfile as set, else one beside the data directory, written from the password files.
    fn passfile(&self) -> Result<Option<PathBuf>, DriverError> {
        if self.set.passfile.is_some() {
            return Ok(self.set.passfile.clone());
        }
        let field = |text: &str| text.replace('\\', "\\\\").replace(':', "\\:");
        let set = &self.set;
        let mut line = String::new();
        for (user, file) in [
            (&set.replication_user, &set.password_file),
            (&set.rewind_user, &set.rewind_password_file),
        ] {
            let Some(file) = file else { continue };
            let password = secret(file).map_err(|why| self.refuse(why))?;
            line.push_str(&format!("*:*:*:{}:{}\n", field(user), field(&password)));
        }
        if line.is_empty() {
            return Ok(None);
        }
        let mut path = self.set.data_dir.clone().into_os_string();
        path.push(".pgpass");
        let path = PathBuf::from(path);
        if std::fs::read_to_string(&path).is_ok_and(|before| before == line) {
            return Ok(Some(path));
        }
        // libpq asks for a file that nobody but its owner reads: the server, as for PG_VERSION.
        let write = files::write_private(&path, &line, &self.set.data_dir.join("PG_VERSION"));
        write.map_err(|error| self.retry(format!("cannot write {}: {error}", path.display())))?;
        Ok(Some(path))
    }

    /// Make the running server follow `upstream`, or nobody; it takes effect without a restart.
    pub(super) async fn follow(&self, on: &Session, upstream: &str) -> Result<(), DriverError> {
        let info = self.conninfo(upstream)?;
        self.set_primary_conninfo(on, &info).await.map_err(|error| self.retry(error))
    }

    pub(super) async fn set_primary_conninfo(
        &self,
        session: &Session,
        info: &str,
    ) -> Result<(), Unreachable> {
        let sql = "SELECT current_setting('primary_conninfo') AS info,
            current_setting('primary_slot_name') AS slot";
        let row = session.row(sql).await?;
        let slot = self.set.slot.as_deref().unwrap_or("");
        let (now, now_slot): (String, String) = (row.try_get("info")?, row.try_get("slot")?);
        if now == info && now_slot == slot {
            return Ok(());
        }
        let sql = format!("ALTER SYSTEM SET primary_slot_name = {}", quote(slot));
        session.run(&sql).await?;
        session.run(&format!("ALTER SYSTEM SET primary_conninfo = {}", quote(info))).await?;
        session.run("SELECT pg_reload_conf()").await
    }

    /// Ask `upstream` who it is and which line of changes it is on.
    pub(super) async fn identify(&self, upstream: &str) -> Result<Identity, DriverError> {
        let out = self.ask_upstream(upstream, "IDENTIFY_SYSTEM").await?;
        let words: Vec<&str> = out.lines().next().unwrap_or("").split('|').collect();
        let parsed = match words.as_slice() {
            [system_id, timeline, at, ..] => {
                timeline.parse().ok().zip(parse_lsn(at)).map(|found| (*system_id, found))
            }
            _ => None,
        };
        let Some((system_id, (timeline, offset))) = parsed else {
            return Err(self.retry(format!("{upstream} did not say who it is")));
        };
        let now = Position { timeline, offset };
        let history = match timeline {
            1 => String::new(),
            _ => self.ask_upstream(upstream, &format!("TIMELINE_HISTORY {timeline}")).await?,
        };
        // The answer is the file's name, a bar, and its text.
        let history = history.split_once('|').map_or("", |(_, text)| text);
        Ok(Identity { system_id: system_id.to_owned(), line: Lineage::new(history, now) })
    }

    async fn ask_upstream(&self, upstream: &str, command: &str) -> Result<String, DriverError> {
        let info = format!("{} dbname=postgres replication=true", self.conninfo(upstream)?);
        let args = ["-X", "-A", "-t", "-w", "-d", &info, "-c", command];
        self.upstream_tool(upstream, "psql", &args).await
    }

    /// Make this standby's slot at `upstream`, if it has one and it is not there.
    pub(super) async fn make_slot(&self, upstream: &str) -> Result<(), DriverError> {
        let Some(slot) = &self.set.slot else { return Ok(()) };
        let info = self.conninfo(upstream)?;
        let slot = format!("--slot={slot}");
        let args = ["--create-slot", "--if-not-exists", "-w", &slot, "-d", &info];
        self.upstream_tool(upstream, "pg_receivewal", &args).await.map(drop)
    }

    pub(super) async fn upstream_tool(
        &self,
        upstream: &str,
        name: &str,
        args: &[&str],
    ) -> Result<String, DriverError> {
        let output = self.tool(name, args, &[], ASK_LIMIT).await?;
        if output.code == Some(0) {
            return Ok(output.stdout);
        }
        let why = output.stderr.lines().next().unwrap_or("no answer in time").to_owned();
        Err(self.retry(format!("cannot ask {upstream}: {why}")))
    }
}

/// Host and port of `host:port`, an IPv6 address in brackets.
pub(super) fn split(address: &str) -> Option<(&str, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    Some((host, port.parse().ok()?)).filter(|_| !host.is_empty())
}

/// `text` as a value of a connection string.
fn value(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}
