//! Commands about the whole cluster: its name, its specification, the version of State.

use super::entry::{Entry, Outcome, refuse, stale};
use super::members;
use crate::{
    AgentId, ClusterId, ClusterSpec, EventKind, Group, GroupId, GroupSpec, Instance, InstanceId,
    Layer, Mode, OnQuorumLoss, RegionKind, Rejected, State, plant::supported,
};
use std::collections::{BTreeMap, BTreeSet};

pub(super) fn initialize(entry: &mut Entry, id: &ClusterId, spec: &ClusterSpec) -> Outcome {
    if let Some(known) = &entry.next.cluster_id {
        return refuse(
            "already-initialized",
            format!("this cluster is {known} already"),
            "arbiter members list",
        );
    }
    sound(spec)?;
    entry.next.cluster_id = Some(id.clone());
    entry.next.version = entry.next.version.max(1);
    install(entry, spec);
    let message = format!("cluster {id} began with {} groups", spec.groups.len());
    entry.tell(EventKind::Initialized, None, message, "arbiter status".to_owned());
    Ok(())
}

pub(super) fn apply_policy(entry: &mut Entry, spec: &ClusterSpec) -> Outcome {
    if entry.next.spec == *spec {
        return stale("this specification is in force");
    }
    sound(spec)?;
    members::kept_by(&entry.next, spec)?;
    for (id, group) in &entry.next.groups {
        let (Some(before), after) = (entry.next.spec.groups.get(id), spec.groups.get(id)) else {
            continue;
        };
        match after {
            None => may_go(id, group)?,
            Some(after) => may_change(&entry.next, id, group, before, after)?,
        }
        if let (Some(active), Some(_)) = (group.active(), after)
            && spec.regions.get(active) != Some(&RegionKind::Data)
        {
            return refuse(
                "active-region",
                format!("{active}, active for {id}, would no longer be a data region"),
                format!("arbiter switchover --group {id} --to REGION, then apply again"),
            );
        }
    }
    install(entry, spec);
    let message = "a new specification is in force".to_owned();
    entry.tell(EventKind::PolicyApplied, None, message, String::new());
    Ok(())
}

pub(super) fn raise_version(entry: &mut Entry, version: u32) -> Outcome {
    let supported = supported();
    if version > supported {
        return Err(Rejected::Unsupported { asked: version, supported });
    }
    if version <= entry.next.version {
        return stale(format!("the version is {} already", entry.next.version));
    }
    entry.next.version = version;
    members::remember(&mut entry.next);
    let message = format!("state version {version} is in force: every arbiter supports it");
    entry.tell(EventKind::VersionRaised, None, message, String::new());
    Ok(())
}

pub(super) fn sound(spec: &ClusterSpec) -> Outcome {
    match spec.fault() {
        None => Ok(()),
        Some(fault) => {
            refuse("bad-policy", fault, "arbiter config check FILE, which names every fault")
        }
    }
}

/// I2: a group that came back would begin at epoch 1 again, and agents and DNS, which keep the
/// higher tokens, would refuse its every order.
fn may_go(id: &GroupId, group: &Group) -> Outcome {
    if group.active().is_none() {
        return Ok(());
    }
    refuse(
        "group-activated",
        format!("group {id} was activated, and its epoch would be forgotten"),
        format!(
            "leave it in the file; to retire it: arbiter mode observe --group {id}, then arbiter \
             disarm --group {id}"
        ),
    )
}

/// What an open plan moves, and what an armed agent holds, stays as it is.
fn may_change(
    state: &State,
    id: &GroupId,
    group: &Group,
    before: &GroupSpec,
    after: &GroupSpec,
) -> Outcome {
    if group.plan.is_some() && before.instances != after.instances {
        return refuse(
            "plan-open",
            format!("instances of group {id} would change under its open plan"),
            format!("arbiter plan show --group {id}; apply again when it ended"),
        );
    }
    if group.plan.is_some() && before.policy.on_quorum_loss != after.policy.on_quorum_loss {
        return refuse(
            "plan-open",
            format!("what the lease of group {id} proves would change under its open plan"),
            format!("arbiter plan show --group {id}; apply again when it ended"),
        );
    }
    if group.mode == Mode::Automatic && !after.policy.allow_automatic {
        return refuse(
            "mode-automatic",
            format!("group {id} is in mode automatic, which the file does not allow"),
            format!("arbiter mode manual --group {id}, then apply again"),
        );
    }
    for agent in state.bindings.keys().filter(|agent| state.arming(agent, id).is_some()) {
        if held(before, agent) != held(after, agent) {
            return refuse(
                "armed",
                format!("what the armed agent {agent} holds for group {id} would change"),
                format!("arbiter disarm --group {id}, then apply again"),
            );
        }
    }
    Ok(())
}

/// What its driver says of evidence is not among it.
fn held<'a>(spec: &'a GroupSpec, agent: &AgentId) -> BTreeMap<&'a InstanceId, Instance> {
    let data = spec.beside(agent).filter(|(_, i)| i.layer == Layer::Data);
    data.map(|(id, i)| (id, Instance { evidence: BTreeSet::new(), ..i.clone() })).collect()
}

pub(super) fn install(entry: &mut Entry, spec: &ClusterSpec) {
    let index = entry.at.index;
    let state = &mut entry.next;
    for (id, after) in &spec.groups {
        let lease = after.policy.timing.lease;
        let before = state.spec.groups.get(id).map(|g| g.policy.timing.lease);
        let group = state.groups.entry(id.clone()).or_insert_with(|| Group {
            lease_max: lease,
            lease_changed: index,
            ..Group::default()
        });
        if before.is_some_and(|before| before != lease) {
            group.lease_changed = index;
        }
        let held = state.spec.groups.get(id).map(|g| g.policy.on_quorum_loss);
        if held.is_some_and(|held| held != after.policy.on_quorum_loss) {
            group.revision = index;
        }
    }
    state.groups.retain(|id, _| spec.groups.contains_key(id));
    state.bindings.retain(|agent, _| spec.agents.contains_key(agent));
    for (agent, binding) in &mut state.bindings {
        // I9: less enforcement is known to State first; its agents hear of it afterwards.
        let fences = |g: &GroupSpec| g.policy.on_quorum_loss == OnQuorumLoss::Fence;
        let counts = |g: &GroupSpec| g.serves(agent) && fences(g);
        binding.arming.retain(|group, _| spec.groups.get(group).is_some_and(counts));
    }
    state.spec = spec.clone();
}
