//! Looking at the server; changes nothing.
//!
//! Knows what a running server tells over SQL and what a stopped one's files tell. Never knows
//! what is wanted of it.

use super::commits::names_in;
use super::control::{Control, DbState};
use super::history::{self, Lineage};
use super::sql::{Session, Unreachable};
use super::start::Up;
use super::{Postgres, files};
use crate::clock;
use crate::drivers::DriverError;
use arbiter_core::agent::GATE_MISSING;
use arbiter_core::{ARCHIVE_FAILS, Condition, Fact, Position, Role, SIZE_BYTES, Upstream};
use nix::sys::statvfs::statvfs;
use std::time::Duration;
use tokio_postgres::Row;

/// Limit of finding the end of the WAL of a stopped server; found once per stop.
const END_LIMIT: Duration = Duration::from_secs(1);
/// How often a standby's capacities are compared with its primary's.
const CAPACITIES_EVERY: Duration = Duration::from_secs(30);
/// Transactions older than this are named.
const LONG_TRANSACTION_SECONDS: i64 = 60;

/// Both roles. LSNs as numbers; ages by the server's own clock.
const COMMON: &str = "pg_is_in_recovery() AS replica, version() AS version,
    (SELECT system_identifier::text FROM pg_control_system()) AS data_id,
    (SELECT timeline_id::int8 FROM pg_control_checkpoint()) AS checkpoint_timeline,
    (SELECT count(*) FROM pg_prepared_xacts) AS prepared,
    (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'
        AND xact_start < clock_timestamp() - make_interval(secs => {long})) AS long_transactions,
    (SELECT count(*) FROM pg_stat_progress_basebackup) AS base_backups,
    current_setting('restart_after_crash')::bool AS restarts_itself,
    (SELECT sourcefile FROM pg_settings WHERE name = 'restart_after_crash') AS restarts_by,
    current_setting('allow_alter_system', true) AS alter_system,
    current_setting('synchronous_standby_names') AS synchronous";

