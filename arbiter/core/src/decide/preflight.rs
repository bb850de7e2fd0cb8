//! Whether a plan would open now. The same gates serve `decide`, `explain` and the admin face.

use super::compared;
use super::context::Context;
use super::gates::{gates, target_of};
use super::judge::failed_primary;
use crate::{
    Command, Epoch, GroupId, Instant, LossBound, OpenPlan, PlanKind, Reason, RegionId, ResourceId,
    State, Topic, View, check_overrides,
};
use std::collections::{BTreeMap, BTreeSet};

/// What somebody wants opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenRequest {
    /// The group.
    pub group: GroupId,
    /// The kind of plan.
    pub kind: PlanKind,
    /// The region to activate; none: the only other data region of the group.
    pub target: Option<RegionId>,
    /// The epoch the asker believes in; none: whatever it is.
    pub expected_epoch: Option<Epoch>,
    /// Skip the clean stop.
    pub immediate: bool,
    /// Loss over the RPO is accepted.
    pub accept_loss: bool,
    /// Gates that the operator goes through, by code.
    pub overrides: BTreeSet<String>,
    /// Policy asks, not an operator: mode, hold-down and evidence count.
    pub by_policy: bool,
    /// The open drill asks, which may stand for more than policy does.
    pub by_drill: bool,
}

impl OpenRequest {
    /// A plan of `kind` as it would be asked for without any option.
    pub fn plain(group: &GroupId, kind: PlanKind, by_policy: bool) -> Self {
        Self {
            group: group.clone(),
            kind,
            target: None,
            expected_epoch: None,
            immediate: false,
            accept_loss: false,
            overrides: BTreeSet::new(),
            by_policy,
            by_drill: false,
        }
    }
}

/// The plan that would open, or every reason why not.
///
/// # Errors
/// The closed gates, each with code, sentence and the command to run next.
pub fn preflight(
    state: &State,
    view: &View,
    now: Instant,
    request: &OpenRequest,
) -> Result<OpenPlan, Vec<Reason>> {
    let context = context(state, view, now, request)?;
    may_override(request)?;
    let gates = gates(&context, request, None);
    closed(&gates)?;
    open_plan(&context, request, &gates).ok_or_else(|| no_target(request))
}

/// The command that closes the open plan of `request.group`, past its point of no return, and opens
/// a failover back; for an operator's failover while such a plan is open.
///
/// # Errors
/// The closed gates.
pub fn supersede(
    state: &State,
    view: &View,
    now: Instant,
    request: &OpenRequest,
) -> Result<Command, Vec<Reason>> {
    let context = context(state, view, now, request)?;
    let Some(plan) = context.group.plan.as_ref().filter(|p| !p.before_point_of_no_return()) else {
        return preflight(state, view, now, request).map(Command::OpenPlan);
    };
    may_override(request)?;
    let gates = gates(&context, request, Some(plan));
    closed(&gates)?;
    let open = open_plan(&context, request, &gates).ok_or_else(|| no_target(request))?;
    let stands = open.candidates.iter().filter_map(|(resource, id)| {
        let at = context.live_fact(id)?.position?;
        Some((resource.clone(), at))
    });
    let stands = stands.collect();
    Ok(Command::Supersede { plan: plan.id, open, stands, took: context.row_ran() })
}

fn context<'a>(
    state: &'a State,
    view: &'a View,
    now: Instant,
    request: &'a OpenRequest,
) -> Result<Context<'a>, Vec<Reason>> {
    Context::new(state, view, now, &request.group).ok_or_else(|| {
        vec![Reason {
            topic: topic(request),
            code: "unknown-group".to_owned(),
            open: false,
            overridden: false,
            text: format!("there is no group {}", request.group),
            next: "arbiter status, which lists the groups".to_owned(),
        }]
    })
}

