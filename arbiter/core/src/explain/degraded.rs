//! What makes a group degraded: it serves, and something that it needs to be safe is missing.

use super::fault::Fault;
use crate::{
    ARCHIVE_FAILS, Durability, Goal, GroupSpec, LagMark, Layer, Mode, Order, PlanEnd, Reason,
    RegionId, StepId, StepState, StrictAlone, apply::unarmed_in, decide::Context, decide::unseen,
    decide::unsettled, orders::group_orders,
};

pub(super) fn degraded(context: &Context) -> Vec<Reason> {
    let Some(active) = context.group.active() else { return Vec::new() };
    let mut found = silent_agents(context);
    let told = |(text, next)| {
        let fault = Fault::NotSettled.told(context, &active.0, text);
        Reason { next, ..fault }
    };
    found.extend(unsettled(context).map(told));
    found.extend(replication(context, active));
    found.extend(alone(context));
    found.extend(archiving(context));
    found.extend(arming(context));
    found.extend(records(context));
    found.extend(traffic(context, active));
    found.extend(unmoved(context));
    found
}

/// What is ordered to serve and does not yet: no plan waits for a bucket, a cache or a pooler, and
/// an undone one leaves its source to come back by itself.
fn unmoved(context: &Context) -> Vec<Reason> {
    if context.group.plan.is_some() {
        return Vec::new();
    }
    let agents = context.spec.regions().into_iter().flat_map(|r| context.spec.agents_in(r));
    let agents = agents.filter(|agent| context.is_live(agent));
    let orders = agents.flat_map(|agent| group_orders(context.state, agent, context.id));
    let serving = orders.filter(|order| order.goal == Goal::Active);
    let moved = serving.filter(|order| order.layer != Layer::Traffic);
    moved.filter_map(|order| not_there(context, &order)).collect()
}

fn not_there(context: &Context, order: &Order) -> Option<Reason> {
    let id = &order.instance;
    let shown = context.instance(id).filter(|_| context.spec.instances.contains_key(id))?;
    let done = shown.done.as_ref();
    if done.is_some_and(|done| done.goal == order.goal && done.token == order.token) {
        return None;
    }
    let error = shown.error.as_ref().map_or("", |error| &error.message);
    let (what, fault) = match order.layer {
        Layer::Pooler => ("its clients are not led yet", Fault::Pooler),
        _ => ("it is not active yet", Fault::NotActive),
    };
    let why = if error.is_empty() { what } else { error };
    Some(fault.told(context, &id.0, format!("{id}: {why}")))
}

fn silent_agents(context: &Context) -> Vec<Reason> {
    let regions = context.spec.regions();
    let agents = regions.into_iter().flat_map(|r| context.spec.agents_in(r));
    agents
        .filter(|agent| !context.is_live(agent))
        .map(|agent| {
            let text = format!("agent {agent} does not report");
            Fault::AgentSilent.told(context, &format!("agent {agent}"), text)
        })
        .collect()
}

/// The standby side does not follow, or too far behind.
fn replication(context: &Context, active: &RegionId) -> Vec<Reason> {
    let standby = |i: &crate::Instance| i.region != *active && i.needs_evidence();
    let others = context.spec.instances.iter().filter(|(_, i)| standby(i));
    let plan_open = context.group.plan.is_some();
    let mut found: Vec<Reason> = others
        .filter(|_| !plan_open)
        .filter_map(|(id, _)| {
            let fact = context.live_fact(id)?;
            let down = fact.upstream.map_or(fact.position.is_some(), |u| !u.streaming);
            down.then(|| {
                let text = format!("{id} does not receive from its primary: a loss would grow");
                Fault::NotStreaming.told(context, &id.0, text)
            })
        })
        .collect();
    if context.group.lag == LagMark::Over {
        let rpo = context.spec.policy.rpo;
        let text = format!("a failover now would lose more than {rpo:?}");
        found.push(Fault::Lag.told(context, &active.0, text));
    }
    found
}

