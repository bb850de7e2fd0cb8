//! What the open plan waits for: its row, and whom by name.

use super::reason;
use crate::{Plan, Reason, StepId, Topic, decide::Context, decide::waited_for, decide::waits_for};

pub(super) fn waiting(context: &Context) -> Vec<Reason> {
    let Some(plan) = &context.group.plan else { return Vec::new() };
    let Some(step) = plan.step() else { return Vec::new() };
    if let Some(halt) = &plan.halt {
        let text = format!("plan {} is halted at {}: {}", plan.id, halt.step, halt.reason);
        return vec![reason(Topic::Plan, "halted", false, text, halt.next.clone())];
    }
    let ran = context.view.row_took(context.id, context.now);
    let tried = plan.record(step).filter(|record| record.attempts > 0);
    let tried = tried.map_or(String::new(), |record| {
        format!("; not so after {} attempts: {}", record.attempts, record.note)
    });
    let text = format!("plan {}: {step} for {ran:.1?}: {}{tried}", plan.id, step.row().makes_true);
    let mut found = vec![reason(Topic::Plan, step.as_str(), true, text, String::new())];
    if matches!(step, StepId::FenceSource | StepId::ProveFence) {
        found.extend(proof(context, plan));
    }
    let waits = |why| reason(Topic::Plan, "waits", false, why, String::new());
    found.extend(waits_for(context).map(waits));
    found
}

/// Each instance that needs evidence: what there is, or how long its lease may live.
fn proof(context: &Context, plan: &Plan) -> Vec<Reason> {
    let needing = context.spec.needing_evidence(&plan.source);
    needing
        .map(|(id, instance)| {
            let (elapsed, required) = waited_for(context, instance);
            let known = plan.evidence.get(id);
            let text = match known {
                Some(evidence) => format!("{id}: {}, {}", evidence.kind, evidence.note),
                None => format!("{id}: no evidence; silent for {elapsed:.1?} of {required:.1?}"),
            };
            reason(Topic::Plan, "evidence", known.is_some(), text, String::new())
        })
        .collect()
}
