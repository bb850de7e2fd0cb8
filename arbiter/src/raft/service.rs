//! What peers ask of this node. Knows who may ask and what is well formed; never what an entry
//! means.

use super::codec::{self, Malformed};
use super::identity::Identity;
use super::timing::VoterAt;
use super::types::{Entry, Raft, RaftLogId, Snapshot, TypeConfig, Vote};
use crate::clock;
use crate::tls::{Role, caller};
use arbiter_core::Instant;
use arbiter_proto::v1 as pb;
use bytes::{Bytes, BytesMut};
use openraft::async_runtime::watch::WatchReceiver;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, TransferLeaderRequest, VoteRequest, VoteResponse,
};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use tonic::{Request, Response, Status, Streaming};

/// Largest snapshot accepted.
pub const SNAPSHOT_BYTES_MAX: u64 = 256 << 20;

/// What peers told, for people.
#[derive(Debug, Default)]
pub struct Heard {
    peers: Mutex<BTreeMap<u64, Instant>>,
    refused: Mutex<Option<String>>,
    supports: Mutex<BTreeMap<String, Option<u32>>>,
}

impl Heard {
    /// When each peer last asked something.
    pub fn peers(&self) -> BTreeMap<u64, Instant> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Why peers and this disk do not fit, if they do not.
    pub fn refused(&self) -> Option<String> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What members said of their builds when this node last asked.
    pub fn supported(&self) -> BTreeMap<String, Option<u32>> {
        self.supports.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn supports(&self, said: &BTreeMap<String, Option<u32>>) {
        self.supports.lock().unwrap_or_else(PoisonError::into_inner).clone_from(said);
    }

    fn note(&self, peer: u64) {
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        peers.insert(peer, clock::now());
    }

    pub(super) fn refuse(&self, why: &str) {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        if refused.as_deref() != Some(why) {
            tracing::error!("{why}");
            *refused = Some(why.to_owned());
        }
    }
}

/// The gRPC service `Raft`.
#[derive(Clone)]
pub struct RaftService {
    raft: Raft,
    identity: Arc<Identity>,
    name: String,
    heard: Arc<Heard>,
    voters: Vec<VoterAt>,
}

impl RaftService {
    pub(super) fn new(
        raft: Raft,
        identity: Arc<Identity>,
        name: String,
        heard: Arc<Heard>,
        voters: Vec<VoterAt>,
    ) -> Self {
        Self { raft, identity, name, heard, voters }
    }

    /// Refuses whoever is not the one meant, or not the one that the log knows. The sender's id.
    fn admit(&self, peers: Option<&pb::Peers>) -> Result<u64, Status> {
        let peers = peers.ok_or_else(|| Status::invalid_argument("no peers named"))?;
        let me = &self.identity;
        if peers.cluster_id != me.cluster_id {
            return Err(Status::failed_precondition(format!(
                "this is node {} of cluster `{}`, asked for cluster `{}`: check the address",
                me.node_id, me.cluster_id, peers.cluster_id
            )));
        }
        if peers.to != me.node_id || peers.from == me.node_id {
            return Err(Status::failed_precondition(format!(
                "this is node {}, and node {} asked for node {}: check the addresses",
                me.node_id, peers.from, peers.to
            )));
        }
        if peers.to_incarnation != 0 && peers.to_incarnation != me.incarnation {
            let why = format!(
                "node {} was initialized with another disk (incarnation {:x}, this one is {:x}): a \
                 voter that lost its disk must not come back under its id, since it forgot what it \
                 acknowledged. Remove node {0}, and add this one, empty, under a new id",
                me.node_id, peers.to_incarnation, me.incarnation
            );
            self.heard.refuse(&why);
            return Err(Status::failed_precondition(why));
        }
        self.is_member(peers)?;
        self.heard.note(peers.from);
        Ok(peers.from)
    }

    /// Where the log names members, only they are heard, each with the disk that it is known by.
    fn is_member(&self, peers: &pb::Peers) -> Result<(), Status> {
        let metrics = self.raft.metrics();
        let known = metrics.borrow_watched().membership_config.clone();
        let members = known.membership();
        self.is_named(peers, members.get_node(&peers.from).map(|member| member.name.as_str()))?;
        match members.get_node(&peers.from).map(|member| member.incarnation) {
            None if members.nodes().next().is_some() => Err(Status::permission_denied(format!(
                "node {} is no member of cluster `{}`: it has no vote here. If it was removed, stop it \
                 and empty its data directory; to bring its host back, add it under a new id",
                peers.from, peers.cluster_id
            ))),
            Some(pinned) if pinned != 0 && pinned != peers.from_incarnation => {
                Err(Status::permission_denied(format!(
                    "node {} is known with another disk: remove it, and add it, empty, under a \
                     new id",
                    peers.from
                )))
            }
            None | Some(_) => Ok(()),
        }
    }

