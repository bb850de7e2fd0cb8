//! What the agent tells. Reading only, but for the number of the Report and when it left.

use super::{AgentMachine, SENT_KEPT_MAX};
use crate::{Instant, Report};

impl AgentMachine {
    /// The Report to send now. Deadlines count from `now`: read the clock, call this, then send;
    /// a Report that waited may still be sent, one that was dropped need not be.
    pub fn report(&mut self, now: Instant) -> Report {
        self.sequence += 1;
        self.sent.insert(self.sequence, now);
        while self.sent.len() > SENT_KEPT_MAX {
            self.sent.pop_first();
        }
        self.reported_at = Some(now);
        self.report_wanted = false;
        Report {
            cluster_id: self.cluster_id.clone(),
            agent: self.agent.clone(),
            incarnation: self.incarnation,
            boot_id: self.boot_id.clone(),
            sequence: self.sequence,
            groups: self.groups.iter().map(|(id, group)| (id.clone(), group.report(now))).collect(),
            watchdog: None,
            gaps: self.gaps.shown(now),
        }
    }
}
