//! What ends by itself once its time has passed: a mode, a maintenance, overrides, requests of two
//! persons. A leader elected meanwhile counts from when it first saw it: late, never early.

use super::context::Context;
use crate::{APPROVAL_LASTS, Command, Instant, OVERRIDE_LASTS, State, View, Waited};
use std::time::Duration;

/// What nobody used in time.
pub(super) fn cluster(state: &State, view: &View, now: Instant) -> Vec<Command> {
    let open = view.asked_since.iter().filter(|(id, _)| state.approvals.contains_key(id));
    let passed = open.filter(|(_, since)| now.since(**since) >= APPROVAL_LASTS);
    passed
        .map(|(id, since)| Command::EndApproval {
            id: *id,
            waited: Waited { term: view.term, elapsed: now.since(*since) },
        })
        .collect()
}

/// What of one group goes back.
pub(super) fn group(context: &Context) -> Vec<Command> {
    [mode(context), maintenance(context), overrides(context)].into_iter().flatten().collect()
}

fn mode(context: &Context) -> Option<Command> {
    let hold = context.group.timed_mode.as_ref().filter(|hold| hold.stays_because.is_none())?;
    let (set_by, since) = *context.view.mode_since.get(context.id)?;
    let busy = context.group.plan.is_some() || context.group.drill.is_some();
    let waited = waited(context, since, hold.lasts)?;
    (set_by == hold.since && !busy).then(|| Command::RevertMode {
        group: context.id.clone(),
        since: hold.since,
        waited,
    })
}

fn maintenance(context: &Context) -> Option<Command> {
    let known = context.group.maintenance.as_ref()?;
    let (begun_by, since) = *context.view.maintained_since.get(context.id)?;
    let waited = waited(context, since, known.lasts)?;
    (begun_by == known.since).then(|| Command::EndMaintenance {
        group: context.id.clone(),
        since: known.since,
        waited: Some(waited),
    })
}

fn overrides(context: &Context) -> Option<Command> {
    let plan = context.group.plan.as_ref().filter(|plan| plan.may_lapse())?;
    let (_, since) = *context.view.overridden_since.get(context.id)?;
    let waited = waited(context, since, OVERRIDE_LASTS)?;
    Some(Command::LapseOverrides { group: context.id.clone(), plan: plan.id, waited })
}

/// The wait, once `lasts` has passed.
fn waited(context: &Context, since: Instant, lasts: Duration) -> Option<Waited> {
    let elapsed = context.now.since(since);
    (elapsed >= lasts).then_some(Waited { term: context.view.term, elapsed })
}
