//! Drills as operators read them. One way only, from core, but for the word of a kind.

use super::show::ms;
use arbiter_core::{
    By, Drill, DrillKind, Group, GroupId, GroupSpec, Loss, LossBound, Measured, Plan, proposals,
};
use arbiter_proto::v1 as pb;

/// A kind of drill by its word.
pub fn drill_kind_from_word(word: &str) -> Option<DrillKind> {
    DrillKind::ALL.into_iter().find(|kind| kind.as_str() == word)
}

/// A drill of `group`, with what its policy says of it. `waits_for`: as the leader sees it.
pub fn drill_to_proto(
    id: &GroupId,
    spec: &GroupSpec,
    group: &Group,
    drill: &Drill,
    waits_for: Option<String>,
) -> pb::Drill {
    let (state, why) = drill.end.as_ref().map_or(("open", ""), |end| end.words());
    let out = drill.out.and_then(|out| group.plans.iter().find(|plan| plan.id == out));
    let measured = drill.measured.as_ref();
    let LossBound { bytes, age } = measured.map(|m| m.loss).unwrap_or_default();
    let span = |of: fn(&Measured) -> std::time::Duration| measured.map_or(0, |m| ms(of(m)));
    let lost = out.and_then(lost);
    pb::Drill {
        id: drill.id.0,
        group: id.0.clone(),
        kind: drill.kind.as_str().to_owned(),
        state: state.to_owned(),
        why: why.to_owned(),
        phase: drill.phase.as_str().to_owned(),
        waits_for: waits_for.unwrap_or_default(),
        began_by: match &drill.by {
            By::Policy => "policy".to_owned(),
            By::Operator(name) => name.clone(),
        },
        reason: drill.reason.clone(),
        began_wall_ms: drill.began.0,
        ended_wall_ms: drill.ended.0,
        home: drill.home.0.clone(),
        away: drill.away.0.clone(),
        accept_loss: drill.accept_loss,
        stalls: drill.stalls,
        plan_out: drill.out.map_or(0, |plan| plan.0),
        plan_back: drill.back.map_or(0, |plan| plan.0),
        measured: measured.is_some(),
        recovery_ms: span(|m| m.recovery),
        outage_ms: span(|m| m.outage),
        loss_known: bytes.is_some(),
        loss_bytes: bytes.unwrap_or(0),
        loss_age_ms: ms(age.unwrap_or_default()),
        lost_counted: lost.is_some(),
        lost_transactions: lost.unwrap_or(0),
        rto_ms: spec.policy.rto.map_or(0, ms),
        rpo_ms: ms(spec.policy.rpo),
        parts: parts(drill),
        faults: drill.faults.clone(),
        proposals: if drill.end.is_some() { proposals(spec, drill) } else { Vec::new() },
    }
}

fn parts(drill: &Drill) -> Vec<pb::DrillPart> {
    let spoke = drill.said.iter().filter(|(_, text)| !text.is_empty());
    spoke.map(|(name, text)| pb::DrillPart { name: name.0.clone(), said: text.clone() }).collect()
}

/// Transactions that the plan cost, where each old side was read.
fn lost(plan: &Plan) -> Option<u64> {
    let streams: Vec<&Loss> = plan.lost.values().filter(|loss| loss.late.is_none()).collect();
    let read = !streams.is_empty() && streams.len() >= plan.target_end.len();
    read.then(|| streams.into_iter().map(|loss| loss.count).sum()).flatten()
}
