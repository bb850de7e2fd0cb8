//! What must be so at each moment of the model: looked at on the servers themselves, against true
//! time and what is committed.

use super::cluster::{REGIONS, group};
use super::world::{Broken, World};
use arbiter_core::{EvidenceKind, Layer};

/// Note each invariant that does not hold.
pub fn look(world: &mut World) {
    let writes = [0, 1].map(|at| world.hosts[at].server.accepts(world.now));
    if writes == [true, true] {
        world.breaks(Broken::I1);
    }
    if !evidence_is_true(world) || !only_the_active_region_writes(world, writes) {
        world.breaks(Broken::I3);
    }
    if !no_write_after_the_deadline(world, writes) || !arming_is_true(world, writes) {
        world.breaks(Broken::I4);
    }
    if !traffic_names_the_active_region(world) {
        world.breaks(Broken::I7);
    }
}

/// While evidence stands, its instance accepts no write, and a lease that counts as run out has.
fn evidence_is_true(world: &World) -> bool {
    let Some(plan) = &world.group().plan else { return true };
    plan.evidence.iter().all(|(instance, evidence)| {
        let host = world.hosts.iter().find(|host| host.database() == *instance);
        let Some(host) = host else { return true };
        let same_life = host.disk.incarnation == evidence.incarnation;
        let armed = host.deadman.holds().get(&group()).filter(|hold| hold.armed && same_life);
        let runs = armed.and_then(|hold| hold.deadline).is_some_and(|at| world.now < host.when(at));
        let lease = evidence.kind == EvidenceKind::LeaseExpired;
        !(host.server.accepts(world.now) || lease && runs)
    })
}

fn only_the_active_region_writes(world: &World, writes: [bool; 2]) -> bool {
    let active = world.group().active();
    (0..2).all(|at| !writes[at] || active.is_some_and(|active| active.0 == REGIONS[at]))
}

fn no_write_after_the_deadline(world: &World, writes: [bool; 2]) -> bool {
    (0..2).all(|at| !writes[at] || world.hosts[at].deadline.is_none_or(|by| world.now < by))
}

/// What State records as armed is held, with a deadline, where it accepts writes.
fn arming_is_true(world: &World, writes: [bool; 2]) -> bool {
    (0..2).all(|at| {
        let host = &world.hosts[at];
        let bound = world.log.state.bindings.get(&host.disk.agent);
        let bound = bound.is_some_and(|bound| bound.incarnation == host.disk.incarnation);
        let armed = world.log.state.arming(&host.disk.agent, &group()).is_some();
        let hold = host.deadman.holds().get(&group());
        let held = hold.is_some_and(|hold| hold.armed && hold.deadline.is_some());
        !(writes[at] && bound && armed) || held
    })
}

/// Once no plan is open, the zone names the active region.
fn traffic_names_the_active_region(world: &World) -> bool {
    let group = world.group();
    let Some(named) = world.zone.names else { return true };
    let moves = group.active().map(|active| group.goal(active, Layer::Traffic));
    let settled = group.plan.is_none() && moves.is_some();
    !settled || group.active().is_some_and(|active| active.0 == REGIONS[named])
}
