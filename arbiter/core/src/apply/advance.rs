//! The point of no return: the one place in `apply` where an epoch rises.

use super::arming::unarmed_in;
use super::entry::{Entry, Outcome, refusal, refuse};
use super::{restore, synchronous};
use crate::{
    Durability, EventKind, FenceProof, Fencing, Goal, Group, GroupId, GroupSpec, InstanceId,
    LagMark, Layer, Plan, PlanId, PlanKind, Unfenced, WallMillis,
};
use std::collections::BTreeMap;

/// Epoch + 1 and active = target, in one entry, spending a proof (I2, I3).
pub(super) fn advance(entry: &mut Entry, group: &GroupId, id: PlanId) -> Outcome {
    let (at, wall) = (entry.at, entry.proposal.wall);
    if let Some(agent) = unarmed_in(&entry.next, group, &entry.plan(group, id)?.target) {
        return refuse(
            "not-armed",
            format!("agent {agent} must be armed before anything is promoted"),
            format!("arbiter arm --group {group}"),
        );
    }
    let plan = entry.plan(group, id)?.clone();
    restore::nobody_else_serves(entry, group, &[&plan.source, &plan.target])?;
    let (spec, found) = entry.group(group)?;
    loss_is_allowed(group, spec, found, &plan)?;
    let proof = FenceProof::establish(spec, found, &plan).map_err(|unproven| {
        let reasons: Vec<String> = unproven.iter().map(ToString::to_string).collect();
        refusal("not-fenced", reasons.join("; "), format!("arbiter plan show --group {group}"))
    })?;
    let unfenced = without_evidence(spec, &plan, wall);
    let serving = to_serve(spec, &plan);
    let returning = spec.needing_evidence(&plan.source).map(|(id, _)| id.clone()).collect();
    let found = entry.group_mut(group)?;
    found.advance(proof);
    found.primaries = plan.candidates.clone();
    found.lease_stopped = false;
    found.unsettled = None;
    found.lag = LagMark::Unknown;
    // I11: whom the old primary waited for says nothing of the new one.
    found.synchronous.clear();
    found.unfenced = unfenced;
    found.returning = returning;
    found.fence_region(&plan.source, at);
    found.set_goal(&plan.target, Layer::Data, Goal::Active, at);
    noted(found, serving, wall);
    let message = format!("{} is active for group {group} at epoch {}", plan.target, found.epoch());
    entry.tell(EventKind::ActiveChanged, Some(group), message, "arbiter status".to_owned());
    Ok(())
}

/// I11: in `async` the loss is bounded by policy before the decision; in `strict` there is none;
/// or it was accepted by name.
fn loss_is_allowed(id: &GroupId, spec: &GroupSpec, group: &Group, plan: &Plan) -> Outcome {
    let within = match group.durability_of(spec, plan.id) {
        Durability::Async => group.lag == LagMark::Within,
        Durability::Strict => synchronous::may_lose(spec, group, plan).is_none(),
    };
    if plan.kind == PlanKind::Switchover || within || plan.accept_loss {
        return Ok(());
    }
    refuse(
        "rpo",
        "the loss is over the RPO, or unknown; in strict, what is promoted is no synchronous standby",
        format!(
            "arbiter plan resume --group {id} --accept-loss, or arbiter plan abort --group {id}"
        ),
    )
}

/// What the report of the open plan begins to count. Instances of the earlier ones' sources are
/// fenced now, active again, or counted here.
fn noted(group: &mut Group, serving: BTreeMap<InstanceId, Option<WallMillis>>, wall: WallMillis) {
    for before in group.plans.iter_mut().flat_map(|plan| plan.times.unfenced.values_mut()) {
        before.until.get_or_insert(wall);
    }
    let Some(plan) = &mut group.plan else { return };
    let unfenced = group.unfenced.iter();
    let unfenced =
        unfenced.map(|(id, since)| (id.clone(), Unfenced { since: *since, until: None }));
    plan.times.unfenced = unfenced.collect();
    plan.times.serving = serving;
}

/// Everything that serves once the plan is through.
fn to_serve(spec: &GroupSpec, plan: &Plan) -> BTreeMap<InstanceId, Option<WallMillis>> {
    let chosen = plan.candidates.values().cloned();
    let others = spec.instances.iter().filter(|(_, i)| match i.layer {
        Layer::Workload | Layer::Traffic => i.region == plan.target,
        Layer::Pooler => true,
        Layer::Data | Layer::Watched => false,
    });
    chosen.chain(others.map(|(id, _)| id.clone())).map(|id| (id, None)).collect()
}

/// Best-effort instances that nothing proves fenced: named, and fenced when they can be reached.
fn without_evidence(
    spec: &GroupSpec,
    plan: &Plan,
    wall: WallMillis,
) -> BTreeMap<InstanceId, WallMillis> {
    spec.instances
        .iter()
        .filter(|(_, i)| i.region == plan.source && i.fencing == Fencing::BestEffort)
        .filter(|(_, i)| matches!(i.layer, Layer::Data | Layer::Workload))
        .filter(|(id, _)| !plan.evidence.contains_key(*id))
        .map(|(id, _)| (id.clone(), wall))
        .collect()
}
