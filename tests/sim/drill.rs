//! Drills: operators run and end them, and agents play their parts, well or not. Knows what a part
//! may answer; what a drill does is the core's.

use super::event::Work;
use super::world::World;
use arbiter_core::agent::Failure;
use arbiter_core::{Command, DRILL_CHECK, DrillKind, Group, GroupId, Instance, Policy, REHEARSAL};
use std::collections::BTreeMap;
use std::time::Duration;

/// Longest wait of a drill.
const LIMIT: Duration = Duration::from_secs(25);

/// Every group of the simulator has drills, with checks.
pub(super) fn policed(policy: Policy) -> Policy {
    let mut policy = policy;
    policy.drill.limit = LIMIT;
    policy.drill.check = BTreeMap::from([("command".to_owned(), "check".to_owned())]);
    policy
}

/// Whether `instance` is a part of a drill.
pub(super) fn is_part(instance: &Instance) -> bool {
    instance.kind == DRILL_CHECK || instance.kind.starts_with(REHEARSAL)
}

impl World {
    /// A part is played: mostly well.
    pub(super) fn part_acts(&mut self, work: &Work) -> Result<(), Failure> {
        let text = || format!("{} failed", work.instance);
        match self.rng.range(0, 9) {
            0 => Err(Failure::Refused(text())),
            1 => Err(Failure::Retry(text())),
            _ => Ok(()),
        }
    }

    /// Run one, or end the open one.
    pub(super) fn drilling(&mut self, id: &GroupId, group: &Group) -> Option<Command> {
        let (expected_epoch, took) = (group.epoch(), Duration::ZERO);
        if let Some(drill) = &group.drill {
            let ends = self.rng.chance(200);
            let drill = drill.id;
            let group = id.clone();
            return ends.then_some(Command::AbortDrill { group, drill, expected_epoch, took });
        }
        let kind = DrillKind::ALL[self.rng.range(0, 2) as usize];
        // Commits cannot be made to wait here.
        let accept_loss = kind == DrillKind::RegionLoss;
        Some(Command::RunDrill { group: id.clone(), kind, accept_loss, expected_epoch })
    }
}
