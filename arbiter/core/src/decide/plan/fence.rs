//! Rows `fence-source` and `prove-fence`, and evidence, which may come at any row before the point
//! of no return. Knows what was reported and how long leases are silent; State checks it again.

use super::Row;
use crate::{
    Command, Evidence, EvidenceKind, FenceProof, Goal, Instance, InstanceId, PlanKind, Position,
    StepState,
    decide::strength::{can_come, expiry_counts_as},
    external::is_cut_off,
    orders::drains,
    weakest_allowed, worth,
};
use std::time::Duration;

/// The source is asked; its word ends the row. No session ends it at once.
pub(super) fn fence_source(row: &Row) -> Vec<Command> {
    let mut found = evidence(row);
    match row.plan.kind {
        PlanKind::Switchover => found.extend(drain_over(row)),
        PlanKind::Failover => found.extend(unanswered(row)),
    }
    found
}

fn drain_over(row: &Row) -> Option<Command> {
    let token = row.plan.fence_token;
    let needing = row.context.spec.needing_evidence(&row.plan.source);
    let refused = needing
        .filter_map(|(id, _)| Some((id, row.error(id, token)?)))
        .find(|(_, error)| error.refused);
    if let Some((id, error)) = refused {
        return Some(row.end(StepState::Failed, format!("{id}: {}", error.message)));
    }
    let limit = row.context.spec.policy.drain_limit;
    (row.context.row_ran() >= limit).then(|| {
        let missing = still_missing(row);
        let why = format!("the source did not stop cleanly within {limit:?}: {missing}");
        row.end(StepState::Failed, why)
    })
}

/// Who has not confirmed, and why, as far as is known.
fn still_missing(row: &Row) -> String {
    let missing = unconfirmed(row).into_iter().map(|(id, instance)| {
        let error = row.error(id, row.plan.fence_token);
        match error {
            _ if !row.context.is_live(&instance.agent) => {
                format!("{id}: agent {} does not report", instance.agent)
            }
            Some(error) => format!("{id}: {}", error.message),
            None => format!("{id} is not there yet"),
        }
    });
    missing.collect::<Vec<_>>().join("; ")
}

fn unanswered(row: &Row) -> Option<Command> {
    let missing = unconfirmed(row);
    let live = missing.iter().find(|(_, instance)| row.context.is_live(&instance.agent));
    if live.is_none() && !missing.is_empty() {
        return Some(row.end(StepState::Unanswered, "no session of the source's agent"));
    }
    let policy = &row.context.spec.policy;
    let clean = if row.plan.immediate { Duration::ZERO } else { policy.clean_stop_limit };
    let limit = clean + policy.timing.fence;
    (row.context.row_ran() >= limit).then(|| {
        let why = format!("not confirmed within {limit:?}: {}", still_missing(row));
        row.end(StepState::Failed, why)
    })
}

/// Instances that have not given their own word.
fn unconfirmed<'a>(row: &Row<'a>) -> Vec<(&'a InstanceId, &'a Instance)> {
    let confirmed = |id: &InstanceId| {
        row.plan.evidence.get(id).is_some_and(|e| e.kind == EvidenceKind::Confirmed)
    };
    let needing = row.context.spec.needing_evidence(&row.plan.source);
    needing.filter(|(id, _)| !confirmed(id)).collect()
}

/// The lease clock runs from the last answer, not from this row. It halts only when no sufficient
/// evidence can come.
pub(super) fn prove_fence(row: &Row) -> Vec<Command> {
    let found = evidence(row);
    if !found.is_empty() {
        return found;
    }
    hopeless(row).into_iter().collect()
}

/// A row after the proof: if a new life voided the evidence, it must be there again first.
pub(super) fn or_else(row: &Row, then: fn(&Row) -> Vec<Command>) -> Vec<Command> {
    let proven = FenceProof::establish(row.context.spec, row.context.group, row.plan).is_ok();
    if proven { then(row) } else { prove_fence(row) }
}

fn hopeless(row: &Row) -> Option<Command> {
    let context = row.context;
    let policy = &context.spec.policy;
    let least = weakest_allowed(row.plan, policy);
    let known = |id: &InstanceId| row.plan.evidence.get(id);
    let enough = |id: &InstanceId| known(id).is_some_and(|e| worth(row.plan, policy, e.kind).0);
    // An operator may attest at any time: what can come by itself is asked.
    let patience = policy.timing.dead_after(context.group.lease_max);
    // What could come and does not come must not be waited for in silence.
    let longest = patience + policy.step_limit * policy.step_attempts_max.max(1);
    let over = context.row_ran() >= longest;
    let can = |id: &InstanceId| can_come(context, id).is_some_and(|kind| kind >= least);
    let mut needing = context.spec.needing_evidence(&row.plan.source);
    let (id, _) = needing.find(|(id, _)| !enough(id) && (over || !can(id)))?;
    if context.row_ran() < patience {
        return None;
    }
    let group = context.id;
    let why = if can(id) { format!("came within {longest:?}") } else { "can come".to_owned() };
    Some(row.halt(
        format!("no evidence of kind {least} or stronger {why} for {id}"),
        format!(
            "make sure that {id} is stopped, then: arbiter attest {id} --group {group} --reason \
             \"…\"; or arbiter plan abort --group {group}"
        ),
    ))
}