const PRIMARY: &str = "('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))
        ::bit(32)::int8 AS timeline,
    (pg_current_wal_flush_lsn() - '0/0')::int8 AS written,
    current_setting('wal_level') <> 'minimal' AS replicable,
    current_setting('max_slot_wal_keep_size') AS slots_keep,
    current_setting('archive_mode') <> 'off'
        AND coalesce((SELECT last_failed_time > coalesce(last_archived_time, 'epoch')
        FROM pg_stat_archiver), false) AS archive_fails,
    (SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming') AS standbys";

const REPLICA: &str = "
    coalesce(pg_last_wal_receive_lsn() - '0/0', 0)::int8 AS received,
    coalesce(pg_last_wal_replay_lsn() - '0/0', 0)::int8 AS replayed,
    (SELECT min_recovery_end_timeline::int8 FROM pg_control_recovery()) AS recovery_timeline,
    pg_is_wal_replay_paused() AS paused,
    current_setting('recovery_min_apply_delay') AS delay,
    current_setting('recovery_target_timeline') AS target_timeline,
    (SELECT received_tli::int8 FROM pg_stat_wal_receiver) AS received_timeline,
    (SELECT (latest_end_lsn - '0/0')::int8 FROM pg_stat_wal_receiver) AS upstream_end,
    (SELECT (extract(epoch FROM clock_timestamp() - last_msg_receipt_time) * 1000)::int8
        FROM pg_stat_wal_receiver) AS upstream_age_millis,
    (SELECT status FROM pg_stat_wal_receiver) AS receiver,
    (SELECT sender_host || ':' || sender_port FROM pg_stat_wal_receiver) AS upstream";

impl Postgres {
    /// What is seen now. A server that does not answer is `Unknown`, never healthy.
    pub(super) async fn look(&self) -> Result<Fact, DriverError> {
        let mut fact = self.look_at_server().await?;
        self.add_rejoining(&mut fact);
        self.add_size(&mut fact);
        if self.holder.armed() && !self.gated() {
            let missing = "the configuration does not include it any more";
            fact.detail.insert(GATE_MISSING.into(), missing.into());
        }
        Ok(fact)
    }

    /// What is paid for is the volume, however little of it is used.
    fn add_size(&self, fact: &mut Fact) {
        if let Ok(volume) = statvfs(&self.set.data_dir) {
            let bytes = volume.blocks().saturating_mul(volume.fragment_size());
            fact.detail.insert(SIZE_BYTES.into(), bytes.to_string());
        }
    }

    /// How it is brought back, what its divergence cost, and what was put away for it.
    fn add_rejoining(&self, fact: &mut Fact) {
        let told = self.told();
        if !told.is_empty() {
            fact.detail.insert("rejoin".into(), told);
        }
        fact.lost = self.newest_loss().map(Box::new);
        let old = self.old_data();
        if let Some(newest) = old.last() {
            fact.faults.push(format!(
                "{} directories of old data stand beside it, the newest is {}: remove what is not \
                 needed",
                old.len(),
                newest.display()
            ));
        }
    }

    async fn look_at_server(&self) -> Result<Fact, DriverError> {
        match self.up()? {
            Up::No => self.look_at_files().await,
            Up::Orphans(left) => {
                let mut fact = self.look_at_files().await?;
                fact.condition = Condition::Dead;
                // A backend without its postmaster goes on committing.
                fact.writable = fact.role == Role::Primary;
                fact.detail.insert("orphans".into(), left.len().to_string());
                Ok(fact)
            }
            Up::Stopping(_) => Ok(self.unseen(Condition::Unknown, "the server is stopping")),
            Up::Starting(_) | Up::Yes(_) => self.ask().await,
        }
    }

    async fn ask(&self) -> Result<Fact, DriverError> {
        let asked = match self.session().await {
            Ok(session) => self.fact(&session).await,
            Err(error) => Err(error),
        };
        match asked {
            Ok(fact) => Ok(fact),
            Err(Unreachable::NotAccepting(message)) => Ok(self.coming_up(&message).await),
            Err(error) => Ok(self.unseen(Condition::Unknown, &error.to_string())),
        }
    }

    async fn coming_up(&self, message: &str) -> Fact {
        let state = self.control().await.map(|control| control.state).ok();
        let condition = match state {
            Some(DbState::InCrashRecovery) => Condition::Recovering,
            Some(DbState::InArchiveRecovery) if self.locked_out() => Condition::Unknown,
            _ => Condition::Starting,
        };
        self.unseen(condition, message)
    }

    fn unseen(&self, condition: Condition, why: &str) -> Fact {
        let role = self.role_of_data();
        let mut fact = Fact { condition, role, upstream: self.last_heard(), ..Fact::default() };
        // Nothing shows that a running primary refuses writes.
        fact.writable = role == Role::Primary && condition == Condition::Unknown;
        fact.detail.insert("state".into(), why.to_owned());
        fact
    }

    fn role_of_data(&self) -> Role {
        if files::is_standby(&self.set.data_dir) { Role::Replica } else { Role::Primary }
    }

    /// What is seen of a server of which no process runs.
    async fn look_at_files(&self) -> Result<Fact, DriverError> {
        let condition = if self.locked_out() { Condition::Stopped } else { Condition::Dead };
        let mut fact = Fact {
            condition,
            role: self.role_of_data(),
            upstream: self.last_heard(),
            ..Fact::default()
        };
        let control = match self.control().await {
            Ok(control) => control,
            Err(error) => {
                fact.detail.insert("control".into(), error.to_string());
                return Ok(fact);
            }
        };
        fact.position = self.known_end(&control, END_LIMIT).await;
        fact.replayed = fact.position.filter(|_| fact.role == Role::Replica);
        fact.fork = fact.position.and_then(|end| self.lineage(end).fork());
        fact.data_id = control.system_id.clone();
        fact.detail.insert("control".into(), control.state.as_str().to_owned());
        Ok(fact)
    }

    /// The end of a stopped server's WAL, computed once for each stop.
    pub(super) async fn known_end(&self, control: &Control, limit: Duration) -> Option<Position> {
        let lock = || self.end.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some((of, end @ Some(_))) = &*lock()
            && of == control
        {
            return *end;
        }
        let end = self.end_of_wal(control, limit).await;
        *lock() = Some((control.clone(), end));
        end
    }

    /// The line of changes that leads to `now`, by this server's own history files.
    pub(super) fn lineage(&self, now: Position) -> Lineage {
        Lineage::new(&files::history(&self.set.data_dir, now.timeline), now)
    }

    async fn fact(&self, session: &Session) -> Result<Fact, Unreachable> {
        let common = COMMON.replace("{long}", &LONG_TRANSACTION_SECONDS.to_string());
        let row = session.row(&format!("SELECT {common}")).await?;
        let mut fact = Fact { condition: Condition::Healthy, ..Fact::default() };
        fact.data_id = row.try_get("data_id")?;
        shared_details(&row, &mut fact)?;
        if row.try_get("replica")? {
            let answer = session.row(&format!("SELECT {REPLICA}")).await?;
            self.replica(&row, &answer, &mut fact)?;
            self.capacities(session, &mut fact).await?;
        } else {
            let answer = session.row(&format!("SELECT {PRIMARY}")).await?;
            primary(&row, &answer, &mut fact)?;
        }
        fact.fork = fact.position.and_then(|now| self.lineage(now).fork());
        self.parity(session, &mut fact).await?;
        self.checksums(&mut fact).await;
        Ok(fact)
    }

    fn replica(&self, common: &Row, row: &Row, fact: &mut Fact) -> Result<(), Unreachable> {
        let number = |name: &str| -> Result<u64, Unreachable> {
            Ok(row.try_get::<_, Option<i64>>(name)?.unwrap_or(0) as u64)
        };
        let received_timeline = number("received_timeline")?;
        // Without a receiver nobody tells the timeline but the WAL that it wrote.
        let on_disk = files::newest_wal(&self.set.data_dir).map_or(0, |(timeline, ..)| timeline);
        let timeline = (received_timeline as u32)
            .max(number("recovery_timeline")? as u32)
            .max(common.try_get::<_, i64>("checkpoint_timeline")? as u32)
            .max(on_disk);
        let at = |offset| Position { timeline, offset };
        let replayed = number("replayed")?;
        fact.role = Role::Replica;
        // What was received is unknown, or too low, after a restart.
        fact.position = Some(at(number("received")?.max(replayed)));
        fact.replayed = Some(at(replayed));
        let receiver: Option<String> = row.try_get("receiver")?;
        let streaming = receiver.as_deref() == Some("streaming");
        if receiver.is_some() {
            let age = Duration::from_millis(number("upstream_age_millis")?);
            // An idle upstream may not have told its end yet: it is at least what it sent.
            let end = number("upstream_end")?.max(number("received")?);
            self.hear(Position { timeline, offset: end }, age);
        }
        fact.upstream = self.last_heard().map(|heard| Upstream { streaming, ..heard });
        if let Some(upstream) = row.try_get::<_, Option<String>>("upstream")? {
            fact.detail.insert("upstream".into(), upstream);
        }
        if row.try_get("paused")? {
            fact.obstacles.push("replay is paused: run SELECT pg_wal_replay_resume()".into());
        }
        let delay: String = row.try_get("delay")?;
        if delay != "0" {
            fact.obstacles.push(format!("recovery_min_apply_delay is {delay}: set it to 0"));
        }
        let timeline: String = row.try_get("target_timeline")?;
        if timeline != "latest" {
            fact.obstacles.push(format!(
                "recovery_target_timeline is {timeline}, so it follows no new primary: set it to \
                 latest and restart"
            ));
        }
        Ok(())
    }

    /// A standby whose capacities are below its primary's pauses or does not start. Looked at now
    /// and then: they change with a restart, here or there.
    async fn capacities(&self, session: &Session, fact: &mut Fact) -> Result<(), Unreachable> {
        let lock = || self.capacities.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let known = lock().clone().filter(|(at, _)| clock::now().since(*at) < CAPACITIES_EVERY);
        let below = match known {
            Some((_, below)) => below,
            None => self.below_primary(session).await?,
        };
        fact.obstacles.extend(below.iter().cloned());
        lock().get_or_insert((clock::now(), below));
        Ok(())
    }

    async fn below_primary(&self, session: &Session) -> Result<Vec<String>, Unreachable> {
        *self.capacities.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = None;
        let Ok(control) = self.control().await else { return Ok(Vec::new()) };
        let mut below = Vec::new();
        for (setting, wanted) in &control.capacities {
            let sql = format!("SELECT current_setting('{setting}')::int8 AS value");
            let value: i64 = session.row(&sql).await?.try_get("value")?;
            if (value as u64) < *wanted {
                below.push(format!(
                    "{setting} is {value} and the primary's is {wanted}: raise it and restart"
                ));
            }
        }
        Ok(below)
    }

    fn hear(&self, end: Position, age: Duration) {
        let at = clock::now().before(age);
        *self.heard.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some((end, at));
    }

    fn last_heard(&self) -> Option<Upstream> {
        let heard = *self.heard.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        heard.map(|(position, at)| Upstream {
            position,
            age: clock::now().since(at),
            streaming: false,
        })
    }
}

fn shared_details(row: &Row, fact: &mut Fact) -> Result<(), Unreachable> {
    let version: String = row.try_get("version")?;
    let short = version.split_whitespace().take(2).collect::<Vec<_>>().join(" ");
    fact.detail.insert("version".into(), short);
    for (column, name) in [("prepared", "prepared"), ("long_transactions", "long_transactions")] {
        let count: i64 = row.try_get(column)?;
        if count > 0 {
            fact.detail.insert(name.into(), count.to_string());
        }
    }
    let synchronous: String = row.try_get("synchronous")?;
    if !synchronous.is_empty() {
        fact.detail.insert("synchronous_standby_names".into(), synchronous);
    }
    if row.try_get("restarts_itself")? {
        fact.detail.insert("restart_after_crash".into(), "on".into());
        // It wins over the start gate, which turns it off; the default does not.
        let by: Option<String> = row.try_get("restarts_by")?;
        if by.is_some_and(|file| file.ends_with(files::AUTO_CONF)) {
            fact.obstacles.push(
                "restart_after_crash was turned on by ALTER SYSTEM, so a crashed server comes back \
                 behind the agent: run ALTER SYSTEM RESET restart_after_crash"
                    .into(),
            );
        }
    }
    if row.try_get::<_, Option<String>>("alter_system")?.as_deref() == Some("off") {
        let why =
            "allow_alter_system is off, and whom a standby follows is set with it: set it to on";
        fact.obstacles.push(why.into());
    }
    Ok(())
}

fn primary(common: &Row, row: &Row, fact: &mut Fact) -> Result<(), Unreachable> {
    let timeline = row.try_get::<_, i64>("timeline")? as u32;
    let offset = row.try_get::<_, i64>("written")? as u64;
    fact.role = Role::Primary;
    fact.writable = true;
    fact.position = Some(Position { timeline, offset });
    if !row.try_get::<_, bool>("replicable")? {
        fact.obstacles.push("wal_level is minimal: set it to replica and restart".into());
    }
    if common.try_get::<_, i64>("base_backups")? > 0 {
        fact.obstacles.push("a base backup is running: wait for its end".into());
    }
    if row.try_get("archive_fails")? {
        fact.detail.insert(ARCHIVE_FAILS.into(), "the last attempt to archive failed".into());
    }
    let keep: String = row.try_get("slots_keep")?;
    if keep == "-1" {
        // A standby that stays away fills the disk.
        fact.detail.insert("max_slot_wal_keep_size".into(), keep);
    }
    let synchronous: String = common.try_get("synchronous")?;
    fact.waits_for = Some(names_in(&synchronous));
    let standbys: i64 = row.try_get("standbys")?;
    fact.detail.insert("standbys".into(), standbys.to_string());
    // A standby can be rewound onto it only once the checkpoint is on its timeline.
    let checkpoint: i64 = common.try_get("checkpoint_timeline")?;
    fact.detail.insert("rewind_ready".into(), (checkpoint as u32 == timeline).to_string());
    Ok(())
}

/// For errors that name how far something came.
pub(super) fn show(at: Option<Position>) -> String {
    at.map_or("an unknown position".into(), history::show)
}
