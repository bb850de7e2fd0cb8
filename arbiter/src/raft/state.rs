//! The replicated State as this node has applied it. Knows the newest; never how it came about.

use super::types::{RaftLogId, Response, StoredMembership};
use arbiter_core::{Event, LogId, State};
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::{broadcast, watch};

/// Applied entries kept for a receiver that is slow; older ones are in `State.events`.
const APPLIED_KEPT_MAX: usize = 1024;

/// What became of one entry, as told to whoever listens.
#[derive(Clone, Debug)]
pub struct Applied {
    /// The entry.
    pub at: LogId,
    /// What people are told.
    pub events: Arc<Vec<Event>>,
    /// Done, or refused.
    pub outcome: Response,
}

/// State with the position it was applied to.
#[derive(Clone, Debug, Default)]
pub(super) struct Current {
    pub state: Arc<State>,
    pub applied: Option<RaftLogId>,
    pub membership: StoredMembership,
}

/// The newest State. One mutex guards it: whoever must act on State as it is *now* (the leader,
/// when it answers a lease or decides) holds it, and no entry is applied meanwhile.
#[derive(Clone, Debug)]
pub struct StateCell {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    current: Mutex<Current>,
    index: watch::Sender<u64>,
    applied: broadcast::Sender<Applied>,
}

impl Default for StateCell {
    fn default() -> Self {
        Self::new()
    }
}

impl StateCell {
    /// An empty State, nothing applied.
    pub fn new() -> Self {
        let (index, _) = watch::channel(0);
        let (applied, _) = broadcast::channel(APPLIED_KEPT_MAX);
        Self { inner: Arc::new(Inner { current: Mutex::default(), index, applied }) }
    }

    /// Runs `f` on State while nothing can be applied. Keep it short and never wait in it.
    pub fn with<R>(&self, f: impl FnOnce(&State) -> R) -> R {
        f(&self.lock().state)
    }

    /// The same with the position of the last applied entry; none: nothing applied yet.
    pub fn with_applied<R>(&self, f: impl FnOnce(&State, Option<LogId>) -> R) -> R {
        let current = self.lock();
        f(&current.state, current.applied.map(core_log_id))
    }

    /// State as it is now; it may be old the moment after.
    pub fn get(&self) -> Arc<State> {
        self.lock().state.clone()
    }

    /// Index of the last applied entry; 0 before any.
    pub fn applied_index(&self) -> u64 {
        *self.inner.index.borrow()
    }

    /// Changes with each applied entry: its index.
    pub fn watch_index(&self) -> watch::Receiver<u64> {
        self.inner.index.subscribe()
    }

    /// Each entry applied from now on. A receiver that falls far behind misses some; what it must
    /// not miss is in `State.events`.
    pub fn subscribe(&self) -> broadcast::Receiver<Applied> {
        self.inner.applied.subscribe()
    }

    pub(super) fn current(&self) -> Current {
        self.lock().clone()
    }

    /// Makes `change` the newest; only the state machine calls it.
    pub(super) fn publish(&self, change: impl FnOnce(&mut Current)) {
        let index = {
            let mut current = self.lock();
            change(&mut current);
            current.applied.map_or(0, |at| at.index)
        };
        self.inner.index.send_replace(index);
    }

    pub(super) fn tell(&self, applied: Applied) {
        // Nobody listening is no error: a follower's events are read from State.
        let _ = self.inner.applied.send(applied);
    }

    fn lock(&self) -> MutexGuard<'_, Current> {
        // A panic inside `with` cannot leave State half changed: it is swapped whole.
        self.inner.current.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// In the core's type.
pub(super) fn core_log_id(at: RaftLogId) -> LogId {
    LogId { term: at.leader_id.term, index: at.index }
}
