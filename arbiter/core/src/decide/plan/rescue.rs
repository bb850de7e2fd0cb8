//! When a plan is not driven on but turned: its source came back before the point of no return, or
//! its target was lost after it. Knows policy's word on both.

use super::Row;
use crate::{
    Command, Condition, EvidenceKind, Mode, OpenRequest, PlanKind, decide::judge::judge, supersede,
};

/// The command that turns the plan, if policy wants it turned.
pub(super) fn rescue(row: &Row) -> Option<Command> {
    if row.plan.before_point_of_no_return() {
        return source_is_back(row);
    }
    target_is_lost(row)
}

/// A halted failover whose source reports again, healthy, aborts and resumes it. One that has given
/// its own word was never away.
fn source_is_back(row: &Row) -> Option<Command> {
    let context = row.context;
    let wanted = context.spec.policy.abort_when_source_returns
        && row.plan.kind == PlanKind::Failover
        && row.plan.halt.is_some();
    if !wanted {
        return None;
    }
    let mut needing = context.spec.needing_evidence(&row.plan.source);
    let back = needing.all(|(id, instance)| {
        let confirmed = row.plan.evidence.get(id).map(|e| e.kind) == Some(EvidenceKind::Confirmed);
        let sound = matches!(context.condition(id), Condition::Healthy | Condition::Stopped);
        context.is_live(&instance.agent) && sound && !confirmed
    });
    back.then(|| Command::AbortPlan {
        group: context.id.clone(),
        plan: row.plan.id,
        expected_epoch: context.group.epoch(),
        took: context.row_ran(),
    })
}

/// After the point of no return the target is the active region, judged as any other.
fn target_is_lost(row: &Row) -> Option<Command> {
    let context = row.context;
    let wanted = context.spec.policy.supersede_by_itself && context.group.mode == Mode::Automatic;
    let judgement = judge(context);
    // A target that is still being promoted answers no probe: only a silent one is lost.
    if !wanted || !judgement.is_lost(context) || !judgement.is_silent() {
        return None;
    }
    let mut request = OpenRequest::plain(context.id, PlanKind::Failover, false);
    request.target = Some(row.plan.source.clone());
    // What the lost target wrote after the fork is the loss; the policy that supersedes accepts it.
    request.accept_loss = true;
    supersede(context.state, context.view, context.now, &request).ok()
}
