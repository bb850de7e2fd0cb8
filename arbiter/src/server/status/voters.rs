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
    let configured = shown.voters.iter().map(|voter| {
        let id = ArbiterId::from(voter.name.as_str());
        let region =
            state.spec.voters.get(&id).map_or(String::new(), |known| known.region.0.clone());
        let heard = heard(shown, view, now, &id);
        pb::VoterStatus {
            name: voter.name.clone(),
            node_id: voter.node_id,
            region,
            address: voter.address.clone(),
            role: role(shown, view, &id, heard).to_owned(),
            last_heard_ms: heard.map_or(0, ms),
        }
    });
    configured.collect()
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
