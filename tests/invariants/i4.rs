//! I4: a resource held by an armed deadman accepts no write after its lease deadline, whatever
//! becomes of agent, deadman and host. With it, what State says of arming and of L is so.

use crate::sim::world::World;
use arbiter_core::{GroupId, State};

/// Keep the deadlines of armed holds in true time.
pub(super) fn remember(
    world: &mut World,
    index: usize,
    cleared: Option<GroupId>,
    disarmed: Option<GroupId>,
) {
    let host = &world.hosts[index];
    let deadlines = &mut world.watch.deadlines;
    if let Some(group) = disarmed {
        deadlines.remove(&(index, group));
    }
    for (group, hold) in host.holds.holds().iter().filter(|(_, hold)| hold.armed) {
        if let Some(deadline) = hold.deadline {
            deadlines.insert((index, group.clone()), host.clock.when(deadline));
        }
    }
    // Who says that nothing is writable gives up the lease.
    if let Some(group) = cleared
        && host.holds.holds().get(&group).is_some_and(|hold| hold.armed)
    {
        deadlines.insert((index, group), world.now);
    }
}

/// On true time.
pub(super) fn no_write_after_the_deadline(world: &World) -> Option<String> {
    for ((index, group), deadline) in &world.watch.deadlines {
        if world.now <= *deadline {
            continue;
        }
        let servers = &world.hosts[*index].servers;
        let mut writing = servers.iter().filter(|((of, _), s)| of == group && s.accepts());
        if let Some(((_, instance), _)) = writing.next() {
            let late = (world.now - deadline) / 1_000_000;
            return Some(format!("I4: {instance} accepts writes {late} ms after its deadline"));
        }
    }
    None
}

/// What State records as armed is armed, and a writable instance has its deadline running.
pub(super) fn arming_is_true(world: &World, state: &State) -> Option<String> {
    for (index, host) in world.hosts.iter().enumerate() {
        let agent = &world.topology.agents[index];
        let bound = state.bindings.get(agent);
        if bound.is_none_or(|bound| bound.incarnation != host.disk.incarnation) {
            continue;
        }
        for ((group, instance), _) in host.servers.iter().filter(|(_, s)| s.accepts()) {
            if state.arming(agent, group).is_none() {
                continue;
            }
            let hold = host.holds.holds().get(group);
            let held = hold.is_some_and(|hold| hold.armed && hold.deadline.is_some());
            if host.deadman.up && !held {
                return Some(format!("I4: {instance} is armed in State, and no deadline runs"));
            }
        }
    }
    None
}

/// No lease is longer than State knows, so that every wait is long enough.
pub(super) fn leases_are_bounded(world: &World, state: &State) -> Option<String> {
    for (index, host) in world.hosts.iter().enumerate() {
        for (id, hold) in host.holds.holds().iter().filter(|(_, hold)| hold.armed) {
            let (Some(deadline), Some(group)) = (hold.deadline, state.groups.get(id)) else {
                continue;
            };
            let left = host.clock.when(deadline).saturating_sub(world.now);
            let longest = group.lease_max.as_nanos() as u64;
            if left > longest + longest / 100 {
                return Some(format!(
                    "I4: host {index} holds a lease of {id} for {} ms more, L is at most {:?}",
                    left / 1_000_000,
                    group.lease_max
                ));
            }
        }
    }
    None
}
