//! The events that wait for one receiver, and the worker that posts them in order, each until it is
//! taken. Knows order and back-off; never a receiver's form.

use super::post::POST_LIMIT;
use super::{Receiver, Source, Told};
use arbiter_core::Event;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

/// First pause after a failed post; doubled up to [`BACK_OFF_MAX`].
const BACK_OFF_MIN: Duration = Duration::from_millis(200);
/// Longest pause after a failed post.
const BACK_OFF_MAX: Duration = Duration::from_secs(30);
/// Events that wait at most; the oldest are dropped first, and that is logged.
const WAITING_MAX: usize = 1024;

/// The queue of one receiver.
pub(super) struct Queue {
    receiver: Receiver,
    waiting: Mutex<VecDeque<Told>>,
    wake: Notify,
    /// Index of the last entry whose events this receiver has taken.
    taken: AtomicU64,
}

/// The log index of the entry that made an event, whose id is `index.n`; none for what the leader
/// saw itself.
pub(super) fn entry_of(event: &Event) -> Option<u64> {
    event.id.split_once('.').and_then(|(index, _)| index.parse().ok())
}

/// Post what waits in `queue`, until it is dropped. `posted` follows the slowest of `all`.
pub(super) fn work(queue: Weak<Queue>, all: Weak<[Arc<Queue>]>, posted: Arc<AtomicU64>) {
    tokio::spawn(async move {
        let mut back_off = BACK_OFF_MIN;
        while let Some(queue) = queue.upgrade() {
            back_off = queue.turn(back_off).await;
            let Some(all) = all.upgrade() else { return };
            let slowest = all.iter().map(|queue| queue.taken.load(Ordering::Relaxed)).min();
            posted.fetch_max(slowest.unwrap_or_default(), Ordering::Relaxed);
        }
    });
}

impl Queue {
    pub(super) fn new(receiver: Receiver) -> Self {
        let (waiting, wake, taken) = Default::default();
        Self { receiver, waiting, wake, taken }
    }

    pub(super) fn receiver(&self) -> &Receiver {
        &self.receiver
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Told>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn push(&self, events: &[Told]) {
        let mut waiting = self.lock();
        waiting.extend(events.iter().cloned());
        let surplus = waiting.len().saturating_sub(WAITING_MAX);
        if surplus > 0 {
            let receiver = self.receiver.name();
            tracing::error!(receiver, surplus, "a receiver is behind: old events are dropped");
            waiting.drain(..surplus);
        }
        drop(waiting);
        self.wake.notify_one();
    }

    pub(super) fn stand(&self, of: Source, lasting: &[Told]) {
        if self.receiver.stand(of, lasting) {
            self.wake.notify_one();
        }
    }

    pub(super) fn clear(&self) {
        self.lock().clear();
        self.receiver.forget();
    }

    pub(super) fn waiting(&self) -> usize {
        self.lock().len()
    }

    /// Post the oldest event, else what lasts, else wait for either; returns the pause to make
    /// after the next failure.
    async fn turn(&self, back_off: Duration) -> Duration {
        let first = self.lock().front().cloned();
        let sent = match &first {
            Some(told) => self.receiver.send(told).await,
            None => match self.receiver.upkeep().await {
                Some(kept) => kept,
                None => {
                    let _ = timeout(POST_LIMIT, self.wake.notified()).await;
                    return BACK_OFF_MIN;
                }
            },
        };
        if let Err(why) = sent {
            let (receiver, place) = (self.receiver.name(), self.receiver.place());
            let event = first.map_or(String::new(), |told| told.event.id);
            tracing::warn!(receiver, place, event, why, "a receiver did not take an event");
            sleep(back_off).await;
            return (back_off * 2).min(BACK_OFF_MAX);
        }
        if let Some(told) = first {
            let mut waiting = self.lock();
            if waiting.front().is_some_and(|front| front.event.id == told.event.id) {
                waiting.pop_front();
                self.took(&told.event, waiting.front().map(|told| &told.event));
            }
        }
        BACK_OFF_MIN
    }

    /// An entry counts when its last event was taken.
    fn took(&self, event: &Event, next: Option<&Event>) {
        let Some(entry) = entry_of(event) else { return };
        if next.and_then(entry_of) != Some(entry) {
            self.taken.fetch_max(entry, Ordering::Relaxed);
        }
    }
}
