//! I5: at most one plan is open per group. I6: after the point of no return a plan goes forward,
//! halts, or is superseded.

use arbiter_core::{PlanEnd, State, StepId, StepState};

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
