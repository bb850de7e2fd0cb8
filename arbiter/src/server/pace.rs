//! How fast something may be taken: a burst, then one at a time. Knows nothing of what it is.
//!
//! A token bucket, as its mirror image, which needs no timer of its own: J. Turner, New Directions
//! in Communications, IEEE Communications Magazine 24 (10), 1986; ITU-T I.371 calls it GCRA.

use crate::clock;
use arbiter_core::Instant;
use std::time::Duration;

/// The bucket.
#[derive(Clone, Debug)]
pub(super) struct Pace {
    every: Duration,
    slack: Duration,
    /// When all that was taken has had its time.
    full_at: Instant,
}

impl Pace {
    /// Of `burst` at once, at least 1, and then one `every` so long.
    pub fn new(burst: u32, every: Duration) -> Self {
        Self { every, slack: every * burst.saturating_sub(1), full_at: Instant(0) }
    }

    /// When another may be taken. Dropped before, it changes nothing.
    pub async fn ready(&self) {
        let wait = self.wait(clock::now());
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }

    /// One was taken.
    pub fn took_one(&mut self) {
        self.take(clock::now());
    }

    fn wait(&self, now: Instant) -> Duration {
        self.full_at.since(now).saturating_sub(self.slack)
    }

    fn take(&mut self, now: Instant) {
        self.full_at = self.full_at.max(now) + self.every;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: Duration = Duration::from_millis(10);

    fn at(ms: u64) -> Instant {
        Instant(1_000_000_000) + Duration::from_millis(ms)
    }

    #[test]
    fn a_burst_waits_for_nothing_and_what_follows_for_its_turn() {
        let mut pace = Pace::new(3, EVERY);
        for _ in 0..3 {
            assert_eq!(pace.wait(at(0)), Duration::ZERO);
            pace.take(at(0));
        }
        assert_eq!(pace.wait(at(0)), EVERY);
        assert_eq!(pace.wait(at(4)), Duration::from_millis(6));
        pace.take(at(10));
        assert_eq!(pace.wait(at(10)), EVERY);
        // Rest earns a burst again, and no more than one.
        let rested = at(10_000);
        for _ in 0..3 {
            assert_eq!(pace.wait(rested), Duration::ZERO);
            pace.take(rested);
        }
        assert_eq!(pace.wait(rested), EVERY);
    }

    #[test]
    fn who_keeps_the_pace_never_waits() {
        let mut pace = Pace::new(1, EVERY);
        for turn in 0..1000 {
            assert_eq!(pace.wait(at(turn * 10)), Duration::ZERO, "{turn}");
            pace.take(at(turn * 10));
        }
    }
}