    /// A node is the arbiter that its certificate names: as the log says, before that the file.
    fn is_named(&self, peers: &pb::Peers, member: Option<&str>) -> Result<(), Status> {
        let caller = caller();
        let Some(shown) = caller.as_ref().and_then(|caller| caller.named(Role::Arbiter)) else {
            return Ok(());
        };
        let voters = self.voters.iter();
        let filed = voters.clone().find(|voter| voter.node_id == peers.from);
        match member.or(filed.map(|voter| voter.name.as_str())) {
            Some(name) if name != shown => Err(Status::permission_denied(format!(
                "node {} is {name}, and its certificate is of {shown}: give each arbiter its own",
                peers.from
            ))),
            _ => Ok(()),
        }
    }

    async fn ask_vote(
        &self,
        ask: pb::RaftVoteRequest,
        before: bool,
    ) -> Result<Response<pb::RaftVoteResponse>, Status> {
        let from = self.admit(ask.peers.as_ref())?;
        let vote = codec::vote_from(ask.vote.as_ref()).map_err(invalid)?;
        if vote.leader_id.voted_for != from || vote.committed {
            return Err(invalid(Malformed("vote: not the sender's candidacy")));
        }
        let rpc = VoteRequest {
            vote,
            last_log_id: ask.last.as_ref().map(codec::log_id_from),
            leadership_transfer: ask.leadership_transfer,
        };
        let answer: VoteResponse<TypeConfig> =
            if before { self.raft.pre_vote(rpc).await } else { self.raft.vote(rpc).await }
                .map_err(stopped)?;
        Ok(Response::new(pb::RaftVoteResponse {
            vote: Some(codec::vote_to(&answer.vote)),
            last: answer.last_log_id.as_ref().map(codec::log_id_to),
            granted: answer.vote_granted,
        }))
    }
}

fn invalid(error: Malformed) -> Status {
    Status::invalid_argument(error.to_string())
}

fn stopped(error: impl std::fmt::Display) -> Status {
    Status::unavailable(format!("this node is stopping: {error}"))
}

/// The vote of a leader that asks itself.
fn leader_vote(vote: Option<&pb::RaftVote>, from: u64) -> Result<Vote, Status> {
    let vote = codec::vote_from(vote).map_err(invalid)?;
    if vote.leader_id.voted_for != from || !vote.committed {
        return Err(invalid(Malformed("vote: not the sender's leadership")));
    }
    Ok(vote)
}

/// Entries that follow each other and `prev`: openraft takes that for granted.
pub(crate) fn entries(
    prev: Option<RaftLogId>,
    entries: Vec<pb::LogEntry>,
) -> Result<Vec<Entry>, Status> {
    let mut last = prev;
    let mut out = Vec::with_capacity(entries.len());
    for entry in entries {
        let entry = codec::entry_from(entry).map_err(invalid)?;
        // A position at the end of all numbers is followed by none.
        let next = last.map_or(Some(0), |last| last.index.checked_add(1));
        if Some(entry.log_id.index) != next
            || last.is_some_and(|last| last.leader_id > entry.log_id.leader_id)
        {
            return Err(invalid(Malformed("append: entries do not follow each other")));
        }
        last = Some(entry.log_id);
        out.push(entry);
    }
    Ok(out)
}

#[tonic::async_trait]
impl pb::raft_server::Raft for RaftService {
    async fn identify(
        &self,
        request: Request<pb::IdentifyRequest>,
    ) -> Result<Response<pb::IdentifyResponse>, Status> {
        let ask = request.into_inner();
        if ask.cluster_id != self.identity.cluster_id || ask.to != self.identity.node_id {
            return Err(Status::failed_precondition(format!(
                "this is node {} of cluster `{}`, asked for node {} of `{}`: check the address",
                self.identity.node_id, self.identity.cluster_id, ask.to, ask.cluster_id
            )));
        }
        Ok(Response::new(pb::IdentifyResponse {
            cluster_id: self.identity.cluster_id.clone(),
            node_id: self.identity.node_id,
            name: self.name.clone(),
            incarnation: self.identity.incarnation,
            initialized: self.raft.is_initialized().await.map_err(stopped)?,
            state_version_max: arbiter_core::STATE_VERSION_MAX,
        }))
    }

