//! What an agent must make true: State's goals, instance by instance. Knows State; never a Report,
//! a clock, or how a goal is reached.

mod directive;
mod grants;
mod pooler;

pub(crate) use directive::invitation;
pub use directive::{directive, push};
pub use grants::grants;
pub(crate) use grants::{enforces, is_bound};

use crate::{
    AgentId, CommitWait, Commits, Control, Durability, Goal, Group, GroupId, GroupSpec, Instance,
    InstanceId, Layer, Mode, OnDrift, OnIsolation, Order, Plan, PlanKind, Position, RegionGoal,
    ResourceId, State, StepId, StrictAlone, Terms, drill_orders, external::external_order,
};
use std::collections::BTreeSet;
use std::time::Duration;

/// What `agent` must make true: a goal for each of its instances. Empty for a group that was never
/// activated, or whose mode is `observe` while it is unarmed.
pub fn orders(state: &State, agent: &AgentId) -> Vec<Order> {
    state.groups.keys().flat_map(|group| group_orders(state, agent, group)).collect()
}

/// The part of one group.
pub(crate) fn group_orders(state: &State, agent: &AgentId, id: &GroupId) -> Vec<Order> {
    let Some((spec, group)) = state.group(id) else { return Vec::new() };
    spec.beside(agent)
        .filter(|(name, instance)| flows(group, name, instance))
        .filter_map(|(name, instance)| order(id, spec, group, name, instance))
        .filter(|order| is_settled(spec, group, order))
        .chain(external_order(spec, group, id, agent))
        .chain(drill_orders(spec, group, id, agent))
        .collect()
}

/// `observe` orders nothing new: where arming is wanted, a resource that was fenced comes back only
/// by the standing order for its data (a primary cannot even be armed before); and what lost the
/// active role stays told so, until it
/// is a standby again, whatever the mode.
fn flows(group: &Group, name: &InstanceId, instance: &Instance) -> bool {
    let data = group.arming_wanted && instance.layer == Layer::Data;
    group.mode != Mode::Observe || data || group.returning.contains(name)
}

/// After a restore State may be older than the resources: until no other region can be the one that
/// serves, nothing is told to, and nothing to follow what may be behind it. A plan's source may be
/// fenced, and its target made ready. // I1
fn is_settled(spec: &GroupSpec, group: &Group, order: &Order) -> bool {
    let region = spec.instances.get(&order.instance).map(|instance| &instance.region);
    let target = group.plan.as_ref().map(|plan| &plan.target);
    group.unsettled.is_none()
        || order.goal == Goal::Fenced
        || (order.goal != Goal::Active && region.is_some() && region == target)
}

fn order(
    id: &GroupId,
    spec: &GroupSpec,
    group: &Group,
    name: &InstanceId,
    instance: &Instance,
) -> Option<Order> {
    let (set, goal, terms) = match instance.layer {
        Layer::Watched => return None,
        Layer::Pooler => pooler::order(spec, group, instance)?,
        moved => {
            let set = group.goal(&instance.region, moved)?;
            let (goal, terms) = match moved {
                Layer::Data => data_order(spec, group, name, instance, set),
                Layer::Traffic => (set.goal, traffic_terms(spec, group, instance, set)),
                _ => (set.goal, clean_stop(spec, group, set)),
            };
            (set, goal, terms)
        }
    };
    Some(Order {
        group: id.clone(),
        instance: name.clone(),
        layer: instance.layer,
        goal,
        token: set.token,
        verify: goal == Goal::Active && is_verified_now(group, instance),
        terms,
        commits: commits(spec, group, instance).filter(|_| goal == Goal::Active),
    })
}

/// A new primary has no synchronous standby yet, whatever the one before it had.
fn promoted(spec: &GroupSpec) -> CommitWait {
    match (spec.policy.durability, spec.policy.strict_alone) {
        (Durability::Async, _) => CommitWait::Configured,
        (Durability::Strict, StrictAlone::Accept) => CommitWait::Alone,
        (Durability::Strict, StrictAlone::Block) => CommitWait::Blocked,
    }
}

/// Whom the commits of a primary wait for. // I11
pub(crate) fn commits(spec: &GroupSpec, group: &Group, instance: &Instance) -> Option<Commits> {
    let names = |ids: &mut dyn Iterator<Item = &InstanceId>| -> BTreeSet<String> {
        ids.map(|id| spec.replicates_as(id)).collect()
    };
    let elsewhere = |i: &Instance| i.resource == instance.resource && i.region != instance.region;
    let mut others = spec.instances.iter().filter(|(_, i)| elsewhere(i)).map(|(id, _)| id);
    let stalls = spec.policy.on_isolation == OnIsolation::Stall;
    let isolated = stalls.then(|| names(&mut others));
    let commits = match spec.policy.durability {
        Durability::Strict => {
            let named = group.synchronous.get(&instance.resource).map(|set| &set.named);
            let named = names(&mut named.into_iter().flatten());
            let wait = match spec.policy.strict_alone {
                _ if !named.is_empty() => CommitWait::Standbys(named),
                StrictAlone::Accept => CommitWait::Alone,
                StrictAlone::Block => CommitWait::Blocked,
            };
            Commits { wait, isolated: None }
        }
        // A drill has them wait, until its plan is through.
        Durability::Async if group.durability(spec) == Durability::Strict => {
            let named = group.synchronous.get(&instance.resource).map(|set| &set.named);
            let named = names(&mut named.into_iter().flatten());
            let waits = (!named.is_empty()).then_some(CommitWait::Standbys(named));
            Commits { wait: waits.unwrap_or_default(), isolated }
        }
        Durability::Async => Commits { wait: CommitWait::Configured, isolated },
    };
    instance.waits.then_some(commits)
}

