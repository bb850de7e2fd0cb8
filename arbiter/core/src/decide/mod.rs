//! `decide`: what the leader proposes now. It reads State and View; it changes neither.

mod attest;
pub(crate) mod compared;
mod context;
mod drill;
pub(crate) mod failback;
mod gates;
mod housekeeping;
pub(crate) mod judge;
pub(crate) mod lag;
mod leadership;
mod open;
mod plan;
mod preflight;
mod restored;
mod serving;
mod strength;
pub(crate) mod synchronous;
mod timed;

#[cfg(test)]
mod tests;

pub use attest::attest;
pub(crate) use context::Context;
pub use context::VANTAGE_FRESH_MAX;
pub(crate) use context::session_limit;
pub use drill::drill_waits;
pub use failback::failback;
pub(crate) use gates::gates;
pub use lag::LagTrack;
pub(crate) use lag::predicted_loss;
pub use leadership::{LEADERSHIP_MIN, preferred_leader};
pub(crate) use plan::{unseen, waited_for, waits_for};
pub use preflight::{OpenRequest, preflight, supersede};
pub use restored::attest_agent;
pub(crate) use restored::unsettled;
pub use strength::strongest_evidence;

use crate::{
    By, Command, GroupId, Instant, LagMark, PlanKind, Proposal, Report, State, View, WallMillis,
};

/// What the leader proposes now. `wall` is left 0: the leader stamps it when it proposes. The
/// caller must not propose again what is still on its way into the log, and calls [`View::note`]
/// first.
pub fn decide(state: &State, view: &View, now: Instant) -> Vec<Proposal> {
    if state.cluster_id.is_none() {
        return Vec::new();
    }
    let mut commands = housekeeping::bindings(state, view, now);
    commands.extend(timed::cluster(state, view, now));
    let mut asked = Vec::new();
    for id in state.groups.keys() {
        let Some(context) = Context::new(state, view, now, id) else { continue };
        // Plans first: they are what somebody waits for.
        commands.extend(plan::drive(&context));
        let opens = open::open(&context).or_else(|| failback::open(&context));
        let drills = opens.is_none().then(|| drill::drive(&context)).flatten();
        asked.extend(drills);
        commands.extend(opens);
        commands.extend(synchronous::changes(&context));
        commands.extend(housekeeping::group(&context));
        commands.extend(serving::serving(&context));
        commands.extend(restored::settle(&context));
    }
    commands.into_iter().map(proposal).chain(asked).collect()
}

/// The marks that must be committed before `report`, heard already, renews a lease of their groups:
/// the loss that would follow has crossed the RPO. // I11
pub fn lag_crossing(state: &State, view: &View, report: &Report, now: Instant) -> Vec<Proposal> {
    let over = |group| proposal(Command::MarkLag { group, lag: LagMark::Over });
    crossed(state, view, report, now).into_iter().map(over).collect()
}

/// Groups of `report` that must be marked first.
pub(crate) fn crossed(state: &State, view: &View, report: &Report, now: Instant) -> Vec<GroupId> {
    let region = state.spec.agents.get(&report.agent);
    let crosses = |id: &&GroupId| {
        Context::new(state, view, now, id).is_some_and(|context| {
            let plan = context.group.plan.as_ref();
            let failover = plan.is_some_and(|plan| plan.kind == PlanKind::Failover);
            let serves = region.is_some() && context.group.active() == region;
            serves && !failover && lag::crossing(&context) == Some(LagMark::Over)
        })
    };
    report.groups.keys().filter(crosses).cloned().collect()
}

pub(crate) fn proposal(command: Command) -> Proposal {
    Proposal {
        request: None,
        by: By::Policy,
        reason: reason(&command),
        wall: WallMillis(0),
        command,
    }
}

/// Why, for people, where the command does not say it itself.
fn reason(command: &Command) -> String {
    match command {
        Command::OpenPlan(open) if open.kind == PlanKind::Switchover => {
            "failback to the preferred region, as policy says".to_owned()
        }
        Command::OpenPlan(_) => "the active region, or its primary, is lost".to_owned(),
        Command::AbortPlan { .. } => "the source reports again, healthy".to_owned(),
        Command::Supersede { .. } => "the target was lost after the point of no return".to_owned(),
        _ => "as seen by the leader".to_owned(),
    }
}
