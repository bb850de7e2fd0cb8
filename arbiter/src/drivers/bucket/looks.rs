//! Looks that nobody waits for: a look at a far place takes its time, and whoever asks is told what
//! the last one found. Knows when the next is due; never what is looked at.

use crate::clock;
use crate::drivers::DriverError;
use arbiter_core::Instant;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::timeout;

/// How long the first asker waits for the first look.
const FIRST_WAIT: Duration = Duration::from_secs(3);

/// What looks found.
pub struct Looks<T> {
    every: Duration,
    limit: Duration,
    shared: Arc<Shared<T>>,
}

struct Shared<T> {
    state: Mutex<State<T>>,
    ended: Notify,
}

struct State<T> {
    last: Option<Result<T, DriverError>>,
    at: Option<Instant>,
    running: bool,
    /// Rises with each note: a look that began before one is older than it.
    noted: u64,
}

impl<T> Shared<T> {
    fn state(&self) -> std::sync::MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Clone + Send + 'static> Looks<T> {
    /// Nothing was looked at yet. A look is due `every` so often, and given up after `limit`.
    pub fn new(every: Duration, limit: Duration) -> Self {
        let state = State { last: None, at: None, running: false, noted: 0 };
        Self {
            every,
            limit,
            shared: Arc::new(Shared { state: state.into(), ended: Notify::new() }),
        }
    }

    /// What came of the last look; none while the first goes on. Where one is due, it is begun.
    pub async fn see<F>(&self, look: impl FnOnce() -> F) -> Option<Result<T, DriverError>>
    where
        F: Future<Output = Result<T, DriverError>> + Send + 'static,
    {
        let ended = self.shared.ended.notified();
        let found = {
            let mut state = self.shared.state();
            let now = clock::now();
            let fresh = state.at.is_some_and(|at| now.since(at) < self.every);
            if !fresh && !state.running {
                state.running = true;
                self.begin(state.noted, look());
            }
            state.last.clone()
        };
        if found.is_some() {
            return found;
        }
        let _ = timeout(FIRST_WAIT, ended).await;
        self.shared.state().last.clone()
    }

    fn begin<F>(&self, noted: u64, look: F)
    where
        F: Future<Output = Result<T, DriverError>> + Send + 'static,
    {
        let running = Running(self.shared.clone());
        let limit = self.limit;
        tokio::spawn(async move {
            let over = || Err(DriverError::Retry(format!("no whole look within {limit:?}")));
            let found = timeout(limit, look).await.unwrap_or_else(|_| over());
            let mut state = running.0.state();
            if state.noted == noted {
                state.last = Some(found);
                state.at = Some(clock::now());
            }
            drop(state);
            drop(running);
        });
    }

    /// What a change just made true: newer than any look that goes on.
    pub fn note(&self, found: T) {
        let mut state = self.shared.state();
        state.last = Some(Ok(found));
        state.at = Some(clock::now());
        state.noted += 1;
    }

    /// What was seen last; none where nothing was, or the last look failed.
    #[cfg(test)]
    fn last(&self) -> Option<T> {
        self.shared.state().last.clone()?.ok()
    }
}

/// A look that goes on, however it ends.
struct Running<T>(Arc<Shared<T>>);

impl<T> Drop for Running<T> {
    fn drop(&mut self) {
        self.0.state().running = false;
        self.0.ended.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};
    use tokio::sync::oneshot;

    const LONG: Duration = Duration::from_secs(3600);

    #[tokio::test]
    async fn a_look_is_taken_once_and_its_end_is_told() {
        let looks = Looks::new(LONG, LONG);
        let count = Arc::new(AtomicU32::new(0));
        for _ in 0..3 {
            let count = count.clone();
            let look = || async move { Ok(count.fetch_add(1, Ordering::SeqCst)) };
            assert_eq!(looks.see(look).await, Some(Ok(0)));
        }
    }

    #[tokio::test]
    async fn nobody_waits_for_a_look_that_hangs() {
        let looks = Looks::<u32>::new(Duration::ZERO, Duration::from_millis(10));
        looks.note(7);
        assert_eq!(looks.see(std::future::pending).await, Some(Ok(7)));
        // It is given up: then that is what is known.
        while looks.last().is_some() {
            tokio::task::yield_now().await;
        }
        let found = looks.see(std::future::pending).await;
        assert!(matches!(found, Some(Err(DriverError::Retry(_)))));
    }

    #[tokio::test]
    async fn what_was_done_is_newer_than_a_look_before_it() {
        let looks = Looks::new(Duration::ZERO, LONG);
        looks.note(1);
        let (go, gone) = oneshot::channel::<()>();
        let look = || async move {
            let _ = gone.await;
            Ok(2)
        };
        assert_eq!(looks.see(look).await, Some(Ok(1)));
        looks.note(3);
        let ended = looks.shared.ended.notified();
        go.send(()).expect("it waits");
        ended.await;
        assert_eq!(looks.last(), Some(3));
    }
}
