//! What drills tell: how long a plan took, what the next is expected to take, when the next is due,
//! and what to change. Arithmetic only.

use super::{Drill, DrillEnd, DrillKind};
use crate::{Group, GroupSpec, LossBound, Plan, StepId, StepState, WallMillis};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Drills whose median predicts the next.
const PREDICTED_FROM: usize = 5;
/// A drill is said to be due this part of its period before it is overdue.
const DUE_BEFORE: u32 = 6;
/// A row that took this part of the whole, or more, is worth a look.
const LONG_ROW_PERCENT: u128 = 40;

/// What the plan of a drill that led to the other region took and may have lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measured {
    /// From its opening to its end.
    pub recovery: Duration,
    /// From the fence to a verified write: writes fail no longer than that.
    pub outage: Duration,
    /// From the proof of the fence to the end: what a real loss takes after its lease is dead.
    pub after_fence: Duration,
    /// What it may have lost.
    pub loss: LossBound,
    /// The row that took longest.
    pub slowest: Option<(StepId, Duration)>,
    /// Rows that did not end as they should, and what they say.
    pub degraded: Vec<(StepId, String)>,
}

impl Measured {
    /// Of a plan that ended.
    pub(crate) fn of(plan: &Plan) -> Self {
        let took = |rows: std::ops::RangeInclusive<StepId>| {
            crate::total(plan.steps.iter().filter(|row| rows.contains(&row.id)).map(|row| row.took))
        };
        let slowest = plan.steps.iter().max_by_key(|row| row.took);
        let degraded = plan.steps.iter().filter(|row| row.state == StepState::Degraded);
        Self {
            recovery: plan.took,
            outage: took(StepId::FenceSource..=StepId::VerifyTarget),
            after_fence: took(StepId::CatchUp..=StepId::VerifyService),
            loss: plan.loss,
            slowest: slowest.map(|row| (row.id, row.took)),
            degraded: degraded.map(|row| (row.id, row.note.clone())).collect(),
        }
    }
}

/// When the next drill is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Policy asks for none.
    Never,
    /// Not before that.
    Later(WallMillis),
    /// Since that, and overdue from the other.
    Due(WallMillis, WallMillis),
    /// It should have been done by then.
    Overdue(WallMillis),
    /// None was ever completed.
    NoneYet,
}

/// When a drill that moves the group is due at `wall`, by the last that was completed. A rehearsal
/// moves nothing.
pub fn due(spec: &GroupSpec, group: &Group, wall: WallMillis) -> Due {
    let every = spec.policy.drill.every;
    if every.is_zero() {
        return Due::Never;
    }
    let done = |drill: &&Drill| {
        drill.end == Some(DrillEnd::Completed) && drill.kind != DrillKind::Rehearsal
    };
    let Some(last) = group.drills.iter().rfind(done) else { return Due::NoneYet };
    let after = |period: Duration| {
        let period = u64::try_from(period.as_millis()).unwrap_or(u64::MAX);
        WallMillis(last.ended.0.saturating_add(period))
    };
    let (from, until) = (after(every - every / DUE_BEFORE), after(every));
    match wall {
        wall if wall < from => Due::Later(from),
        wall if wall < until => Due::Due(from, until),
        _ => Due::Overdue(until),
    }
}

/// How long a real loss of the active region would keep the group from writing: until its lease is
/// dead or it is judged lost, whichever is later, and then what the last drills took from there.
/// None: no drill has moved the group yet.
pub fn predicted_recovery(spec: &GroupSpec, group: &Group) -> Option<Duration> {
    let measured = group.drills.iter().rev().filter_map(|drill| drill.measured.as_ref());
    let mut after: Vec<Duration> = measured.take(PREDICTED_FROM).map(|m| m.after_fence).collect();
    after.sort();
    let median = *after.get(after.len() / 2)?;
    let policy = &spec.policy;
    let dead = policy.timing.dead_after(group.lease_wanted(spec));
    Some(dead.max(policy.detect_after) + median)
}

/// What to change in the procedure, each a sentence.
pub fn proposals(spec: &GroupSpec, drill: &Drill) -> Vec<String> {
    let policy = &spec.policy;
    let mut found: Vec<String> = Vec::new();
    if policy.drill.check.is_empty() {
        found.push(
            "nothing of yours checked the new active region: set check in the group's drill".into(),
        );
    }
    if let Some(measured) = &drill.measured {
        found.extend(of_measured(policy, drill.kind, measured));
    }
    if let Some(DrillEnd::Failed(why)) = &drill.end {
        found.push(format!("mend this first, and drill again: {why}"));
    }
    found
}

fn of_measured(policy: &crate::Policy, kind: DrillKind, measured: &Measured) -> Vec<String> {
    let mut found = Vec::new();
    if let Some(rto) = policy.rto.filter(|rto| measured.recovery > *rto) {
        found.push(format!(
            "recovery took {:.1?}, the objective is {rto:?}: shorten the longest row, or raise rto",
            measured.recovery
        ));
    }
    if kind == DrillKind::RegionLoss && measured.loss.age.is_none_or(|age| age > policy.rpo) {
        let rpo = policy.rpo;
        found.push(format!(
            "the loss was not known to be within the RPO of {rpo:?}: see replication"
        ));
    }
    let whole = measured.recovery.as_millis();
    if let Some((step, took)) = measured.slowest
        && took.as_millis() * 100 >= whole * LONG_ROW_PERCENT
        && took >= Duration::from_secs(1)
    {
        found.push(format!(
            "row {step} took {took:.1?} of {:.1?}: look there first",
            measured.recovery
        ));
    }
    let degraded = measured.degraded.iter();
    found.extend(degraded.map(|(step, note)| format!("row {step} ended degraded: {note}")));
    found
}
