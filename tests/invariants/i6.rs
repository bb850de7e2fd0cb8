//! I5: at most one plan is open per group. I6: after the point of no return a plan goes forward,
//! halts, or is superseded; its rows stay those with which it opened.

use arbiter_core::{Plan, PlanEnd, State, StepId, StepState};

/// Checked on each entry.
pub(super) fn plans(before: &State, after: &State) -> Option<String> {
    for (id, group) in &after.groups {
        let old = before.groups.get(id).and_then(|group| group.plan.as_ref());
        if let (Some(old), Some(new)) = (old, &group.plan)
            && old.id != new.id
        {
            let ended = group.plans.iter().any(|plan| plan.id == old.id && plan.end.is_some());
            if !ended {
                return Some(format!("I5: plan {} opened while {} was open", new.id, old.id));
            }
        }
        let same = |new: &&Plan| old.is_some_and(|old| old.id == new.id);
        let rows = |plan: &Plan| plan.steps.iter().map(|row| row.id).collect::<Vec<_>>();
        if let Some(now) = group.plan.iter().chain(&group.plans).find(same)
            && old.is_some_and(|old| rows(old) != rows(now))
        {
            return Some(format!("I6: the rows of plan {} changed while it was open", now.id));
        }
        for plan in &group.plans {
            let advanced = plan
                .record(StepId::AdvanceEpoch)
                .is_some_and(|record| record.state == StepState::Done);
            if advanced && matches!(plan.end, Some(PlanEnd::Aborted(_))) {
                return Some(format!("I6: plan {} was undone after its epoch rose", plan.id));
            }
        }
    }
    None
}
