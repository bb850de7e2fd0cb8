//! The goal *drained*: a source stopped cleanly, or a target that has all and receives no more.
//!
//! Knows positions and the clean stop. Never kills: what does not stop cleanly is not drained, and
//! the plan decides.

use super::info::Info;
use super::start::Up;
use super::stop::{ACKNOWLEDGED_MAX, acknowledged, just_before_an_acknowledgement, pause};
use super::talk::{Session, Unreachable};
use super::upstream::NOBODY;
use super::{Redis, observe};
use crate::clock;
use crate::drivers::{Done, DriverError};
use arbiter_core::{Fact, Position, Role, Terms};
use std::time::Duration;

/// How long one call waits for the clean stop; the executor asks again.
const STOP_WAIT_MAX: Duration = Duration::from_secs(600);
/// How long one call waits for a target to have all; the executor asks again.
const CATCH_UP_MAX: Duration = Duration::from_secs(10);
/// How long what is still on its way is waited for, where no end is known.
const ON_ITS_WAY_MAX: Duration = Duration::from_secs(2);
/// A stream that brings nothing for so long has brought all.
const STILL_FOR: Duration = Duration::from_millis(200);
/// How long one look at a target waits for the next.
const CATCH_UP_POLL: Duration = Duration::from_millis(5);

impl Redis {
    /// Drain as the data's role asks: a primary is a source, a replica a target.
    pub(super) async fn drained(&self, terms: &Terms) -> Result<Done, DriverError> {
        let replica = self.standing().is_some_and(|standing| !standing.primary);
        match self.up()? {
            Up::No if replica => {
                let (session, info) = self.bring_back(true).await?;
                self.drain_target(&session, info, terms).await
            }
            Up::No => self.drained_source().await,
            Up::Orphans(_) if replica => {
                self.kill_all().await?;
                Err(self.retry("the server died; it is looked at anew"))
            }
            Up::Orphans(_) => Err(self.refuse("the server died: it cannot be stopped cleanly")),
            Up::Yes(server) => {
                self.have_held(&server).await?;
                let session = self.session().await.map_err(|error| self.retry(error))?;
                let info = session.info().await.map_err(|error| self.retry(error))?;
                self.alone(&session, &info).await?;
                if info.is_primary() {
                    self.drain_source(session).await
                } else {
                    self.drain_target(&session, info, terms).await
                }
            }
        }
    }

    /// Let nobody write, wait until the replicas have everything, and stop.
    async fn drain_source(&self, session: Session) -> Result<Done, DriverError> {
        let handed_over = async {
            just_before_an_acknowledgement(&session).await?;
            let info = pause(&session).await?;
            let end = info.point().unwrap_or_default();
            let found = acknowledged(&session, end.offset, ACKNOWLEDGED_MAX).await?;
            Ok::<_, Unreachable>((info, found))
        };
        let (paused, found) = handed_over.await.map_err(|error| self.retry(error))?;
        // Which replica is promoted is not known here: one that has all is needed.
        if found.all == 0 && !self.is_cache() {
            let lag = if found.online == 0 { "follows it" } else { "has all of it yet" };
            self.resume(&session).await?;
            return Err(self.retry(format!("no replica {lag}, and its writes are not held up")));
        }
        self.lock_out()?;
        let stopped = self.stop_paused(session, paused, STOP_WAIT_MAX).await?;
        if !stopped.gone {
            return Err(self.retry("the clean stop goes on: the data is being written to disk"));
        }
        self.ended(stopped.end).await;
        self.drained_source().await
    }

    /// The source is stopped: show that it was clean, and where it ends.
    async fn drained_source(&self) -> Result<Done, DriverError> {
        let done = self.prove().await?;
        if done.end.is_none() {
            return Err(self.refuse("the server did not stop cleanly: abort, or fail over"));
        }
        Ok(done)
    }

    async fn drain_target(
        &self,
        session: &Session,
        info: Info,
        terms: &Terms,
    ) -> Result<Done, DriverError> {
        if info.upstream() != NOBODY {
            match terms.until {
                Some(until) => self.receive_until(session, until).await?,
                None => self.receive_rest(session).await?,
            }
            self.follow_at(session, NOBODY).await?;
        }
        let info = session.info().await.map_err(|error| self.retry(error))?;
        self.have_whole(&info).await?;
        self.not_behind()?;
        let end = info.point();
        // Kept: one that comes up with less must not be promoted.
        self.stand(|standing| standing.seen = end.clone().or(standing.seen.take()))?;
        let end = end.as_ref().map(observe::position);
        if let Some(until) = terms.until.filter(|until| end.is_none_or(|end| end < *until)) {
            let at = end.map_or("nowhere known".into(), |end| end.offset.to_string());
            return Err(self.retry(format!(
                "it stands at {at}, and its source ended at {}: it is to follow again",
                until.offset
            )));
        }
        let facts = self.look().await?;
        if facts.role != Role::Replica || facts.writable {
            return Err(self.retry("the replica cannot be seen"));
        }
        Ok(Done { evidence: None, end, clean: true, facts: Fact { upstream: None, ..facts } })
    }

    /// Wait until everything up to the source's confirmed end is here.
    async fn receive_until(&self, session: &Session, until: Position) -> Result<(), DriverError> {
        let began = clock::now();
        loop {
            let info = session.info().await.map_err(|error| self.retry(error))?;
            let reached = info.point().map_or(0, |point| point.offset);
            if reached >= until.offset {
                return Ok(());
            }
            if clock::now().since(began) > CATCH_UP_MAX {
                let linked = if info.is_linked() { "" } else { ", and nothing is being received" };
                let end = until.offset;
                return Err(self.retry(format!(
                    "received up to {reached}, the source ended at {end}{linked}"
                )));
            }
            tokio::time::sleep(CATCH_UP_POLL).await;
        }
    }

    /// Without a known end: take what is on its way. Redis does not say how much that is.
    async fn receive_rest(&self, session: &Session) -> Result<(), DriverError> {
        let began = clock::now();
        let (mut last, mut since) = (None, began);
        loop {
            let info = session.info().await.map_err(|error| self.retry(error))?;
            let now = clock::now();
            if info.received() != last {
                (last, since) = (info.received(), now);
            }
            let still = !info.is_linked() || now.since(since) > STILL_FOR;
            if still || now.since(began) > ON_ITS_WAY_MAX {
                return Ok(());
            }
            tokio::time::sleep(CATCH_UP_POLL).await;
        }
    }
}
