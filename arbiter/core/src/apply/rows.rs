//! How a plan moves from row to row. It walks the plan's own rows and the table; what each row
//! means when its turn comes is [`enter`]. Knows no Report: how a row ended travels in the command.

use super::entry::{Entry, Outcome, refuse, stale};
use super::group::covers;
use super::{advance, plan_end};
use crate::{
    EventKind, FenceProof, Goal, GroupId, Layer, OnFailure, PlanId, PlanKind, StepId, StepOutcome,
    StepState,
};
use std::time::Duration;

/// The row whose turn it is ended, as the leader saw it.
pub(super) fn end_step(
    entry: &mut Entry,
    group: &GroupId,
    id: PlanId,
    step: StepId,
    outcome: &StepOutcome,
    took: Duration,
) -> Outcome {
    its_turn(entry, group, id, step)?;
    match outcome.state {
        StepState::Pending | StepState::Running => stale(format!("{step} has not ended")),
        StepState::Done | StepState::Skipped => {
            if matches!(step, StepId::FenceSource | StepId::ProveFence) {
                return stale(format!("{step} ends with evidence"));
            }
            if step == StepId::CatchUp {
                learn_ends(entry, group, id, outcome)?;
            }
            if step == StepId::AdvanceEpoch {
                advance::advance(entry, group, id)?;
            }
            finish(entry, group, outcome.state, &outcome.note, took)
        }
        StepState::Unanswered => {
            let plan = entry.plan(group, id)?;
            if step != StepId::FenceSource || plan.kind != PlanKind::Failover {
                return stale(format!("{step} waits for an answer"));
            }
            finish(entry, group, StepState::Unanswered, &outcome.note, took)
        }
        StepState::Degraded | StepState::Failed => fail(entry, group, &outcome.note, took),
    }
}

/// A failed attempt at a row that is tried again; bounded where the table says so.
pub(super) fn retry(
    entry: &mut Entry,
    group: &GroupId,
    id: PlanId,
    step: StepId,
    note: &str,
) -> Outcome {
    its_turn(entry, group, id, step)?;
    let attempts_max = entry.group(group)?.0.policy.step_attempts_max.max(1);
    let on_failure = on_failure(entry, group)?;
    if !matches!(on_failure, OnFailure::RetryThenHalt | OnFailure::RetryForEver) {
        return stale(format!("{step} is not tried again"));
    }
    let plan = entry.plan_mut(group, id)?;
    let cursor = plan.cursor;
    let Some(record) = plan.steps.get_mut(cursor) else { return stale("the plan ended") };
    record.attempts = record.attempts.saturating_add(1);
    record.note = note.to_owned();
    if on_failure == OnFailure::RetryThenHalt && record.attempts >= attempts_max {
        return plan_end::halt_here(entry, group, note);
    }
    Ok(())
}

fn its_turn(entry: &Entry, group: &GroupId, id: PlanId, step: StepId) -> Outcome {
    let plan = entry.plan(group, id)?;
    if plan.halt.is_some() {
        return stale(format!("plan {id} is halted"));
    }
    match plan.step() {
        Some(present) if present == step => Ok(()),
        _ => stale(format!("it is not the turn of {step} in plan {id}")),
    }
}

/// What the table says about a failure of the row whose turn it is.
fn on_failure(entry: &Entry, group: &GroupId) -> Result<OnFailure, crate::Rejected> {
    let Some(plan) = &entry.group(group)?.1.plan else { return stale("no plan is open") };
    let Some(step) = plan.step() else { return stale("the plan ended") };
    Ok(match plan.kind {
        PlanKind::Switchover => step.row().switchover,
        PlanKind::Failover => step.row().failover,
    })
}

fn fail(entry: &mut Entry, group: &GroupId, note: &str, took: Duration) -> Outcome {
    match on_failure(entry, group)? {
        OnFailure::Never | OnFailure::Refuse => stale("this row cannot fail"),
        OnFailure::NextRow => finish(entry, group, StepState::Failed, note, took),
        OnFailure::Degrade => finish(entry, group, StepState::Degraded, note, took),
        OnFailure::Abort => {
            mark(entry, group, StepState::Failed, note, took)?;
            plan_end::undo(entry, group, note)
        }
        OnFailure::Halt | OnFailure::RetryThenHalt | OnFailure::RetryForEver => {
            plan_end::halt_here(entry, group, note)
        }
    }
}

