//! Drills: agents play their parts, well or not. Knows what a part
//! may answer; what a drill does is the core's.

use super::event::Work;
use super::world::World;
use arbiter_core::agent::Failure;
use arbiter_core::{DRILL_CHECK, Instance, Policy, REHEARSAL};
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
}
