//! A group: the verdict, who may write, what blocks automatic, what DNS says.

use super::region::{At, region};
use super::{Shown, guards, ms};
use crate::server::drills::said_of_drills;
use crate::wire::{drill_to_proto, mode_word, plan_to_proto, reason_to_proto, spelled};
use arbiter_core::{
    Drill, Group, GroupId, Instant, Layer, Mode, Reason, RegionId, State, Topic, View, drill_waits,
    due, explain_group, failback, strongest_evidence,
};
use arbiter_proto::v1 as pb;

pub(super) fn group(
    shown: &Shown,
    state: &State,
    view: Option<&View>,
    now: Instant,
    id: &GroupId,
    voters: &[pb::VoterStatus],
) -> Option<pb::GroupStatus> {
    let (spec, group) = state.group(id)?;
    let at = At { state, view, now, id, spec };
    let reasons = view.map_or_else(Vec::new, |view| explain_group(state, view, now, id));
    let mut degraded = reasons_of(&reasons, Topic::Degraded);
    degraded.extend(lost_margin(voters));
    let health = health(group, view.is_some(), &degraded);
    let (writer, until) = writer(&at, group);
    let blocked = reasons.iter().filter(|r| r.topic == Topic::Automatic && !r.open);
    let evidence = view.and_then(|view| strongest_evidence(state, view, now, id));
    let (would_have, would_have_wall_ms) = match &group.would_have {
        Some((what, wall)) => (what.clone(), wall.0),
        None => (String::new(), 0),
    };
    let regions = state.spec.regions.iter();
    let mode_blocked_by = not_in_effect(shown, view, &reasons);
    let back = view.and_then(|view| failback(state, view, now, id));
    let preferred = text(spec.policy.preferred.as_ref());
    Some(pb::GroupStatus {
        group: id.0.clone(),
        verdict: verdict(shown, id, group, health, &degraded, &reasons),
        next: or_back(next(id, group, health, &reasons, voters), id, &preferred, back.as_ref()),
        active: text(group.active()),
        epoch: group.epoch().0,
        mode: mode_word(group.mode).to_owned(),
        mode_in_effect: mode_blocked_by.is_empty(),
        health: health.to_owned(),
        writer,
        writer_until_ms: until,
        automatic_blocked_by: blocked.map(reason_to_proto).collect(),
        strongest_evidence: evidence.map_or(String::new(), |kind| kind.to_string()),
        traffic: traffic(&at, group),
        regions: regions.map(|(region_id, kind)| region(&at, region_id, *kind)).collect(),
        plan: group.plan.as_ref().map(|plan| plan_to_proto(id, plan)),
        lag_mark: spelled(&group.lag),
        degraded_because: degraded,
        would_have,
        would_have_wall_ms,
        failback: back.map_or(String::new(), |back| said_of_failback(&preferred, &back)),
        readiness: reasons_of(&reasons, Topic::Readiness),
        preferred,
        mode_blocked_by,
        drill: group.drill.as_ref().map(|drill| open_drill(&at, group, drill)),
        drill_due: said_of_drills(&due(spec, group, shown.wall)),
        mode_until: guards::mode_until(shown, view, now, id, group),
        maintenance: guards::maintenance(shown, view, now, id, group),
        on_quorum_loss: guards::on_quorum_loss(spec),
        predicted: reasons_said(&reasons, "objective"),
        writes: reasons.iter().filter(|r| r.code == "writes").map(|r| r.text.clone()).collect(),
    })
}

fn text(region: Option<&RegionId>) -> String {
    region.map_or(String::new(), |region| region.0.clone())
}

fn reasons_of(reasons: &[Reason], topic: Topic) -> Vec<String> {
    reasons.iter().filter(|r| r.topic == topic && !r.open).map(|r| r.text.clone()).collect()
}

/// What is said of `code`, open or not.
fn reasons_said(reasons: &[Reason], code: &str) -> String {
    let said = reasons.iter().filter(|reason| reason.code == code);
    said.map(|reason| reason.text.as_str()).collect::<Vec<_>>().join("; ")
}

fn open_drill(at: &At, group: &Group, drill: &Drill) -> pb::Drill {
    let waits = at.view.and_then(|view| drill_waits(at.state, view, at.now, at.id));
    drill_to_proto(at.id, at.spec, group, drill, waits)
}

/// Why the mode is not in effect: nobody confirms it (I9), or it counts on arming and somebody is
/// not armed. Empty: it is.
fn not_in_effect(shown: &Shown, view: Option<&View>, reasons: &[Reason]) -> String {
    if shown.stale || view.is_none() {
        return "no quorum confirms it".to_owned();
    }
    let unarmed = reasons.iter().find(|r| r.topic == Topic::Degraded && r.code == "not-armed");
    let agent = unarmed.and_then(|reason| reason.text.split(':').next());
    agent.unwrap_or_default().to_owned()
}

fn lost_margin(voters: &[pb::VoterStatus]) -> impl Iterator<Item = String> {
    let lost = voters.iter().filter(|voter| voter.role == "unreachable");
    lost.map(|voter| {
        format!("arbiter {} is unreachable: one more lost and nothing can be decided", voter.name)
    })
}