/// Evidence that can be recorded now: the strongest that was seen for each instance, where it is
/// stronger than what is known.
pub(super) fn evidence(row: &Row) -> Vec<Command> {
    if !row.plan.before_point_of_no_return() {
        return Vec::new();
    }
    let source = row.context.spec.instances.iter().filter(|(_, i)| i.region == row.plan.source);
    source.filter_map(|(id, instance)| evidence_for(row, id, instance)).collect()
}

fn evidence_for(row: &Row, id: &InstanceId, instance: &Instance) -> Option<Command> {
    let known = row.plan.evidence.get(id).map(|evidence| evidence.kind);
    let word = own_word(row, id);
    let seen = word.map(|word| (word.kind, None, word.note().to_owned()));
    let others = [powered_off(row, instance), lease_expired(row, instance)];
    let best = others.into_iter().flatten().chain(seen).max_by_key(|(kind, _, _)| *kind)?;
    let (kind, waited, note) = best;
    // A provider's word about a bucket would be refused again and again while the source drains.
    if row.plan.kind == PlanKind::Switchover && kind != EvidenceKind::Confirmed {
        return None;
    }
    let worth = |kind| worth(row.plan, &row.context.spec.policy, kind);
    if known.is_some_and(|known| worth(known) >= worth(kind)) {
        return None;
    }
    let incarnation = row.context.state.bindings.get(&instance.agent)?.incarnation;
    let evidence = Evidence {
        kind,
        instance: id.clone(),
        agent: instance.agent.clone(),
        incarnation,
        token: row.plan.fence_token,
        term: row.context.view.term,
        waited,
        clean: word.is_some_and(|word| word.clean && word.kind == kind),
        note,
    };
    Some(Command::RecordEvidence {
        group: row.context.id.clone(),
        plan: row.plan.id,
        evidence,
        end: word.and_then(|word| word.end),
        took: row.context.row_ran(),
    })
}

type Seen = (EvidenceKind, Option<Duration>, String);

/// What an agent says of its own fence.
#[derive(Clone, Copy)]
struct OwnWord {
    kind: EvidenceKind,
    end: Option<Position>,
    clean: bool,
}

impl OwnWord {
    fn note(self) -> &'static str {
        if self.clean { "its agent stopped it cleanly" } else { "its agent killed it" }
    }
}

/// What the agent itself says, for this goal and token, stored on its disk. // I10
fn own_word(row: &Row, id: &InstanceId) -> Option<OwnWord> {
    let spec = row.context.spec;
    let instance = spec.instances.get(id)?;
    let goal = match row.plan.kind {
        PlanKind::Switchover => drains(row.context.group, id, instance),
        PlanKind::Failover => Goal::Fenced,
    };
    let token = row.plan.fence_token;
    let done = row.done(id, goal, token)?;
    let shown = row.context.instance(id)?;
    let kind = done.evidence.filter(|kind| spec.can_give(instance, *kind, false))?;
    // What accepts writes is not fenced, whatever was done to it.
    (shown.token >= token && !shown.fact.writable).then_some(OwnWord {
        kind,
        end: done.end,
        clean: done.clean,
    })
}

/// The external fence check came back true for this goal.
fn powered_off(row: &Row, instance: &Instance) -> Option<Seen> {
    let cut = row.plan.kind == PlanKind::Failover
        && instance.needs_evidence()
        && is_cut_off(row.context, &row.plan.source, row.plan.fence_token);
    cut.then(|| (EvidenceKind::PowerOff, None, "fence_check came back true".to_owned()))
}

/// The lease is dead, and State knows that the deadman was armed. // I4
fn lease_expired(row: &Row, instance: &Instance) -> Option<Seen> {
    let context = row.context;
    if row.plan.kind == PlanKind::Switchover || !instance.needs_evidence() {
        return None;
    }
    let kind = expiry_counts_as(context, instance)?;
    let (elapsed, required) = waited_for(context, instance);
    let note = format!("silent for {elapsed:.1?}, {required:.1?} needed");
    (elapsed >= required).then_some((kind, Some(elapsed), note))
}

/// How long the lease beside `instance` may not have been renewed, and how long it must not.
pub(crate) fn waited_for(
    context: &crate::decide::Context,
    instance: &Instance,
) -> (Duration, Duration) {
    let required = context.spec.policy.timing.dead_after(context.group.lease_max);
    let bound = context.state.bindings.get(&instance.agent).map(|binding| binding.incarnation);
    let elapsed = match bound {
        Some(life) => {
            context.view.leases.silent_for(context.id, &instance.agent, life, context.now)
        }
        None => context.now.since(context.view.elected),
    };
    (elapsed, required)
}
