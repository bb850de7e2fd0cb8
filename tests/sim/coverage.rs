//! How much of what can happen did happen, over many seeds. Knows names and numbers.

use super::world::World;
use arbiter_core::{Command, DrillEnd, DrillKind, PlanEnd, PlanKind};
use std::collections::BTreeMap;

/// How often each thing happened.
pub type Counts = BTreeMap<&'static str, u64>;

/// What the seeds of the tests must have seen, all of it.
pub const SEEN: &[&str] = &[
    "switchovers completed",
    "failovers completed",
    "plans aborted",
    "plans resumed",
    "plans superseded",
    "confirmed",
    "lease-expired",
    "power-off",
    "provider-asserted",
    "attested",
    "attestations refused: another plan",
    "attestations refused: another fence goal",
    "attestations refused: it is up",
    "records changed by hand",
    "drift said",
    "drift put in order",
    "zones adopted",
    "modes told to be in effect",
    "modes that no quorum confirmed",
    "modes not in effect for want of arming",
    "regions lost in later lives",
    "switchovers in later lives",
    "moves in later lives",
    "L raised",
    "L lowered",
    "RPO crossed",
    "hosts rebooted",
    "arbiters rebooted",
    "messages lost",
    "messages doubled",
    "messages late",
    "one-way cuts",
    "leader changes",
    "drills completed",
    "drills failed",
    "drills interrupted",
    "drills ended by an operator",
    "rehearsals completed",
    "several groups",
    "changes of who votes",
    "voters gone",
    "arbiters upgraded",
    "State raised to another version",
    "policies with another L",
    "policies with another RPO",
    "policies with another durability",
    "policies that treat drift otherwise",
    "policies with other signals",
    "policies that treat a dead primary otherwise",
    "streams replaced",
    "streams refused",
];

/// Add what another run counted.
pub fn add(counts: &mut Counts, more: Counts) {
    for (what, times) in more {
        *counts.entry(what).or_default() += times;
    }
}

impl World {
    /// Something happened so often.
    pub fn count(&mut self, what: &'static str, times: u64) {
        *self.counts.entry(what).or_default() += times;
    }

    /// A command was applied.
    pub(super) fn count_command(&mut self, command: &Command) {
        let what = match command {
            Command::RaiseLease { .. } => "L raised",
            Command::LowerLease { .. } => "L lowered",
            Command::MarkLag { lag: arbiter_core::LagMark::Over, .. } => "RPO crossed",
            Command::ResumePlan { .. } => "plans resumed",
            Command::RecordEvidence { evidence, .. } => evidence.kind.as_str(),
            Command::Attest { .. } => "attested",
            Command::RecordDrift { drift, .. } if !drift.is_empty() => "drift said",
            Command::AdoptTraffic { .. } => "zones adopted",
            Command::RaiseVersion { .. } => {
                let groups = self.raft.newest().groups.values();
                let open = groups.filter(|group| group.plan.is_some()).count();
                self.count("plans open while the version rose", open as u64);
                "State raised to another version"
            }
            _ => return,
        };
        self.count(what, 1);
    }

    /// All that was counted, at the end.
    pub(super) fn counted(&mut self) -> Counts {
        let state = self.raft.newest().clone();
        self.count("several groups", u64::from(state.groups.len() > 1));
        self.count("messages lost", self.net.lost);
        self.count("messages doubled", self.net.doubled);
        self.count("messages late", self.net.delayed);
        for plan in state.groups.values().flat_map(|group| &group.plans) {
            let what = match (&plan.end, plan.kind) {
                (Some(PlanEnd::Completed), PlanKind::Switchover) => "switchovers completed",
                (Some(PlanEnd::Completed), PlanKind::Failover) => "failovers completed",
                (Some(PlanEnd::Aborted(_)), _) => "plans aborted",
                (Some(PlanEnd::Superseded(_)), _) => "plans superseded",
                (None, _) => continue,
            };
            self.count(what, 1);
        }
        for drill in state.groups.values().flat_map(|group| &group.drills) {
            let what = match (&drill.end, drill.kind) {
                (Some(DrillEnd::Completed), DrillKind::Rehearsal) => "rehearsals completed",
                (Some(DrillEnd::Completed), _) => "drills completed",
                (Some(DrillEnd::Failed(_)), _) => "drills failed",
                (Some(DrillEnd::Interrupted(_)), _) => "drills interrupted",
                (Some(DrillEnd::Aborted(_)), _) => "drills ended by an operator",
                (None, _) => continue,
            };
            self.count(what, 1);
        }
        std::mem::take(&mut self.counts)
    }
}
