//! Whom the commits of a strict group wait for (I11). Knows who stands by and what primaries show;
//! never how a server waits.

use super::context::Context;
use crate::{
    Command, CommitWait, Condition, Durability, InstanceId, Instant, Mode, ResourceId, Role,
    StrictAlone, Synchronous,
};
use std::collections::BTreeSet;

/// Changes of synchronous sets, one a resource.
pub(super) fn changes(context: &Context) -> Vec<Command> {
    let group = context.group;
    let ordered = group.active().is_some() && group.plan.is_none() && group.mode != Mode::Observe;
    let resources = context.spec.required_resources().into_iter();
    resources.filter(|_| ordered).filter_map(|resource| change(context, resource)).collect()
}

fn change(context: &Context, resource: &ResourceId) -> Option<Command> {
    let primary = context.group.primaries.get(resource)?;
    let known = context.group.synchronous.get(resource).cloned().unwrap_or_default();
    let strict = context.group.durability(context.spec) == Durability::Strict;
    let waits = context.spec.instances.get(primary).is_some_and(|instance| instance.waits);
    // Whoever does not serve acknowledges nothing, and one that is not heard can be told nothing:
    // it goes on waiting for whom it was told, and a failover may count on them.
    if strict && waits && !serves(context, resource) {
        return None;
    }
    let named = if strict && waits { wanted(context, resource, &known) } else { BTreeSet::new() };
    let counted = if named == known.named && waited_for(context, resource, primary, &known) {
        named.clone()
    } else if was_let_go(context, primary, &known) {
        BTreeSet::new()
    } else {
        known.counted.intersection(&named).cloned().collect()
    };
    (named != known.named || counted != known.counted).then(|| Command::SetSynchronous {
        group: context.id.clone(),
        resource: resource.clone(),
        primary: primary.clone(),
        set: Synchronous { named, counted, since: known.since },
    })
}

/// Whom the primary shall wait for: whom it waits for already, else the furthest that follows.
fn wanted(context: &Context, resource: &ResourceId, known: &Synchronous) -> BTreeSet<InstanceId> {
    let following = known.named.iter().filter(|id| follows(context, resource, id));
    let following: BTreeSet<InstanceId> = following.cloned().collect();
    if !following.is_empty() {
        return following;
    }
    let since = context.view.unfollowed.get(&(context.id.clone(), resource.clone()));
    // So long it served on without anybody: what it did not live to tell counts for nothing.
    let silent = context.group.primaries.get(resource).and_then(|id| context.age(id));
    // Not heard since they are gone, it may be lost with the link to them: then they have
    // everything, and whoever took their place would be counted on by nobody.
    let waits = |since: &Instant| silent.is_none_or(|silent| silent >= context.now.since(*since));
    if !known.named.is_empty() && since.is_none_or(waits) {
        return known.named.clone();
    }
    let active = context.group.active();
    let regions = active.into_iter().flat_map(|active| context.spec.standby_regions(active));
    let best = regions.filter_map(|region| context.furthest(resource, region));
    let best = best.filter(|(id, _)| follows(context, resource, id)).max_by_key(|(_, at)| *at);
    if let Some((id, _)) = best {
        return BTreeSet::from([id.clone()]);
    }
    let patience = context.spec.policy.detect_after + silent.unwrap_or_default();
    let lost = since.is_some_and(|since| context.now.since(*since) >= patience);
    let gives_up = context.spec.policy.strict_alone == StrictAlone::Accept && lost;
    if gives_up { BTreeSet::new() } else { known.named.clone() }
}

/// Whether a primary that serves waits for somebody who is not seen to follow; timed by the View.
pub(crate) fn unfollowed(context: &Context, resource: &ResourceId) -> bool {
    let set = context.group.synchronous.get(resource);
    let alone = |set: &Synchronous| !set.named.iter().any(|id| follows(context, resource, id));
    set.is_some_and(|set| serves(context, resource) && alone(set))
}

/// The primary is heard, and well.
fn serves(context: &Context, resource: &ResourceId) -> bool {
    let primary = context.group.primaries.get(resource);
    primary.and_then(|id| context.live_fact(id)).is_some_and(|f| f.condition == Condition::Healthy)
}

/// The primary shows, under the order that names them, that it waits for one of them no more.
fn was_let_go(context: &Context, primary: &InstanceId, known: &Synchronous) -> bool {
    if !obeyed(context, primary, known) {
        return false;
    }
    let mut counted = known.counted.iter().map(|id| context.spec.replicates_as(id));
    match context.instance(primary).and_then(|shown| shown.commits.as_ref()) {
        // It acknowledges nothing.
        None | Some(CommitWait::Blocked) => false,
        Some(CommitWait::Standbys(names)) => !counted.all(|name| names.contains(&name)),
        Some(CommitWait::Configured | CommitWait::Alone | CommitWait::Isolated(_)) => true,
    }
}

/// A standby whose stream is up, on the history of the primary.
fn follows(context: &Context, resource: &ResourceId, id: &InstanceId) -> bool {
    context.live_fact(id).is_some_and(|fact| {
        fact.condition == Condition::Healthy
            && fact.role == Role::Replica
            && fact.upstream.is_some_and(|upstream| upstream.streaming)
            && !context.left_stream(resource, id)
    })
}

/// The primary shows, under the order that names them, that it waits for all of them.
fn waited_for(
    context: &Context,
    resource: &ResourceId,
    primary: &InstanceId,
    known: &Synchronous,
) -> bool {
    let names = known.named.iter().map(|id| context.spec.replicates_as(id)).collect();
    let shown = context.instance(primary).and_then(|shown| shown.commits.as_ref());
    let set = context.group.synchronous.contains_key(resource) && !known.named.is_empty();
    let obeyed = obeyed(context, primary, known);
    set && obeyed && shown == Some(&CommitWait::Standbys(names))
}

/// The primary's agent is heard, and has the order that names them.
fn obeyed(context: &Context, primary: &InstanceId, known: &Synchronous) -> bool {
    let Some(instance) = context.spec.instances.get(primary) else { return false };
    let obeyed = context.shown(&instance.agent).is_some_and(|shown| shown.obeyed >= known.since);
    obeyed && context.is_live(&instance.agent)
}
