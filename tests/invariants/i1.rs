//! I1: at no instant do resources of two regions of a group, whose fence is required, both accept
//! writes.

use crate::sim::topology::Topology;
use crate::sim::world::World;
use arbiter_core::GroupId;
use std::collections::BTreeMap;

/// Checked on the servers themselves.
pub(super) fn one_region_writes(world: &World) -> Option<String> {
    let mut writing: BTreeMap<&GroupId, usize> = BTreeMap::new();
    for (index, host) in world.hosts.iter().enumerate() {
        let region = world.topology.region(Topology::node(index));
        for ((group, _), _) in host.servers.iter().filter(|(_, server)| server.accepts()) {
            let other = writing.insert(group, region);
            if other.is_some_and(|other| other != region) {
                return Some(format!("I1: both regions of {group} accept writes"));
            }
        }
    }
    None
}
