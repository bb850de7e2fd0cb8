//! The goal *drained*: a source stopped cleanly, or a target that has all and receives no more.
//!
//! Knows positions and the clean stop. Never kills: what does not stop cleanly is not drained, and
//! the plan decides.

use super::control::DbState;
use super::history;
use super::observe::show;
use super::sql::{Session, Unreachable};
use super::start::Up;
use super::{Postgres, files};
use crate::clock;
use crate::drivers::{Done, DriverError};
use arbiter_core::{Fact, Position, Role, Terms};
use std::time::Duration;

/// How long the checkpoint before a stop may take: sessions still write meanwhile.
const CHECKPOINT_LIMIT: Duration = Duration::from_secs(60);
/// How long one call waits for the clean stop; the executor asks again.
const STOP_WAIT_MAX: Duration = Duration::from_secs(600);
/// How long one call waits for a target to have all; the executor asks again.
const CATCH_UP_MAX: Duration = Duration::from_secs(10);
/// How long a receiver may take to end once it is told to.
const RECEIVER_END_MAX: Duration = Duration::from_secs(5);
/// How long what a live upstream already announced is waited for, where no end is known.
const ANNOUNCED_MAX: Duration = Duration::from_secs(2);
/// How long one look at a target waits for the next.
const CATCH_UP_POLL: Duration = Duration::from_millis(5);

/// How far a target has come.
#[derive(Clone, Copy, Debug)]
struct Progress {
    received: u64,
    replayed: u64,
    receiving: bool,
    announced: u64,
    paused: bool,
}

impl Postgres {
    /// Drain as the data's role asks: a primary is a source, a standby a target.
    pub(super) async fn drained(&self, terms: &Terms) -> Result<Done, DriverError> {
        match self.up()? {
            Up::No if files::is_standby(&self.set.data_dir) => {
                self.follow_nobody_from_start().await?;
                self.drain_target(terms).await
            }
            Up::No => self.drained_source().await,
            Up::Orphans(_) => Err(self.refuse("the server died: it cannot be stopped cleanly")),
            Up::Stopping(_) => self.drain_source(false).await,
            Up::Starting(_) => {
                self.await_start().await?;
                Err(self.retry("the server has just started"))
            }
            Up::Yes(_) => {
                let session = self.session().await.map_err(|error| self.retry(error))?;
                let row = session.row("SELECT pg_is_in_recovery() AS replica").await;
                let row = row.map_err(|error| self.retry(error))?;
                if row.get("replica") {
                    self.drain_target(terms).await
                } else {
                    drop(session);
                    self.drain_source(true).await
                }
            }
        }
    }

    /// Stop cleanly: the standby gets everything, the shutdown record included.
    async fn drain_source(&self, checkpoint_first: bool) -> Result<Done, DriverError> {
        if checkpoint_first {
            // Done while sessions still write, so that the one of the stop is short.
            let session = self.session().await.map_err(|error| self.retry(error))?;
            let done = session.run_within("CHECKPOINT", CHECKPOINT_LIMIT).await;
            done.map_err(|error| self.retry(format!("the checkpoint failed: {error}")))?;
        }
        self.lock_out()?;
        if !self.stop(STOP_WAIT_MAX).await? && self.up()? != Up::No {
            return Err(self.retry("the clean stop goes on: a standby or the archiver lags"));
        }
        self.drained_source().await
    }

    /// The source is stopped: show that it was clean, and where it ends.
    async fn drained_source(&self) -> Result<Done, DriverError> {
        self.lock_out()?;
        let (done, state) = self.prove().await?;
        match state {
            Some(DbState::ShutDown) => {}
            Some(state) => {
                return Err(self.refuse(format!(
                    "the server did not stop cleanly (control file: {}): abort, or fail over",
                    state.as_str()
                )));
            }
            None => return Err(self.retry("pg_controldata does not show how it stopped")),
        }
        if done.end.is_none() {
            return Err(self.retry("pg_waldump does not show where the WAL ends"));
        }
        Ok(done)
    }

    /// A stopped standby: bring it up with nobody to follow, so that it replays what it has.
    async fn follow_nobody_from_start(&self) -> Result<(), DriverError> {
        files::set_auto(&self.set.data_dir, &[("primary_conninfo", "")])
            .map_err(|error| self.retry(error))?;
        self.start(false).await
    }

