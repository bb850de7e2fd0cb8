//! I3: nothing is promoted without evidence. Here the evidence itself is held against the truth.

use crate::sim::topology::{REGIONS, Topology};
use crate::sim::world::World;
use arbiter_core::{EvidenceKind, State};

/// While evidence stands, what it says is so: the instance accepts no write, and an expired lease
/// has expired on its own host's clock.
pub(super) fn evidence_is_true(world: &World, state: &State) -> Option<String> {
    for (id, group) in &state.groups {
        let Some(plan) = &group.plan else { continue };
        for (instance, evidence) in &plan.evidence {
            let index = world.topology.agents.iter().position(|name| *name == evidence.agent)?;
            let host = &world.hosts[index];
            let key = (id.clone(), instance.clone());
            if world.accepts(index, &key) {
                return Some(format!(
                    "I3: {} says that {instance} is fenced, and it accepts writes",
                    evidence.kind
                ));
            }
            let same_life = host.disk.incarnation == evidence.incarnation;
            let hold = host.holds.holds().get(id).filter(|hold| hold.armed && same_life);
            let running = hold.and_then(|hold| hold.deadline);
            let running = running.filter(|deadline| world.now < host.clock.when(*deadline));
            if evidence.kind == EvidenceKind::LeaseExpired && running.is_some() {
                return Some(format!("I3: the lease of {instance} counts as expired, and runs"));
            }
        }
    }
    None
}

/// Once the epoch was raised, no instance of another region accepts a write.
pub(super) fn only_the_active_region_writes(world: &World, state: &State) -> Option<String> {
    for (index, host) in world.hosts.iter().enumerate() {
        let region = REGIONS[world.topology.region(Topology::node(index))];
        for ((group, instance), _) in host.servers.iter().filter(|(_, s)| s.accepts()) {
            let active = state.groups.get(group).and_then(|group| group.active());
            if active.is_some_and(|active| active.as_str() != region) {
                return Some(format!(
                    "I3: {instance} accepts writes, and its region is not active"
                ));
            }
        }
    }
    None
}
