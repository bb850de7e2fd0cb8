//! How plans halt, go on, are undone and end. Knows no row in particular.

use super::entry::{Entry, Outcome, refuse, stale};
use super::group::expect_epoch;
use super::{drill, evidence, overrides, rows};
use crate::{
    Epoch, EventKind, Goal, GroupId, Halt, Layer, PLANS_KEPT_MAX, PlanEnd, PlanId, PlanKind,
};
use std::time::Duration;

pub(super) fn halt(entry: &mut Entry, group: &GroupId, id: PlanId, halt: &Halt) -> Outcome {
    let plan = entry.plan_mut(group, id)?;
    if plan.halt.is_some() || plan.step() != Some(halt.step) {
        return stale(format!("plan {id} is halted, or elsewhere"));
    }
    plan.halt = Some(halt.clone());
    let message = format!("plan {id} of group {group} is halted at {}: {}", halt.step, halt.reason);
    entry.tell(EventKind::PlanHalted, Some(group), message, halt.next.clone());
    Ok(())
}

/// The row whose turn it is failed, and the table says that the plan waits for an operator.
pub(super) fn halt_here(entry: &mut Entry, group: &GroupId, why: &str) -> Outcome {
    let (_, found) = entry.group(group)?;
    let Some(plan) = &found.plan else { return stale("no plan is open") };
    let Some(step) = plan.step() else { return stale("the plan ended") };
    let id = plan.id;
    let undo = if plan.before_point_of_no_return() {
        format!(", or arbiter plan abort --group {group}")
    } else {
        String::new()
    };
    let next = format!("arbiter plan resume --group {group}{undo}");
    halt(entry, group, id, &Halt { step, reason: why.to_owned(), next })
}

/// An operator lets a halted plan go on. Evidence stays: the fence goal is the same.
pub(super) fn resume(
    entry: &mut Entry,
    group: &GroupId,
    id: PlanId,
    epoch: Epoch,
    accept_loss: bool,
) -> Outcome {
    expect_epoch(entry, group, epoch)?;
    let (by, at) = (entry.proposal.by.clone(), entry.proposal.wall);
    let plan = entry.plan_mut(group, id)?;
    if plan.halt.is_none() {
        return refuse(
            "not-halted",
            format!("plan {id} is not halted"),
            format!("arbiter plan show --group {group}"),
        );
    }
    plan.halt = None;
    if accept_loss {
        overrides::again(plan, &by, at);
    }
    let cursor = plan.cursor;
    if let Some(record) = plan.steps.get_mut(cursor) {
        record.attempts = 0;
    }
    let message = format!("plan {id} of group {group} goes on");
    let next = format!("arbiter plan show --group {group}");
    entry.tell(EventKind::PlanResumed, Some(group), message, next);
    rows::ask_again(entry, group)?;
    rows::after_evidence(entry, group, Duration::ZERO)
}

pub(super) fn abort(
    entry: &mut Entry,
    group: &GroupId,
    id: PlanId,
    epoch: Epoch,
    took: Duration,
) -> Outcome {
    entry.plan(group, id)?;
    expect_epoch(entry, group, epoch)?;
    if !entry.plan(group, id)?.before_point_of_no_return() {
        // I6
        return refuse(
            "past-point-of-no-return",
            format!("plan {id} has advanced the epoch and only goes forward"),
            format!(
                "arbiter plan resume --group {group}, or a failover back if its target is lost"
            ),
        );
    }
    rows::stop_clock(entry, group, took)?;
    let why = entry.proposal.reason.clone();
    undo(entry, group, &why)
}

/// The source is resumed at a new token, and in the same entry its evidence is void (I3).
pub(super) fn undo(entry: &mut Entry, group: &GroupId, why: &str) -> Outcome {
    let at = entry.at;
    let found = entry.group_mut(group)?;
    let Some(plan) = &mut found.plan else { return stale("no plan is open") };
    evidence::void(plan);
    let (source, target) = (plan.source.clone(), plan.target.clone());
    found.lease_stopped = false;
    found.resume_region(&source, at);
    found.set_goal(&target, Layer::Data, Goal::Standby, at);
    retire(entry, group, PlanEnd::Aborted(why.to_owned()))
}

/// Every row ended. Coming back as a standby is the old region's standing goal.
pub(super) fn complete(entry: &mut Entry, group: &GroupId) -> Outcome {
    let at = entry.at;
    let found = entry.group_mut(group)?;
    let Some(plan) = &found.plan else { return stale("no plan is open") };
    let (source, kind) = (plan.source.clone(), plan.kind);
    let drilled = found.is_drill_plan(plan.id);
    found.stand_by(&source, at);
    // A drill's is on purpose: a real loss right after it is not held up.
    found.holding_down |= kind == PlanKind::Failover && !drilled;
    retire(entry, group, PlanEnd::Completed)
}

/// Close the open plan and keep it.
pub(super) fn retire(entry: &mut Entry, group: &GroupId, end: PlanEnd) -> Outcome {
    let word = match &end {
        PlanEnd::Completed => "is completed".to_owned(),
        PlanEnd::Aborted(why) => format!("is undone, its source serves: {why}"),
        PlanEnd::Superseded(by) => format!("is superseded by plan {by}"),
    };
    let Some(plan) = &entry.group(group)?.1.plan else { return stale("no plan is open") };
    let message = format!("plan {} of group {group} {word}", plan.id);
    entry.tell(EventKind::PlanEnded, Some(group), message, "arbiter status".to_owned());
    let found = entry.group_mut(group)?;
    let Some(mut plan) = found.plan.take() else { return stale("no plan is open") };
    plan.took = crate::total(plan.steps.iter().map(|record| record.took));
    plan.halt = None;
    plan.end = Some(end);
    found.plans.push(plan.clone());
    let surplus = found.plans.len().saturating_sub(PLANS_KEPT_MAX);
    found.plans.drain(..surplus);
    drill::plan_ended(entry, group, &plan)
}
