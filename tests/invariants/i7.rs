//! I7: no arbiter or agent with an older token can change traffic.

use crate::sim::world::World;

/// Checked on the records themselves.
pub(super) fn traffic_never_goes_back(world: &mut World) -> Option<String> {
    for (group, (token, region)) in world.dns.records() {
        let last = world.watch.traffic.insert(group.clone(), *token);
        if last.is_some_and(|last| last > *token) {
            return Some(format!("I7: traffic of {group} went back to {token}, {region}"));
        }
    }
    None
}
