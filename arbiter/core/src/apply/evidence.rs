//! Evidence enters State here, or is refused (I3). Knows what each kind needs; never how it was
//! got.

use super::entry::{Entry, Outcome, refusal, refuse, stale};
use super::rows;
use crate::{
    By, Control, EventKind, Evidence, EvidenceKind, GroupId, Incarnation, InstanceId, Plan, PlanId,
    PlanKind, Position, Rejected, StepId, Token, Waited, worth,
};
use std::time::Duration;

pub(super) fn record(
    entry: &mut Entry,
    group: &GroupId,
    id: PlanId,
    evidence: &Evidence,
    end: Option<Position>,
    took: Duration,
) -> Outcome {
    answers_this_plan(entry, group, id, &evidence.instance, evidence.token)?;
    if evidence.kind == EvidenceKind::Attested {
        let next = format!("arbiter attest {} --group {group}", evidence.instance);
        return refuse("attest", "an attestation is an operator's command", next);
    }
    let from_lease = evidence.waited.is_some() || evidence.kind == EvidenceKind::LeaseExpired;
    can_be_given(entry, group, evidence, from_lease)?;
    if evidence.term != entry.at.term {
        return stale("evidence was observed in another term");
    }
    let bound = entry.next.bindings.get(&evidence.agent);
    if bound.is_none_or(|binding| binding.incarnation != evidence.incarnation) {
        return stale(format!("evidence is about a life of {} that is not bound", evidence.agent));
    }
    if from_lease {
        lease_is_dead(entry, group, evidence)?;
    }
    let plan = entry.plan(group, id)?;
    if plan.kind == PlanKind::Switchover && evidence.kind != EvidenceKind::Confirmed {
        return stale("a switchover waits for the source's own word");
    }
    keep(entry, group, id, evidence.clone())?;
    if let Some(end) = end {
        learn_end(entry, group, id, &evidence.instance, end)?;
    }
    rows::after_evidence(entry, group, took)
}

/// It counts for one fence goal of one plan, before its point of no return.
fn answers_this_plan(
    entry: &Entry,
    group: &GroupId,
    id: PlanId,
    instance: &InstanceId,
    token: Token,
) -> Outcome {
    let plan = entry.plan(group, id)?;
    if token != plan.fence_token {
        return stale(format!(
            "evidence answers {token}, the plan's fence is {}",
            plan.fence_token
        ));
    }
    if plan.step().is_none_or(|step| step > StepId::AdvanceEpoch) {
        return stale("the fence of this plan is proven");
    }
    let (spec, _) = entry.group(group)?;
    match spec.instances.get(instance) {
        Some(known) if known.region == plan.source => Ok(()),
        _ => refuse(
            "unknown-instance",
            format!("{instance} is no instance of group {group} in {}", plan.source),
            format!("arbiter status --group {group}"),
        ),
    }
}

/// I3: nobody's word counts for more than the driver of the instance, its lease or an external
/// fence can ever give.
fn can_be_given(entry: &Entry, group: &GroupId, evidence: &Evidence, from_lease: bool) -> Outcome {
    let (spec, _) = entry.group(group)?;
    let Evidence { instance: id, kind, .. } = evidence;
    match spec.instances.get(id) {
        Some(instance) if !spec.can_give(instance, *kind, from_lease) => refuse(
            "never-given",
            format!("{id}, of kind {}, can never give evidence of kind {kind}", instance.kind),
            format!("arbiter attest {id} --group {group}"),
        ),
        _ => Ok(()),
    }
}

/// I4: State, not the proposer, says whether the deadman was armed, what its expiry counts as, and
/// how long the wait must be.
fn lease_is_dead(entry: &Entry, group: &GroupId, evidence: &Evidence) -> Outcome {
    let (spec, found) = entry.group(group)?;
    if entry.next.is_foreign(&evidence.agent) {
        let reason = format!(
            "agent {} was bound before this cluster was restored: who else renews its lease is not \
             known, so its end proves nothing",
            evidence.agent
        );
        let next = format!("arbiter attest {} --group {group} --reason \"…\"", evidence.instance);
        return refuse("foreign-lease", reason, next);
    }
    let Some(arming) = entry.next.arming(&evidence.agent, group) else {
        return stale(format!("agent {} is not armed: its lease proves nothing", evidence.agent));
    };
    let counts_as = arming.expiry_counts_as.min(EvidenceKind::LeaseExpired);
    if evidence.kind != counts_as {
        return stale(format!("expiry of this lease counts as {counts_as}"));
    }
    if !found.lease_stopped {
        return stale("the lease is still renewed");
    }
    let required = spec.policy.timing.dead_after(found.lease_max);
    if evidence.waited.is_none_or(|waited| waited < required) {
        return stale(format!("the lease may live: {required:?} must pass"));
    }
    Ok(())
}

/// The strongest for each instance is kept, of what is enough where something is.
fn keep(entry: &mut Entry, group: &GroupId, id: PlanId, evidence: Evidence) -> Outcome {
    let (instance, kind) = (evidence.instance.clone(), evidence.kind);
    let (spec, _) = entry.group(group)?;
    let plan = entry.plan(group, id)?;
    let worth = |kind| worth(plan, &spec.policy, kind);
    if plan.evidence.get(&instance).is_some_and(|known| worth(known.kind) >= worth(kind)) {
        return stale(format!("evidence for {instance} is known"));
    }
    let note = evidence.note.clone();
    let plan = entry.plan_mut(group, id)?;
    plan.evidence.insert(instance.clone(), evidence);
    let message = format!("plan {id}: {instance} is fenced, {kind}: {note}");
    entry.tell(EventKind::EvidenceRecorded, Some(group), message, String::new());
    Ok(())
}

