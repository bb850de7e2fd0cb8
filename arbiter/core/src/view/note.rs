//! The clocks of a view: since when something holds, by this leader's own clock. Judges nothing
//! itself.

use crate::{
    Goal, GroupId, Instance, Instant, Layer, State, View, decide::Context, decide::judge,
    decide::lag, decide::synchronous,
};
use std::collections::BTreeMap;
use std::time::Duration;

/// Bring every clock of `view` up to `now`.
pub(super) fn note(view: &mut View, state: &State, now: Instant) {
    for id in state.groups.keys() {
        progress(view, state, id, now);
        told(view, state, id, now);
        signs(view, state, id, now);
        follow(view, state, id, now);
    }
    view.asked_since.retain(|id, _| state.approvals.contains_key(id));
    for id in state.approvals.keys() {
        view.asked_since.entry(*id).or_insert(now);
    }
    view.progress.retain(|id, _| state.groups.contains_key(id));
    view.lag.retain(|(id, _), _| state.groups.contains_key(id));
    view.received.retain(|(id, _), _| state.groups.contains_key(id));
    view.unfollowed.retain(|(id, _), _| state.groups.contains_key(id));
}

/// What State tells the active region, and since when by this leader's clock.
fn told(view: &mut View, state: &State, id: &GroupId, now: Instant) {
    let Some((spec, group)) = state.group(id) else { return };
    let short = group.lease_wanted(spec) < group.lease_max;
    hold(&mut view.short_since, id, short.then_some(group.lease_changed), now);
    let active = group.active().and_then(|active| group.goal(active, Layer::Data));
    let serving = active.filter(|set| set.goal == Goal::Active).map(|set| set.token);
    hold(&mut view.serving_since, id, serving, now);
    let timed = group.timed_mode.as_ref().map(|hold| hold.since);
    hold(&mut view.mode_since, id, timed, now);
    let maintained = group.maintenance.as_ref().map(|maintenance| maintenance.since);
    hold(&mut view.maintained_since, id, maintained, now);
    let overridden = group.plan.as_ref().filter(|plan| plan.may_lapse());
    let overridden = overridden.map(|p| (p.id, p.overrides.values().map(|o| o.at).collect()));
    hold(&mut view.overridden_since, id, overridden, now);
    keep(&mut view.hold_down_since, id, group.holding_down, now);
    let drill = group.drill.as_ref().map(|d| (d.id, d.phase, group.plan.is_some()));
    hold(&mut view.drilling, id, drill, now);
}

/// A lease as long as State allows was granted: the wait to lower it begins anew.
pub(super) fn granted(view: &mut View, state: &State, id: &GroupId, lease: Duration) {
    let longest = state.groups.get(id).is_some_and(|group| lease >= group.lease_max);
    if longest {
        view.short_since.remove(id);
    }
}

fn keep(clocks: &mut BTreeMap<GroupId, Instant>, id: &GroupId, holds: bool, now: Instant) {
    if holds {
        clocks.entry(id.clone()).or_insert(now);
    } else {
        clocks.remove(id);
    }
}

/// A clock that begins anew when what it times is another.
fn hold<K: PartialEq>(
    clocks: &mut BTreeMap<GroupId, (K, Instant)>,
    id: &GroupId,
    what: Option<K>,
    now: Instant,
) {
    let known = clocks.get(id).map(|(known, _)| known);
    match what {
        None => drop(clocks.remove(id)),
        Some(what) if known == Some(&what) => {}
        Some(what) => drop(clocks.insert(id.clone(), (what, now))),
    }
}

/// A halted plan has no clock: resumed, its row begins anew.
fn progress(view: &mut View, state: &State, id: &GroupId, now: Instant) {
    let plan = state.groups.get(id).and_then(|group| group.plan.as_ref());
    let present = plan.filter(|plan| plan.halt.is_none()).and_then(|plan| {
        let record = plan.steps.get(plan.cursor)?;
        Some((plan.id, record.id, record.attempts))
    });
    let Some((plan, step, attempts)) = present else {
        view.progress.remove(id);
        return;
    };
    let known =
        view.progress.get(id).is_some_and(|(p, s, a, _)| (*p, *s, *a) == (plan, step, attempts));
    if !known {
        view.progress.insert(id.clone(), (plan, step, attempts, now));
    }
}

fn signs(view: &mut View, state: &State, id: &GroupId, now: Instant) {
    let Some(context) = Context::new(state, view, now, id) else { return };
    let suspect = context.group.active().is_some() && judge::judge(&context).is_suspect();
    let failed = context.group.plan.is_none() && judge::failed_primary(&context).is_some();
    let healthy = context
        .group
        .primaries
        .keys()
        .filter_map(|resource| context.primary(resource))
        .all(|primary| context.condition(primary) == crate::Condition::Healthy);
    keep(&mut view.suspected, id, suspect, now);
    // What cannot be seen for a moment neither starts nor stops the clock of a dead primary.
    if failed || healthy {
        keep(&mut view.primary_dead, id, failed, now);
    }
}

fn follow(view: &mut View, state: &State, id: &GroupId, now: Instant) {
    let Some((spec, group)) = state.group(id) else { return };
    if group.active().is_none() {
        return;
    }
    for resource in spec.required_resources() {
        let key = (id.clone(), resource.clone());
        let epoch = group.epoch();
        // Another active region: what was followed before says nothing.
        let track = view.lag.remove(&key).filter(|track| track.epoch == epoch);
        let Some(context) = Context::new(state, view, now, id) else { return };
        let track = lag::follow(&context, track, resource);
        let alone = synchronous::unfollowed(&context, resource);
        view.lag.insert(key.clone(), track);
        if alone {
            view.unfollowed.entry(key).or_insert(now);
        } else {
            view.unfollowed.remove(&key);
        }
    }
    let standby = |i: &Instance| i.needs_evidence() && group.active() != Some(&i.region);
    for (name, instance) in spec.instances.iter().filter(|(_, i)| standby(i)) {
        let key = (id.clone(), name.clone());
        let track = view.received.remove(&key).filter(|track| track.epoch == group.epoch());
        let Some(context) = Context::new(state, view, now, id) else { return };
        let track = lag::follow_instance(&context, track, &instance.resource, name);
        view.received.insert(key, track);
    }
}
