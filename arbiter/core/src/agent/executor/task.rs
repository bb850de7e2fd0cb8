//! What a driver is asked. Knows an order's words; never when they are asked.

use crate::{Goal, Order, Terms, Token};

/// What the driver shall be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Task {
    pub(super) goal: Goal,
    pub(super) token: Token,
    pub(super) terms: Terms,
    /// Our own doing, which nobody ordered.
    pub(super) own: bool,
}

impl Task {
    /// Whether it asks the same of the driver. What is our own has no token to differ by.
    pub(super) fn is_same(&self, other: &Task) -> bool {
        (self.own && other.own && self.goal == other.goal) || self == other
    }

    pub(super) fn ordered(order: &Order) -> Self {
        Self { goal: order.goal, token: order.token, terms: order.terms.clone(), own: false }
    }
}
