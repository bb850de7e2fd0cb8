//! A primary whose renewals stay away acknowledges only what is safe elsewhere (`on_isolation =
//! "stall"`): what a cut-off region acknowledges and loses is bounded by two renewals, not by the
//! lease. Knows when renewals came and what the deadman shows; never how a server waits.
//!
//! It is no fence: no evidence comes of it, and the lease goes on as ever.

use super::group::{ASK_AGAIN_AFTER, GroupMachine};
use super::{AgentAction, DeadmanEvent};
use crate::Instant;

/// Renewals that must stay away.
const RENEWALS_MISSED: u32 = 2;

impl GroupMachine {
    /// When it counts as cut off, unless it is renewed.
    fn isolated_at(&self) -> Option<Instant> {
        let timing = self.lease.timing();
        let missed = timing.renewal * RENEWALS_MISSED + timing.rtt;
        let stalls = self.instances.values().any(|executor| executor.may_stall());
        // Unarmed, the agent stops nothing.
        let may = stalls && self.is_armed() && self.lease.deadline().is_some();
        self.renewed.filter(|_| may && self.isolated.is_none()).map(|sent| sent + missed)
    }

    pub(super) fn note_isolation(&mut self, now: Instant) {
        if self.isolated_at().is_some_and(|at| at <= now) {
            self.isolated = Some(now);
            self.news = true;
        }
        // Nothing is writable, nor shall be.
        if self.lease.deadline().is_none() || !self.needs_lease() {
            self.isolated = None;
        }
    }

    /// An answer to the Report sent at `sent` renewed the lease. One to a Report from before the
    /// stall says nothing of now.
    pub(super) fn is_renewed(&mut self, sent: Instant) {
        self.renewed = self.renewed.max(Some(sent));
        self.renewed_here = true;
        if self.isolated.take_if(|since| *since <= sent).is_some() {
            self.news = true;
        }
    }

    /// Freeze what could not be made to wait, and let it go on with a renewal.
    pub(super) fn converge_pause(&mut self, now: Instant, out: &mut Vec<AgentAction>) {
        let Some(hold) = self.hold.as_ref().filter(|hold| hold.armed) else { return };
        let late = self.isolated.is_some() && self.instances.values().any(|e| e.must_pause(now));
        let paused = hold.paused;
        // What a former process of the agent froze goes on with the first renewal.
        let lift = paused && self.isolated.is_none() && self.renewed_here;
        if !lift && (paused || !late) {
            return;
        }
        let asked = |(pause, at): (bool, Instant)| pause == late && now < at + ASK_AGAIN_AFTER;
        if self.asked_pause.is_some_and(asked) {
            return;
        }
        let group = self.id.clone();
        let event = if late { DeadmanEvent::Pause(group) } else { DeadmanEvent::Continue(group) };
        out.push(AgentAction::Deadman(event));
        self.asked_pause = Some((late, now));
    }

    pub(super) fn isolation_wake(&self, now: Instant) -> Option<Instant> {
        let again = self.asked_pause.map(|(_, at)| at + ASK_AGAIN_AFTER);
        self.isolated_at().into_iter().chain(again).filter(|at| now < *at).min()
    }
}
