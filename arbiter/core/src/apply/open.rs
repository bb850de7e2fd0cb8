//! Plans begin here. Knows what a plan needs to open, and what is true from then on.

use super::arming::unarmed_in;
use super::entry::{Entry, Outcome, refusal, refuse, stale};
use super::group::{covers, expect_epoch};
use super::overrides::check_overrides;
use super::{drill, evidence, plan_end, rows, synchronous};
use crate::{
    By, Durability, EventKind, InstanceId, LagMark, Layer, Mode, OpenPlan, Plan, PlanEnd, PlanId,
    PlanKind, PlanTimes, Position, RegionId, RegionKind, Rejected, ResourceId, Revision, StepId,
    StepRecord, StepState, Token, steps::rows_of,
};
use std::collections::BTreeMap;
use std::time::Duration;

/// What a switchover does about the lease of its source.
pub(crate) const RENEWED: &str = "renewals go on while the source drains";

pub(super) fn open(entry: &mut Entry, open: &OpenPlan) -> Outcome {
    let (_, group) = entry.group(&open.group)?;
    if let Some(plan) = &group.plan {
        // I5
        return refuse(
            "plan-open",
            format!("plan {} of group {} is open", plan.id, open.group),
            format!("arbiter plan show --group {0}, or arbiter plan abort --group {0}", open.group),
        );
    }
    let source = may_open(entry, open)?;
    may_lose(entry, open)?;
    begin(entry, open, source)
}

/// I6: after the point of no return a plan whose target is lost is closed, and a failover back is
/// opened, in one entry.
pub(super) fn supersede(
    entry: &mut Entry,
    plan: PlanId,
    open: &OpenPlan,
    stands: &BTreeMap<ResourceId, Position>,
    took: Duration,
) -> Outcome {
    let old = entry.plan(&open.group, plan)?;
    if old.before_point_of_no_return() {
        return refuse(
            "before-point-of-no-return",
            format!("plan {plan} can still be undone"),
            format!("arbiter plan abort --group {}", open.group),
        );
    }
    if open.kind != PlanKind::Failover || open.target != old.source {
        return refuse(
            "not-back",
            format!("plan {plan} can only be superseded by a failover back to {}", old.source),
            format!("arbiter failover --group {} --to {}", open.group, old.source),
        );
    }
    let source = may_open(entry, open)?;
    standby_ready(entry, open, old, stands)?;
    if !open.accepts_loss() {
        return Err(over_rpo(open));
    }
    let next = PlanId(entry.at.index);
    rows::stop_clock(entry, &open.group, took)?;
    plan_end::retire(entry, &open.group, PlanEnd::Superseded(next))?;
    begin(entry, open, source)
}

/// The old source can be promoted again: each of its instances is proven fenced, and where it
/// stands is known, and not before the fork.
fn standby_ready(
    entry: &Entry,
    open: &OpenPlan,
    old: &Plan,
    stands: &BTreeMap<ResourceId, Position>,
) -> Outcome {
    let (spec, _) = entry.group(&open.group)?;
    let next = format!("arbiter status --group {}", open.group);
    let proven = |id: &InstanceId| old.evidence.get(id).map(|e| e.token) == Some(old.fence_token);
    if let Some((id, _)) = spec.needing_evidence(&old.source).find(|(id, _)| !proven(id)) {
        return refuse("not-fenced", format!("no evidence that {id} was fenced"), next);
    }
    let mut required = spec.required_resources().into_iter();
    let unfit = required.find_map(|resource| {
        let why = old.unfit_to_return(resource, stands.get(resource).copied())?;
        Some(format!("{resource} in {}: {why}", old.source))
    });
    unfit.map_or(Ok(()), |why| refuse("not-standby-ready", why, next))
}

/// The checks of every plan; returns its source.
fn may_open(entry: &Entry, open: &OpenPlan) -> Result<RegionId, Rejected> {
    expect_epoch(entry, &open.group, open.expected_epoch)?;
    check_overrides(open.overrides.keys().map(String::as_str))?;
    let (spec, group) = entry.group(&open.group)?;
    let source = group.active().cloned().ok_or_else(|| {
        refusal(
            "not-activated",
            format!("group {} has no active region yet", open.group),
            format!("arbiter explain --group {}", open.group),
        )
    })?;
    target_fits(entry, open, &source)?;
    let by_policy = entry.proposal.by == By::Policy;
    let allowed = group.mode == Mode::Automatic || (group.mode == Mode::Manual && !by_policy);
    if !allowed {
        return refuse(
            "mode",
            format!("the mode of group {} lets nobody open this plan", open.group),
            format!("arbiter mode manual --group {}", open.group),
        );
    }
    if let Some(agent) = unarmed_in(&entry.next, &open.group, &open.target) {
        return refuse(
            "not-armed",
            format!("agent {agent} in {} is not armed", open.target),
            format!("arbiter arm --group {}", open.group),
        );
    }
    covers(spec, &open.target, &open.candidates)?;
    Ok(source)
}

fn target_fits(entry: &Entry, open: &OpenPlan, source: &RegionId) -> Outcome {
    let target = &open.target;
    let next = "arbiter status, which lists the regions";
    match entry.next.spec.regions.get(target) {
        None => refuse("unknown-region", format!("there is no region {target}"), next),
        // I8
        Some(RegionKind::Witness) => {
            refuse("witness", format!("{target} is a witness and is never active"), next)
        }
        Some(RegionKind::Data) if target == source => {
            refuse("already-active", format!("{target} is active already"), next)
        }
        Some(RegionKind::Data) => Ok(()),
    }
}

