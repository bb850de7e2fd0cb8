//! Facts about either region of a plan, as Reports showed them later.

use super::entry::{Entry, Outcome, stale};
use crate::{
    Control, EventKind, GroupId, InstanceId, Loss, Plan, PlanEnd, PlanId, PlanKind, Rejected,
};
use std::collections::BTreeSet;

/// A best-effort instance without evidence was fenced after all.
pub(super) fn fenced(entry: &mut Entry, group: &GroupId, instance: &InstanceId) -> Outcome {
    let wall = entry.proposal.wall;
    let found = entry.group_mut(group)?;
    if found.unfenced.remove(instance).is_none() {
        return stale(format!("{instance} is not listed as unfenced"));
    }
    for plan in found.plan.iter_mut().chain(&mut found.plans) {
        if let Some(listed) = plan.times.unfenced.get_mut(instance) {
            listed.until.get_or_insert(wall);
        }
    }
    let message = format!("{instance} of group {group} is fenced now");
    entry.tell(EventKind::EvidenceRecorded, Some(group), message, String::new());
    Ok(())
}

/// Instances were first seen to serve at the epoch that the plan made.
pub(super) fn serving(
    entry: &mut Entry,
    group: &GroupId,
    id: PlanId,
    instances: &BTreeSet<InstanceId>,
) -> Outcome {
    let wall = entry.proposal.wall;
    let found = entry.group_mut(group)?;
    let mut plans = found.plan.iter_mut().chain(found.plans.iter_mut().rev());
    let Some(plan) = plans.find(|plan| plan.id == id) else {
        return stale(format!("plan {id} is not kept"));
    };
    let listed = plan.times.serving.iter_mut();
    let mut news = listed.filter(|(name, at)| at.is_none() && instances.contains(*name)).peekable();
    if news.peek().is_none() {
        return stale(format!("plan {id} knows of all of these"));
    }
    news.for_each(|(_, at)| *at = Some(wall));
    Ok(())
}

/// An instance follows the active region again, so that it may be disarmed. One that came back
/// without having left the line of the others lost nothing, where its agent would have told. // I11
pub(super) fn standby(entry: &mut Entry, group: &GroupId, instance: &InstanceId) -> Outcome {
    let wall = entry.proposal.wall;
    let found = entry.group_mut(group)?;
    if found.plan.is_some() || !found.returning.remove(instance) {
        return stale(format!("{instance} is not on its way back"));
    }
    let spec = &entry.next.spec.groups[group];
    let Some(own) = spec.instances.get(instance).cloned() else { return Ok(()) };
    // A manager or a script brings its servers back by itself, and discards what they had alone.
    let untold = own.control != Control::Owned;
    let same = spec.instances.iter().filter(|(_, i)| i.resource == own.resource);
    let same: BTreeSet<InstanceId> = same.map(|(id, _)| id.clone()).collect();
    let Some(plan) = counted_in(entry, group, instance)? else { return Ok(()) };
    let Some(fork) = plan.target_end.get(&own.resource).copied() else { return Ok(()) };
    if untold && plan.lost.keys().any(|id| same.contains(id)) {
        return Ok(());
    }
    let known = plan.source_end.get(&own.resource).copied().unwrap_or_default();
    let loss =
        if untold { Loss::untold(fork, known.max(fork), wall) } else { Loss::nothing(fork, wall) };
    plan.lost.entry(instance.clone()).or_insert(loss);
    Ok(())
}

/// What a failover cost, as it was read on its old side. // I11
pub(super) fn loss(
    entry: &mut Entry,
    group: &GroupId,
    id: PlanId,
    instance: &InstanceId,
    loss: &Loss,
) -> Outcome {
    match counted_in(entry, group, instance)? {
        Some(plan) if plan.id == id && !plan.lost.contains_key(instance) => {
            plan.lost.insert(instance.clone(), loss.clone());
        }
        _ => return stale(format!("{instance} has nothing to count in plan {id}")),
    }
    let what = match (&loss.late, loss.count) {
        (Some(late), _) => format!("{} objects written too late", late.listed.len()),
        (None, Some(count)) => format!("{count} transactions, kept in {}", loss.kept),
        (None, None) => format!("it cannot be counted; what it had is kept in {}", loss.kept),
    };
    let message = format!("plan {id}: lost on {instance}: {what}");
    let next = format!("arbiter report {id}");
    entry.tell(EventKind::LossCounted, Some(group), message, next);
    Ok(())
}

/// The failover in which `instance` lost the active role last.
fn counted_in<'e>(
    entry: &'e mut Entry,
    group: &GroupId,
    instance: &InstanceId,
) -> Result<Option<&'e mut Plan>, Rejected> {
    let region = entry.group(group)?.0.instances.get(instance).map(|i| i.region.clone());
    let plans = entry.group_mut(group)?.plans.iter_mut().rev();
    let advanced = |plan: &&mut Plan| !matches!(plan.end, Some(PlanEnd::Aborted(_)));
    let mut mine = plans.filter(|plan| Some(&plan.source) == region.as_ref()).filter(advanced);
    Ok(mine.next().filter(|plan| plan.kind == PlanKind::Failover))
}
