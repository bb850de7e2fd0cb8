//! I11: in `strict` no acknowledged write is lost; in `async` the loss is bounded by policy before
//! the decision, and counted exactly after it.
//! Here both are held against the servers themselves.

use crate::sim::clock::{Nanos, SECOND};
use crate::sim::postgres::Postgres;
use crate::sim::world::World;
use arbiter_core::{
    Durability, EvidenceKind, Group, GroupId, GroupSpec, InstanceId, Plan, PlanKind, State,
};
use std::collections::BTreeMap;

/// What a Report and its mark may be late by.
const LATE_MAX: Nanos = 5 * SECOND;

/// How long a mark by an RPO that policy names no more may stand.
const MARK_MAX: Nanos = 30 * SECOND;

/// RPOs that policy named lately, by group, each with when it last did.
#[derive(Default)]
pub(super) struct Allowed(BTreeMap<GroupId, Vec<(Nanos, Nanos)>>);

/// Keep when plans opened, and what they may lose by then.
pub(super) fn remember(world: &mut World, before: &State, after: &State) {
    let now = world.now;
    for (id, group) in &after.groups {
        let known = world.watch.rpo.0.entry(id.clone()).or_default();
        for state in [before, after] {
            let spec = state.spec.groups.get(id);
            known.extend(spec.map(|spec| (now, spec.policy.rpo.as_nanos() as u64)));
        }
        known.retain(|(last, _)| now < last + MARK_MAX);
        known.dedup_by_key(|(_, rpo)| *rpo);
        let longest = known.iter().map(|(_, rpo)| *rpo).max().unwrap_or(0);
        if let Some(plan) = &group.plan {
            world.watch.opened.entry(plan.id).or_insert((now, longest));
        }
    }
}

/// Checked on the entry that raises the epoch.
pub(super) fn losses(world: &mut World, before: &State, after: &State) -> Option<String> {
    let mut strictly = 0;
    for (id, group) in &after.groups {
        let Some(old) = before.groups.get(id).filter(|old| old.active().is_some()) else {
            continue;
        };
        let Some(plan) = group.plan.as_ref().filter(|_| old.active() != group.active()) else {
            continue;
        };
        let required = world.topology.spec.groups[id].required_resources();
        let moved = plan.candidates.iter().filter(|(resource, _)| required.contains(resource));
        let mut pairs = Vec::new();
        for (resource, target) in moved {
            let Some(source) = old.primaries.get(resource) else { continue };
            let (Some(from), Some(to)) = (server(world, id, source), server(world, id, target))
            else {
                continue;
            };
            pairs.push((source, from, to));
        }
        let of = (id, old, &before.spec.groups[id]);
        let one = |(_, from, to)| lost(world, of, plan, from, to);
        let broken = pairs.iter().copied().find_map(one).or_else(|| miscounted(plan, &pairs));
        let strict = old.durability_of(of.2, plan.id) == Durability::Strict && !plan.accept_loss;
        strictly += u64::from(strict && plan.kind == PlanKind::Failover);
        if broken.is_some() {
            return broken.map(|what| format!("I11: plan {} of {id} {what}", plan.id));
        }
    }
    world.count("strict groups that failed over without loss", strictly);
    None
}

/// A source's primary, and what is promoted in its place.
type Pair<'a> = (&'a InstanceId, &'a Postgres, &'a Postgres);

fn missing((_, from, to): &Pair) -> u64 {
    from.position.offset - from.shared(to)
}

/// What the plan counts is at most what is lost, and all of it where each source told its end.
fn miscounted(plan: &Plan, pairs: &[Pair]) -> Option<String> {
    let told = |(source, ..): &Pair| {
        let evidence = plan.evidence.get(*source);
        evidence.is_some_and(|given| given.kind == EvidenceKind::Confirmed && given.clean)
    };
    let (counted, lost) = (plan.loss.bytes?, pairs.iter().map(missing).sum::<u64>());
    let wrong = counted > lost || (counted < lost && pairs.iter().all(told));
    wrong.then(|| format!("counts {counted} as lost, and loses {lost}"))
}

fn server<'a>(world: &'a World, group: &GroupId, id: &InstanceId) -> Option<&'a Postgres> {
    let mut servers = world.hosts.iter().flat_map(|host| &host.servers);
    servers.find(|((of, known), _)| of == group && known == id).map(|(_, server)| server)
}

fn lost(
    world: &World,
    of: (&GroupId, &Group, &GroupSpec),
    plan: &Plan,
    from: &Postgres,
    to: &Postgres,
) -> Option<String> {
    let reached = from.shared(to);
    let missing = from.position.offset - reached;
    if plan.kind == PlanKind::Switchover && missing > 0 {
        return Some(format!("is a switchover and loses {missing}"));
    }
    if plan.kind == PlanKind::Switchover || plan.accept_loss {
        return None;
    }
    let (id, group, spec) = of;
    if group.durability_of(spec, plan.id) == Durability::Strict {
        let gone = from.acknowledged.saturating_sub(reached);
        return (gone > 0).then(|| format!("of {id} is strict, and loses {gone} acknowledged"));
    }
    // The mark was within at the last Report that was answered, and its position no older than the
    // RPO when the plan opened.
    let oldest = from.written.iter().find(|(_, position)| position.offset > reached)?.0;
    let (opened, rpo) = world.watch.opened.get(&plan.id)?;
    let age = opened.saturating_sub(oldest);
    (age > 2 * rpo + LATE_MAX)
        .then(|| format!("loses {} ms, over an RPO of {}", age / 1_000_000, rpo / 1_000_000))
}
