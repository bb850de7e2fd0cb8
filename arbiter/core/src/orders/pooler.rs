//! Poolers: when clients are held back, and whose primary they are let to. It follows from the open
//! plan and the data's goal; nothing of it is in State.

use crate::{
    Goal, Group, GroupSpec, Instance, Layer, PlanKind, RegionGoal, ResourceId, StepId, Terms,
};

/// The instance setting that names the resource whose primary a pooler leads to.
const POOLS: &str = "pools";

/// Alike in both regions, since both lead to the active one. A switchover holds clients back until
/// there is a new primary. A failover holds nobody back: there is nothing to drain; meanwhile they
/// stay as they are.
pub(super) fn order(
    spec: &GroupSpec,
    group: &Group,
    instance: &Instance,
) -> Option<(RegionGoal, Goal, Terms)> {
    let promoting = group.plan.as_ref().filter(|plan| {
        // The target is active from `advance-epoch` on, and serves when it is promoted.
        plan.step().is_some_and(|step| step <= StepId::PromoteData)
    });
    if let Some(plan) = promoting {
        let set = RegionGoal { goal: Goal::Drained, token: plan.fence_token };
        let held = plan.kind == PlanKind::Switchover;
        return held.then(|| (set, set.goal, Terms::default()));
    }
    let active = group.active()?;
    let set = group.goal(active, Layer::Data).filter(|set| set.goal == Goal::Active)?;
    let primary = pooled(spec, instance).and_then(|resource| group.primaries.get(resource));
    let primary = primary.and_then(|id| spec.instances.get(id));
    let upstream = primary.map(|primary| primary.address.clone()).unwrap_or_default();
    let names = Some(active.clone());
    Some((set, Goal::Active, Terms { upstream, names, ..Terms::default() }))
}

/// The resource that it leads to: the one that is named, else the only one there can be.
fn pooled<'a>(spec: &'a GroupSpec, instance: &Instance) -> Option<&'a ResourceId> {
    let mut required = spec.required_resources();
    match instance.settings.get(POOLS) {
        Some(name) => spec.instances.values().map(|i| &i.resource).find(|id| id.0 == *name),
        None if required.len() == 1 => required.pop_first(),
        None => None,
    }
}
