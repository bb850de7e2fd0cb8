//! When what a plan made active was first seen to serve, instance by instance: for its report,
//! which shows how long recovery took. Knows Reports; no plan waits for it.

use super::context::Context;
use crate::{Command, Goal, Instance, InstanceId, Layer, Plan};
use std::collections::BTreeSet;

/// Those of the plan that made the present epoch which were not seen to serve before. Poolers may
/// let their clients go on after it has ended.
pub(super) fn serving(context: &Context) -> Option<Command> {
    let group = context.group;
    let plan = group.plan.iter().chain(group.plans.iter().rev()).find(|plan| plan.advanced())?;
    let awaited = plan.times.serving.iter().filter(|(_, at)| at.is_none());
    let seen = awaited.filter(|(id, _)| {
        let instance = context.spec.instances.get(*id);
        instance.is_some_and(|instance| serves(context, plan, id, instance))
    });
    let instances: BTreeSet<InstanceId> = seen.map(|(id, _)| id.clone()).collect();
    let any = !instances.is_empty();
    any.then(|| Command::RecordServing { group: context.id.clone(), plan: plan.id, instances })
}

/// By the goal in force: a pooler's is that of the data which it leads to.
fn serves(context: &Context, plan: &Plan, id: &InstanceId, instance: &Instance) -> bool {
    let layer = match instance.layer {
        Layer::Pooler => Layer::Data,
        own => own,
    };
    let set = context.group.goal(&plan.target, layer).filter(|set| set.goal == Goal::Active);
    let Some((set, shown)) = set.zip(context.instance(id)) else { return false };
    if instance.needs_evidence() {
        return shown.verified == Some(set.token);
    }
    let done = shown.done.as_ref();
    done.is_some_and(|done| done.goal == Goal::Active && done.token == set.token)
}