    async fn append(
        &self,
        request: Request<pb::AppendRequest>,
    ) -> Result<Response<pb::AppendResponse>, Status> {
        use pb::append_response::Outcome;
        let ask = request.into_inner();
        let from = self.admit(ask.peers.as_ref())?;
        let prev = ask.prev.as_ref().map(codec::log_id_from);
        let rpc = AppendEntriesRequest {
            vote: leader_vote(ask.vote.as_ref(), from)?,
            prev_log_id: prev,
            entries: entries(prev, ask.entries)?,
            leader_commit: ask.committed.as_ref().map(codec::log_id_from),
        };
        let mut answer = pb::AppendResponse::default();
        match self.raft.append_entries(rpc).await.map_err(stopped)? {
            AppendEntriesResponse::Success => answer.set_outcome(Outcome::Success),
            AppendEntriesResponse::PartialSuccess(upto) => {
                answer.set_outcome(Outcome::Partial);
                answer.upto = upto.as_ref().map(codec::log_id_to);
            }
            AppendEntriesResponse::Conflict => answer.set_outcome(Outcome::Conflict),
            AppendEntriesResponse::HigherVote(vote) => {
                answer.set_outcome(Outcome::HigherVote);
                answer.vote = Some(codec::vote_to(&vote));
            }
        }
        Ok(Response::new(answer))
    }

    async fn pre_vote(
        &self,
        request: Request<pb::RaftVoteRequest>,
    ) -> Result<Response<pb::RaftVoteResponse>, Status> {
        self.ask_vote(request.into_inner(), true).await
    }

    async fn vote(
        &self,
        request: Request<pb::RaftVoteRequest>,
    ) -> Result<Response<pb::RaftVoteResponse>, Status> {
        self.ask_vote(request.into_inner(), false).await
    }

    async fn snapshot(
        &self,
        request: Request<Streaming<pb::SnapshotPart>>,
    ) -> Result<Response<pb::SnapshotResponse>, Status> {
        let mut parts = request.into_inner();
        let Some(pb::SnapshotPart { part: Some(pb::snapshot_part::Part::Head(head)) }) =
            parts.message().await?
        else {
            return Err(invalid(Malformed("snapshot: no head")));
        };
        let from = self.admit(head.peers.as_ref())?;
        let vote = leader_vote(head.vote.as_ref(), from)?;
        let meta = codec::meta_from(head.meta.as_ref()).map_err(invalid)?;
        let data = receive(&mut parts, head.bytes).await?;
        super::machine::decode_state(&meta, &data)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        let snapshot = Snapshot { meta, snapshot: data };
        let answer = self.raft.install_full_snapshot(vote, snapshot).await.map_err(stopped)?;
        Ok(Response::new(pb::SnapshotResponse { vote: Some(codec::vote_to(&answer.vote)) }))
    }

    async fn transfer_leader(
        &self,
        request: Request<pb::TransferLeaderRequest>,
    ) -> Result<Response<pb::TransferLeaderResponse>, Status> {
        let ask = request.into_inner();
        let from = self.admit(ask.peers.as_ref())?;
        let vote = leader_vote(ask.from_leader.as_ref(), from)?;
        let last = ask.last.as_ref().map(codec::log_id_from);
        let rpc = TransferLeaderRequest::new(vote, ask.to_node, last);
        let answer = self.raft.handle_transfer_leader(rpc).await.map_err(stopped)?;
        Ok(Response::new(pb::TransferLeaderResponse { granted: answer.is_ok() }))
    }
}

/// All chunks, `bytes` together, with the checksum that the tail says.
async fn receive(parts: &mut Streaming<pb::SnapshotPart>, bytes: u64) -> Result<Bytes, Status> {
    if bytes > SNAPSHOT_BYTES_MAX {
        return Err(invalid(Malformed("snapshot: larger than this build accepts")));
    }
    let mut data = BytesMut::new();
    loop {
        match parts.message().await?.and_then(|part| part.part) {
            Some(pb::snapshot_part::Part::Chunk(chunk)) => {
                if (data.len() + chunk.len()) as u64 > bytes {
                    return Err(invalid(Malformed("snapshot: longer than its head says")));
                }
                data.extend_from_slice(&chunk);
            }
            Some(pb::snapshot_part::Part::Tail(tail)) => {
                if data.len() as u64 != bytes || tail.crc32c != crc32c::crc32c(&data) {
                    return Err(invalid(Malformed("snapshot: not what was sent")));
                }
                return Ok(data.freeze());
            }
            _ => return Err(invalid(Malformed("snapshot: no tail"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_follows_the_last_of_all_positions() {
        let last = pb::LogPosition { term: 1, index: u64::MAX };
        let entry = |index| pb::LogEntry {
            at: Some(pb::LogPosition { term: 1, index }),
            payload: Some(pb::log_entry::Payload::Blank(true)),
        };
        for index in [0, u64::MAX] {
            let appended = entries(Some(codec::log_id_from(&last)), vec![entry(index)]);
            assert!(appended.is_err(), "{index}");
        }
    }
}