/// I11: the loss is bounded before the decision.
fn may_lose(entry: &Entry, open: &OpenPlan) -> Outcome {
    let (spec, group) = entry.group(&open.group)?;
    if open.kind == PlanKind::Switchover {
        return Ok(());
    }
    let by_policy = entry.proposal.by == By::Policy;
    if by_policy && group.holding_down {
        return stale("the hold-down after the last failover has not passed");
    }
    let accepted = |gate| open.overrides(gate) && !by_policy;
    if group.durability_of(spec, PlanId(entry.at.index)) == Durability::Strict {
        if accepted("strict") {
            return Ok(());
        }
        let there = |resource: &ResourceId| {
            let here = spec.instances_of(&open.target, Layer::Data);
            here.filter(|(_, i)| i.resource == *resource).map(|(id, _)| id.clone()).collect()
        };
        return match synchronous::uncounted(spec, group, there) {
            None => Ok(()),
            Some(resource) => refuse(
                "strict",
                format!(
                    "nothing shows that {resource} in {} has every acknowledged write",
                    open.target
                ),
                format!(
                    "arbiter switchover --group {0} --to {1}, or arbiter failover --group {0} --to \
                     {1} --accept-loss",
                    open.group, open.target
                ),
            ),
        };
    }
    if group.lag != LagMark::Within && !accepted("rpo") {
        return Err(over_rpo(open));
    }
    Ok(())
}

fn over_rpo(open: &OpenPlan) -> Rejected {
    refusal(
        "rpo",
        format!("the loss of a failover to {} would be over the RPO, or is unknown", open.target),
        format!("arbiter failover --group {} --to {} --accept-loss", open.group, open.target),
    )
}

fn begin(entry: &mut Entry, open: &OpenPlan, source: RegionId) -> Outcome {
    let at = entry.at;
    let plan = plan_of(entry, open, source.clone())?;
    let id = plan.id;
    drill::plan_opens(entry, &open.group, id)?;
    let group = entry.group_mut(&open.group)?;
    let drains = plan.step().is_some_and(|step| step > StepId::StopLease);
    let fence_token = match open.kind {
        // I3: from this entry on the source gets no renewal, and its fence goal has this token.
        PlanKind::Failover => {
            group.lease_stopped = true;
            group.fence_region(&source, at)
        }
        PlanKind::Switchover => {
            let token = Token { epoch: group.epoch(), revision: Revision(at.index) };
            group.revision = at.index;
            if drains {
                group.drain_region(&source, token, at);
            }
            token
        }
    };
    let mut plan = Plan { fence_token, ..plan };
    if crate::planted!(EvidenceOfAbortedPlan) {
        evidence::reuse(group, &mut plan);
    }
    group.plan = Some(plan);
    let kind = kind_word(open.kind);
    let message = format!("{kind} {id} of group {} to {} is open", open.group, open.target);
    entry.tell(
        EventKind::PlanOpened,
        Some(&open.group),
        format!("{message}: {}", entry.proposal.reason),
        format!("arbiter plan show --group {}", open.group),
    );
    rows::enter(entry, &open.group)
}

fn plan_of(entry: &Entry, open: &OpenPlan, source: RegionId) -> Result<Plan, Rejected> {
    let (spec, group) = entry.group(&open.group)?;
    let (state, note) = match open.kind {
        PlanKind::Failover => (StepState::Done, "the source gets no further renewal"),
        // The source stops only once its poolers hold clients back.
        PlanKind::Switchover if spec.poolers().next().is_some() => (StepState::Pending, ""),
        PlanKind::Switchover => (StepState::Done, RENEWED),
    };
    let fits = [&["nothing speaks against it".to_owned()], open.compared.as_slice()].concat();
    let steps: Vec<StepRecord> = rows_of(entry.next.version)
        .map(|step| match step.id {
            StepId::Preflight => record(step.id, StepState::Done, &fits.join("; ")),
            StepId::StopLease => record(step.id, state, note),
            _ => record(step.id, StepState::Pending, ""),
        })
        .collect();
    let cursor = steps.iter().position(|s| s.state == StepState::Pending).unwrap_or(steps.len());
    Ok(Plan {
        id: PlanId(entry.at.index),
        kind: open.kind,
        source,
        target: open.target.clone(),
        epoch: group.epoch(),
        by: entry.proposal.by.clone(),
        reason: entry.proposal.reason.clone(),
        immediate: open.immediate,
        accept_loss: open.accepts_loss(),
        overrides: open.kept_overrides(&entry.proposal.by, entry.proposal.wall),
        opened: entry.proposal.wall,
        steps,
        cursor,
        fence_token: Token::default(),
        evidence: BTreeMap::new(),
        source_end: open.source_end.clone(),
        candidates: open.candidates.clone(),
        target_end: BTreeMap::new(),
        lost: BTreeMap::new(),
        loss: open.loss,
        halt: None,
        end: None,
        took: Duration::ZERO,
        times: PlanTimes::default(),
    })
}

fn record(id: StepId, state: StepState, note: &str) -> StepRecord {
    StepRecord { id, state, attempts: 0, took: Duration::ZERO, note: note.to_owned() }
}

fn kind_word(kind: PlanKind) -> &'static str {
    match kind {
        PlanKind::Switchover => "switchover",
        PlanKind::Failover => "failover",
    }
}
