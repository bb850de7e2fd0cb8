//! Rows that the target's agents make true, and the point of no return between them. Knows what
//! they report for this plan's tokens.

use super::furthest::{self, Choice};
use super::{Progress, Row};
use crate::{
    Command, Goal, InstanceId, LagMark, Layer, LossBound, PlanKind, Position, ResourceId,
    StepOutcome, StepState, apply::unarmed_in,
};
use std::collections::BTreeMap;

/// Everything that can be received is received and replayed, and who has most is chosen.
pub(super) fn catch_up(row: &Row) -> Vec<Command> {
    let Some(token) = row.token(&row.plan.target, Layer::Data) else { return Vec::new() };
    let policy = &row.context.spec.policy;
    let limit = match row.plan.kind {
        PlanKind::Switchover => policy.drain_limit,
        PlanKind::Failover => policy.step_limit,
    };
    let over = row.context.row_ran() >= limit;
    let mut found = BTreeMap::new();
    let mut waiting = None;
    for resource in row.context.spec.required_resources() {
        match furthest::choose(row, resource, token, over) {
            Choice::Made(id, end) => drop(found.insert(resource, (id, end))),
            Choice::Never(why) => return vec![row.end(StepState::Failed, why)],
            Choice::Waiting(why) => waiting = waiting.or(Some(why)),
        }
    }
    match waiting {
        None => vec![caught_up(row, &found)],
        Some(why) if over => vec![row.end(StepState::Failed, why)],
        Some(_) => Vec::new(),
    }
}

fn required_candidates<'a>(row: &Row<'a>) -> BTreeMap<&'a ResourceId, &'a InstanceId> {
    let required = row.context.spec.required_resources();
    row.plan.candidates.iter().filter(|(resource, _)| required.contains(resource)).collect()
}

/// I11: the bound is known now, and must be within policy or accepted by name.
fn caught_up(row: &Row, found: &BTreeMap<&ResourceId, (&InstanceId, Option<Position>)>) -> Command {
    let mut target_end = BTreeMap::new();
    let mut bytes = Some(0u64);
    for (resource, (id, end)) in found {
        if let Some(end) = end {
            target_end.insert((*resource).clone(), *end);
        }
        let source = row.plan.source_end.get(*resource);
        let comparable = !row.context.left_stream(resource, id);
        let missing = source.zip(*end).filter(|_| comparable);
        let missing = missing.and_then(|(s, t)| s.bytes_after(t));
        bytes = bytes.zip(missing).map(|(sum, more)| sum.saturating_add(more));
    }
    if let Some(fault) = over_bound(row, &target_end) {
        return row.end(StepState::Failed, fault);
    }
    let note = match bytes {
        Some(0) => "everything known of the source is here".to_owned(),
        Some(bytes) => format!("{bytes} bytes of the source's stream are not here"),
        None => "the end of the source's stream is not known".to_owned(),
    };
    let candidates = found.iter().map(|(resource, (id, _))| ((*resource).clone(), (*id).clone()));
    row.end_with(StepOutcome {
        state: StepState::Done,
        note,
        source_end: BTreeMap::new(),
        candidates: candidates.collect(),
        target_end,
        loss: Some(LossBound { bytes, age: row.plan.loss.age }),
    })
}

fn over_bound(row: &Row, target_end: &BTreeMap<ResourceId, Position>) -> Option<String> {
    if let Some(before) = row.context.group.superseded_by(row.plan.id) {
        let required = row.context.spec.required_resources().into_iter();
        let mut unfit = required.filter_map(|resource| {
            let why = before.unfit_to_return(resource, target_end.get(resource).copied())?;
            Some(format!("{resource} in {}: {why}", row.plan.target))
        });
        if let Some(why) = unfit.next() {
            return Some(why);
        }
    }
    match row.plan.kind {
        PlanKind::Switchover => {
            let behind = row.plan.source_end.iter().find(|(resource, end)| {
                target_end.get(*resource).is_some_and(|reached| reached < *end)
            })?;
            Some(format!("{} has not received all of the source", behind.0))
        }
        PlanKind::Failover => {
            // In strict only those are chosen that are counted.
            let strict = row.asks_counted();
            let within = strict || row.context.group.lag == LagMark::Within;
            let allowed = row.plan.accept_loss || within;
            (!allowed).then(|| "the loss would be over the RPO".to_owned())
        }
    }
}

