//! A cluster that goes on from a backup of another (decision 0032). The backup may be older than
//! what the former cluster did last, and what it leased may be renewed yet: so every epoch jumps
//! above what it can have given, every binding is foreign, and nothing serves before it is known
//! that nobody else does.

use super::cluster::{install, sound};
use super::entry::{Entry, Outcome, refusal, refuse, stale};
use super::evidence::lease_alive;
use super::group::covers;
use super::{leases_to_outlive, members};
use crate::{
    AgentId, By, ClusterSpec, EventKind, Group, GroupId, GroupSpec, LagMark, Layer, LogId,
    RegionId, RegionKind, Rejected, Restore, Restored, State, Waited,
};
use std::collections::{BTreeMap, BTreeSet};

/// The commands that follow a restore.
pub(super) fn run(entry: &mut Entry) -> Outcome {
    use crate::Command::{AttestAgent, SettleGroup};
    match &entry.proposal.command {
        SettleGroup { group } => settle(entry, group),
        AttestAgent { agent, waited } => attest_agent(entry, agent, *waited),
        _ => stale("no command about a restore"),
    }
}

pub(super) fn restore(entry: &mut Entry, asked: &Restore) -> Outcome {
    if let Some(known) = &entry.next.cluster_id {
        let reason = format!("this cluster is {known} already");
        let next = "restore into arbiters on empty data directories, under a new cluster id";
        return refuse("already-initialized", reason, next);
    }
    let Some(former) = &asked.backup.cluster_id else {
        return refuse("bad-backup", "the backup is of no cluster", "take another backup");
    };
    let before = asked.backup.restored.iter().flat_map(|restored| &restored.from);
    let mut from: Vec<_> = before.cloned().collect();
    from.push(former.clone());
    if from.contains(&asked.cluster_id) {
        let reason = format!(
            "{} is the former cluster: its arbiters and agents could not tell the two apart",
            asked.cluster_id
        );
        let next = "give the restored cluster a new id in its cluster file";
        return refuse("same-cluster", reason, next);
    }
    sound(&asked.spec)?;
    fits(asked)?;
    entry.next = State {
        cluster_id: Some(asked.cluster_id.clone()),
        version: asked.backup.version.max(2),
        groups: asked.backup.groups.clone(),
        spec: asked.backup.spec.clone(),
        node_ids: BTreeSet::new(),
        restored: Some(Restored {
            from,
            taken: asked.taken,
            at: asked.at,
            epoch_jump: asked.epoch_jump,
        }),
        bindings: foreign(&asked.backup, &asked.spec),
        ..State::default()
    };
    install(entry, &asked.spec);
    members::remember(&mut entry.next);
    let at = entry.at;
    for (id, group) in &mut entry.next.groups {
        let Some(spec) = asked.spec.groups.get(id) else { continue };
        begin_anew(id, group, spec, asked, at)?;
    }
    let message = format!(
        "cluster {} goes on from a backup of {former} at entry {} of it: its leases are foreign, \
         and every epoch rose by {}",
        asked.cluster_id, asked.at.index, asked.epoch_jump
    );
    entry.tell(EventKind::Restored, None, message, "arbiter status".to_owned());
    Ok(())
}

/// What was activated is moved by what is in the file: it must be there, and the same.
fn fits(asked: &Restore) -> Outcome {
    if asked.epoch_jump < crate::EPOCH_JUMP {
        let reason = format!("a jump of {} may be overtaken", asked.epoch_jump);
        return refuse("epoch-jump", reason, format!("--epoch-jump {} or more", crate::EPOCH_JUMP));
    }
    for (id, group) in asked.backup.groups.iter().filter(|(_, group)| group.active().is_some()) {
        let known = asked.backup.spec.groups.get(id).map(|spec| &spec.instances);
        if known != asked.spec.groups.get(id).map(|spec| &spec.instances) {
            let reason = format!("the file has other instances of group {id} than the backup");
            let next = "restore with the instances of the backup, and change them afterwards";
            return refuse("instances-changed", reason, next);
        }
        let active = asked.active.get(id).or(group.active());
        let is_data = |region| asked.spec.regions.get(region) == Some(&RegionKind::Data);
        if !active.is_some_and(is_data) {
            let reason = format!("{active:?}, active for {id}, would not be a data region");
            return refuse("active-region", reason, "name its data regions in the file");
        }
    }
    for id in asked.active.keys() {
        let known = asked.backup.groups.get(id).is_some_and(|group| group.active().is_some());
        if !known {
            let reason = format!("group {id} has no active region in the backup");
            return refuse("unknown-group", reason, "leave it out of --active");
        }
    }
    Ok(())
}

/// Every agent may have been bound by the former cluster, if not at the backup then since.
fn foreign(backup: &State, spec: &ClusterSpec) -> BTreeMap<AgentId, crate::Binding> {
    let unknown = crate::Binding {
        incarnation: crate::Incarnation(0),
        boot_id: String::new(),
        arming: BTreeMap::new(),
        foreign: true,
    };
    let bind = |agent: &AgentId| match backup.bindings.get(agent) {
        Some(known) => crate::Binding { arming: BTreeMap::new(), foreign: true, ..known.clone() },
        None => unknown.clone(),
    };
    spec.agents.keys().map(|agent| (agent.clone(), bind(agent))).collect()
}

