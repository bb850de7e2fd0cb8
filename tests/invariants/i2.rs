//! I2: the epoch never decreases, and rises exactly when `active` changes; it starts at 1 where one
//! region alone has the primary. I8: a witness is never active.

use crate::sim::topology::{REGIONS, Topology};
use crate::sim::world::World;
use arbiter_core::{RegionKind, State};

/// Checked on each entry.
pub(super) fn epochs(before: &State, after: &State) -> Option<String> {
    for (id, group) in &after.groups {
        let Some(old) = before.groups.get(id) else { continue };
        let (was, is) = (old.epoch().0, group.epoch().0);
        let moved = old.active() != group.active();
        if is != was + u64::from(moved) {
            return Some(format!("I2: {id} went from epoch {was} to {is}, active moved: {moved}"));
        }
        if let Some(active) = group.active()
            && after.spec.regions.get(active) != Some(&RegionKind::Data)
        {
            return Some(format!("I8: {active} is active for {id}"));
        }
    }
    None
}

/// The first active region has the primary, and no other has one.
pub(super) fn births(world: &World, before: &State, after: &State) -> Option<String> {
    for (id, group) in &after.groups {
        let unborn = before.groups.get(id).is_none_or(|group| group.active().is_none());
        let Some(active) = group.active().filter(|_| unborn) else { continue };
        let servers = world.hosts.iter().enumerate().flat_map(|(index, host)| {
            let region = REGIONS[world.topology.region(Topology::node(index))];
            host.servers.iter().map(move |((group, _), server)| (region, group, server))
        });
        let primaries = servers.filter(|(_, group, server)| *group == id && server.primary);
        let primaries: Vec<_> = primaries.map(|(region, ..)| region).collect();
        if primaries != [active.as_str()] || group.epoch().0 != 1 {
            return Some(format!("I2: {id} begins in {active}, with primaries in {primaries:?}"));
        }
    }
    None
}
