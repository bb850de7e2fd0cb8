//! What one instance says when its agent is to leave a cluster. Knows what was done and seen.

use super::{Executor, Writes};
use crate::Role;

impl Executor {
    /// Whether it is neither writable nor about to be. What is not armed is judged by its role: it
    /// may start by itself.
    pub(in crate::agent) fn is_idle(&self, unarmed: bool) -> bool {
        if !self.is_held() {
            return true;
        }
        let replica =
            self.fact_at.is_some() && self.fact.role != Role::Primary && !self.fact.writable;
        if unarmed {
            return replica && self.running.is_none() && self.writes != Writes::Possible;
        }
        let quiet = match self.writes {
            Writes::Possible => false,
            Writes::Impossible => true,
            Writes::Unknown => replica && self.fact.role == Role::Replica,
        };
        quiet && !self.fence_due && self.running.is_none() && !self.fact.writable
    }

    /// Another cluster orders from now on. Tokens stay: they are above all clusters.
    pub(in crate::agent) fn forget_order(&mut self) {
        self.order = None;
        self.error = None;
        self.told = false;
    }
}
