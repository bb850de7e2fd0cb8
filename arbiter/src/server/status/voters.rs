//! The voters, as the answering arbiter sees them.

use super::{Shown, ms};
use arbiter_core::{ArbiterId, Instant, State, VANTAGE_FRESH_MAX, View};
use arbiter_proto::v1 as pb;
use std::time::Duration;

pub(super) fn voters(
    shown: &Shown,
    state: &State,
    view: Option<&View>,
    now: Instant,
) -> Vec<pb::VoterStatus> {
    let all = known(shown, state);
    let shown_as = all.into_iter().map(|(id, node_id, region, address, joining)| {
        let heard = heard(shown, view, now, &id);
        let peer = shown.raft.peers.get(id.as_str());
        let role = if joining { "joining" } else { role(shown, view, &id, heard) };
        let me = id.as_str() == shown.node;
        let supports = peer.and_then(|peer| peer.supports);
        let supports = supports.or(me.then_some(arbiter_core::STATE_VERSION_MAX));
        pb::VoterStatus {
            name: id.0,
            node_id,
            region,
            address,
            role: role.to_owned(),
            last_heard_ms: heard.map_or(0, ms),
            state_version_max: supports.unwrap_or(0),
            behind: peer.and_then(|peer| peer.lag).unwrap_or(0),
        }
    });
    shown_as.collect()
}

/// Id, node id, region, address and whether it only joins: as State has them, or before it has any,
/// as the file does.
fn known(shown: &Shown, state: &State) -> Vec<(ArbiterId, u64, String, String, bool)> {
    if state.spec.voters.is_empty() {
        let configured = shown.voters.iter();
        return configured
            .map(|voter| {
                let id = ArbiterId::from(voter.name.as_str());
                (id, voter.node_id, String::new(), voter.address.clone(), false)
            })
            .collect();
    }
    let voters = state.spec.voters.iter().map(|(id, voter)| (id, voter, false));
    let joining = state.joining.iter().map(|(id, voter)| (id, voter, true));
    let all = voters.chain(joining);
    all.map(|(id, voter, joins)| {
        (id.clone(), voter.node_id, voter.region.0.clone(), voter.address.clone(), joins)
    })
    .collect()
}

/// Who does not support the version that this build does; empty: nobody, or it is in force.
pub(super) fn holds_version_down(state: &State, voters: &[pb::VoterStatus]) -> String {
    let newest = arbiter_core::STATE_VERSION_MAX;
    if state.cluster_id.is_none() || state.version >= newest {
        return String::new();
    }
    let held = voters.iter().filter(|voter| voter.state_version_max < newest);
    let held = held.map(|voter| match voter.state_version_max {
        0 => format!("{} (not asked yet, or it does not answer)", voter.name),
        old => format!("{} (its build supports {old})", voter.name),
    });
    held.collect::<Vec<_>>().join(", ")
}

/// How the members differ from what the file of the answering arbiter says.
pub(super) fn drift(shown: &Shown, state: &State) -> String {
    if state.spec.voters.is_empty() || shown.voters.is_empty() {
        return String::new();
    }
    let ids = |name: &str| shown.voters.iter().find(|v| v.name == name).map(|v| v.node_id);
    let missing = state.spec.voters.iter().filter(|(id, v)| ids(id.as_str()) != Some(v.node_id));
    let missing = missing.map(|(id, voter)| format!("{id} (node {}) is missing", voter.node_id));
    let gone = shown.voters.iter().filter(|v| {
        let id = ArbiterId::from(v.name.as_str());
        state.spec.voters.get(&id).is_none_or(|known| known.node_id != v.node_id)
    });
    let gone = gone.map(|voter| format!("{} (node {}) is none", voter.name, voter.node_id));
    missing.chain(gone).collect::<Vec<_>>().join(", ")
}

/// How long ago the voter was last heard, by Raft or as a vantage point; none: never.
fn heard(shown: &Shown, view: Option<&View>, now: Instant, id: &ArbiterId) -> Option<Duration> {
    if id.as_str() == shown.node {
        return Some(Duration::ZERO);
    }
    let raft = shown.raft.peers.get(id.as_str()).and_then(|peer| peer.heard);
    let seen = view.and_then(|view| view.vantages.get(id)).map(|at| now.since(*at));
    match (raft, seen) {
        (Some(raft), Some(seen)) => Some(raft.min(seen)),
        (one, other) => one.or(other),
    }
}

fn role(
    shown: &Shown,
    view: Option<&View>,
    id: &ArbiterId,
    heard: Option<Duration>,
) -> &'static str {
    let leads = shown.leadership.leader.as_ref() == Some(id);
    let fresh = heard.is_some_and(|age| age <= VANTAGE_FRESH_MAX);
    match (leads, fresh) {
        (true, true) => "leader",
        (false, true) => "follower",
        // Only the leader is in touch with every other voter.
        (_, false) if view.is_some() || leads || shown.leadership.leader.is_none() => "unreachable",
        (_, false) => "follower",
    }
}
