//! Liveness: once all is mended, each group serves again, or says why it waits.

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
        let hosts = world.hosts.iter();
        let writing =
            hosts.flat_map(|host| &host.servers).any(|((of, _), s)| of == id && s.accepts());
        if !writing {
            return Some(format!("liveness: nothing of {id} accepts writes"));
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