    async fn drain_target(&self, terms: &Terms) -> Result<Done, DriverError> {
        let session = self.session().await.map_err(|error| self.retry(error))?;
        if let Some(until) = terms.until {
            self.receive_until(&session, until).await?;
        } else {
            self.receive_announced(&session).await?;
        }
        self.stop_receiving(&session).await?;
        self.replay_all(&session).await?;
        let facts = self.look().await?;
        let end = facts.position;
        if let (Some(end), Some(until)) = (end, terms.until) {
            self.not_beyond(end, until)?;
        }
        if facts.role != Role::Replica || end.is_none() {
            return Err(self.retry("the standby cannot be seen"));
        }
        Ok(Done { evidence: None, end, clean: true, facts: Fact { upstream: None, ..facts } })
    }

    /// Wait until everything up to the source's confirmed end is here.
    async fn receive_until(&self, session: &Session, until: Position) -> Result<(), DriverError> {
        let began = clock::now();
        loop {
            let progress = self.progress(session).await?;
            if progress.received >= until.offset {
                return Ok(());
            }
            if clock::now().since(began) > CATCH_UP_MAX {
                let at = Position { offset: progress.received, ..until };
                return Err(self.retry(format!(
                    "received up to {}, the source ended at {}{}",
                    history::show(at),
                    history::show(until),
                    if progress.receiving { "" } else { ", and nothing is being received" }
                )));
            }
            tokio::time::sleep(CATCH_UP_POLL).await;
        }
    }

    /// Without a known end: take what a live upstream has announced.
    async fn receive_announced(&self, session: &Session) -> Result<(), DriverError> {
        let began = clock::now();
        loop {
            let progress = self.progress(session).await?;
            let has_all = !progress.receiving || progress.received >= progress.announced;
            if has_all || clock::now().since(began) > ANNOUNCED_MAX {
                return Ok(());
            }
            tokio::time::sleep(CATCH_UP_POLL).await;
        }
    }

    /// Cut the stream, so that the end stays where it is.
    pub(super) async fn stop_receiving(&self, session: &Session) -> Result<(), DriverError> {
        self.follow(session, "").await?;
        let began = clock::now();
        while self.progress(session).await?.receiving {
            if clock::now().since(began) > RECEIVER_END_MAX {
                return Err(self.retry("the WAL receiver does not end"));
            }
            tokio::time::sleep(CATCH_UP_POLL).await;
        }
        Ok(())
    }

    async fn replay_all(&self, session: &Session) -> Result<(), DriverError> {
        let began = clock::now();
        loop {
            let progress = self.progress(session).await?;
            if progress.replayed >= progress.received {
                return Ok(());
            }
            if progress.paused {
                session
                    .run("SELECT pg_wal_replay_resume()")
                    .await
                    .map_err(|error| self.retry(error))?;
            }
            if clock::now().since(began) > CATCH_UP_MAX {
                let left = progress.received - progress.replayed;
                return Err(self.retry(format!("{left} bytes are received and not yet replayed")));
            }
            tokio::time::sleep(CATCH_UP_POLL).await;
        }
    }

    fn not_beyond(&self, end: Position, until: Position) -> Result<(), DriverError> {
        if end.offset <= until.offset {
            return Ok(());
        }
        Err(self.refuse(format!(
            "it holds WAL up to {}, beyond the source's end {}: that WAL is not the source's; \
             rebuild the standby with pg_basebackup",
            show(Some(end)),
            show(Some(until))
        )))
    }

    async fn progress(&self, session: &Session) -> Result<Progress, DriverError> {
        let row = session.row(PROGRESS).await.map_err(|error: Unreachable| self.retry(error))?;
        let bytes = |name: &str| row.get::<_, Option<i64>>(name).unwrap_or(0) as u64;
        let replayed = bytes("replayed");
        Ok(Progress {
            received: bytes("received").max(replayed),
            replayed,
            receiving: row.get("receiving"),
            announced: bytes("announced"),
            paused: row.get("paused"),
        })
    }
}

const PROGRESS: &str = "SELECT (pg_last_wal_receive_lsn() - '0/0')::int8 AS received,
    (pg_last_wal_replay_lsn() - '0/0')::int8 AS replayed,
    EXISTS (SELECT FROM pg_stat_wal_receiver) AS receiving,
    (SELECT (latest_end_lsn - '0/0')::int8 FROM pg_stat_wal_receiver) AS announced,
    pg_is_wal_replay_paused() AS paused";
