//! The invariants of design §4, checked on the simulated world itself after each step: one file
//! each.
//! They read true time, which nothing under test can.

mod i1;
mod i10;
mod i2;
mod i3;
mod i4;
mod i6;
mod i7;
mod lease;
mod live;

pub use live::liveness;

use crate::sim::clock::Nanos;
use crate::sim::host::Key;
use crate::sim::world::World;
use arbiter_core::{Goal, GroupId, InstanceId, State, Token};
use std::collections::BTreeMap;
use std::rc::Rc;

/// What the checks remember between steps.
#[derive(Default)]
pub struct Watch {
    /// A breach that `apply` itself reported.
    pub breach: Option<String>,
    /// What a step saw by itself.
    pub seen: Option<String>,
    /// Lease deadlines of armed holds in true time; they outlive deadman and host.
    deadlines: BTreeMap<(usize, GroupId), Nanos>,
    /// Highest token acted on, per instance.
    acted: BTreeMap<(usize, Key), Token>,
    traffic: BTreeMap<GroupId, Token>,
    /// When each term's leader was elected.
    pub elected: BTreeMap<u64, Nanos>,
    /// When each Report left, in true time.
    sent: BTreeMap<(usize, u64), Nanos>,
    /// The latest deadline that an answer which arrived allows.
    allowed: BTreeMap<(usize, GroupId), Nanos>,
    checked: u64,
    before: Option<Rc<State>>,
}

/// The first invariant that does not hold now.
pub fn check(world: &mut World) -> Option<String> {
    if let Some(breach) = world.watch.breach.take().or(world.watch.seen.take()) {
        return Some(breach);
    }
    let state = world.raft.newest().clone();
    if world.watch.checked != world.raft.last() {
        world.watch.checked = world.raft.last();
        let before = world.watch.before.replace(state.clone()).unwrap_or_default();
        let broken = i2::epochs(&before, &state)
            .or_else(|| i6::plans(&before, &state))
            .or_else(|| i4::arming_in_plans(&before, &state));
        if broken.is_some() {
            return broken;
        }
    }
    i1::one_region_writes(world)
        .or_else(|| i3::evidence_is_true(world, &state))
        .or_else(|| i3::only_the_active_region_writes(world, &state))
        .or_else(|| i4::no_write_after_the_deadline(world))
        .or_else(|| i4::arming_is_true(world, &state))
        .or_else(|| i4::leases_are_bounded(world, &state))
        .or_else(|| lease::deadlines_are_allowed(world))
        .or_else(|| i7::traffic_never_goes_back(world))
}

impl World {
    /// An agent asks a driver.
    pub fn watch_ensure(
        &mut self,
        host: usize,
        group: &GroupId,
        instance: &InstanceId,
        goal: Goal,
        token: Token,
    ) {
        let key = (group.clone(), instance.clone());
        if let Some(broken) = i10::token_is_current(self, host, &key, goal, token) {
            self.watch.seen.get_or_insert(broken);
        }
    }

    /// A deadman did something. `cleared`: the group whose deadline it dropped.
    pub fn watch_holds(
        &mut self,
        host: usize,
        cleared: Option<GroupId>,
        disarmed: Option<GroupId>,
    ) {
        i4::remember(self, host, cleared, disarmed);
    }
}
