//! Poolers: one that holds its clients back must not do so for ever because nobody comes back to
//! say that it is over. It fences nothing, so to let clients go on is safe.

use super::{Executor, Task};
use crate::{Condition, Goal, Instant, Layer, Terms, Token};
use std::time::Duration;

/// A pooler that was not ordered for so long to hold its clients back lets them go on: longer than
/// an election and a drain take.
pub const PAUSE_UNRENEWED_MAX: Duration = Duration::from_secs(30);
/// The longest that one plan's order holds clients back, however often it is renewed: PgBouncer as
/// it is installed gives up who waited for 120 s.
pub const PAUSE_MAX: Duration = Duration::from_secs(100);

/// How long clients are held back.
#[derive(Clone, Debug, Default)]
pub(super) struct Pause {
    /// By which order, and since when.
    ordered: Option<(Token, Instant)>,
    /// When they are let go on, unless the order is renewed.
    until: Option<Instant>,
}

impl Executor {
    fn is_pooler(&self) -> bool {
        self.spec.layer == Layer::Pooler
    }

    /// Each word of the leader that clients are to be held back renews that, up to the limit.
    pub(super) fn pause_renewed(&mut self, now: Instant) {
        let held = self.order.as_ref().filter(|order| order.goal == Goal::Drained);
        let Some(token) = held.filter(|_| self.is_pooler()).map(|order| order.token) else {
            return;
        };
        let since = match self.pause.ordered {
            Some((ordered, since)) if ordered == token => since,
            _ => now,
        };
        self.pause.ordered = Some((token, since));
        if now < since + PAUSE_MAX {
            self.pause.until = Some((now + PAUSE_UNRENEWED_MAX).min(since + PAUSE_MAX));
        }
    }

    /// A former process may have been ordered to hold clients back, and this one hears nobody.
    pub(super) fn pause_seen(&mut self, now: Instant) {
        let held = self.is_pooler() && self.fact.condition == Condition::Stopped;
        if held && !self.told {
            self.pause.until.get_or_insert(now + PAUSE_UNRENEWED_MAX);
        }
    }

    /// Whether an order to hold clients back is to be carried out, or was let go of.
    pub(super) fn may_pause(&self) -> bool {
        !self.is_pooler() || self.pause.until.is_some()
    }

    /// What a driver is asked when nobody renewed the pause: no order, and to lead nowhere else.
    pub(super) fn lets_go(&self, now: Instant) -> Option<Task> {
        let ordered = self.order.as_ref().is_some_and(|order| order.goal == Goal::Active);
        let due = self.pause.until.is_some_and(|until| until <= now) && !ordered;
        let (goal, token, terms) = (Goal::Active, self.stored, Terms::default());
        due.then_some(Task { goal, token, terms, own: true })
    }

    /// Clients go on: that they were held back is no longer so.
    pub(super) fn pause_over(&mut self, reached: Goal) {
        if self.is_pooler() && reached == Goal::Active {
            self.pause.until = None;
            self.done = None;
        }
    }

    /// When this has to be looked at again.
    pub(super) fn pause_wake(&self) -> Option<Instant> {
        self.pause.until
    }
}