/// What gates of `request` are about.
pub(super) fn topic(request: &OpenRequest) -> Topic {
    match (request.by_policy, request.kind) {
        (true, PlanKind::Failover) => Topic::Automatic,
        (true, PlanKind::Switchover) => Topic::Failback,
        (false, PlanKind::Switchover) => Topic::Switchover,
        (false, PlanKind::Failover) => Topic::Failover,
    }
}

fn closed(gates: &[Reason]) -> Result<(), Vec<Reason>> {
    let closed: Vec<Reason> = gates.iter().filter(|gate| !gate.open).cloned().collect();
    if closed.is_empty() { Ok(()) } else { Err(closed) }
}

/// Only gates that guard no fence, and only by their names.
fn may_override(request: &OpenRequest) -> Result<(), Vec<Reason>> {
    let refused = check_overrides(request.overrides.iter().map(String::as_str));
    refused.map_err(|refused| {
        let (text, next) = match &refused {
            crate::Rejected::Refused { reason, next, .. } => (reason.clone(), next.clone()),
            other => (other.to_string(), String::new()),
        };
        vec![Reason {
            topic: topic(request),
            code: refused.code().to_owned(),
            open: false,
            overridden: false,
            text,
            next,
        }]
    })
}

/// What the asker goes through, and whether it was closed. Who accepts any loss names no gate:
/// those count that were closed.
fn overridden(request: &OpenRequest, gates: &[Reason]) -> BTreeMap<String, bool> {
    let through = gates.iter().filter(|gate| gate.overridden).map(|gate| (gate.code.clone(), true));
    let named = request.overrides.iter().map(|gate| (gate.clone(), false));
    named.chain(through).collect()
}

fn no_target(request: &OpenRequest) -> Vec<Reason> {
    vec![Reason {
        topic: topic(request),
        code: "unknown-region".to_owned(),
        open: false,
        overridden: false,
        text: "no region can be the target".to_owned(),
        next: "arbiter status".to_owned(),
    }]
}

fn open_plan(context: &Context, request: &OpenRequest, gates: &[Reason]) -> Option<OpenPlan> {
    let target = target_of(context, request)?;
    let resources: BTreeSet<&ResourceId> =
        context.spec.instances_of(&target, crate::Layer::Data).map(|(_, i)| &i.resource).collect();
    let mut candidates = BTreeMap::new();
    let mut source_end = BTreeMap::new();
    let mut loss = LossBound { bytes: Some(0), age: Some(std::time::Duration::ZERO) };
    for resource in resources {
        let Some((candidate, reached)) = context.furthest(resource, &target) else { continue };
        candidates.insert(resource.clone(), candidate.clone());
        if !context.spec.required_resources().contains(resource) {
            continue;
        }
        let known = context.source_end(resource);
        if let Some(known) = known {
            source_end.insert(resource.clone(), known.position);
        }
        let bytes = known.zip(reached).and_then(|(k, r)| k.position.bytes_after(r));
        loss.bytes = loss.bytes.zip(bytes).map(|(sum, more)| sum.saturating_add(more));
        loss.age = loss.age.zip(known.map(|k| k.age)).map(|(one, other)| one.max(other));
    }
    let found = match request.kind {
        PlanKind::Switchover => compared::in_region(context, &target),
        PlanKind::Failover => Vec::new(),
    };
    Some(OpenPlan {
        group: request.group.clone(),
        kind: request.kind,
        target,
        expected_epoch: request.expected_epoch.unwrap_or(context.group.epoch()),
        immediate: request.immediate || primary_is_dead(context),
        accept_loss: request.accept_loss,
        overrides: overridden(request, gates),
        candidates,
        source_end,
        loss,
        compared: found.into_iter().map(|found| found.text).collect(),
    })
}

/// There is nothing to stop cleanly.
fn primary_is_dead(context: &Context) -> bool {
    failed_primary(context).is_some_and(|(_, condition)| condition == crate::Condition::Dead)
}