/// What was in the making is over: an open plan proves nothing any more, its evidence may have been
/// voided since, and what it had not done its region's goals ask for.
fn begin_anew(
    id: &GroupId,
    group: &mut Group,
    spec: &GroupSpec,
    asked: &Restore,
    at: LogId,
) -> Outcome {
    let known = group.epoch();
    let active = asked.active.get(id);
    let moved = active.is_some() && active != group.active();
    let before = group.active().cloned();
    // I2
    if !group.activation.restored(active, asked.epoch_jump) {
        let reason = format!("group {id} is at epoch {known}, and cannot jump so far");
        return refuse("epoch-jump", reason, "ask for a smaller --epoch-jump");
    }
    group.goals.clear();
    group.plan = None;
    group.plans.clear();
    group.drill = None;
    group.drills.clear();
    group.lease_stopped = false;
    group.lease_changed = at.index;
    group.revision = at.index;
    group.synchronous.clear();
    group.lag = LagMark::Unknown;
    group.drift.clear();
    group.would_have = None;
    group.judged_lost = false;
    let Some(region) = group.active().cloned() else { return Ok(()) };
    if moved {
        group.primaries = primaries(spec, &region);
        let source = before.iter().flat_map(|source| spec.needing_evidence(source));
        group.returning = source.map(|(id, _)| id.clone()).collect();
    }
    covers(spec, &region, &group.primaries)?;
    // Nothing opens by itself while people still look at what they have.
    group.holding_down = true;
    group.unsettled = Some(known);
    group.resume_region(&region, at);
    let others: Vec<RegionId> = spec.standby_regions(&region).cloned().collect();
    others.iter().for_each(|other| group.stand_by(other, at));
    Ok(())
}

/// The first instance of each resource in `region`.
fn primaries(
    spec: &GroupSpec,
    region: &RegionId,
) -> BTreeMap<crate::ResourceId, crate::InstanceId> {
    let mut found = BTreeMap::new();
    for (id, instance) in spec.instances_of(region, Layer::Data) {
        found.entry(instance.resource.clone()).or_insert_with(|| id.clone());
    }
    found
}

/// Every agent beside what could serve elsewhere has changed over, fenced, or was attested. // I1
fn settle(entry: &mut Entry, group: &GroupId) -> Outcome {
    let index = entry.at.index;
    let (_, found) = entry.group(group)?;
    if found.unsettled.is_none() {
        return stale(format!("group {group} is settled"));
    }
    nobody_else_serves(entry, group, &[])?;
    let found = entry.group_mut(group)?;
    found.unsettled = None;
    found.revision = index;
    let active = found.active().map_or("", RegionId::as_str);
    let message = format!("group {group}: nothing serves but in {active}, which goes on");
    entry.tell(EventKind::Restored, Some(group), message, "arbiter status".to_owned());
    Ok(())
}

/// No foreign agent stands beside what could be primary, but in `proven`.
pub(super) fn nobody_else_serves(entry: &Entry, group: &GroupId, proven: &[&RegionId]) -> Outcome {
    let (spec, found) = entry.group(group)?;
    if found.unsettled.is_none() {
        return Ok(());
    }
    match foreign_beside(&entry.next, spec, proven) {
        None => Ok(()),
        Some(agent) => Err(not_settled(&agent)),
    }
}

/// The first foreign agent beside an instance that needs evidence, outside `proven`.
pub(crate) fn foreign_beside(
    state: &State,
    spec: &GroupSpec,
    proven: &[&RegionId],
) -> Option<AgentId> {
    let mut needing = spec.instances.values().filter(|i| i.needs_evidence());
    let other = |i: &&crate::Instance| !proven.contains(&&i.region) && state.is_foreign(&i.agent);
    needing.find(other).map(|instance| instance.agent.clone())
}

fn not_settled(agent: &AgentId) -> Rejected {
    refusal(
        "not-settled",
        format!(
            "agent {agent} was bound before this cluster was restored and has not changed over: \
             what it holds may serve"
        ),
        format!(
            "see its log; if its host is gone for good: arbiter attest --agent {agent} --reason \
             \"…\""
        ),
    )
}

/// An operator's word for all that stands beside a foreign agent. It replaces proof, never time.
fn attest_agent(entry: &mut Entry, agent: &AgentId, waited: Waited) -> Outcome {
    let By::Operator(name) = &entry.proposal.by else {
        return stale("only an operator attests");
    };
    if !entry.next.is_foreign(agent) {
        let reason = format!("agent {agent} was not bound before a restore, or has changed over");
        return refuse("not-foreign", reason, "arbiter status, which says who has not");
    }
    if waited.term != entry.at.term {
        return stale("the wait passed in another term");
    }
    let required = leases_to_outlive(&entry.next, agent).into_values().max().unwrap_or_default();
    if waited.elapsed < required {
        return Err(lease_alive(required, waited.elapsed));
    }
    let message =
        format!("{name} attests that nothing beside {agent} writes: {}", entry.proposal.reason);
    entry.next.bindings.remove(agent);
    entry.tell(EventKind::Restored, None, message, "arbiter status".to_owned());
    Ok(())
}
