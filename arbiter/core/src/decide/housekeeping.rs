//! What the leader writes down besides plans: lives, arming, first activation, leases, lag, and
//! what came of an old region. Knows Reports; opens nothing.

use super::context::{Context, VANTAGE_FRESH_MAX, session_limit};
use super::{lag, timed};
use crate::{
    AgentId, Command, Condition, Goal, GroupReport, GroupSpec, Heard, InstanceId, Instant, Layer,
    OnQuorumLoss, Plan, PlanEnd, PlanKind, ResourceId, Role, State, View, Waited,
    apply::leases_to_outlive, orders::enforces,
};
use std::collections::BTreeMap;
use std::time::Duration;

/// Lives that want to be bound.
pub(super) fn bindings(state: &State, view: &View, now: Instant) -> Vec<Command> {
    let known = |agent: &AgentId| state.spec.agents.contains_key(agent);
    let heard = view.reports.iter().filter(|(agent, _)| known(agent));
    heard.filter_map(|(agent, heard)| bind(state, view, now, agent, heard)).collect()
}

fn bind(
    state: &State,
    view: &View,
    now: Instant,
    agent: &AgentId,
    heard: &Heard,
) -> Option<Command> {
    let report = &heard.report;
    let ours = report.cluster_id.is_none() || report.cluster_id == state.cluster_id;
    let former = state.bindings.get(agent);
    let same = former.is_some_and(|former| former.incarnation == report.incarnation);
    let foreign = former.is_some_and(|former| former.foreign);
    if !ours || (same && !foreign) || !heard.connected || now.since(heard.at) > VANTAGE_FRESH_MAX {
        return None;
    }
    // A fence that is proven is used first: a new life would void the evidence of the former.
    if proven_for(state, agent) {
        return None;
    }
    let former_dead = match former {
        None => None,
        // It changed over, which it does only fenced.
        Some(_) if same => None,
        // A new leader has heard nobody yet: the bound life may be about to speak.
        Some(_) if now.since(view.elected) < silence(state, agent) => return None,
        Some(former) => outlived(state, view, now, agent, former.incarnation)?,
    };
    Some(Command::Bind {
        agent: agent.clone(),
        incarnation: report.incarnation,
        boot_id: report.boot_id.clone(),
        former_dead,
    })
}

/// How long a bound life may be silent and still be there, by the slowest of its groups.
fn silence(state: &State, agent: &AgentId) -> Duration {
    let groups = state.spec.groups.values().filter(|group| group.serves(agent));
    groups.map(|group| session_limit(&group.policy.timing)).max().unwrap_or_default()
}

fn proven_for(state: &State, agent: &AgentId) -> bool {
    state.groups.values().filter_map(|group| group.plan.as_ref()).any(|plan| {
        let proven = plan.step().is_some_and(|step| step > crate::StepId::ProveFence);
        proven
            && plan.halt.is_none()
            && plan.before_point_of_no_return()
            && plan.evidence.values().any(|evidence| evidence.agent == *agent)
    })
}

/// How long the former life's leases are dead; none while one may live. // I4
fn outlived(
    state: &State,
    view: &View,
    now: Instant,
    agent: &AgentId,
    former: crate::Incarnation,
) -> Option<Option<Waited>> {
    let leases = leases_to_outlive(state, agent);
    let Some(required) = leases.values().max() else { return Some(None) };
    let silent = leases.keys().map(|group| view.leases.silent_for(group, agent, former, now));
    let elapsed = silent.min()?;
    (elapsed >= *required).then_some(Some(Waited { term: view.term, elapsed }))
}

/// Everything about one group that is written down as it is seen.
pub(super) fn group(context: &Context) -> Vec<Command> {
    let mut found = arming(context);
    found.extend(activation(context));
    found.extend(leases(context));
    found.extend(lag_mark(context));
    found.extend(hold_down(context));
    found.extend(timed::group(context));
    found.extend(old_region(context));
    found.extend(zones(context));
    found.extend(drift(context));
    found
}

/// State follows at once where a Report shows less than it says; more is recorded once the agent
/// has obeyed the newest word, and, beside a primary, once its deadline runs.
fn arming(context: &Context) -> Vec<Command> {
    let agents = context.state.bindings.keys().filter(|agent| context.spec.serves(agent));
    agents.filter_map(|agent| arming_of(context, agent)).collect()
}

