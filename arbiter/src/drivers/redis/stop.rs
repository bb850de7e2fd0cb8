//! Stopping the server's process: cleanly, or at once.
//!
//! Knows `SHUTDOWN`, signals and waits. Never knows why.

use super::Redis;
use super::info::{Info, Point};
use super::processes;
use super::talk::{COMMAND_LIMIT, Session, Unreachable};
use crate::clock;
use crate::drivers::DriverError;
use nix::sys::signal::Signal;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How long a pause of writes lasts that is not renewed: what asked for it may be gone.
pub(super) const PAUSE_FOR: Duration = Duration::from_secs(5);
/// How long a kill may take until nothing is left.
const KILL_WAIT_MAX: Duration = Duration::from_secs(2);
/// How long the replicas are waited for, while writes are paused.
pub(super) const ACKNOWLEDGED_MAX: Duration = Duration::from_secs(3);
/// How often a replica acknowledges.
const ACKNOWLEDGES_EVERY: Duration = Duration::from_secs(1);
/// How long before the next one writes are paused.
const ACKNOWLEDGES_LEAD: Duration = Duration::from_millis(150);
/// How long is waited for a server that does not say that it stops.
const UNWILLING_WAIT_MAX: Duration = Duration::from_secs(10);
/// How long one look at the replicas waits for the next.
const ACKNOWLEDGED_POLL: Duration = Duration::from_millis(10);
/// Looks for forks that a kill raced with.
const KILL_ROUNDS_MAX: u32 = 16;

/// How a stop ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Stopped {
    /// No process is left.
    pub gone: bool,
    /// It was told to stop, and where it stood then: nothing was acknowledged after that.
    pub end: Option<Point>,
}

impl Redis {
    /// Ask for a clean stop and wait at most `limit`: writes end first, so that where the stream
    /// ends is known, the replicas are given what they lack, for at most half of the time, and all
    /// that was acknowledged is on disk.
    pub(super) async fn stop(&self, limit: Duration) -> Result<Stopped, DriverError> {
        self.stop_after(limit, async {
            let session = self.session().await?;
            let before = session.info().await?;
            let info = if before.is_primary() { pause(&session).await? } else { before };
            if let Some(end) = info.point().filter(|_| info.is_primary()) {
                let wait = (limit / 2).min(ACKNOWLEDGED_MAX);
                let _ = acknowledged(&session, end.offset, wait).await?;
            }
            Ok((session, info))
        })
        .await
    }

    /// The same of a server that was paused, and whose replicas have all.
    pub(super) async fn stop_paused(
        &self,
        session: Session,
        paused: Info,
        limit: Duration,
    ) -> Result<Stopped, DriverError> {
        self.stop_after(limit, async { Ok((session, paused)) }).await
    }

    async fn stop_after(
        &self,
        limit: Duration,
        before: impl Future<Output = Result<(Session, Info), Unreachable>>,
    ) -> Result<Stopped, DriverError> {
        self.asked_to_stop.store(true, Ordering::SeqCst);
        let began = clock::now();
        let found = self.processes()?;
        let Some(server) = processes::server(&found) else {
            return Ok(Stopped { gone: found.is_empty(), end: None });
        };
        let asked = async {
            let (session, info) = before.await?;
            let saved = shut_down(&session, &info, limit).await?;
            Ok(info.point().filter(|_| saved))
        };
        let end = match tokio::time::timeout(limit, asked).await {
            Ok(Ok(end)) => end,
            // It will not now, and says why: while it first writes its appended file, or where its
            // disk is full.
            Ok(Err(Unreachable::Answered(why))) => {
                tracing::warn!(instance = %self.set.id, %why, "it does not stop");
                return Ok(Stopped::default());
            }
            // It does not answer; a signal is a wish too, which it may come to.
            Ok(Err(_)) | Err(_) => {
                processes::send(server, Signal::SIGTERM);
                None
            }
        };
        let left = limit.saturating_sub(clock::now().since(began));
        let left = if end.is_some() { left } else { left.min(UNWILLING_WAIT_MAX) };
        let gone = processes::wait_gone(&found, left).await && self.processes()?.is_empty();
        Ok(Stopped { gone, end: end.filter(|_| gone) })
    }

