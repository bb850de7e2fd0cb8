//! Lives of agents and what State knows of their enforcement (design §5). Knows no deadman.

use super::entry::{Entry, Outcome, refuse, stale};
use crate::{
    AgentId, Arming, Binding, Command, EventKind, GroupId, Incarnation, Mode, OnQuorumLoss,
    RegionId, State, Waited,
};
use std::collections::BTreeMap;
use std::time::Duration;

/// Groups for which the bound life of `agent` may hold a lease, each with the wait after which it
/// is dead; empty when it never could hold one.
pub(crate) fn leases_to_outlive(state: &State, agent: &AgentId) -> BTreeMap<GroupId, Duration> {
    let Some(region) = state.spec.agents.get(agent) else { return BTreeMap::new() };
    let serving = state.spec.groups.iter().filter(|(_, spec)| spec.serves(agent));
    serving
        .filter_map(|(id, spec)| {
            let group = state.groups.get(id)?;
            let wait = spec.policy.timing.dead_after(group.lease_max);
            // The former cluster may have made another region active since the backup.
            let may_hold = group.active() == Some(region) || state.is_foreign(agent);
            may_hold.then(|| (id.clone(), wait))
        })
        .collect()
}

/// A new life replaces the former only when the former's leases are dead; it arrives unarmed.
/// One line a command.
pub(super) fn run(entry: &mut Entry) -> Outcome {
    match &entry.proposal.command {
        Command::Bind { agent, incarnation, boot_id, former_dead } => {
            bind(entry, agent, *incarnation, boot_id, *former_dead)
        }
        Command::Arm { group, armed } => arm(entry, group, *armed),
        Command::RecordArmed { group, agent, incarnation, arming } => {
            record_armed(entry, group, agent, *incarnation, *arming)
        }
        Command::RecordUnarmed { group, agent, incarnation } => {
            record_unarmed(entry, group, agent, *incarnation)
        }
        _ => Ok(()),
    }
}

fn bind(
    entry: &mut Entry,
    agent: &AgentId,
    incarnation: Incarnation,
    boot_id: &str,
    former_dead: Option<Waited>,
) -> Outcome {
    if !entry.next.spec.agents.contains_key(agent) {
        return refuse("unknown-agent", format!("policy names no agent {agent}"), "arbiter status");
    }
    if let Some(former) = entry.next.bindings.get(agent) {
        let same = former.incarnation == incarnation;
        if same && !former.foreign {
            return stale(format!("this life of {agent} is bound"));
        }
        // A life that changed over was fenced before it did: its own leases are dead.
        if !same {
            outlived(entry, agent, former_dead)?;
        }
    }
    let binding = Binding {
        incarnation,
        boot_id: boot_id.to_owned(),
        arming: BTreeMap::default(),
        foreign: false,
    };
    entry.next.bindings.insert(agent.clone(), binding);
    void_evidence_of(entry, agent);
    let message = format!("agent {agent} is bound to its life {incarnation}, unarmed");
    entry.tell(EventKind::AgentBound, None, message, String::new());
    let serving = entry.next.spec.groups.iter().filter(|(_, spec)| spec.serves(agent));
    let serving: Vec<GroupId> = serving.map(|(id, _)| id.clone()).collect();
    serving.iter().for_each(|group| out_of_effect(entry, group, agent));
    Ok(())
}

/// A mode that acts needs both regions armed: until this agent is again, it is not in effect.
fn out_of_effect(entry: &mut Entry, group: &GroupId, agent: &AgentId) {
    let needed = entry.group(group).is_ok_and(|(spec, found)| {
        let mut regions = spec.regions().into_iter();
        found.mode != Mode::Observe && regions.any(|r| spec.agents_to_arm(r).contains(agent))
    });
    if needed {
        let message = format!("agent {agent} is unarmed: the mode of {group} is not in effect");
        let next = format!("arbiter explain --group {group}");
        entry.tell(EventKind::ArmingChanged, Some(group), message, next);
    }
}

/// I4: two lives of one agent never hold the same lease.
fn outlived(entry: &Entry, agent: &AgentId, former_dead: Option<Waited>) -> Outcome {
    let Some(required) = leases_to_outlive(&entry.next, agent).into_values().max() else {
        return Ok(());
    };
    let Some(waited) = former_dead else {
        return stale(format!("the former life of {agent} may hold a lease"));
    };
    if waited.term != entry.at.term {
        return stale("the wait passed in another term");
    }
    if waited.elapsed < required {
        return refuse(
            "lease-alive",
            format!("the former life of {agent} may hold a lease for {required:?}"),
            "wait: the leader binds it by itself",
        );
    }
    Ok(())
}

/// I3: evidence about a former life says nothing about the new one.
fn void_evidence_of(entry: &mut Entry, agent: &AgentId) {
    for group in entry.next.groups.values_mut() {
        let Some(plan) = group.plan.as_mut().filter(|p| p.before_point_of_no_return()) else {
            continue;
        };
        plan.evidence.retain(|_, evidence| evidence.agent != *agent);
    }
}

