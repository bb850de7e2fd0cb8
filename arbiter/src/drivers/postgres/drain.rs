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
use arbiter_core::{Fact, Instant, Position, Role, Terms};
use std::time::Duration;

/// How long the checkpoint before a stop is waited for: sessions still write meanwhile, and the
/// stop must get the greater part of the drain limit, which is 10 s unless policy says otherwise.
const CHECKPOINT_LIMIT: Duration = Duration::from_secs(4);
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
/// Replay that stands still for so long, waiting for WAL that nobody sends, has looked at all.
const STILL_FOR: Duration = Duration::from_millis(300);
/// What the startup process waits for then: the next look at its sources, or the stream.
const WAITS_FOR_WAL: &[&str] =
    &["RecoveryRetrieveRetryInterval", "RecoveryWalStream", "RecoveryWalAll"];

/// How far a target has come.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    received: u64,
    replayed: u64,
    receiving: bool,
    announced: u64,
    paused: bool,
    waits_for_wal: bool,
}

/// What the end of the received WAL is found to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tail {
    /// Nothing yet.
    Unknown,
    /// The replay may be asleep beside WAL that it has not looked at: it is to be woken.
    Asleep,
    /// A record that its source never finished sending: it will never be replayed.
    Torn,
}

/// Watches a replay for the end that a source which died in the middle of a record left.
#[derive(Clone, Copy, Debug)]
struct Watched {
    replayed: u64,
    since: Instant,
    woken: bool,
}

impl Watched {
    fn see(&mut self, progress: &Progress, now: Instant) -> Tail {
        if progress.replayed != self.replayed {
            *self = Self { replayed: progress.replayed, since: now, woken: false };
        } else if progress.receiving || progress.paused || !progress.waits_for_wal {
            self.since = now;
        }
        if now.since(self.since) < STILL_FOR {
            return Tail::Unknown;
        }
        if self.woken {
            return Tail::Torn;
        }
        (self.since, self.woken) = (now, true);
        Tail::Asleep
    }
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
            // A target: there is nothing to be lost, and it is brought up once they are gone.
            Up::Orphans(_) | Up::Stopping(_) if files::is_standby(&self.set.data_dir) => {
                Err(self.retry("the standby is going down; it is looked at anew"))
            }
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
            // Done while sessions still write, so that the one of the stop is short. One that does
            // not end in time goes on, and the stop waits for the rest of it only.
            let session = self.session().await.map_err(|error| self.retry(error))?;
            if let Err(error) = session.run_within("CHECKPOINT", CHECKPOINT_LIMIT).await {
                tracing::warn!(instance = %self.set.id, %error, "stopped without a checkpoint");
            }
        }
        self.lock_out()?;
        if !self.stop(STOP_WAIT_MAX).await? && self.up()? != Up::No {
            return Err(self.retry("the clean stop goes on: a standby or the archiver lags"));
        }
        self.drained_source().await
    }

    /// The source is stopped: show that it was clean, and where it ends.
    async fn drained_source(&self) -> Result<Done, DriverError> {
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
    pub(super) async fn follow_nobody_from_start(&self) -> Result<(), DriverError> {
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
        let replayed = self.replay_all(&session, terms.until.is_some()).await?;
        let mut facts = self.look().await?;
        if let Some(received) = &mut facts.position {
            // What is behind the last whole record is part of none.
            received.offset = received.offset.min(replayed);
        }
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

    /// Wait until all that was received is replayed; where that is. Unless `strict`, what was
    /// received may end in the middle of a record: its source died while it sent it.
    async fn replay_all(&self, session: &Session, strict: bool) -> Result<u64, DriverError> {
        let began = clock::now();
        let mut watched = Watched { replayed: 0, since: began, woken: false };
        loop {
            let progress = self.progress(session).await?;
            if progress.replayed >= progress.received {
                return Ok(progress.replayed);
            }
            let wake = match watched.see(&progress, clock::now()) {
                Tail::Torn if !strict => return Ok(progress.replayed),
                Tail::Asleep => Some("SELECT pg_reload_conf()"),
                _ => progress.paused.then_some("SELECT pg_wal_replay_resume()"),
            };
            if let Some(sql) = wake {
                session.run(sql).await.map_err(|error| self.retry(error))?;
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
            waits_for_wal: row
                .get::<_, Option<String>>("waits")
                .is_some_and(|event| WAITS_FOR_WAL.contains(&event.as_str())),
        })
    }
}

const PROGRESS: &str = "SELECT (pg_last_wal_receive_lsn() - '0/0')::int8 AS received,
    (pg_last_wal_replay_lsn() - '0/0')::int8 AS replayed,
    EXISTS (SELECT FROM pg_stat_wal_receiver) AS receiving,
    (SELECT (latest_end_lsn - '0/0')::int8 FROM pg_stat_wal_receiver) AS announced,
    pg_is_wal_replay_paused() AS paused,
    (SELECT wait_event FROM pg_stat_activity WHERE backend_type = 'startup') AS waits";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_replay_that_stays_still_after_it_was_woken_has_met_a_torn_record() {
        let at = |millis| Instant::default() + Duration::from_millis(millis);
        let still =
            Progress { received: 9, replayed: 5, waits_for_wal: true, ..Progress::default() };
        let mut watched = Watched { replayed: 5, since: at(0), woken: false };
        assert_eq!(watched.see(&still, at(299)), Tail::Unknown);
        assert_eq!(watched.see(&still, at(300)), Tail::Asleep);
        // A look at the disk, which takes it off its wait for a moment, found nothing.
        assert_eq!(
            watched.see(&Progress { waits_for_wal: false, ..still }, at(310)),
            Tail::Unknown
        );
        assert_eq!(watched.see(&still, at(609)), Tail::Unknown);
        assert_eq!(watched.see(&still, at(610)), Tail::Torn);
        // It found something: all begins anew.
        let further = Progress { replayed: 6, ..still };
        assert_eq!(watched.see(&further, at(700)), Tail::Unknown);
        assert_eq!(watched.see(&further, at(1000)), Tail::Asleep);
        for never in [
            Progress { receiving: true, ..further },
            Progress { paused: true, ..further },
            Progress { waits_for_wal: false, ..further },
        ] {
            assert_eq!(watched.see(&never, at(5000)), Tail::Unknown);
        }
    }
}