/// A strict primary without a synchronous standby. // I11
fn alone(context: &Context) -> Vec<Reason> {
    let policy = &context.spec.policy;
    let group = context.group;
    if policy.durability != Durability::Strict || group.plan.is_some() {
        return Vec::new();
    }
    let counted = |resource: &&crate::ResourceId| {
        group.synchronous.get(*resource).is_some_and(|set| !set.counted.is_empty())
    };
    let missing = context.spec.required_resources().into_iter().filter(|r| !counted(r));
    missing
        .map(|resource| {
            let what = match policy.strict_alone {
                StrictAlone::Accept => "writes are acknowledged by the primary alone",
                StrictAlone::Block => "no write is acknowledged",
            };
            let text = format!("{resource} has no synchronous standby: {what}");
            Fault::StrictAlone.told(context, &resource.0, text)
        })
        .collect()
}

/// A primary whose WAL does not reach the archive: it serves, and no backup can be brought up to
/// it.
fn archiving(context: &Context) -> Vec<Reason> {
    let primaries = context.group.primaries.values();
    let failing = primaries.filter_map(|id| {
        let why = context.live_fact(id)?.detail.get(ARCHIVE_FAILS)?;
        let text = format!("{id} does not archive its WAL: {why}");
        Some(Fault::Archive.told(context, &id.0, text))
    });
    failing.collect()
}

/// A mode that counts on arming, and an agent that is not armed: the mode is not in effect.
fn arming(context: &Context) -> Vec<Reason> {
    if context.group.mode == Mode::Observe && !context.group.arming_wanted {
        return Vec::new();
    }
    let regions = context.spec.regions();
    let unarmed = regions.into_iter().filter_map(|r| unarmed_in(context.state, context.id, r));
    unarmed
        .map(|agent| {
            let text = format!("agent {agent} is not armed: the mode is not in effect");
            Fault::NotArmed.told(context, &agent.0, text)
        })
        .collect()
}

fn records(context: &Context) -> Vec<Reason> {
    let group = context.group;
    let unfenced = group.unfenced.iter().map(|(id, since)| {
        let text = format!("{id} is unfenced since {} (wall clock, ms)", since.0);
        Fault::Unfenced.told(context, &id.0, text)
    });
    let returning = group.returning.iter().filter(|_| group.plan.is_none()).map(|id| {
        let error = context.instance(id).and_then(|shown| shown.error.as_ref());
        let why = error.map_or(String::new(), |error| format!(": {}", error.message));
        Fault::NotStandbyYet.told(context, &id.0, format!("{id} is not a standby again{why}"))
    });
    let last = group.plans.last().filter(|plan| plan.end == Some(PlanEnd::Completed));
    let steps = last.into_iter().flat_map(|plan| &plan.steps);
    // What an arbiter did not see then may be seen now.
    let seen = |id| id == StepId::VerifyService && seen_now(context);
    let verify = steps.filter(|r| r.state == StepState::Degraded && !seen(r.id));
    let verify =
        verify.map(|r| Fault::Verify.told(context, r.id.as_str(), format!("{}: {}", r.id, r.note)));
    unfenced.chain(returning).chain(verify).collect()
}

/// Every arbiter sees the active region serve under the public name.
fn seen_now(context: &Context) -> bool {
    context.group.active().is_some_and(|active| unseen(context, active).is_empty())
}

/// Records that somebody else changed, that could not be written, or that name another region where
/// no plan says why: the standing goal of the active region moves them. // I7
fn traffic(context: &Context, active: &RegionId) -> Vec<Reason> {
    let instances = context.spec.instances_of(active, Layer::Traffic);
    let mut found = Vec::new();
    for (id, instance) in instances {
        let Some(shown) = context.instance(id) else { continue };
        let drift = shown.fact.traffic.as_ref().map_or("", |traffic| &traffic.drift);
        let names = shown.fact.traffic.as_ref().and_then(|traffic| traffic.names.as_ref());
        if let Some(other) = names.filter(|region| *region != active)
            && context.group.plan.is_none()
        {
            let text = format!("{id}: traffic names {other}, and is moved to {active}");
            found.push(Fault::Traffic.told(context, &id.0, text));
        }
        if !drift.is_empty() {
            let zone = GroupSpec::zone(instance);
            found.push(Fault::Drift.told(context, &zone, format!("{id}: {drift}")));
        }
        if let Some(error) = &shown.error {
            let text = format!("{id}: {}", error.message);
            found.push(Fault::Unwritten.told(context, &id.0, text));
        }
    }
    found
}