/// Evidence may end the fence rows in the entry that brings it.
pub(super) fn after_evidence(entry: &mut Entry, group: &GroupId, took: Duration) -> Outcome {
    let (_, found) = entry.group(group)?;
    let Some(plan) = found.plan.as_ref().filter(|plan| plan.halt.is_none()) else { return Ok(()) };
    match plan.step() {
        Some(StepId::FenceSource) if source_confirmed(entry, group)? => {
            finish(entry, group, StepState::Done, "the source confirmed its fence", took)
        }
        Some(StepId::ProveFence) => {
            if let Some(summary) = proven(entry, group)? {
                return finish(entry, group, StepState::Done, &summary, took);
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

/// The row whose turn it is ended, and the plan goes on.
fn finish(
    entry: &mut Entry,
    group: &GroupId,
    state: StepState,
    note: &str,
    took: Duration,
) -> Outcome {
    mark(entry, group, state, note, took)?;
    let at = entry.at;
    let found = entry.group_mut(group)?;
    let Some(plan) = found.plan.as_mut() else { return stale("no plan is open") };
    let step = plan.step();
    plan.cursor += 1;
    let (source, token) = (plan.source.clone(), plan.fence_token);
    match step {
        // Clients are held back: a switchover's source may stop now.
        Some(StepId::StopLease) => found.drain_region(&source, token, at),
        // It renews the lease until its source has confirmed.
        Some(StepId::FenceSource) => found.lease_stopped = true,
        _ => {}
    }
    enter(entry, group)
}

fn mark(
    entry: &mut Entry,
    group: &GroupId,
    state: StepState,
    note: &str,
    took: Duration,
) -> Outcome {
    let wall = entry.proposal.wall;
    let Some(plan) = entry.group_mut(group)?.plan.as_mut() else { return stale("no plan") };
    let (id, cursor) = (plan.id, plan.cursor);
    let Some(record) = plan.steps.get_mut(cursor) else { return stale("the plan ended") };
    record.state = state;
    record.note = note.to_owned();
    record.took = record.took.saturating_add(took);
    let step = record.id;
    plan.times.ended.insert(step, wall);
    let word = format!("{state:?}").to_lowercase();
    let message = format!("plan {id}: {step} {word} after {took:.1?}: {note}");
    entry.tell(EventKind::StepEnded, Some(group), message, String::new());
    Ok(())
}

/// Add the time that the present row ran, when the plan ends in the middle of it.
pub(super) fn stop_clock(entry: &mut Entry, group: &GroupId, took: Duration) -> Outcome {
    let Some(plan) = entry.group_mut(group)?.plan.as_mut() else { return stale("no plan") };
    let cursor = plan.cursor;
    if let Some(record) = plan.steps.get_mut(cursor) {
        record.took = record.took.saturating_add(took);
    }
    Ok(())
}

/// The turn of the row at the cursor comes: its part of State changes. Rows with nothing to do end
/// in the same entry. Bounded: each round moves the cursor on.
pub(super) fn enter(entry: &mut Entry, group: &GroupId) -> Outcome {
    let Some(plan) = entry.group_mut(group)?.plan.as_mut() else { return stale("no plan") };
    let Some(step) = plan.step() else { return plan_end::complete(entry, group) };
    let cursor = plan.cursor;
    plan.steps[cursor].state = StepState::Running;
    match step {
        StepId::FenceSource if source_confirmed(entry, group)? => skip(entry, group),
        StepId::ProveFence => match proven(entry, group)? {
            Some(note) => finish(entry, group, StepState::Done, &note, Duration::ZERO),
            None => Ok(()),
        },
        StepId::CatchUp => target_goal(entry, group, Layer::Data, Goal::Drained),
        // Its goal is set where the epoch rises.
        StepId::PromoteData | StepId::VerifyTarget if !target_has(entry, group, Layer::Data)? => {
            skip(entry, group)
        }
        StepId::ActivateWorkloads => target_goal(entry, group, Layer::Workload, Goal::Active),
        // I7
        StepId::SwitchTraffic => target_goal(entry, group, Layer::Traffic, Goal::Active),
        StepId::VerifyService if !target_has(entry, group, Layer::Traffic)? => skip(entry, group),
        StepId::Preflight
        | StepId::StopLease
        | StepId::FenceSource
        | StepId::AdvanceEpoch
        | StepId::PromoteData
        | StepId::VerifyTarget
        | StepId::VerifyService => Ok(()),
    }
}

/// A resumed plan asks the target anew, by a new token: what was refused before says nothing of
/// now, and an attempt that hangs is given up. The source's fence keeps its token and evidence.
pub(super) fn ask_again(entry: &mut Entry, group: &GroupId) -> Outcome {
    let at = entry.at;
    let found = entry.group_mut(group)?;
    let Some(plan) = &found.plan else { return stale("no plan") };
    let target = plan.target.clone();
    let (layer, goal) = match plan.step() {
        Some(StepId::CatchUp) => (Layer::Data, Goal::Drained),
        Some(StepId::PromoteData | StepId::VerifyTarget) => (Layer::Data, Goal::Active),
        Some(StepId::ActivateWorkloads) => (Layer::Workload, Goal::Active),
        Some(StepId::SwitchTraffic) => (Layer::Traffic, Goal::Active),
        _ => return Ok(()),
    };
    let before = found.goal(&target, layer).map(|set| set.token);
    let token = found.set_goal(&target, layer, goal, at);
    // I7: who may take over what stands in a zone still may.
    for zone in found.zones.values_mut() {
        if zone.adopt.is_some() && zone.adopt == before {
            zone.adopt = Some(token);
        }
    }
    Ok(())
}

fn skip(entry: &mut Entry, group: &GroupId) -> Outcome {
    finish(entry, group, StepState::Skipped, "nothing to do", Duration::ZERO)
}

fn target_has(entry: &Entry, group: &GroupId, layer: Layer) -> Result<bool, crate::Rejected> {
    let (spec, found) = entry.group(group)?;
    let target = found.plan.as_ref().map(|plan| &plan.target);
    Ok(target.is_some_and(|region| spec.instances_of(region, layer).next().is_some()))
}

fn target_goal(entry: &mut Entry, group: &GroupId, layer: Layer, goal: Goal) -> Outcome {
    let at = entry.at;
    let any = target_has(entry, group, layer)?;
    let found = entry.group_mut(group)?;
    let Some(target) = found.plan.as_ref().map(|plan| plan.target.clone()) else {
        return stale("no plan");
    };
    found.set_goal(&target, layer, goal, at);
    if any { Ok(()) } else { skip(entry, group) }
}

/// Every instance that needs evidence gave the strongest: its own word.
fn source_confirmed(entry: &Entry, group: &GroupId) -> Result<bool, crate::Rejected> {
    let (spec, found) = entry.group(group)?;
    let Some(plan) = &found.plan else { return stale("no plan") };
    Ok(spec.needing_evidence(&plan.source).all(|(id, _)| {
        plan.evidence.get(id).is_some_and(|e| e.kind == crate::EvidenceKind::Confirmed)
    }))
}

/// A summary of the evidence, when it proves the fence.
fn proven(entry: &Entry, group: &GroupId) -> Result<Option<String>, crate::Rejected> {
    let (spec, found) = entry.group(group)?;
    let Some(plan) = &found.plan else { return stale("no plan") };
    if FenceProof::establish(spec, found, plan).is_err() {
        return Ok(None);
    }
    let kinds: Vec<String> =
        plan.evidence.iter().map(|(id, e)| format!("{id} {}", e.kind)).collect();
    Ok(Some(if kinds.is_empty() { "nothing to prove".to_owned() } else { kinds.join(", ") }))
}

/// What catch-up found: who has received most, which is promoted, and how far it is. A switchover
/// loses nothing: less than the source's end is not its end.
fn learn_ends(entry: &mut Entry, group: &GroupId, id: PlanId, outcome: &StepOutcome) -> Outcome {
    let (spec, found) = entry.group(group)?;
    let plan = entry.plan(group, id)?;
    let mut candidates = plan.candidates.clone();
    candidates.extend(outcome.candidates.clone());
    covers(spec, &plan.target, &candidates)?;
    for resource in spec.required_resources() {
        let reached = outcome.target_end.get(resource).copied();
        let short = plan.source_end.get(resource).is_some_and(|end| reached < Some(*end));
        if plan.kind == PlanKind::Switchover && short {
            // I11
            return refuse(
                "behind",
                format!("{resource} in {} has not received all of the source", plan.target),
                format!("wait, or abort: arbiter plan abort --group {group}"),
            );
        }
        let before = found.superseded_by(id);
        if let Some(why) = before.and_then(|plan| plan.unfit_to_return(resource, reached)) {
            return refuse(
                "before-fork",
                format!("{resource} in {}: {why}", plan.target),
                format!("arbiter plan abort --group {group}"),
            );
        }
    }
    let plan = entry.plan_mut(group, id)?;
    plan.candidates = candidates;
    plan.target_end = outcome.target_end.clone();
    if let Some(loss) = outcome.loss {
        plan.loss = loss;
    }
    Ok(())
}
