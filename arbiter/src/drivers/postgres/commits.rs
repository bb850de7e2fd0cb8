//! Whom commits wait for: `synchronous_standby_names`, and the proof that it is in effect.
//!
//! Knows the server's own rules of waiting. Never knows why it is to wait.
//!
//! Whether any commit waits is a flag that only the checkpointer sets, when it has read the
//! configuration: under an immediate checkpoint that takes until its end, whatever
//! `pg_stat_replication` says meanwhile. So a first name is one that nobody has, until a commit of
//! our own is seen to wait for it; after that the names may change, and the flag stays.

use super::Postgres;
use super::sql::{Session, Unreachable, quote};
use crate::clock;
use crate::drivers::DriverError;
use arbiter_core::agent::Waiting;
use arbiter_core::{CommitWait, Instant};
use std::collections::BTreeSet;
use std::time::Duration;

/// In every value that is ours; no standby has this name.
const NOBODY: &str = "arbiter-set";
/// How long a server may take to make commits wait: a checkpoint may run.
const EFFECT_LIMIT: Duration = Duration::from_secs(8);
/// How long a stall may take. The executor freezes what does not answer a little later.
const STALL_LIMIT: Duration = Duration::from_millis(150);
/// How long one commit of our own is looked at.
const PROBE_LIMIT: Duration = Duration::from_millis(60);
/// Between two looks.
const POLL: Duration = Duration::from_millis(5);

const NOW: &str = "SELECT current_setting('synchronous_standby_names') AS now,
    pg_is_in_recovery() AS replica";

const NO_EFFECT: &str =
    "commits do not wait yet: a checkpoint may keep it from reading the setting";

/// Changes nothing, and commits as a client does: only a transaction that wrote WAL waits.
const COMMIT: &str = "SELECT pg_logical_emit_message(true, 'arbiter', '')";

impl Postgres {
    /// Make commits wait as `wait` says.
    pub(super) async fn wait_for(&self, wait: &CommitWait) -> Result<Waiting, DriverError> {
        let session = self.session().await.map_err(|error| self.retry(error))?;
        let waiting = match wait {
            CommitWait::Isolated(names) => self.stall(&session, names).await,
            CommitWait::Standbys(names) => self.have_waited(&session, names).await,
            CommitWait::Blocked => self.block(&session).await,
            CommitWait::Configured | CommitWait::Alone => self.free(&session, wait).await,
        };
        waiting.map_err(|error| self.retry(error))
    }

    /// The value to be set before a promotion.
    pub(super) fn names_of(&self, wait: &CommitWait) -> String {
        match wait {
            CommitWait::Configured => self.set.synchronous_standby_names.clone(),
            CommitWait::Alone => String::new(),
            CommitWait::Blocked => first(&BTreeSet::new()),
            CommitWait::Standbys(names) => first(names),
            CommitWait::Isolated(names) => any(names),
        }
    }

    async fn free(&self, session: &Session, wait: &CommitWait) -> Result<Waiting, Unreachable> {
        let now = present(session).await?;
        // What an operator set is not ours to undo, but in strict State says who is waited for.
        if is_ours(&now) || *wait == CommitWait::Alone {
            set_names(session, &self.names_of(wait)).await?;
        }
        Ok(Waiting::InEffect)
    }

    async fn block(&self, session: &Session) -> Result<Waiting, Unreachable> {
        set_names(session, &first(&BTreeSet::new())).await?;
        self.until_commits_wait(session).await?;
        Ok(Waiting::InEffect)
    }

    /// All of `names` have every commit that was acknowledged, and that will be.
    async fn have_waited(
        &self,
        session: &Session,
        names: &BTreeSet<String>,
    ) -> Result<Waiting, Unreachable> {
        let now = present(session).await?;
        if !is_proven(&now) {
            self.block(session).await?;
        }
        set_names(session, &first(names)).await?;
        let poll = Poll::within(EFFECT_LIMIT);
        // Who was waited for before releases commits until it has read the new names.
        while released_by(session).await? != *names {
            poll.again("the standbys that it is to wait for do not follow").await?;
        }
        let end = end_of_wal(session).await?;
        while !names.is_subset(&have(session, end).await?) {
            poll.again("the synchronous standbys have not caught up").await?;
        }
        Ok(Waiting::InEffect)
    }

    async fn stall(
        &self,
        session: &Session,
        names: &BTreeSet<String>,
    ) -> Result<Waiting, Unreachable> {
        let poll = Poll::within(STALL_LIMIT);
        set_names(session, &any(names)).await?;
        loop {
            if self.a_commit_waits(session).await? {
                return Ok(Waiting::InEffect);
            }
            let end = end_of_wal(session).await?;
            let look = Poll::within(PROBE_LIMIT / 2);
            loop {
                if !names.is_disjoint(&have(session, end).await?) {
                    return Ok(Waiting::StandbyHasAll);
                }
                if look.again("").await.is_err() {
                    break;
                }
            }
            poll.again(NO_EFFECT).await?;
        }
    }

    async fn until_commits_wait(&self, session: &Session) -> Result<(), Unreachable> {
        let poll = Poll::within(EFFECT_LIMIT);
        while !self.a_commit_waits(session).await? {
            poll.again(NO_EFFECT).await?;
        }
        Ok(())
    }