/// Ask the group's agents to arm, or take their arming out of State at once: more enforcement is
/// done by the agent first and then known to State, less is known to State first.
fn arm(entry: &mut Entry, group: &GroupId, armed: bool) -> Outcome {
    let (_, found) = entry.group(group)?;
    if found.arming_wanted == armed {
        return Ok(());
    }
    if armed && found.active().is_none() {
        // A primary could not even be told from a replica: nothing may be gated or killed yet.
        return refuse(
            "not-activated",
            format!("group {group} has no active region yet"),
            format!("arbiter explain --group {group}, which says what it waits for"),
        );
    }
    if !armed {
        may_disarm(entry, group)?;
        for binding in entry.next.bindings.values_mut() {
            binding.arming.remove(group);
        }
    }
    let revision = entry.at.index;
    let found = entry.group_mut(group)?;
    found.arming_wanted = armed;
    found.revision = revision;
    let (message, next) = if armed {
        let next = format!("arbiter status --group {group}, which shows when they are");
        (format!("agents of group {group} are asked to arm"), next)
    } else {
        (format!("group {group} is unarmed"), format!("arbiter arm --group {group}"))
    };
    entry.tell(EventKind::ArmingChanged, Some(group), message, next);
    Ok(())
}

fn may_disarm(entry: &Entry, group: &GroupId) -> Outcome {
    let (_, found) = entry.group(group)?;
    if crate::planted!(DisarmedDuringPlan) {
        return Ok(());
    }
    if found.plan.is_some() {
        return refuse(
            "plan-open",
            format!("a plan of group {group} is open and counts on its arming"),
            format!("arbiter plan show --group {group}; disarm when it ended"),
        );
    }
    if let Some(instance) = found.returning.first() {
        return refuse(
            "not-standby-yet",
            format!("{instance} was fenced and is not a standby again: unarmed it could start"),
            format!("arbiter status --group {group}, which shows what it waits for"),
        );
    }
    if found.mode != Mode::Observe {
        return refuse(
            "mode-needs-arming",
            format!("group {group} is in a mode that needs both regions armed"),
            format!("arbiter mode observe --group {group}, then ask again"),
        );
    }
    Ok(())
}

fn record_armed(
    entry: &mut Entry,
    group: &GroupId,
    agent: &AgentId,
    incarnation: Incarnation,
    arming: Arming,
) -> Outcome {
    let (spec, found) = entry.group(group)?;
    if !found.arming_wanted || !spec.serves(agent) {
        return stale(format!("agent {agent} is not asked to arm for group {group}"));
    }
    // I9
    if spec.policy.on_quorum_loss == OnQuorumLoss::Hold {
        return stale(format!("group {group} holds: the end of its leases proves nothing"));
    }
    let Some(binding) = entry.next.bindings.get_mut(agent).filter(|b| b.incarnation == incarnation)
    else {
        return stale(format!("this life of {agent} is not bound"));
    };
    if binding.arming.insert(group.clone(), arming) == Some(arming) {
        return stale(format!("agent {agent} is known to be armed"));
    }
    let kind = arming.expiry_counts_as;
    let message = format!("agent {agent} is armed for {group}; an expired lease counts as {kind}");
    entry.tell(EventKind::ArmingChanged, Some(group), message, String::new());
    Ok(())
}

fn record_unarmed(
    entry: &mut Entry,
    group: &GroupId,
    agent: &AgentId,
    incarnation: Incarnation,
) -> Outcome {
    entry.group(group)?;
    let Some(binding) = entry.next.bindings.get_mut(agent).filter(|b| b.incarnation == incarnation)
    else {
        return stale(format!("this life of {agent} is not bound"));
    };
    if binding.arming.remove(group).is_none() {
        return stale(format!("agent {agent} is known to be unarmed"));
    }
    let message = format!("agent {agent} shows itself unarmed for group {group}");
    let next = format!("arbiter explain --group {group}");
    entry.tell(EventKind::ArmingChanged, Some(group), message, next);
    out_of_effect(entry, group, agent);
    Ok(())
}

/// The first agent of `region` that must be armed and, as far as State knows, is not.
pub(crate) fn unarmed_in(state: &State, group: &GroupId, region: &RegionId) -> Option<AgentId> {
    let spec = state.spec.groups.get(group)?;
    // I9: what holds is never known as armed; that its agents are asked to is all that can be.
    let holds = spec.policy.on_quorum_loss == OnQuorumLoss::Hold
        && state.groups.get(group).is_some_and(|found| found.arming_wanted);
    let unarmed = |agent: &&AgentId| !holds && state.arming(agent, group).is_none();
    spec.agents_to_arm(region).into_iter().find(unarmed).cloned()
}
