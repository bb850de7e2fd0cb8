//! What one group's agent may do to its instances at an instant. Knows lease and hold; never what
//! is asked for.

use super::GroupMachine;
use crate::Instant;
use crate::agent::executor::Leave;
use crate::decide::session_limit;

impl GroupMachine {
    /// What may be done to a held instance now.
    pub(super) fn leave(&self, now: Instant) -> Leave {
        let outside = self.is_heard(now);
        let serve = !self.cut_off || !self.enforces();
        let Some(hold) = &self.hold else {
            return Leave { active: false, rest: !self.enforces(), as_is: false, serve, outside };
        };
        if !self.enforces() {
            let told = self.arm_wanted == Some(false);
            let as_is = told && self.gate == Some(false);
            return Leave { active: told, rest: true, as_is, serve, outside };
        }
        // I4: nothing starts as primary before the deadman acknowledged a deadline that is running.
        // An earlier one than the lease's does: it is the stricter, and a renewal on its way to the
        // deadman must not interrupt a promotion.
        let running = self.lease.is_live(now) && hold.is_running(now);
        let live = hold.armed && (running || self.serves_on && hold.deadline.is_none());
        let rest = hold.deadline.is_none() || live;
        Leave { active: self.is_armed() && live, rest, as_is: false, serve, outside }
    }

    /// What was last answered came from a quorum, a few renewals ago at most.
    fn is_heard(&self, now: Instant) -> bool {
        let limit = session_limit(self.lease.timing());
        self.answered.is_some_and(|sent| now.since(sent) <= limit)
    }
}
