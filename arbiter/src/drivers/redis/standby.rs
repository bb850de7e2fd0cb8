//! The goal *standby*: follow the active region's primary.
//!
//! Knows this server's line of history and the upstream's. Whatever a resynchronisation would
//! throw away, and the upstream does not have, is saved first: Redis itself discards it without a
//! word.

use super::Redis;
use super::info::{Info, Point, UPSTREAM_IN_LOG};
use super::observe::position;
use super::standing::Standing;
use super::start::Up;
use super::talk::Session;
use super::upstream::Asked;
use crate::clock;
use crate::drivers::{Done, DriverError};
use arbiter_core::{Loss, Terms, Token};
use std::time::Duration;

/// How long one call waits for the stream; the executor asks again.
const STREAM_WAIT_MAX: Duration = Duration::from_secs(10);
/// How long one look at a standby waits for the next.
const STREAM_POLL: Duration = Duration::from_millis(20);
/// How long a primary that should be a standby may take to stop cleanly, where no term says it.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// Where the server's own data stands, and whether it is sure to hold no more.
struct Own {
    at: Option<Point>,
    /// It was a primary's: what is on it may be on it alone.
    primary: bool,
    /// The place is its end; else it is known to have come at least so far.
    exact: bool,
}

impl Redis {
    /// Follow the upstream that the terms name.
    pub(super) async fn standby(&self, token: Token, terms: &Terms) -> Result<Done, DriverError> {
        let upstream = terms.upstream.as_str();
        let (session, info) = match self.up()? {
            Up::No => self.start_standby(token, upstream).await?,
            Up::Orphans(_) => {
                self.kill_all().await?;
                self.start_standby(token, upstream).await?
            }
            Up::Yes(server) => {
                self.have_held(&server).await?;
                self.await_start().await?
            }
        };
        self.alone(&session, &info).await?;
        if info.is_primary() {
            drop(session);
            // A primary where a standby belongs: it must not write one moment longer.
            self.end(terms.clean_stop.unwrap_or(STOP_LIMIT)).await?;
            return Err(self.retry("a primary was stopped here; it is looked at anew"));
        }
        self.asked_to_stop.store(false, std::sync::atomic::Ordering::SeqCst);
        if info.takes_writes() {
            let set = session.set("replica-read-only", "yes").await;
            set.map_err(|error| self.retry(error))?;
        }
        if upstream.is_empty() {
            return Ok(Done { facts: self.look().await?, clean: true, ..Done::default() });
        }
        if info.upstream() != self.address_of(upstream)? {
            self.turn_to(token, upstream, &session, &info).await?;
        } else {
            self.lend_login(&session).await?;
        }
        self.stream(&session, upstream).await
    }

    /// Stop it, cleanly if that is quick, and keep where it stood.
    async fn end(&self, limit: Duration) -> Result<(), DriverError> {
        let stopped = self.stop(limit).await?;
        self.kill_all().await?;
        self.ended(stopped.end).await;
        Ok(())
    }

    /// Start the stopped server, once what it alone has is safe.
    async fn start_standby(
        &self,
        token: Token,
        upstream: &str,
    ) -> Result<(Session, Info), DriverError> {
        self.was_alone()?;
        let standing = self.standing();
        let primary = standing.as_ref().is_some_and(|standing| standing.primary);
        if primary && upstream.is_empty() {
            return Err(self.retry("it was a primary, and nobody to follow is named yet"));
        }
        if primary {
            self.make_discardable(token, upstream, standing.as_ref(), None).await?;
        }
        // On disk before any start: it comes up as a replica, and would again.
        self.stand(|standing| standing.primary = false)?;
        self.start_replica().await
    }

    /// Start the stopped server as a replica, and keep in mind where it has less than it had.
    pub(super) async fn start_replica(&self) -> Result<(Session, Info), DriverError> {
        let standing = self.standing();
        let less = standing.as_ref().and_then(|standing| self.less_on_disk(standing));
        let (session, info) = self.start().await?;
        let less = match self.came_up_empty(standing.as_ref(), true, &info) {
            true => Some(self.gone()),
            false => less,
        };
        if let Some(why) = less {
            self.stand(|standing| standing.behind = why)?;
        }
        Ok((session, info))
    }

    /// Make the running replica follow another, once what it alone has is safe.
    async fn turn_to(
        &self,
        token: Token,
        upstream: &str,
        session: &Session,
        info: &Info,
    ) -> Result<(), DriverError> {
        let standing = self.standing();
        let discardable = standing.as_ref().is_some_and(|standing| standing.discardable);
        if !discardable {
            self.make_discardable(token, upstream, standing.as_ref(), Some(info)).await?;
        }
        self.stand(|standing| standing.upstream = upstream.to_owned())?;
        self.follow_at(session, self.address_of(upstream)?).await
    }

