//! The goal *standby*: follow the active region's primary.
//!
//! Knows this server's line of changes and the upstream's. Never rewinds and never throws data
//! away: a server that has what its upstream has not is refused, and left as it is.

use super::control::{Control, DbState};
use super::history::{self, Relation};
use super::observe::show;
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
/// How long one look at a standby waits for the next.
const STREAM_POLL: Duration = Duration::from_millis(20);
/// How long a primary that should be a standby may take to stop cleanly, where no term says it.
const STOP_LIMIT: Duration = Duration::from_secs(10);
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

    /// Start the stopped server as a standby, once it is shown that it can follow.
    async fn start_standby(&self, upstream: &str) -> Result<(), DriverError> {
        let was_standby = files::is_standby(&self.set.data_dir);
        if upstream.is_empty() && !was_standby {
            return Err(self.retry("it was a primary, and nobody to follow is named yet"));
        }
        if !upstream.is_empty() {
            match self.comparable(upstream, was_standby).await {
                Ok(()) => {}
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
        let info = self.conninfo(upstream)?;
        let slot = self.set.slot.as_deref().unwrap_or("");
        let write = || {
            let dir = &self.set.data_dir;
            files::set_auto(dir, &[("primary_conninfo", &info), ("primary_slot_name", slot)])?;
            // On disk before any start: without it this would be a second primary.
            files::make_standby(dir)
        };
        write().map_err(|error| self.retry(format!("cannot prepare the standby: {error}")))?;
        self.start(false).await
    }

    /// Whether the stopped server's changes are all on `upstream`'s line.
    async fn comparable(&self, upstream: &str, was_standby: bool) -> Result<(), DriverError> {
        let control = self.control().await?;
        let end = match self.known_end(&control, END_LIMIT).await {
            Some(end) => end,
            None if control.state == DbState::ShutDown => {
                return Err(self.refuse(
                    "the control file says that it stopped cleanly, and pg_waldump finds WAL after \
                     that or none; rebuild it with pg_basebackup",
                ));
            }
            // A fresh base backup, for one, ends with its last segment.
            None if was_standby => return Err(self.retry("where its WAL ends cannot be shown")),
            None => return Err(self.unknown_end(&control)),
        };
        self.compare(upstream, &control.system_id, end, !was_standby).await
    }

    fn unknown_end(&self, control: &Control) -> DriverError {
        self.refuse(format!(
            "it did not stop cleanly (control file: {}), and where its WAL ends cannot be shown; \
             rebuild it with pg_basebackup",
            control.state.as_str()
        ))
    }

    /// Compare this server's line, as far as `end`, with the upstream's.
    async fn compare(
        &self,
        upstream: &str,
        system_id: &str,
        end: Position,
        was_primary: bool,
    ) -> Result<(), DriverError> {
        let theirs = self.identify(upstream).await?;
        if theirs.system_id != system_id {
            return Err(self.refuse(format!(
                "its data has system identifier {system_id} and {upstream}'s has {}: it is no copy \
                 of it; rebuild it with pg_basebackup",
                theirs.system_id
            )));
        }
        let their_timeline = theirs.line.0.last().map_or(0, |now| now.timeline);
        // Two that were primary on timelines of the same number can differ at the same position.
        if was_primary && their_timeline <= end.timeline {
            return Err(self.retry(format!(
                "it was primary on timeline {}, and {upstream} was not promoted since",
                end.timeline
            )));
        }
        match self.lineage(end).against(&theirs.line) {
            Relation::On => Ok(()),
            Relation::Ahead => Err(self.retry(format!(
                "it has changes up to {}, and {upstream} has not come that far",
                show(Some(end))
            ))),
            Relation::Left(at) => Err(self.refuse(format!(
                "its changes and {upstream}'s diverged at {}, and it has changes up to {}; its \
                 data is left as it is: rebuild it with pg_basebackup (or pg_rewind) once these \
                 changes are not needed",
                history::show(at),
                show(Some(end))
            ))),
        }
    }

    /// Follow `upstream` without a restart and wait for the stream.
    async fn stream(&self, session: &Session, upstream: &str) -> Result<Done, DriverError> {
        let began = clock::now();
        let mut compared = false;
        let before = self.look().await?;
        if !upstream.is_empty() && !follows(&before, upstream) {
            self.make_slot(upstream).await?;
        }
        self.follow(session, upstream).await?;
        loop {
            let fact = self.look().await?;
            if upstream.is_empty() || follows(&fact, upstream) {
                self.drop_peer_slots(session).await;
                return Ok(Done { facts: fact, clean: true, ..Done::default() });
            }
            let waited = clock::now().since(began);
            if waited > DOUBT_AFTER && !compared {
                compared = true;
                if let Some(end) = fact.position {
                    self.compare(upstream, &fact.data_id, end, false).await?;
                }
            }
            if waited > STREAM_WAIT_MAX {
                let why = self.fatal(|line| line.contains("WAL") || line.contains("primary"));
                return Err(self.retry(format!("it does not stream from {upstream} yet{why}")));
            }
            tokio::time::sleep(STREAM_POLL).await;
        }
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
