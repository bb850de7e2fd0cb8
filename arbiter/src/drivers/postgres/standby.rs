//! The goal *standby*: follow the active region's primary.
//!
//! Knows this server's line of changes and the upstream's. What has changes that its upstream has
//! not is for `rejoin.rs`; it never follows as it is.

use super::control::DbState;
use super::history::Relation;
use super::observe::show;
use super::rejoin::{Apart, Rejoin};
use super::sql::Session;
use super::start::Up;
use super::{Postgres, files};
use crate::clock;
use crate::drivers::{Done, DriverError};
use arbiter_core::{Fact, Position, Role, Terms, Upstream};
use std::time::Duration;

/// How long one call waits for the stream; the executor asks again.
const STREAM_WAIT_MAX: Duration = Duration::from_secs(10);
/// After this long without a stream the lines of changes are compared.
const DOUBT_AFTER: Duration = Duration::from_secs(2);
/// A receiver says that it streams before it was answered: it is believed after this.
const STEADY_FOR: Duration = Duration::from_millis(250);
/// How long one look at a standby waits for the next.
const STREAM_POLL: Duration = Duration::from_millis(20);
/// How long a primary that should be a standby may take to stop cleanly, where no term says it.
const STOP_LIMIT: Duration = Duration::from_secs(10);
/// What a standby logs when its upstream has not kept what it asks for.
const WAL_REMOVED: &str = "has already been removed";
/// How long an immediate stop may take.
const IMMEDIATE_LIMIT: Duration = Duration::from_secs(1);
/// Limit of finding the end of the WAL: a lot may have been written since the last checkpoint.
const END_LIMIT: Duration = Duration::from_secs(60);

impl Postgres {
    /// Follow the upstream that the terms name.
    pub(super) async fn standby(&self, terms: &Terms) -> Result<Done, DriverError> {
        match self.up()? {
            Up::No => self.start_standby(&terms.upstream).await?,
            Up::Orphans(_) => {
                self.kill_all().await?;
                self.start_standby(&terms.upstream).await?;
            }
            Up::Stopping(_) => {
                self.end(terms).await?;
                self.start_standby(&terms.upstream).await?;
            }
            Up::Starting(server) => {
                self.have_held(&server).await?;
                self.await_start().await?;
            }
            Up::Yes(server) => self.have_held(&server).await?,
        }
        let session = self.session().await.map_err(|error| self.retry(error))?;
        let row = session.row("SELECT pg_is_in_recovery() AS replica").await;
        if !row.map_err(|error| self.retry(error))?.get::<_, bool>("replica") {
            drop(session);
            // A primary where a standby belongs: it must not write one moment longer.
            self.end(terms).await?;
            return Err(self.retry("a primary was stopped here; it is looked at anew"));
        }
        if self.gated() {
            self.hold()?;
        }
        self.stream(&session, &terms.upstream).await
    }

    async fn end(&self, terms: &Terms) -> Result<(), DriverError> {
        if !self.stop(terms.clean_stop.unwrap_or(STOP_LIMIT)).await? {
            self.stop_now(IMMEDIATE_LIMIT).await?;
        }
        self.kill_all().await
    }

    /// Start the stopped server as a standby, once it is shown that it can follow, or it was
    /// brought to where it can.
    async fn start_standby(&self, upstream: &str) -> Result<(), DriverError> {
        let was_standby = files::is_standby(&self.set.data_dir);
        if upstream.is_empty() && !was_standby {
            return Err(self.retry("it was a primary, and nobody to follow is named yet"));
        }
        if !upstream.is_empty() {
            self.unfinished(upstream).await?;
            match self.comparable(upstream, was_standby).await {
                Ok(None) => {}
                Ok(Some(apart)) => self.rejoin(upstream, &apart).await?,
                // A standby writes nothing of its own: it may start and wait for its upstream.
                Err(DriverError::Retry(why)) if was_standby => {
                    tracing::info!(instance = %self.set.id, %why, "started before it was compared");
                }
                Err(error) => return Err(error),
            }
            if let Err(error) = self.make_slot(upstream).await
                && !was_standby
            {
                return Err(error);
            }
        }
        self.prepare_standby(&self.set.data_dir, upstream)?;
        self.start(false).await
    }

    /// Whether the stopped server's changes are all on `upstream`'s line; else how they are not.
    async fn comparable(
        &self,
        upstream: &str,
        was_standby: bool,
    ) -> Result<Option<Apart>, DriverError> {
        let control = self.control().await?;
        let end = match self.known_end(&control, END_LIMIT).await {
            Some(end) => end,
            None if control.state == DbState::ShutDown => {
                return Ok(Some(Apart::unusable(
                    "the control file says that it stopped cleanly, and pg_waldump finds WAL after \
                     that or none",
                )));
            }
            // A fresh base backup, for one, ends with its last segment.
            None if was_standby => return Err(self.retry("where its WAL ends cannot be shown")),
            None => {
                return Ok(Some(Apart::unusable(format!(
                    "it did not stop cleanly (control file: {}), and where its WAL ends cannot be \
                     shown",
                    control.state.as_str()
                ))));
            }
        };
        self.compare(upstream, &control.system_id, end, !was_standby).await
    }

