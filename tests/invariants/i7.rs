//! I7: no arbiter or agent with an older token can change traffic. Traffic names the active region,
//! or an open plan or a `drift` fault says why not; nothing is overwritten in silence.

use crate::sim::clock::{Nanos, SECOND};
use crate::sim::dns::Swap;
use crate::sim::world::World;
use arbiter_core::{
    Goal, Group, GroupId, GroupSpec, Layer, OnDrift, PlanEnd, RegionId, State, Token,
};
use std::collections::{BTreeMap, BTreeSet};

/// Once all is mended, and the leases of former lives are dead, what somebody changed by hand is
/// known this soon.
const SAID_WITHIN: Nanos = 30 * SECOND;
/// What a driver was allowed to do when it read may reach the authority this much later.
const LATE_MAX: Nanos = 10 * SECOND;

/// What is remembered of zones.
#[derive(Default)]
pub(super) struct Zones {
    tokens: BTreeMap<GroupId, Token>,
    /// Tokens that an operator let take over.
    adopted: BTreeSet<(GroupId, Token)>,
    /// Since when State knows that the zone was written.
    initialised: BTreeMap<GroupId, Nanos>,
    /// Groups whose policy has, or had, drift put in order: an agent may not know better.
    repaired: BTreeSet<GroupId>,
    healed: Option<Nanos>,
}

/// Checked on the records themselves.
pub(super) fn traffic_never_goes_back(world: &mut World) -> Option<String> {
    for (group, record) in world.dns.records() {
        let Some(token) = record.token else { continue };
        let last = world.watch.zones.tokens.insert(group.clone(), token);
        if last.is_some_and(|last| last > token) {
            return Some(format!("I7: traffic of {group} went back to {token}, {}", record.names));
        }
    }
    None
}

/// Nothing but a plan moves it, or a hand; what an undone failover back left half-way is the
/// standing goal's to end.
pub(super) fn traffic_names_the_active_region(world: &World, state: &State) -> Option<String> {
    for (id, record) in world.dns.records() {
        let Some(group) = state.groups.get(id).filter(|group| group.plan.is_none()) else {
            continue;
        };
        let other = group.active().is_some_and(|active| *active != record.names);
        let excused = world.dns.changed.contains_key(id)
            || group.active().is_some_and(|active| is_moving(group, active));
        if other && !excused {
            return Some(format!(
                "I7: traffic of {id} names {} at {:?}, and no plan is open",
                record.names, record.token
            ));
        }
    }
    None
}

/// Since the last plan that was completed one was superseded, and what superseded it was undone:
/// the active region is told to write.
fn is_moving(group: &Group, active: &RegionId) -> bool {
    let told = group.goal(active, Layer::Traffic).is_some_and(|set| set.goal == Goal::Active);
    let since = group.plans.iter().rev().take_while(|plan| plan.end != Some(PlanEnd::Completed));
    told && since.into_iter().any(|plan| matches!(plan.end, Some(PlanEnd::Superseded(_))))
}

/// Keep what each entry says of zones.
pub(super) fn remember(world: &mut World, state: &State) {
    let zones = &mut world.watch.zones;
    for (id, group) in &state.groups {
        let repairs = |spec: &GroupSpec| spec.policy.on_drift == OnDrift::Repair;
        if state.spec.groups.get(id).is_some_and(repairs) {
            zones.repaired.insert(id.clone());
        }
        for zone in group.zones.values() {
            zones.adopted.extend(zone.adopt.map(|token| (id.clone(), token)));
            if zone.initialised {
                zones.initialised.entry(id.clone()).or_insert(world.now);
            }
        }
    }
}

/// What somebody changed by hand, and nobody has put in order, is a `drift` fault.
pub(super) fn drift_is_said(world: &mut World, state: &State) -> Option<String> {
    let within = 2 * world.longest_lease() + SAID_WITHIN;
    let zones = &mut world.watch.zones;
    zones.healed = world.healed.then_some(zones.healed.unwrap_or(world.now));
    let healed = zones.healed?;
    let silent = world.dns.changed.iter().find(|(id, at)| {
        let said = |group: &Group| group.plan.is_some() || !group.drift.is_empty();
        world.now > healed.max(**at) + within && !state.groups.get(*id).is_some_and(said)
    });
    silent.map(|(id, _)| format!("I7: somebody changed the records of {id}, and nobody says so"))
}

impl World {
    /// A swap is made. What somebody else changed it may overwrite only by a higher token, by
    /// policy, or because an operator let it.
    pub fn watch_swap(&mut self, swap: &Swap) {
        let (Some(old), Some(token)) = (&swap.old, swap.new.token) else { return };
        let group = &swap.group;
        if !self.dns.changed.contains_key(group) {
            return;
        }
        let zones = &self.watch.zones;
        let repair = zones.repaired.contains(group);
        let known = zones.initialised.get(group).is_some_and(|at| self.now > at + LATE_MAX);
        let by_right = match old.token {
            Some(held) => held < token || repair,
            None => !known,
        };
        if !by_right && !zones.adopted.contains(&(group.clone(), token)) {
            let line = format!("I7: {token} overwrites in silence what somebody put into {group}");
            self.watch.seen.push(line);
        }
        self.count("drift put in order", 1);
    }
}