    /// See that nothing is lost when the data is replaced by the upstream's: it is on the
    /// upstream's line, or it is saved. Of a running server the files must be at rest for that.
    async fn make_discardable(
        &self,
        token: Token,
        upstream: &str,
        standing: Option<&Standing>,
        running: Option<&Info>,
    ) -> Result<(), DriverError> {
        if self.is_cache() || !self.has_data(standing, running) {
            return Ok(());
        }
        let theirs = self.identify(upstream).await?;
        let own = self.own(standing, running);
        if let Asked::Line(line) = &theirs
            && own.is_on(line)
        {
            return Ok(());
        }
        if let Asked::Untold(why) = &theirs {
            tracing::warn!(instance = %self.set.id, %upstream, %why, "saved, as it is not compared");
        }
        if running.is_some() {
            let stopped = self.stop(STOP_LIMIT).await?;
            if !stopped.gone || stopped.end.is_none() && own.at.is_some() {
                // Killed, it might lose what is to be saved.
                return Err(self.retry("it is to be stopped and saved before it follows another"));
            }
            self.ended(stopped.end).await;
        }
        let kept = self.keep(token).await?.display().to_string();
        tracing::warn!(instance = %self.set.id, %kept, "data that {upstream} lacks is kept");
        self.stand(|standing| standing.was_saved(own.lost(&theirs, kept)))?;
        if running.is_some() {
            return Err(self.retry("its data was saved; it is started anew"));
        }
        Ok(())
    }

    fn own(&self, standing: Option<&Standing>, running: Option<&Info>) -> Own {
        let primary = standing.is_some_and(|standing| standing.primary);
        // A clean stop tells what a server that came up with appended changes does not.
        let live = running.and_then(Info::point);
        let (at, exact) = match (live, self.rests_at(standing)) {
            (Some(live), _) => (Some(live), true),
            (None, Some((rest, exact))) => (Some(rest), exact),
            (None, None) => (None, false),
        };
        Own { at, primary, exact }
    }

    /// Something is there that could be missed.
    fn has_data(&self, standing: Option<&Standing>, running: Option<&Info>) -> bool {
        if let Some(info) = running {
            return info.keys() > 0 || info.point().is_some_and(|point| point.offset > 0);
        }
        let default = Standing::default();
        let was = standing.unwrap_or(&default);
        self.dump_file(was).exists() || self.append_dir(was).is_dir()
    }

    /// Wait for the stream.
    async fn stream(&self, session: &Session, upstream: &str) -> Result<Done, DriverError> {
        let began = clock::now();
        loop {
            let info = session.info().await.map_err(|error| self.retry(error))?;
            if info.is_linked() && !info.is_copying() {
                self.stand(|standing| {
                    standing.primary = false;
                    standing.upstream = upstream.to_owned();
                    standing.discardable = false;
                    standing.is_current();
                })?;
                let facts = self.look().await?;
                return Ok(Done { facts, clean: true, ..Done::default() });
            }
            if clock::now().since(began) > STREAM_WAIT_MAX {
                return Err(self.retry(self.not_yet(&info, upstream)));
            }
            tokio::time::sleep(STREAM_POLL).await;
        }
    }

    fn not_yet(&self, info: &Info, upstream: &str) -> String {
        if info.is_copying() {
            let left = info.copy_left_bytes();
            return format!("it copies the data of {upstream}: {left} bytes are left");
        }
        let why = self.warning(|line| line.contains(UPSTREAM_IN_LOG));
        format!("it does not stream from {upstream} yet{why}")
    }
}

impl Own {
    /// What is given up for the upstream's data. Redis has no log of what was written when: from
    /// where to where is all that is known.
    fn lost(&self, theirs: &Asked, kept: String) -> Loss {
        let end = self.at.clone().unwrap_or_default();
        let shared = match theirs {
            Asked::Line(line) => line.left(&end.history).cloned(),
            Asked::Untold(_) => None,
        };
        Loss {
            from: position(&shared.unwrap_or_else(|| end.clone())),
            end: position(&end),
            count: None,
            first: String::new(),
            last: String::new(),
            listed: Vec::new(),
            kept,
            found: clock::wall(),
            late: None,
        }
    }

    /// Whether all of it is on `line` too. A replica that shares its upstream's history has it
    /// from there.
    fn is_on(&self, line: &super::info::Line) -> bool {
        let Some(at) = &self.at else { return false };
        if !self.primary && at.history == line.now.history {
            return true;
        }
        self.exact && line.holds(at)
    }
}
