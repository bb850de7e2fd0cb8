//! The synchronous set (I11): whom State counts on. Knows what may follow what; whether the primary
//! waits, the leader saw.

use super::entry::{Entry, Outcome, stale};
use crate::{
    Durability, Group, GroupId, GroupSpec, Instance, InstanceId, Plan, PlanKind, ResourceId,
    Synchronous,
};
use std::collections::BTreeSet;

/// Another set for `resource`. `new.since` is that of the set which it follows.
pub(super) fn set(
    entry: &mut Entry,
    group: &GroupId,
    resource: &ResourceId,
    primary: &InstanceId,
    new: &Synchronous,
) -> Outcome {
    let at = entry.at.index;
    let (spec, found) = entry.group(group)?;
    let before = found.synchronous.get(resource).cloned().unwrap_or_default();
    if new.since != before.since || found.primaries.get(resource) != Some(primary) {
        return stale(format!("the synchronous set of {resource} changed"));
    }
    // A plan decides by the set that there was.
    if found.plan.is_some() {
        return stale("a plan is open");
    }
    if found.durability(spec) != Durability::Strict && !new.named.is_empty() {
        return stale("the group is not strict");
    }
    let stands_by = |id: &InstanceId| {
        let fits = |i: &Instance| i.resource == *resource && found.active() != Some(&i.region);
        spec.instances.get(id).is_some_and(fits)
    };
    if !new.named.iter().all(stands_by) || !new.counted.is_subset(&new.named) {
        return stale("the set names what is no standby of it, or counts what it does not name");
    }
    // The order has to reach the primary before anybody new is counted.
    if new.named != before.named && !new.counted.is_subset(&before.counted) {
        return stale("the primary is not told yet");
    }
    let since = if new.named == before.named { before.since } else { at };
    let found = entry.group_mut(group)?;
    if since != before.since {
        found.revision = at;
    }
    found.synchronous.insert(resource.clone(), Synchronous { since, ..new.clone() });
    Ok(())
}

/// What a `strict` failover to what `chosen` names may lose: the first resource of which nothing
/// shows that it has every acknowledged write. // I11
pub(super) fn uncounted<'a>(
    spec: &'a GroupSpec,
    group: &Group,
    chosen: impl Fn(&ResourceId) -> BTreeSet<InstanceId>,
) -> Option<&'a ResourceId> {
    spec.required_resources().into_iter().find(|resource| {
        let counted = group.synchronous.get(*resource).map(|set| &set.counted);
        let chosen = chosen(resource);
        !counted.is_some_and(|counted| counted.iter().any(|id| chosen.contains(id)))
    })
}

/// The same, of what a plan is about to promote.
pub(crate) fn may_lose<'a>(
    spec: &'a GroupSpec,
    group: &Group,
    plan: &Plan,
) -> Option<&'a ResourceId> {
    let strict = group.durability_of(spec, plan.id) == Durability::Strict;
    if !strict || plan.kind != PlanKind::Failover || plan.accept_loss {
        return None;
    }
    uncounted(spec, group, |resource| plan.candidates.get(resource).cloned().into_iter().collect())
}