fn arming_of(context: &Context, agent: &AgentId) -> Option<Command> {
    let shown = context.shown(agent)?;
    let known = context.state.arming(agent, context.id);
    let incarnation = context.heard(agent)?.report.incarnation;
    let (group, agent) = (context.id.clone(), agent.clone());
    if !enforces(shown.arming, known) {
        return Some(Command::RecordUnarmed { group, agent, incarnation });
    }
    let arming = shown.arming.filter(|arming| Some(*arming) != known)?;
    let fences = context.spec.policy.on_quorum_loss == OnQuorumLoss::Fence;
    let asked = fences && context.group.arming_wanted && shown.obeyed >= context.group.revision;
    (asked && context.is_live(&agent) && deadline_runs(context, &agent, shown))
        .then_some(Command::RecordArmed { group, agent, incarnation, arming })
}

/// I4: beside a primary, or what may be one, only a running deadline makes an arming count.
fn deadline_runs(context: &Context, agent: &AgentId, shown: &GroupReport) -> bool {
    if context.group.active().is_none() {
        return false;
    }
    let replica = |(id, _): (&InstanceId, _)| {
        let fact = shown.instances.get(id).map(|instance| &instance.fact);
        !context.group.primaries.values().any(|primary| primary == id)
            && fact.is_some_and(|fact| !fact.writable)
    };
    let mut required = context.spec.beside(agent).filter(|(_, i)| i.needs_evidence());
    shown.deadline_running || crate::planted!(ArmedBeforeDeadline) || required.all(replica)
}

/// I2: the first active region is the one that policy names, when its agents alone report the
/// primaries and everybody was heard.
fn activation(context: &Context) -> Option<Command> {
    if context.group.active().is_some() {
        return None;
    }
    let region = &context.spec.policy.initial_active;
    let mut primaries: BTreeMap<ResourceId, InstanceId> = BTreeMap::new();
    for (id, instance) in context.spec.instances.iter().filter(|(_, i)| i.needs_evidence()) {
        let fact = context.live_fact(id)?;
        if fact.condition == Condition::Unknown {
            return None;
        }
        if fact.role != Role::Primary && !fact.writable {
            continue;
        }
        let first = primaries.insert(instance.resource.clone(), id.clone()).is_none();
        if instance.region != *region || !first || fact.condition != Condition::Healthy {
            return None;
        }
    }
    let all = context.spec.required_resources().into_iter().all(|r| primaries.contains_key(r));
    for (id, instance) in context.spec.instances_of(region, Layer::Data) {
        primaries.entry(instance.resource.clone()).or_insert_with(|| id.clone());
    }
    all.then(|| Command::ActivateFirst {
        group: context.id.clone(),
        region: region.clone(),
        primaries,
    })
}

/// `lease_max` rises before the first longer grant, and falls after the old wait. // I4
fn leases(context: &Context) -> Option<Command> {
    let timing = context.spec.policy.timing;
    let lease = context.group.lease_wanted(context.spec);
    let group = context.id.clone();
    if lease > context.group.lease_max {
        return Some(Command::RaiseLease { group, lease });
    }
    let (set_by, since) = *context.view.short_since.get(context.id)?;
    if set_by != context.group.lease_changed {
        return None;
    }
    let elapsed = context.now.since(since);
    let required = timing.dead_after(context.group.lease_max);
    let passed = elapsed >= required || crate::planted!(LoweredTooEarly);
    (lease < context.group.lease_max && passed).then_some(Command::LowerLease {
        group,
        lease,
        since: context.group.lease_changed,
        waited: Waited { term: context.view.term, elapsed },
    })
}

/// Only while the source reports: the mark of the last answer stands when it is silent. // I11
fn lag_mark(context: &Context) -> Option<Command> {
    let primaries = context.group.primaries.keys().filter_map(|of| context.primary(of));
    let agents = primaries.filter_map(|id| context.spec.instances.get(id));
    if !agents.into_iter().all(|instance| context.is_live(&instance.agent)) {
        return None;
    }
    if context.group.plan.as_ref().is_some_and(|plan| plan.kind == crate::PlanKind::Failover) {
        return None;
    }
    let lag = lag::crossing(context)?;
    Some(Command::MarkLag { group: context.id.clone(), lag })
}

fn hold_down(context: &Context) -> Option<Command> {
    let since = context.view.hold_down_since.get(context.id)?;
    let elapsed: Duration = context.now.since(*since);
    let passed = context.group.holding_down && elapsed >= context.spec.policy.hold_down;
    passed.then(|| Command::EndHoldDown {
        group: context.id.clone(),
        waited: Waited { term: context.view.term, elapsed },
    })
}

