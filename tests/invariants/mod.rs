//! The invariants of design §4, checked on the simulated world itself after each step: one file
//! each. They read true time, which nothing under test can.

mod i1;
mod i10;
mod i11;
mod i2;
mod i3;
mod i4;
mod i6;
mod i7;
mod i9;
mod lease;
mod live;
mod moved;

pub use live::liveness;
pub use moved::{Astray, astray};

use crate::sim::clock::Nanos;
use crate::sim::host::Key;
use crate::sim::table::{self, Cells};
use crate::sim::world::World;
use arbiter_core::{Goal, GroupId, InstanceId, PlanId, State, Token};
use std::collections::BTreeMap;
use std::rc::Rc;

/// What the checks remember between steps.
#[derive(Default)]
pub struct Watch {
    /// What a step saw by itself, breaches that `apply` reported too.
    pub seen: Vec<String>,
    /// Lease deadlines of armed holds in true time; they outlive deadman and host.
    deadlines: BTreeMap<(usize, GroupId), Nanos>,
    /// Highest token acted on, per instance.
    acted: BTreeMap<(usize, Key), Token>,
    zones: i7::Zones,
    decided: i9::Decided,
    /// When each term's leader was elected.
    pub elected: BTreeMap<u64, Nanos>,
    /// When each Report left, in true time.
    sent: BTreeMap<(usize, u64), Nanos>,
    /// The latest deadline that an answer which arrived allows.
    allowed: BTreeMap<(usize, GroupId), Nanos>,
    /// When each plan was first seen open, and the RPO that bounded its loss.
    opened: BTreeMap<PlanId, (Nanos, Nanos)>,
    rpo: i11::Allowed,
    /// How often rows of plans ended in which way.
    pub cells: Cells,
    checked: u64,
    before: Option<Rc<State>>,
}

/// The first invariant that does not hold now. `only`: those whose words begin so; all, if none.
pub fn check(world: &mut World, only: &str) -> Option<String> {
    let mut broken = std::mem::take(&mut world.watch.seen);
    let state = world.raft.newest().clone();
    if world.watch.checked != world.raft.last() {
        world.watch.checked = world.raft.last();
        let before = world.watch.before.replace(state.clone()).unwrap_or_default();
        broken.extend(i2::epochs(&before, &state));
        broken.extend(i2::births(world, &before, &state));
        broken.extend(i6::plans(&before, &state));
        table::note(&mut world.watch.cells, &before, &state);
        i7::remember(world, &state);
        i9::remember(world, &before, &state);
        i11::remember(world, &before, &state);
        broken.extend(i11::losses(world, &before, &state));
    }
    broken.extend(i1::one_region_writes(world));
    broken.extend(i3::evidence_is_true(world, &state));
    broken.extend(i3::only_the_active_region_writes(world, &state));
    broken.extend(i4::no_write_after_the_deadline(world));
    broken.extend(i4::arming_is_true(world, &state));
    broken.extend(i4::leases_are_bounded(world, &state));
    broken.extend(lease::deadlines_are_allowed(world));
    broken.extend(i7::traffic_never_goes_back(world));
    broken.extend(i7::traffic_names_the_active_region(world, &state));
    broken.extend(i7::drift_is_said(world, &state));
    broken.into_iter().find(|line| line.starts_with(only))
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
            self.watch.seen.push(broken);
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