fn learn_end(
    entry: &mut Entry,
    group: &GroupId,
    id: PlanId,
    instance: &InstanceId,
    end: Position,
) -> Outcome {
    let (spec, found) = entry.group(group)?;
    let Some(known) = spec.instances.get(instance) else { return Ok(()) };
    let resource = known.resource.clone();
    let managed = known.control == Control::Delegated;
    // Only the primary's end is the end of the stream. Of a managed cluster any node may have been
    // primary: the furthest end is the stream's. // I11
    if !managed && found.primaries.get(&resource).is_some_and(|primary| primary != instance) {
        return Ok(());
    }
    let plan = entry.plan_mut(group, id)?;
    let known = plan.source_end.get(&resource).copied().filter(|_| managed);
    let end = known.map_or(end, |known| known.max(end));
    let before = plan.source_end.insert(resource.clone(), end);
    if plan.step() > Some(StepId::CatchUp) {
        // I11: what catch-up counted was counted to an older end.
        let reached = plan.target_end.get(&resource).copied();
        let counted = before.zip(reached).and_then(|(end, reached)| end.bytes_after(reached));
        let missing = reached.and_then(|reached| end.bytes_after(reached));
        let known = plan.loss.bytes.zip(counted).zip(missing);
        plan.loss.bytes =
            known.map(|((sum, counted), missing)| sum.saturating_sub(counted) + missing);
    }
    Ok(())
}

/// An operator's word, for this plan and token. It replaces proof, never time.
pub(super) fn attest(
    entry: &mut Entry,
    group: &GroupId,
    id: PlanId,
    instance: &InstanceId,
    token: Token,
    waited: Waited,
) -> Outcome {
    answers_this_plan(entry, group, id, instance, token)?;
    let By::Operator(name) = &entry.proposal.by else {
        return stale("only an operator attests");
    };
    let note = format!("{name}: {}", entry.proposal.reason);
    let plan = entry.plan(group, id)?;
    if plan.kind == PlanKind::Switchover {
        return refuse(
            "switchover",
            "a switchover waits for the source's own word",
            format!(
                "arbiter plan abort --group {group}, then arbiter failover --group {group} --to {}",
                plan.target
            ),
        );
    }
    whole_wait(entry, group, waited)?;
    let (spec, _) = entry.group(group)?;
    let Some(agent) = spec.instances.get(instance).map(|i| i.agent.clone()) else {
        return stale("unknown instance");
    };
    let incarnation =
        entry.next.bindings.get(&agent).map_or(Incarnation(0), |binding| binding.incarnation);
    let evidence = Evidence {
        kind: EvidenceKind::Attested,
        instance: instance.clone(),
        agent,
        incarnation,
        token,
        term: entry.at.term,
        waited: Some(waited.elapsed),
        clean: false,
        note,
    };
    keep(entry, group, id, evidence)?;
    go_on_if_proven(entry, group, id)?;
    rows::after_evidence(entry, group, Duration::ZERO)
}

fn whole_wait(entry: &Entry, group: &GroupId, waited: Waited) -> Outcome {
    let (spec, found) = entry.group(group)?;
    if waited.term != entry.at.term {
        return stale("the wait passed in another term");
    }
    let required = spec.policy.timing.dead_after(found.lease_max);
    if waited.elapsed < required {
        return Err(lease_alive(required, waited.elapsed));
    }
    Ok(())
}

pub(crate) fn lease_alive(required: Duration, elapsed: Duration) -> Rejected {
    refusal(
        "lease-alive",
        format!("a lease may live for {required:.1?}, and only {elapsed:.1?} have passed"),
        format!("ask again in {:.1?}", required.saturating_sub(elapsed)),
    )
}

/// An operator who attests the last missing fence of a halted plan lets it go on.
fn go_on_if_proven(entry: &mut Entry, group: &GroupId, id: PlanId) -> Outcome {
    let (spec, found) = entry.group(group)?;
    let plan = entry.plan(group, id)?;
    let at_proof = plan.step() == Some(StepId::ProveFence) && plan.halt.is_some();
    if at_proof && crate::FenceProof::establish(spec, found, plan).is_ok() {
        entry.plan_mut(group, id)?.halt = None;
    }
    Ok(())
}

/// An abort resumes the source: what proved its fence says nothing any more (I3).
pub(super) fn void(plan: &mut Plan) {
    if !crate::planted!(EvidenceOfAbortedPlan) {
        plan.evidence.clear();
    }
}

/// A planted bug: evidence of the plan before, as if it answered this one's fence.
pub(super) fn reuse(group: &crate::Group, plan: &mut Plan) {
    let before = group.plans.last().filter(|before| before.source == plan.source);
    for (id, evidence) in before.into_iter().flat_map(|before| &before.evidence) {
        let evidence = Evidence { token: plan.fence_token, ..evidence.clone() };
        plan.evidence.insert(id.clone(), evidence);
    }
}
