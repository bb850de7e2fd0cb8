//! What operators read: plans, events, reasons. One way only, from core.

use super::audit;
use super::{evidence_word, loss_to_proto};
use arbiter_core::{
    Actor, Event, Evidence, GroupId, InstanceId, Loss, OnFailure, Plan, PlanEnd, PlanKind, Reason,
    STEPS, StepId, StepRecord, StepState,
};
use arbiter_proto::v1 as pb;
use serde::Serialize;
use std::time::Duration;

/// The word that serde spells for a unit variant, such as `plan-halted`.
pub fn spelled<T: Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        _ => String::new(),
    }
}

pub(super) fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// `steady`, `halted`, or the step of the open plan.
pub fn plan_phase(plan: Option<&Plan>) -> String {
    match plan {
        None => "steady".to_owned(),
        Some(plan) if plan.halt.is_some() => "halted".to_owned(),
        Some(plan) => plan.step().map_or("steady".to_owned(), |step| step.to_string()),
    }
}

/// A plan with its rows as the table describes them.
pub fn plan_to_proto(group: &GroupId, plan: &Plan) -> pb::Plan {
    let (state, end_note) = match (&plan.end, &plan.halt) {
        (Some(PlanEnd::Completed), _) => ("completed", String::new()),
        (Some(PlanEnd::Aborted(why)), _) => ("aborted", why.clone()),
        (Some(PlanEnd::Superseded(by)), _) => ("superseded", format!("plan {by} goes on")),
        (None, Some(_)) => ("halted", String::new()),
        (None, None) => ("open", String::new()),
    };
    let (halt_reason, halt_next) = match &plan.halt {
        Some(halt) => (halt.reason.clone(), halt.next.clone()),
        None => (String::new(), String::new()),
    };
    pb::Plan {
        id: plan.id.0,
        group: group.0.clone(),
        kind: spelled(&plan.kind),
        source: plan.source.0.clone(),
        target: plan.target.0.clone(),
        epoch: plan.epoch.0,
        opened_by: audit::by_text(&plan.by),
        reason: plan.reason.clone(),
        immediate: plan.immediate,
        accept_loss: plan.accept_loss,
        opened_wall_ms: plan.opened.0,
        took_ms: ms(plan.took),
        state: state.to_owned(),
        steps: plan.steps.iter().map(|record| step_to_proto(plan, record)).collect(),
        evidence: plan.evidence.values().map(evidence_to_proto).collect(),
        halt_reason,
        halt_next,
        loss_bytes: plan.loss.bytes.unwrap_or(0),
        loss_known: plan.loss.bytes.is_some(),
        loss_age_ms: ms(plan.loss.age.unwrap_or_default()),
        end_note,
        fence_token: plan.fence_token.to_string(),
        losses: plan.lost.iter().map(|(instance, loss)| loss_of(instance, loss)).collect(),
        losses_awaited: losses_awaited(plan),
        overrides: plan.overrides.iter().map(audit::override_to_proto).collect(),
        ..pb::Plan::default()
    }
}

fn loss_of(instance: &InstanceId, loss: &Loss) -> pb::PlanLoss {
    let (instance, loss) = (instance.0.clone(), Some(loss_to_proto(loss)));
    pb::PlanLoss { instance, loss, ..pb::PlanLoss::default() }
}

/// Resources of which the old side was not read yet, after a failover.
fn losses_awaited(plan: &Plan) -> u32 {
    if plan.kind != PlanKind::Failover || !plan.advanced() {
        return 0;
    }
    let read = plan.lost.values().filter(|loss| loss.late.is_none()).count();
    plan.target_end.len().saturating_sub(read) as u32
}

/// The rows of a plan of `kind` that was not opened.
pub fn rows_to_proto(kind: PlanKind) -> Vec<pb::PlanStep> {
    STEPS
        .iter()
        .map(|row| StepRecord {
            id: row.id,
            state: StepState::Pending,
            attempts: 0,
            took: Duration::ZERO,
            note: String::new(),
        })
        .map(|record| row_to_proto(kind, record.state, &record))
        .collect()
}

fn step_to_proto(plan: &Plan, record: &StepRecord) -> pb::PlanStep {
    // The row whose turn it is is recorded as pending until it ends.
    let running = plan.step() == Some(record.id) && record.state == StepState::Pending;
    let state = if running { StepState::Running } else { record.state };
    row_to_proto(plan.kind, state, record)
}

fn row_to_proto(kind: PlanKind, state: StepState, record: &StepRecord) -> pb::PlanStep {
    let row = record.id.row();
    pb::PlanStep {
        name: row.name.to_owned(),
        on: actor_word(row.on).to_owned(),
        makes_true: row.makes_true.to_owned(),
        state: spelled(&state),
        took_ms: ms(record.took),
        attempts: record.attempts,
        note: record.note.clone(),
        point_of_no_return: record.id == StepId::AdvanceEpoch,
        on_failure: failure_words(match kind {
            PlanKind::Switchover => row.switchover,
            PlanKind::Failover => row.failover,
        })
        .to_owned(),
    }
}

fn actor_word(actor: Actor) -> &'static str {
    match actor {
        Actor::Leader => "leader",
        Actor::Source => "source",
        Actor::Target => "target",
        Actor::Arbiters => "arbiters",
    }
}

fn failure_words(on_failure: OnFailure) -> &'static str {
    match on_failure {
        OnFailure::Refuse => "the plan does not open",
        OnFailure::Abort => "abort, resume the source",
        OnFailure::NextRow => "next row",
        OnFailure::Halt => "halt",
        OnFailure::RetryThenHalt => "retry, then halt",
        OnFailure::RetryForEver => "back-off without end; halt only if refused",
        OnFailure::Degrade => "degraded",
        OnFailure::Never => "-",
    }
}

/// Evidence as `plan` and `report` show it.
pub fn evidence_to_proto(evidence: &Evidence) -> pb::Evidence {
    pb::Evidence {
        instance: evidence.instance.0.clone(),
        kind: evidence_word(evidence.kind).to_owned(),
        agent: evidence.agent.0.clone(),
        incarnation: evidence.incarnation.0,
        token: evidence.token.to_string(),
        waited_ms: evidence.waited.map_or(0, ms),
        note: evidence.note.clone(),
    }
}

/// An event as `history` and the webhook show it.
pub fn event_to_proto(event: &Event) -> pb::Event {
    pb::Event {
        id: event.id.clone(),
        kind: spelled(&event.kind),
        group: event.group.as_ref().map_or(String::new(), |group| group.0.clone()),
        plan: event.plan.map_or(0, |plan| plan.0),
        message: event.message.clone(),
        next: event.next.clone(),
        wall_ms: event.wall.0,
    }
}

/// A gate as `explain` shows it.
pub fn reason_to_proto(reason: &Reason) -> pb::Reason {
    pb::Reason {
        topic: spelled(&reason.topic),
        code: reason.code.clone(),
        open: reason.open,
        text: reason.text.clone(),
        next: reason.next.clone(),
    }
}
