//! Between openraft's types and our own wire and disk formats. Knows every field of both; never
//! what a command means.

use super::types::{
    Command, Entry, Member, Membership, Payload, RaftLogId, SnapshotMeta, StoredMembership, Vote,
};
use arbiter_proto::v1 as pb;
use openraft::EntryPayload;
use std::collections::{BTreeMap, BTreeSet};
use thiserror::Error;

/// A message that lacks what it must have, or contradicts itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("malformed {0}")]
pub struct Malformed(pub &'static str);

/// To the wire.
pub fn log_id_to(id: &RaftLogId) -> pb::LogPosition {
    pb::LogPosition { term: id.leader_id.term, index: id.index }
}

/// From the wire.
pub fn log_id_from(id: &pb::LogPosition) -> RaftLogId {
    RaftLogId { leader_id: id.term.into(), index: id.index }
}

/// To the wire.
pub fn vote_to(vote: &Vote) -> pb::RaftVote {
    pb::RaftVote {
        term: vote.leader_id.term,
        voted_for: Some(vote.leader_id.voted_for),
        committed: vote.committed,
    }
}

/// From the wire.
///
/// # Errors
/// A vote for nobody.
pub fn vote_from(vote: Option<&pb::RaftVote>) -> Result<Vote, Malformed> {
    let vote = vote.ok_or(Malformed("vote: absent"))?;
    let voted_for = vote.voted_for.ok_or(Malformed("vote: for nobody"))?;
    Ok(if vote.committed {
        Vote::new_committed(vote.term, voted_for)
    } else {
        Vote::new(vote.term, voted_for)
    })
}

/// To the wire.
pub fn membership_to(membership: &Membership) -> pb::Membership {
    pb::Membership {
        configs: membership
            .get_joint_config()
            .iter()
            .map(|ids| pb::VoterSet { node_ids: ids.iter().copied().collect() })
            .collect(),
        members: membership
            .nodes()
            .map(|(id, member)| pb::Member {
                node_id: *id,
                name: member.name.clone(),
                address: member.address.clone(),
                incarnation: member.incarnation,
            })
            .collect(),
    }
}

/// From the wire.
///
/// # Errors
/// A voter that is not among the members, or an empty set of voters.
pub fn membership_from(membership: &pb::Membership) -> Result<Membership, Malformed> {
    let nodes: BTreeMap<u64, Member> = membership
        .members
        .iter()
        .map(|member| {
            let node = Member {
                name: member.name.clone(),
                address: member.address.clone(),
                incarnation: member.incarnation,
            };
            (member.node_id, node)
        })
        .collect();
    let configs: Vec<BTreeSet<u64>> =
        membership.configs.iter().map(|set| set.node_ids.iter().copied().collect()).collect();
    Membership::new(configs, nodes).map_err(|_| Malformed("membership: a voter is no member"))
}

/// To the wire.
pub fn stored_membership_to(stored: &StoredMembership) -> pb::StoredMembership {
    pb::StoredMembership {
        at: stored.log_id().as_ref().map(log_id_to),
        membership: Some(membership_to(stored.membership())),
    }
}

/// From the wire.
///
/// # Errors
/// As [`membership_from`].
pub fn stored_membership_from(
    stored: Option<&pb::StoredMembership>,
) -> Result<StoredMembership, Malformed> {
    let Some(stored) = stored else { return Ok(StoredMembership::default()) };
    let membership = match &stored.membership {
        Some(membership) => membership_from(membership)?,
        None => Membership::default(),
    };
    Ok(StoredMembership::new(stored.at.as_ref().map(log_id_from), membership))
}

/// To the wire.
pub fn entry_to(entry: &Entry) -> pb::LogEntry {
    let payload = match &entry.payload {
        EntryPayload::Blank => pb::log_entry::Payload::Blank(true),
        EntryPayload::Normal(command) => pb::log_entry::Payload::Command(command.0.clone()),
        EntryPayload::Membership(membership) => {
            pb::log_entry::Payload::Membership(membership_to(membership))
        }
    };
    pb::LogEntry { at: Some(log_id_to(&entry.log_id)), payload: Some(payload) }
}

/// From the wire.
///
/// # Errors
/// No position, or a payload of a kind that this build does not know.
pub fn entry_from(entry: pb::LogEntry) -> Result<Entry, Malformed> {
    let at = entry.at.ok_or(Malformed("log entry: no position"))?;
    let payload: Payload = match entry.payload {
        Some(pb::log_entry::Payload::Blank(_)) => EntryPayload::Blank,
        Some(pb::log_entry::Payload::Command(json)) => EntryPayload::Normal(Command(json)),
        Some(pb::log_entry::Payload::Membership(membership)) => {
            EntryPayload::Membership(membership_from(&membership)?)
        }
        None => return Err(Malformed("log entry: no payload that this build knows")),
    };
    Ok(Entry { log_id: log_id_from(&at), payload })
}

/// To the wire.
pub fn meta_to(meta: &SnapshotMeta) -> pb::SnapshotMeta {
    pb::SnapshotMeta {
        last: meta.last_log_id.as_ref().map(log_id_to),
        membership: Some(stored_membership_to(&meta.last_membership)),
        id: String::new(),
    }
}

/// From the wire.
///
/// # Errors
/// As [`membership_from`].
pub fn meta_from(meta: Option<&pb::SnapshotMeta>) -> Result<SnapshotMeta, Malformed> {
    let meta = meta.ok_or(Malformed("snapshot: no head"))?;
    Ok(SnapshotMeta {
        last_log_id: meta.last.as_ref().map(log_id_from),
        last_membership: stored_membership_from(meta.membership.as_ref())?,
    })
}
