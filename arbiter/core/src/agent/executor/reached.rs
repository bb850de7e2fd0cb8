//! Whether what an order asks for is so: what was done, and what was seen since. Asks for nothing.

use super::{ASTRAY_AFTER, Executor};
use crate::{Condition, Goal, Order};

impl Executor {
    /// It streams from its upstream, or is not to.
    pub(super) fn follows(&self) -> bool {
        let follows = |order: &Order| {
            order.goal == Goal::Standby && !order.terms.upstream.is_empty() && self.is_held()
        };
        !self.order.as_ref().is_some_and(follows)
            || self.fact.upstream.is_some_and(|upstream| upstream.streaming)
    }

    fn is_astray(&self) -> bool {
        self.astray.zip(self.fact_at).is_some_and(|(since, seen)| seen >= since + ASTRAY_AFTER)
    }

    pub(super) fn is_reached(&self, order: &Order) -> bool {
        let Some((done, terms, at)) = &self.done else { return false };
        if done.goal != order.goal || done.token != order.token || *terms != order.terms {
            return false;
        }
        // Goals are level-triggered: what was seen since can show that one is no longer true.
        if self.fact_at.is_none_or(|seen| seen <= *at) {
            return true;
        }
        let down = matches!(self.fact.condition, Condition::Dead | Condition::Stopped);
        let drift = self.fact.traffic.as_ref().is_some_and(|traffic| !traffic.drift.is_empty());
        !match order.goal {
            Goal::Active => down || (drift && order.terms.repair),
            Goal::Standby => self.is_held() && (down || self.fact.writable || self.is_astray()),
            Goal::Drained | Goal::Fenced => self.fact.writable,
        }
    }
}