/// What became of the instances of a region that lost the active role.
fn old_region(context: &Context) -> Vec<Command> {
    let group = context.id;
    let fenced = context.group.unfenced.keys().filter(|id| is_quiet(context, id));
    let fenced = fenced
        .map(|instance| Command::RecordFenced { group: group.clone(), instance: instance.clone() });
    let back = context.group.returning.iter().filter(|id| is_standby(context, id));
    let back = back.map(|instance| Command::RecordStandby {
        group: group.clone(),
        instance: instance.clone(),
    });
    let back = back.filter(|_| context.group.plan.is_none());
    fenced.chain(losses(context)).chain(back).collect()
}

/// What was read of the cost of a failover, on its old side, and is not written down yet. // I11
fn losses<'a>(context: &'a Context) -> impl Iterator<Item = Command> + 'a {
    let plans = context.group.plans.iter().filter(|plan| plan.kind == PlanKind::Failover);
    let read = plans.flat_map(move |plan| {
        let source = context.spec.instances_of(&plan.source, Layer::Data);
        source.filter_map(move |(id, instance)| {
            let loss = context.live_fact(id)?.lost.as_deref()?;
            let here = match &loss.late {
                Some(late) => late.epoch.0 == plan.epoch.0 + 1 && is_newest(context, plan),
                None => {
                    plan.target_end.get(&instance.resource) == Some(&loss.from)
                        || loss.count.is_none() && loss.found >= plan.opened
                }
            };
            (here && !plan.lost.contains_key(id)).then_some((plan.id, id, loss))
        })
    });
    read.map(move |(plan, instance, loss)| Command::RecordLoss {
        group: context.id.clone(),
        plan,
        instance: instance.clone(),
        loss: loss.clone(),
    })
}

/// No later plan took the active role from its source.
fn is_newest(context: &Context, plan: &Plan) -> bool {
    let plans = context.group.plans.iter().rev();
    let mut advanced = plans.filter(|plan| !matches!(plan.end, Some(PlanEnd::Aborted(_))));
    advanced.find(|other| other.source == plan.source).is_some_and(|other| other.id == plan.id)
}

/// It has reached the goal that its region has now, and takes no writes.
fn is_quiet(context: &Context, id: &InstanceId) -> bool {
    reached_standing_goal(context, id)
        .is_some_and(|(goal, writable)| goal != Goal::Active && !writable)
}

fn is_standby(context: &Context, id: &InstanceId) -> bool {
    reached_standing_goal(context, id) == Some((Goal::Standby, false))
        && context.condition(id) == Condition::Healthy
}

fn reached_standing_goal(context: &Context, id: &InstanceId) -> Option<(Goal, bool)> {
    let instance = context.spec.instances.get(id)?;
    let set = context.group.goal(&instance.region, instance.layer)?;
    let shown = context.instance(id)?;
    let done = shown.done.as_ref().filter(|done| done.token == set.token)?;
    Some((done.goal, shown.fact.writable))
}

/// What somebody else changed in the records; a region that writes none has no drift. // I7
fn drift(context: &Context) -> Vec<Command> {
    let traffic = context.spec.instances.iter().filter(|(_, i)| i.layer == Layer::Traffic);
    let changed = traffic.filter_map(|(id, instance)| {
        let known = context.group.drift.get(id).map_or("", String::as_str);
        let seen = if context.group.active() == Some(&instance.region) {
            let fact = context.live_fact(id)?;
            fact.traffic.as_ref().map_or("", |traffic| traffic.drift.as_str())
        } else {
            ""
        };
        (known != seen).then(|| Command::RecordDrift {
            group: context.id.clone(),
            instance: id.clone(),
            drift: seen.to_owned(),
        })
    });
    changed.collect()
}

/// Zones that were written, or taken over, at the token in force. // I7
fn zones(context: &Context) -> Vec<Command> {
    let Some(active) = context.group.active() else { return Vec::new() };
    let traffic = context.spec.instances_of(active, Layer::Traffic);
    let written = traffic.filter(|(id, instance)| {
        let zone = context.group.zones.get(&GroupSpec::zone(instance)).copied().unwrap_or_default();
        let done = reached_standing_goal(context, id).is_some_and(|(goal, _)| goal == Goal::Active);
        done && (!zone.initialised || zone.adopt.is_some())
    });
    written
        .map(|(_, instance)| Command::RecordZone {
            group: context.id.clone(),
            zone: GroupSpec::zone(instance),
        })
        .collect()
}