    /// Kill every process of the server, whoever started it, and wait until none is left.
    pub(super) async fn kill_all(&self) -> Result<(), DriverError> {
        for _ in 0..KILL_ROUNDS_MAX {
            let found = self.processes()?;
            if found.is_empty() {
                return Ok(());
            }
            // The server first: then nobody forks.
            if let Some(server) = processes::server(&found) {
                processes::send(server, Signal::SIGKILL);
            }
            found.iter().for_each(|process| processes::send(process, Signal::SIGKILL));
            if !processes::wait_gone(&found, KILL_WAIT_MAX).await {
                break;
            }
        }
        // Theirs is the stronger hand, and it takes the rest of the group as well.
        self.holder.kill().await?;
        let left = self.processes()?;
        if left.is_empty() {
            return Ok(());
        }
        Err(self.retry(format!("{} processes are left after SIGKILL", left.len())))
    }
}

/// Let nobody write for a while, expiry and eviction included, and look: what is there now is the
/// end, but for the pings of the stream.
pub(super) async fn pause(session: &Session) -> Result<Info, Unreachable> {
    let millis = PAUSE_FOR.as_millis().to_string();
    session.ask(&["CLIENT", "PAUSE", &millis, "WRITE"]).await?;
    session.info().await
}

/// Wait for the moment from which the pause will be shortest: replicas acknowledge once a second,
/// and while writes are paused nothing asks them to. Clients still write meanwhile.
pub(super) async fn just_before_an_acknowledgement(session: &Session) -> Result<(), Unreachable> {
    let began = clock::now();
    let mut first = None;
    while clock::now().since(began) < ACKNOWLEDGES_EVERY * 3 / 2 {
        let info = session.info().await?;
        let online = info.followers().into_iter().filter(|follower| follower.online);
        let furthest = online.map(|follower| follower.offset).max();
        // Who has all of an idle stream has nothing to acknowledge.
        if furthest.is_some() && furthest == info.point().map(|point| point.offset) {
            break;
        }
        // One that has just come is online once it acknowledges.
        if first.is_some() && furthest != first {
            tokio::time::sleep(ACKNOWLEDGES_EVERY - ACKNOWLEDGES_LEAD).await;
            break;
        }
        first = furthest;
        tokio::time::sleep(ACKNOWLEDGED_POLL).await;
    }
    Ok(())
}

/// How far the replicas have what a primary wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Acknowledged {
    /// Replicas that get the stream.
    pub online: usize,
    /// Those of them that have all.
    pub all: usize,
}

/// Wait until every replica that gets the stream acknowledged `offset`, at most `limit`, and say
/// how many did. Writes stay paused meanwhile.
pub(super) async fn acknowledged(
    session: &Session,
    offset: u64,
    limit: Duration,
) -> Result<Acknowledged, Unreachable> {
    let began = clock::now();
    let mut renewed = began;
    loop {
        let followers = session.info().await?.followers();
        let online = followers.iter().filter(|follower| follower.online);
        let has_all = online.clone().filter(|follower| follower.offset >= offset).count();
        let found = Acknowledged { online: online.count(), all: has_all };
        if found.all == found.online || clock::now().since(began) >= limit {
            return Ok(found);
        }
        if clock::now().since(renewed) > PAUSE_FOR / 5 {
            renewed = clock::now();
            pause(session).await?;
        }
        tokio::time::sleep(ACKNOWLEDGED_POLL).await;
    }
}

/// Tell it to stop: with appended changes those are flushed, else everything is saved. `NOW`: the
/// replicas are not waited for, which is done before where it matters. Returns whether what it held
/// is on disk; the answer of a stop is the end of the connection.
async fn shut_down(session: &Session, info: &Info, limit: Duration) -> Result<bool, Unreachable> {
    // Of a part of a dataset nothing is to be saved.
    let part = info.is_loading() || info.point().is_none();
    let appended = info.is("aof_enabled");
    let how = if appended || part { "NOSAVE" } else { "SAVE" };
    let limit = if appended { COMMAND_LIMIT.min(limit) } else { limit };
    match session.ask_within(&["SHUTDOWN", how, "NOW"], limit).await {
        // It would have closed the connection.
        Ok(_) => Ok(false),
        Err(Unreachable::Failed(_) | Unreachable::Down(_)) => Ok(!part),
        Err(error) => Err(error),
    }
}
