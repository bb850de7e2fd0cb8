//! What the leader does about an open drill: it opens its next plan as soon as every gate is open,
//! and ends the phases that agents carry out. A drill waits for nothing longer than policy says.
//! Knows gates, Reports and the clock; what an end means is in `apply`.

use super::context::Context;
use super::preflight::{OpenRequest, preflight};
use crate::{
    Command, DRILL_SAID, Drill, DrillKind, DrillPhase, ErrorReport, Goal, GroupId, InstanceId,
    InstanceReport, Instant, OpenPlan, Plan, PlanKind, Proposal, State, View, drill_parts,
};
use std::collections::BTreeMap;

/// What is to be proposed about the open drill.
pub(super) fn drive(context: &Context) -> Option<Proposal> {
    let drill = context.group.drill.as_ref()?;
    let mut reason = format!("drill {}", drill.id);
    let command = match turn(context, drill) {
        Turn::Open(open) => Command::OpenDrillPlan { drill: drill.id, open },
        Turn::Undo(why) => {
            reason = why;
            let (group, expected_epoch) = (context.id.clone(), context.group.epoch());
            let took = context.row_ran();
            Command::AbortDrill { group, drill: drill.id, expected_epoch, took }
        }
        Turn::Ended(said) => end(context, drill, said, None),
        Turn::Failed(why) => end(context, drill, BTreeMap::new(), Some(why)),
        Turn::Runs => return None,
        Turn::Waits(why) if is_over(context, drill) => {
            let limit = context.spec.policy.drill.limit;
            let why = format!("{} waited for longer than {limit:?}: {why}", drill.phase.as_str());
            end(context, drill, BTreeMap::new(), Some(why))
        }
        Turn::Waits(_) => return None,
    };
    // A plan of it is asked for by whoever asked for the drill.
    let by = match command {
        Command::OpenDrillPlan { .. } => drill.by.clone(),
        _ => crate::By::Policy,
    };
    Some(Proposal { by, reason, ..super::proposal(command) })
}

/// What the open drill of `group` waits for; none: its plan runs, or none is open.
pub fn drill_waits(state: &State, view: &View, now: Instant, group: &GroupId) -> Option<String> {
    let context = Context::new(state, view, now, group)?;
    match turn(&context, context.group.drill.as_ref()?) {
        Turn::Waits(why) => Some(why),
        _ => None,
    }
}

/// What a drill does next.
enum Turn {
    /// Its plan opens.
    Open(OpenPlan),
    /// Its plan runs.
    Runs,
    /// It waits, for this.
    Waits(String),
    /// Agents have done their parts, and say this.
    Ended(BTreeMap<InstanceId, String>),
    /// It goes no further.
    Failed(String),
    /// It goes no further, and its plan is undone.
    Undo(String),
}

fn turn(context: &Context, drill: &Drill) -> Turn {
    match drill.phase {
        DrillPhase::Rehearse | DrillPhase::Check => parts(context, drill),
        DrillPhase::Execute | DrillPhase::FailBack => plans(context, drill),
    }
}

fn plans(context: &Context, drill: &Drill) -> Turn {
    if let Some(plan) = &context.group.plan {
        return match &plan.halt {
            Some(halt) => Turn::Failed(format!("plan {} is halted: {}", plan.id, halt.reason)),
            None => overdue(context, plan).map_or(Turn::Runs, Turn::Undo),
        };
    }
    if let Some(id) = context.group.returning.first() {
        // The old region is a standby first: the way back loses nothing.
        return Turn::Waits(format!("{id} is no standby again yet"));
    }
    let Some(request) = request(context, drill) else {
        return Turn::Failed("it moves nothing".to_owned());
    };
    match preflight(context.state, context.view, context.now, &request) {
        Ok(open) => Turn::Open(open),
        Err(closed) => {
            let closed: Vec<String> = closed.into_iter().map(|gate| gate.text).collect();
            Turn::Waits(closed.join("; "))
        }
    }
}

/// Why a plan that can be undone has taken too long for a drill.
fn overdue(context: &Context, plan: &Plan) -> Option<String> {
    let limit =
        context.spec.policy.drill.abort_after.filter(|_| plan.before_point_of_no_return())?;
    let ended = crate::total(plan.steps.iter().map(|step| step.took));
    let at = plan.step().map_or("its end", |step| step.as_str());
    (ended + context.row_ran() > limit).then(|| {
        format!("plan {} was at {at} after {limit:?}, the abort_after of its drill", plan.id)
    })
}

fn request(context: &Context, drill: &Drill) -> Option<OpenRequest> {
    let out = drill.phase == DrillPhase::Execute;
    let kind = if out { drill.kind.plan()? } else { PlanKind::Switchover };
    Some(OpenRequest {
        target: Some(if out { drill.away.clone() } else { drill.home.clone() }),
        immediate: out && drill.kind == DrillKind::RegionLoss,
        accept_loss: out && drill.accept_loss,
        by_drill: true,
        ..OpenRequest::plain(context.id, kind, false)
    })
}

/// How far the agents are.
fn parts(context: &Context, drill: &Drill) -> Turn {
    let (mut said, mut refused, mut waiting) = (BTreeMap::new(), Vec::new(), Vec::new());
    for (part, agent) in drill_parts(context.spec, drill) {
        let shown = context.shown(&agent).and_then(|shown| shown.instances.get(&part));
        let error = shown.and_then(|shown| shown.error.as_ref());
        let error = error.filter(|error| error.token == drill.token);
        match (shown.filter(|shown| is_done(shown, drill)), error) {
            (Some(shown), _) => {
                let text = shown.fact.detail.get(DRILL_SAID).cloned().unwrap_or_default();
                said.insert(part, text);
            }
            (None, Some(ErrorReport { refused: true, message, .. })) => {
                refused.push(format!("{part}: {message}"));
            }
            (None, Some(error)) => waiting.push(format!("{part}: {}", error.message)),
            (None, None) => waiting.push(format!("{part}, by agent {agent}, is not done yet")),
        }
    }
    if !refused.is_empty() {
        return Turn::Failed(refused.join("; "));
    }
    if waiting.is_empty() { Turn::Ended(said) } else { Turn::Waits(waiting.join("; ")) }
}

fn is_done(shown: &InstanceReport, drill: &Drill) -> bool {
    let done = shown.done.as_ref();
    done.is_some_and(|done| done.goal == Goal::Active && done.token == drill.token)
}

fn is_over(context: &Context, drill: &Drill) -> bool {
    let known = context.view.drilling.get(context.id);
    let since = known.filter(|((id, phase, _), _)| (*id, *phase) == (drill.id, drill.phase));
    since.is_some_and(|(_, at)| context.now.since(*at) >= context.spec.policy.drill.limit)
}

fn end(
    context: &Context,
    drill: &Drill,
    said: BTreeMap<InstanceId, String>,
    failed: Option<String>,
) -> Command {
    let (group, phase) = (context.id.clone(), drill.phase);
    Command::EndDrillPhase { group, drill: drill.id, phase, said, failed }
}