    /// Compare this server's line, as far as `end`, with the upstream's.
    async fn compare(
        &self,
        upstream: &str,
        system_id: &str,
        end: Position,
        was_primary: bool,
    ) -> Result<Option<Apart>, DriverError> {
        let theirs = self.identify(upstream).await?;
        if theirs.system_id != system_id {
            return Err(self.refuse(format!(
                "its data has system identifier {system_id} and {upstream}'s has {}: it is no copy \
                 of it; rebuild it with pg_basebackup",
                theirs.system_id
            )));
        }
        let own = self.lineage(end);
        let their_timeline = theirs.line.0.last().map_or(0, |now| now.timeline);
        // Two that were primary on timelines of the same number can differ at the same position,
        // and what pg_rewind goes by is the number.
        let same_number = own.fork() != theirs.line.fork() && their_timeline == end.timeline;
        if was_primary && their_timeline <= end.timeline && !same_number {
            return Err(self.retry(format!(
                "it was primary on timeline {}, and {upstream} was not promoted since",
                end.timeline
            )));
        }
        match own.against(&theirs.line) {
            Relation::On => Ok(None),
            Relation::Ahead => Err(self.retry(format!(
                "it has changes up to {}, and {upstream} has not come that far",
                show(Some(end))
            ))),
            Relation::Left(at) => Ok(Some(Apart::diverged(upstream, at, end, !same_number))),
        }
    }

    /// Follow `upstream` without a restart and wait for the stream.
    async fn stream(&self, session: &Session, upstream: &str) -> Result<Done, DriverError> {
        let began = clock::now();
        let log = self.log_bytes();
        let (mut compared, mut steady) = (false, None);
        let before = self.look().await?;
        if !upstream.is_empty() && !follows(&before, upstream) {
            // It may seem to stream from one whose line it has left, for a moment.
            if let Some(end) = before.position
                && let Ok(Some(apart)) = self.compare(upstream, &before.data_id, end, false).await
            {
                return self.stop_to_rejoin(&apart.why).await;
            }
            self.make_slot(upstream).await?;
        }
        self.follow(session, upstream).await?;
        loop {
            let fact = self.look().await?;
            let since = follows(&fact, upstream).then(|| *steady.get_or_insert(clock::now()));
            steady = since;
            let follows = since.is_some_and(|since| clock::now().since(since) >= STEADY_FOR);
            if upstream.is_empty() || follows {
                self.drop_peer_slots(session).await;
                return Ok(Done { facts: fact, clean: true, ..Done::default() });
            }
            let waited = clock::now().since(began);
            if waited > DOUBT_AFTER && !compared {
                compared = true;
                if let Some(end) = fact.position
                    && let Some(apart) = self.compare(upstream, &fact.data_id, end, false).await?
                {
                    return self.stop_to_rejoin(&apart.why).await;
                }
            }
            if waited > STREAM_WAIT_MAX && self.log_since(log).contains(WAL_REMOVED) {
                self.lacks_wal_of(upstream);
                return self.stop_to_rejoin("its upstream has not kept the WAL it needs").await;
            }
            if waited > STREAM_WAIT_MAX {
                let why = self.fatal(|line| line.contains("WAL") || line.contains("primary"));
                return Err(self.retry(format!("it does not stream from {upstream} yet{why}")));
            }
            tokio::time::sleep(STREAM_POLL).await;
        }
    }

    fn lacks_wal_of(&self, upstream: &str) {
        let mut lacks = self.lacks_wal.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        *lacks = Some(upstream.to_owned());
    }

    /// A running standby that cannot follow as it is: stopped, it is looked at anew.
    async fn stop_to_rejoin(&self, why: &str) -> Result<Done, DriverError> {
        if self.set.rejoin == Rejoin::Refuse {
            return Err(self.refuse(format!(
                "{why}; its data is left as it is, as the setting rejoin says: rebuild it with \
                 pg_basebackup"
            )));
        }
        self.end(&Terms::default()).await?;
        Err(self.retry(format!("{why}; it is stopped, to be brought back")))
    }

    /// Slots that it kept for its peers while it was primary would keep WAL for ever.
    async fn drop_peer_slots(&self, session: &Session) {
        for slot in &self.set.peer_slots {
            let slot = super::sql::quote(slot);
            let sql = format!(
                "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots
                 WHERE slot_name = {slot} AND NOT active"
            );
            if let Err(error) = session.run(&sql).await {
                tracing::warn!(instance = %self.set.id, %error, "an old slot stays");
            }
        }
    }
}

/// Whether the standby streams from `upstream`.
fn follows(fact: &Fact, upstream: &str) -> bool {
    let streams = matches!(fact.upstream, Some(Upstream { streaming: true, .. }));
    let named = fact.detail.get("upstream").is_some_and(|now| {
        super::upstream::split(upstream)
            .is_some_and(|(host, port)| *now == format!("{host}:{port}"))
    });
    fact.role == Role::Replica && streams && named
}
