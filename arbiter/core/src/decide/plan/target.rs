//! Rows that the target's agents make true, and the point of no return between them. Knows what
//! they report for this plan's tokens.

use super::furthest::{self, Choice};
use super::{Progress, Row};
use crate::{
    Command, Goal, InstanceId, LagMark, Layer, LossBound, PlanKind, Position, ResourceId, StepId,
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

/// How far the instances of a row after the point of no return are; none for other rows.
pub(super) fn progress(row: &Row) -> Option<Progress> {
    let (spec, target) = (row.context.spec, &row.plan.target);
    let layer = match row.step {
        StepId::PromoteData | StepId::VerifyTarget => Layer::Data,
        StepId::ActivateWorkloads => Layer::Workload,
        StepId::SwitchTraffic => Layer::Traffic,
        _ => return None,
    };
    let token = row.token(target, layer)?;
    let here = |layer| spec.instances_of(target, layer).map(|(id, _)| id);
    let active = |id: &InstanceId| row.done(id, Goal::Active, token).is_some();
    Some(match row.step {
        StepId::PromoteData => {
            let required = row.progress(required_candidates(row).into_values(), token, active);
            match required {
                Progress::Reached => row.progress(row.plan.candidates.values(), token, active),
                missing => missing,
            }
        }
        // A real write succeeded at the new epoch.
        StepId::VerifyTarget => {
            let written = |id: &InstanceId| {
                row.context.instance(id).is_some_and(|shown| shown.verified == Some(token))
            };
            row.progress(required_candidates(row).into_values(), token, written)
        }
        // Every name is written by one of its instances in the target, and read back.
        StepId::SwitchTraffic => {
            let twin = |id: &InstanceId, twin: &InstanceId| {
                let resource = |id| spec.instances.get(id).map(|instance| &instance.resource);
                resource(id) == resource(twin)
            };
            let led = |id: &InstanceId| here(layer).any(|other| twin(id, other) && active(other));
            row.progress(here(layer), token, led)
        }
        _ => row.progress(here(layer), token, active),
    })
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

/// A row whose instances are all waited for.
pub(super) fn settle(row: &Row) -> Vec<Command> {
    progress(row).map_or_else(Vec::new, |progress| row.settle(progress, || who(row)))
}

/// What its row did, and who.
fn who(row: &Row) -> String {
    let target = &row.plan.target;
    let here = |layer| row.context.spec.instances_of(target, layer).map(|(id, _)| id);
    match row.step {
        StepId::ActivateWorkloads => named("active", here(Layer::Workload)),
        StepId::VerifyTarget => named("took a write", required_candidates(row).into_values()),
        StepId::SwitchTraffic => {
            let token = row.token(target, Layer::Traffic).unwrap_or_default();
            let wrote = |id: &&InstanceId| row.done(id, Goal::Active, token).is_some();
            named(&format!("{target} named by"), here(Layer::Traffic).filter(wrote))
        }
        _ => String::new(),
    }
}

/// Who did it, after what was done.
fn named<'i>(what: &str, ids: impl Iterator<Item = &'i InstanceId>) -> String {
    let ids: Vec<&str> = ids.map(|id| id.0.as_str()).collect();
    format!("{what}: {}", ids.join(", "))
}

/// What catch-up waits for.
pub(super) fn behind(row: &Row) -> Option<String> {
    let token = row.token(&row.plan.target, Layer::Data)?;
    let required = row.context.spec.required_resources().into_iter();
    let mut waiting = required.filter_map(|r| match furthest::choose(row, r, token, false) {
        Choice::Made(..) => None,
        Choice::Never(why) | Choice::Waiting(why) => Some(why),
    });
    waiting.next()
}
