//! The agent's side of a lease (design §5). Knows when a Report left and what answered it; never
//! what a fence does, nor which resources hang on the lease.

use crate::{Instant, Timing};
use std::time::Duration;

/// The lease of one group, as its agent may count on it.
#[derive(Clone, Debug)]
pub struct Lease {
    timing: Timing,
    deadline: Option<Instant>,
    lapsed_at: Option<Instant>,
}

impl Lease {
    /// No lease yet.
    pub fn new(timing: Timing) -> Self {
        Self { timing, deadline: None, lapsed_at: None }
    }

    /// Timers in force.
    pub fn timing(&self) -> &Timing {
        &self.timing
    }

    /// Other timers came in force. They never move a deadline that is running.
    pub fn set_timing(&mut self, timing: Timing) {
        self.timing = timing;
    }

    /// Take over the deadline that the deadman holds, after a restart of the agent.
    pub fn resume(&mut self, deadline: Instant) {
        self.deadline = Some(deadline);
        self.lapsed_at = None;
    }

    /// A Directive answered the Report sent at `sent` with a lease of `length`. Says whether the
    /// lease is renewed.
    pub fn renew(&mut self, sent: Instant, length: Duration, now: Instant) -> bool {
        // A fence that began stands: an answer to a Report sent before it extends nothing.
        if self.lapsed_at.is_some_and(|lapsed| sent < lapsed) {
            return false;
        }
        // I4: counted from before the Report left, never from when its answer came.
        let deadline = if crate::planted!(LeaseFromReceipt) { now } else { sent } + length;
        if deadline.before(self.timing.fence) <= now {
            return false;
        }
        self.deadline = Some(self.deadline.map_or(deadline, |running| running.max(deadline)));
        self.lapsed_at = None;
        true
    }

    /// Note a lapse whose time has come. Says whether it lapsed just now: the fence begins.
    pub fn lapse(&mut self, now: Instant) -> bool {
        match self.fence_at() {
            // I9: without a quorum nobody answers, and the lease is all that an armed region has.
            Some(at) if at <= now => {
                // When the fence begins, not when it should have: what was sent in between is old.
                self.lapsed_at = Some(now);
                true
            }
            _ => false,
        }
    }

    /// When the fence begins unless the lease is renewed: deadline − F. None without a live lease.
    pub fn fence_at(&self) -> Option<Instant> {
        if self.lapsed_at.is_some() {
            return None;
        }
        self.deadline.map(|deadline| deadline.before(self.timing.fence))
    }

    /// The deadline, also of a lapsed lease.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Whether something may be writable under it now.
    pub fn is_live(&self, now: Instant) -> bool {
        self.fence_at().is_some_and(|at| now < at)
    }

    /// Whether its fence has begun and no later lease followed.
    pub fn is_lapsed(&self) -> bool {
        self.lapsed_at.is_some()
    }

    /// Nothing is writable any more, and nothing hangs on it.
    pub fn end(&mut self) {
        self.deadline = None;
        self.lapsed_at = None;
    }
}