/// A region's data goal, for one of its instances: only the chosen one of each resource is primary,
/// and the others follow it. In a target all of them drain: who has received most is chosen then.
/// Where a manager chooses inside its region, each of its nodes may become primary at any time: all
/// of them are active, and stay so no longer than their lease. // I4
fn data_order(
    spec: &GroupSpec,
    group: &Group,
    name: &InstanceId,
    instance: &Instance,
    set: RegionGoal,
) -> (Goal, Terms) {
    let plan = group.plan.as_ref();
    let target = plan.filter(|plan| plan.target == instance.region);
    let follow = |leader: Option<&InstanceId>| {
        let upstream = leader.and_then(|id| spec.instances.get(id)).map(|i| i.address.clone());
        (Goal::Standby, Terms { upstream: upstream.unwrap_or_default(), ..Terms::default() })
    };
    let primary = group.primaries.get(&instance.resource);
    let chosen = primary.is_none_or(|primary| primary == name);
    match (set.goal, target) {
        (Goal::Active, _) if chosen || instance.control == Control::Delegated => {
            (Goal::Active, Terms { promoted: promoted(spec), ..Terms::default() })
        }
        (Goal::Active | Goal::Standby, _) => follow(primary),
        (Goal::Drained, Some(plan)) => {
            // What an operator gave up is not waited for.
            let given_up = plan.kind == PlanKind::Failover && plan.accept_loss;
            let until = clean_end(group, plan, &instance.resource).filter(|_| !given_up);
            (Goal::Drained, Terms { until, ..Terms::default() })
        }
        (Goal::Drained, None) if drains(group, name, instance) == Goal::Fenced => {
            let clean_stop = Some(spec.policy.clean_stop_limit);
            (Goal::Fenced, Terms { clean_stop, ..Terms::default() })
        }
        (Goal::Drained | Goal::Fenced, _) => (set.goal, clean_stop(spec, group, set)),
    }
}

/// What the draining of a source region means for one of its instances: a primary hands over all
/// that it wrote; a replica beside it has nothing to hand over, and is only to be out of the way.
/// Which node of a managed cluster is primary its manager knows.
pub(crate) fn drains(group: &Group, name: &InstanceId, instance: &Instance) -> Goal {
    match group.primaries.get(&instance.resource) {
        Some(primary) if primary != name && instance.control != Control::Delegated => Goal::Fenced,
        _ => Goal::Drained,
    }
}

/// Where the clean stop of a resource's primary left the end of its stream. What a killed one had
/// written may never arrive.
pub(crate) fn clean_end(group: &Group, plan: &Plan, resource: &ResourceId) -> Option<Position> {
    let primary = group.primaries.get(resource)?;
    let clean = plan.evidence.get(primary).is_some_and(|evidence| evidence.clean);
    plan.source_end.get(resource).copied().filter(|_| clean)
}

/// How long a source may take to stop cleanly.
fn clean_stop(spec: &GroupSpec, group: &Group, set: RegionGoal) -> Terms {
    let clean_stop = match (set.goal, &group.plan) {
        (Goal::Drained, _) => None,
        (Goal::Fenced, Some(plan)) if set.token == plan.fence_token && !plan.immediate => {
            Some(spec.policy.clean_stop_limit)
        }
        _ => Some(Duration::ZERO),
    };
    Terms { clean_stop, ..Terms::default() }
}

fn traffic_terms(spec: &GroupSpec, group: &Group, instance: &Instance, set: RegionGoal) -> Terms {
    let zone = group.zones.get(&GroupSpec::zone(instance)).copied().unwrap_or_default();
    Terms {
        names: group.active().cloned(),
        may_create: !zone.initialised,
        adopt: zone.adopt == Some(set.token),
        repair: spec.policy.on_drift == OnDrift::Repair,
        ..Terms::default()
    }
}

/// Asked for from the promotion on, so that the write is tried as soon as the goal is reached.
fn is_verified_now(group: &Group, instance: &Instance) -> bool {
    let Some(plan) = &group.plan else { return false };
    let rows = StepId::PromoteData..=StepId::VerifyTarget;
    instance.layer == Layer::Data
        && plan.target == instance.region
        && plan.step().is_some_and(|step| rows.contains(&step))
}
