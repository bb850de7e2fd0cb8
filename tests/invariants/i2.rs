//! I2: the epoch never decreases, and rises exactly when `active` changes; it starts at 1 where one
//! region alone has the primary. I8: a witness is never active.

use crate::sim::kinds::{Kind, has};
use crate::sim::topology::{REGIONS, Topology};
use crate::sim::world::World;
use arbiter_core::{RegionKind, State};
use std::collections::BTreeMap;

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

/// The first active region has the primary of each resource, and no other has one.
pub(super) fn births(world: &World, before: &State, after: &State) -> Option<String> {
    for (id, group) in &after.groups {
        let unborn = before.groups.get(id).is_none_or(|group| group.active().is_none());
        let Some(active) = group.active().filter(|_| unborn) else { continue };
        let mut primaries: BTreeMap<bool, Vec<&str>> = BTreeMap::new();
        for (index, host) in world.hosts.iter().enumerate() {
            let region = REGIONS[world.topology.region(Topology::node(index))];
            for ((group, _), server) in &host.servers {
                let primaries = primaries.entry(server.redis).or_default();
                primaries.extend(Some(region).filter(|_| group == id && server.primary));
            }
        }
        let known = has(&world.topology.spec.groups[id], Kind::Redis);
        let each = [Some(false), Some(true).filter(|_| known)].into_iter().flatten();
        let alone = |redis| primaries.get(&redis).is_some_and(|here| **here == [active.as_str()]);
        if !each.into_iter().all(alone) || group.epoch().0 != 1 {
            return Some(format!("I2: {id} begins in {active}, with primaries in {primaries:?}"));
        }
    }
    None
}
