//! Liveness: once all is mended, each group serves again, or says why it waits.

use super::{Astray, astray};
use crate::sim::raft::ARBITERS;
use crate::sim::topology::Topology;
use crate::sim::world::World;
use arbiter_core::{GroupId, Mode};

/// Checked when all must be well: of one group, or of each.
pub fn liveness(world: &World, only: Option<&GroupId>) -> Option<String> {
    let state = world.raft.newest();
    for (id, group) in state.groups.iter().filter(|(id, _)| only.is_none_or(|only| only == *id)) {
        if let Some(plan) = &group.plan {
            let why = plan.halt.as_ref().map_or("", |halt| halt.reason.as_str());
            return Some(format!(
                "liveness: plan {} of {id} is stuck at {:?}: {why}",
                plan.id,
                plan.step()
            ));
        }
        if group.mode == Mode::Observe {
            return Some(format!("liveness: {id} did not get a mode"));
        }
        let Some(active) = group.active() else {
            return Some(format!("liveness: {id} was never activated"));
        };
        // A replica that was lost comes back in its own time, and a region that is cut off later.
        let serving = |one: &Astray| {
            !matches!(one.what, "does not run" | "does not follow") && is_reached(world, id, one)
        };
        if let Some(Astray { id: astray, what }) =
            astray(world, state, id).into_iter().find(serving)
        {
            return Some(format!("liveness: {astray} of {id}, with {active} active, {what}"));
        }
        if world.dns.read(id).is_none_or(|record| record.names != *active) {
            return Some(format!("liveness: traffic of {id} does not name {active}"));
        }
        if world.dns.changed.contains_key(id) {
            return Some(format!("liveness: the records of {id} are not put in order"));
        }
    }
    None
}

/// Its agent and a majority of the arbiters hear each other.
fn is_reached(world: &World, id: &GroupId, astray: &Astray) -> bool {
    let agent = &world.topology.spec.groups[id].instances[&astray.id].agent;
    let host = world.topology.agents.iter().position(|name| name == agent);
    let node = host.map(Topology::node);
    let voters: Vec<usize> = (0..ARBITERS).filter(|at| world.raft.is_voter(*at)).collect();
    let heard = |node| voters.iter().filter(|voter| world.net.both(node, **voter)).count();
    node.is_some_and(|node| 2 * heard(node) > voters.len())
}