    /// Whether a commit of our own is seen to wait for a standby. It may stay and wait: nothing is
    /// lost with it, and a wait is never cancelled.
    async fn a_commit_waits(&self, session: &Session) -> Result<bool, Unreachable> {
        let probe = self.session().await?;
        let row = probe.row("SELECT pg_backend_pid() AS pid").await?;
        let pid: i32 = row.try_get("pid")?;
        probe.run("SET synchronous_commit = on").await?;
        let sql = format!(
            "SELECT coalesce((SELECT wait_event = 'SyncRep' FROM pg_stat_activity
             WHERE pid = {pid}), false) AS waits"
        );
        let look = async {
            loop {
                match session.row(&sql).await.and_then(|row| Ok(row.try_get("waits")?)) {
                    Ok(false) => tokio::time::sleep(POLL).await,
                    other => return other,
                }
            }
        };
        tokio::select! {
            biased;
            ended = probe.run_within(COMMIT, PROBE_LIMIT) => match ended {
                // Not seen to wait, and not ended: nothing is known.
                Err(Unreachable::Hung(_)) => Ok(false),
                other => other.map(|()| false),
            },
            seen = look => seen,
        }
    }
}

/// Looks again until a time has passed.
struct Poll {
    began: Instant,
    limit: Duration,
}

impl Poll {
    fn within(limit: Duration) -> Self {
        Self { began: clock::now(), limit }
    }

    /// Wait for the next look; an error once the time has passed.
    async fn again(&self, otherwise: &str) -> Result<(), Unreachable> {
        if clock::now().since(self.began) >= self.limit {
            return Err(failed(otherwise));
        }
        tokio::time::sleep(POLL).await;
        Ok(())
    }
}

fn failed(message: &str) -> Unreachable {
    Unreachable::Failed { state: String::new(), message: message.to_owned() }
}

async fn present(session: &Session) -> Result<String, Unreachable> {
    let row = session.row(NOW).await?;
    if row.try_get("replica")? {
        return Err(failed("it is a standby, whose commits are its primary's"));
    }
    Ok(row.try_get("now")?)
}

/// Set the names, unless they are set.
pub(super) async fn set_names(session: &Session, wanted: &str) -> Result<(), Unreachable> {
    let now: String = session.row(NOW).await?.try_get("now")?;
    if now == wanted {
        return Ok(());
    }
    let sql = format!("ALTER SYSTEM SET synchronous_standby_names = {}", quote(wanted));
    session.run(&sql).await?;
    session.run("SELECT pg_reload_conf()").await
}

async fn end_of_wal(session: &Session) -> Result<i64, Unreachable> {
    let sql = "SELECT (pg_current_wal_insert_lsn() - '0/0')::int8 AS at";
    Ok(session.row(sql).await?.try_get("at")?)
}

/// Standbys that have everything before `end` on disk.
async fn have(session: &Session, end: i64) -> Result<BTreeSet<String>, Unreachable> {
    let sql = format!(
        "SELECT application_name, '' FROM pg_stat_replication
         WHERE state = 'streaming' AND flush_lsn - '0/0' >= {end}"
    );
    Ok(session.pairs(&sql).await?.into_keys().collect())
}

/// Standbys whose senders release commits, each by the names that it has read.
async fn released_by(session: &Session) -> Result<BTreeSet<String>, Unreachable> {
    let sql = "SELECT application_name, '' FROM pg_stat_replication WHERE sync_priority > 0";
    Ok(session.pairs(sql).await?.into_keys().collect())
}

fn listed(names: &BTreeSet<String>) -> String {
    let marked = names.iter().map(String::as_str).chain([NOBODY]);
    let quoted = marked.map(|name| format!("\"{}\"", name.replace('"', "\"\"")));
    quoted.collect::<Vec<_>>().join(", ")
}

/// All of `names`; without any, nobody ever.
fn first(names: &BTreeSet<String>) -> String {
    format!("FIRST {} ({})", names.len().max(1), listed(names))
}

/// One of `names`, whichever.
fn any(names: &BTreeSet<String>) -> String {
    format!("ANY 1 ({})", listed(names))
}

fn is_ours(value: &str) -> bool {
    value.contains(&format!("\"{NOBODY}\""))
}

/// The names of a value that is set only once commits were seen to wait.
fn is_proven(value: &str) -> bool {
    is_ours(value) && value.starts_with("FIRST") && !names_in(value).is_empty()
}

/// Standbys in a value of ours that stands for all of them; none in any other.
pub(super) fn names_in(value: &str) -> BTreeSet<String> {
    if !is_ours(value) || !value.starts_with("FIRST") {
        return BTreeSet::new();
    }
    let inside = value.split_once("(\"").and_then(|(_, rest)| rest.strip_suffix("\")"));
    let names = inside.into_iter().flat_map(|names| names.split("\", \""));
    let names = names.map(|name| name.replace("\"\"", "\""));
    names.filter(|name| name != NOBODY).collect()
}

/// Whether commits wait for somebody who never comes.
pub(super) fn is_blocked(value: &str) -> bool {
    value == first(&BTreeSet::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn what_is_written_is_read_back() {
        for names in [set(&["us"]), set(&["a b", "us"]), set(&["say \"x\""])] {
            assert_eq!(names_in(&first(&names)), names);
            assert!(is_ours(&any(&names)) && !is_proven(&any(&names)));
        }
        assert_eq!(first(&set(&["us"])), "FIRST 1 (\"us\", \"arbiter-set\")");
        assert!(is_blocked(&first(&set(&[]))) && !is_proven(&first(&set(&[]))));
    }

    #[test]
    fn what_an_operator_wrote_is_not_ours() {
        for value in ["", "us", "FIRST 1 (us)", "ANY 2 (us, eu)", "*"] {
            assert!(!is_ours(value) && !is_blocked(value), "{value}");
            assert_eq!(names_in(value), set(&[]), "{value}");
        }
    }
}