/// One entry, once the target can carry it: its agents report and are armed.
pub(super) fn advance_epoch(row: &Row) -> Vec<Command> {
    let target = &row.plan.target;
    let unarmed = unarmed_in(row.context.state, row.context.id, target);
    let silent = row.context.silent_candidate(row.plan.candidates.values());
    let Some(agent) = unarmed.or(silent) else {
        return vec![row.end(StepState::Done, format!("{target} is active"))];
    };
    if !row.attempt_over() {
        return Vec::new();
    }
    let group = row.context.id;
    let reason = format!("agent {agent} in {target} does not report, or is not armed");
    let next =
        format!("arbiter plan resume --group {group}, or arbiter plan abort --group {group}");
    vec![row.halt(reason, next)]
}

/// The chosen instance of each resource is active. A best-effort one that cannot be holds nothing.
pub(super) fn promote_data(row: &Row) -> Vec<Command> {
    let Some(token) = row.token(&row.plan.target, Layer::Data) else { return Vec::new() };
    let there = |id: &InstanceId| row.done(id, Goal::Active, token).is_some();
    let required = required_candidates(row);
    let progress = row.progress(required.values().copied(), token, there);
    if !matches!(progress, Progress::Reached) {
        return row.settle(progress, String::new);
    }
    let all = row.progress(row.plan.candidates.values(), token, there);
    let active = named("active", row.plan.candidates.values().filter(|id| there(id)));
    match all {
        Progress::Waiting(_) if !row.attempt_over() => Vec::new(),
        Progress::Reached => vec![row.end(StepState::Done, active)],
        Progress::Waiting(why) | Progress::Refused(why) => {
            vec![row.end(StepState::Done, format!("{active}; {why}"))]
        }
    }
}

/// Who did it, after what was done.
fn named<'i>(what: &str, ids: impl Iterator<Item = &'i InstanceId>) -> String {
    let ids: Vec<&str> = ids.map(|id| id.0.as_str()).collect();
    format!("{what}: {}", ids.join(", "))
}

/// Every workload in the target is active.
pub(super) fn activate_workloads(row: &Row) -> Vec<Command> {
    let target = &row.plan.target;
    let Some(token) = row.token(target, Layer::Workload) else { return Vec::new() };
    let workloads = || row.context.spec.instances_of(target, Layer::Workload).map(|(id, _)| id);
    let there = |id: &InstanceId| row.done(id, Goal::Active, token).is_some();
    row.settle(row.progress(workloads(), token, there), || named("active", workloads()))
}

/// A real write succeeded at the new epoch.
pub(super) fn verify_target(row: &Row) -> Vec<Command> {
    let Some(token) = row.token(&row.plan.target, Layer::Data) else { return Vec::new() };
    let there = |id: &InstanceId| {
        row.context.instance(id).is_some_and(|shown| shown.verified == Some(token))
    };
    let required = || required_candidates(row).into_values();
    row.settle(row.progress(required(), token, there), || named("took a write", required()))
}

/// Every name is written by one of its instances in the target, and read back.
pub(super) fn switch_traffic(row: &Row) -> Vec<Command> {
    let target = &row.plan.target;
    let Some(token) = row.token(target, Layer::Traffic) else { return Vec::new() };
    let traffic: Vec<_> = row.context.spec.instances_of(target, Layer::Traffic).collect();
    let there = |id: &InstanceId| {
        let resource = row.context.spec.instances.get(id).map(|instance| &instance.resource);
        let mut twins = traffic.iter().filter(|(_, i)| Some(&i.resource) == resource);
        twins.any(|(twin, _)| row.done(twin, Goal::Active, token).is_some())
    };
    let wrote = |(id, _): &&(&InstanceId, _)| row.done(id, Goal::Active, token).is_some();
    let note = || named(&format!("{target} named by"), traffic.iter().filter(wrote).map(|t| t.0));
    row.settle(row.progress(traffic.iter().map(|(id, _)| *id), token, there), note)
}
