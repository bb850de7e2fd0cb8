//! I7: no arbiter or agent with an older token can change traffic. Traffic names the active region,
//! or an open plan or a `drift` fault says why not.

use crate::sim::world::World;
use arbiter_core::{Goal, Group, Layer, PlanEnd, RegionId, State};

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

/// Nothing but a plan moves it. Nobody here writes records by hand, so that no drift excuses it;
/// only what an undone failover back left half-way is the standing goal's to end.
pub(super) fn traffic_names_the_active_region(world: &World, state: &State) -> Option<String> {
    for (id, (token, region)) in world.dns.records() {
        let Some(group) = state.groups.get(id).filter(|group| group.plan.is_none()) else {
            continue;
        };
        if group.active().is_some_and(|active| active != region && !is_moving(group, active)) {
            return Some(format!(
                "I7: traffic of {id} names {region} at {token}, and no plan is open"
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
