//! Commands about the members of the cluster. State follows Raft here, whose membership is the
//! truth; what State alone knows is which ids were ever given. Knows no disk and no connection.

use super::entry::{Entry, Outcome, refuse, stale};
use crate::{ArbiterId, ClusterSpec, EventKind, State, Voter};
use std::collections::BTreeMap;

/// The commands of this family.
pub(super) fn run(entry: &mut Entry) -> Outcome {
    use crate::Command::{ReserveNode, SetVoters};
    match &entry.proposal.command {
        ReserveNode { name, voter } => reserve(entry, name, voter),
        SetVoters { voters, joining } => set_voters(entry, voters, joining),
        _ => stale("no command about members"),
    }
}

/// An arbiter is about to join. An id that any arbiter ever had is refused: its log may come back
/// to life under it, and a configuration of its own with it.
fn reserve(entry: &mut Entry, name: &ArbiterId, voter: &Voter) -> Outcome {
    let state = &entry.next;
    let known = state.joining.get(name).or_else(|| state.spec.voters.get(name));
    if known == Some(voter) {
        return stale(format!("{name} is known"));
    }
    let next = || format!("ask again with another name, and with node id {}", state.next_node_id());
    if known.is_some() {
        return refuse("name-taken", format!("an arbiter is called {name} already"), next());
    }
    let mut all = state.spec.voters.values().chain(state.joining.values());
    if voter.node_id == 0 || !is_new(state, voter.node_id) {
        let reason = format!(
            "node id {} was given to an arbiter before, and no id is used twice: what its disk \
             acknowledged would come back with it",
            voter.node_id
        );
        let next = format!("give the new arbiter node id {}", state.next_node_id());
        return refuse("node-id-used", reason, next);
    }
    if let Some(other) = all.find(|other| other.address == voter.address) {
        let reason = format!("node {} is reached at {} already", other.node_id, voter.address);
        return refuse("address-taken", reason, "give the new arbiter an address of its own");
    }
    if !state.spec.regions.contains_key(&voter.region) {
        let reason = format!("policy names no region {}", voter.region);
        return refuse("unknown-region", reason, "arbiter status, which lists the regions");
    }
    remember(&mut entry.next);
    entry.next.node_ids.insert(voter.node_id);
    entry.next.joining.insert(name.clone(), voter.clone());
    let message = format!("arbiter {name} is to join as node {}", voter.node_id);
    entry.tell(EventKind::MembersChanged, None, message, "arbiter members list".to_owned());
    Ok(())
}

fn is_new(state: &State, id: u64) -> bool {
    let mut known = state.spec.voters.values().chain(state.joining.values());
    !state.node_ids.contains(&id) && known.all(|voter| voter.node_id != id)
}

/// The members as Raft has them.
fn set_voters(
    entry: &mut Entry,
    voters: &BTreeMap<ArbiterId, Voter>,
    joining: &BTreeMap<ArbiterId, Voter>,
) -> Outcome {
    let state = &mut entry.next;
    if state.spec.voters == *voters && state.joining == *joining {
        return stale("these are the members");
    }
    if voters.is_empty() {
        return stale("a cluster has voters");
    }
    let regions = &state.spec.regions;
    let lost = voters.values().find(|voter| !regions.contains_key(&voter.region));
    if let Some(voter) = lost {
        return stale(format!("policy names no region {}", voter.region));
    }
    remember(state);
    let changed = state.spec.voters != *voters;
    state.spec.voters = voters.clone();
    state.joining = joining.clone();
    remember(state);
    if changed {
        let names: Vec<&str> = voters.keys().map(ArbiterId::as_str).collect();
        let message = format!("the arbiters are {}", names.join(", "));
        let next = "write them into [arbiters] of every cluster file".to_owned();
        entry.tell(EventKind::MembersChanged, None, message, next);
    }
    Ok(())
}

/// No id is forgotten.
pub(super) fn remember(state: &mut State) {
    let known = state.spec.voters.values().chain(state.joining.values());
    let ids: Vec<u64> = known.map(|voter| voter.node_id).collect();
    state.node_ids.extend(ids);
}

/// Members change by commands of their own, never by a file.
pub(super) fn kept_by(state: &State, spec: &ClusterSpec) -> Outcome {
    if state.version < 2 || state.spec.voters == spec.voters {
        return Ok(());
    }
    refuse(
        "voters-changed",
        "the specification names other arbiters than the cluster has",
        "arbiter members list, and write those into [arbiters]: a file changes none",
    )
}