fn health(group: &Group, seen: bool, degraded: &[String]) -> &'static str {
    match group {
        Group { plan: Some(plan), .. } if plan.halt.is_some() => "halted",
        group if group.active().is_none() => "not activated",
        _ if !seen => "unknown",
        _ if degraded.is_empty() => "healthy",
        _ => "degraded",
    }
}

/// The first line: one sentence.
fn verdict(
    shown: &Shown,
    id: &GroupId,
    group: &Group,
    health: &str,
    degraded: &[String],
    reasons: &[Reason],
) -> String {
    let Some(active) = group.active() else {
        return format!("{id}: no region is active yet");
    };
    let sentence = match (&group.plan, degraded.first()) {
        (Some(plan), _) => {
            let kind = spelled(&plan.kind);
            match (&plan.halt, plan.step()) {
                (Some(halt), _) => {
                    format!("{kind} to {} is halted at {}: {}", plan.target, halt.step, halt.reason)
                }
                (None, Some(step)) => {
                    let waits = reasons.iter().find(|r| r.topic == Topic::Plan && !r.open);
                    let waits = waits.map_or(String::new(), |waits| format!(": {}", waits.text));
                    format!("{kind} from {} to {} is at {step}{waits}", plan.source, plan.target)
                }
                (None, None) => format!("{kind} to {} has ended", plan.target),
            }
        }
        (None, Some(why)) => format!("{active} is active, degraded: {why}"),
        (None, None) if health == "healthy" => format!("{active} is active and healthy"),
        (None, None) => format!("{active} is active"),
    };
    let stale = if shown.stale { ", as last known" } else { "" };
    format!("{id}: {sentence}{stale}")
}

/// The command to run next, empty when there is nothing to do.
fn next(
    id: &GroupId,
    group: &Group,
    health: &str,
    reasons: &[Reason],
    voters: &[pb::VoterStatus],
) -> String {
    if let Some(plan) = &group.plan {
        return match &plan.halt {
            Some(halt) => halt.next.clone(),
            None => format!("arbiter report {}", plan.id),
        };
    }
    if health == "degraded" {
        let known = reasons.iter().find(|r| r.topic == Topic::Degraded && !r.next.is_empty());
        if let Some(known) = known {
            return known.next.clone();
        }
        if voters.iter().any(|voter| voter.role == "unreachable") {
            return "arbiter members list".to_owned();
        }
    }
    match group.mode {
        _ if group.active().is_none() => format!("arbiter explain --group {id}"),
        Mode::Observe if !group.arming_wanted => format!("arbiter arm --group {id}"),
        Mode::Observe => format!("arbiter mode manual --group {id}"),
        Mode::Manual | Mode::Automatic => String::new(),
    }
}

/// Where nothing else is to be done: the way back to the preferred region, once it is open.
fn or_back(next: String, id: &GroupId, preferred: &str, back: Option<&Back>) -> String {
    match back {
        Some(Ok(_)) if next.is_empty() => {
            format!("arbiter switchover --group {id} --to {preferred}")
        }
        _ => next,
    }
}

/// A failback that would open, or what is against it.
type Back = Result<arbiter_core::OpenPlan, Vec<Reason>>;

fn said_of_failback(preferred: &str, back: &Back) -> String {
    match back {
        Ok(_) => format!("to {preferred} would succeed now"),
        Err(reasons) => {
            let why: Vec<&str> = reasons.iter().map(|reason| reason.text.as_str()).collect();
            format!("to {preferred} would not open: {}", why.join("; "))
        }
    }
}

/// Who may write, and for how long unless renewed; 0: without limit, or nobody.
fn writer(at: &At, group: &Group) -> (String, u64) {
    let Some(active) = group.active() else { return (String::new(), 0) };
    let armed = |agent: &&arbiter_core::AgentId| at.state.arming(agent, at.id).is_some();
    let agents = at.spec.fencing_agents(active);
    let left = agents.iter().filter(|agent| armed(agent)).map(|agent| at.lease_left(agent));
    let left: Vec<_> = left.collect();
    if left.is_empty() {
        // Unarmed: nothing ends its right but an order.
        let fenced = group.lease_stopped;
        return if fenced { (String::new(), 0) } else { (active.0.clone(), 0) };
    }
    // The longest lease that may live.
    match left.into_iter().flatten().max() {
        Some(left) if !left.is_zero() => (active.0.clone(), ms(left)),
        _ => (String::new(), 0),
    }
}

/// What DNS says, as the active region's agent read it back.
fn traffic(at: &At, group: &Group) -> Option<pb::Traffic> {
    let managed = |i: &arbiter_core::Instance| i.layer == Layer::Traffic;
    if !at.spec.instances.values().any(managed) {
        return None;
    }
    let mut instances: Vec<_> = at.spec.instances.iter().filter(|(_, i)| managed(i)).collect();
    // The active region writes; another one's word is taken where it is silent.
    instances.sort_by_key(|(_, i)| Some(&i.region) != group.active());
    let facts =
        instances.into_iter().filter_map(|(id, i)| at.instance(id, i)?.fact.traffic.clone());
    let fact = facts.into_iter().next().unwrap_or_default();
    Some(pb::Traffic {
        names: text(fact.names.as_ref()),
        token: fact.token.map_or(String::new(), |token| token.to_string()),
        drift: fact.drift,
    })
}
