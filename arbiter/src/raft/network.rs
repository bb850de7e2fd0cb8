//! What this node asks of its peers. Knows openraft's requests and deadlines; never what an entry
//! means.

use super::channel::{Channels, Lane, Link};
use super::codec;
use super::identity::Identity;
use super::service::Heard;
use super::types::{Member, Snapshot, TypeConfig, Vote};
use arbiter_proto::v1 as pb;
use arbiter_proto::v1::raft_client::RaftClient;
use bytes::Bytes;
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::RPCOption;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderError,
    TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::{RaftNetworkFactory, RaftNetworkV2};
use std::future::Future;
use std::sync::Arc;
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status};

/// Size of a part of a snapshot.
pub const SNAPSHOT_PART_BYTES: usize = 512 << 10;

type Rpc = RPCError<TypeConfig>;
type Stream = StreamingError<TypeConfig>;

/// Makes clients of peers; they share connections.
#[derive(Clone)]
pub struct Network {
    identity: Arc<Identity>,
    channels: Arc<Channels>,
    heard: Arc<Heard>,
}

impl Network {
    /// Of this node.
    pub fn new(identity: Arc<Identity>, channels: Arc<Channels>, heard: Arc<Heard>) -> Self {
        Self { identity, channels, heard }
    }

    fn peer(&self, target: u64, member: &Member, lane: Lane) -> Peer {
        let link = self.channels.link(member, lane).map_err(|error| error.to_string());
        let (identity, heard) = (self.identity.clone(), self.heard.clone());
        Peer { identity, heard, target, member: member.clone(), link }
    }
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Peer;

    async fn new_client(&mut self, target: u64, node: &Member) -> Peer {
        self.peer(target, node, Lane::Log)
    }

    async fn new_heartbeat_client(&mut self, target: u64, node: &Member) -> Peer {
        self.peer(target, node, Lane::Heartbeat)
    }

    async fn new_snapshot_client(&mut self, target: u64, node: &Member) -> Peer {
        self.peer(target, node, Lane::Snapshot)
    }
}

/// One peer.
pub struct Peer {
    identity: Arc<Identity>,
    heard: Arc<Heard>,
    target: u64,
    member: Member,
    link: Result<Arc<Link>, String>,
}

impl Peer {
    fn peers(&self) -> Option<pb::Peers> {
        Some(pb::Peers {
            cluster_id: self.identity.cluster_id.clone(),
            from: self.identity.node_id,
            to: self.target,
            from_incarnation: self.identity.incarnation,
            to_incarnation: self.member.incarnation,
        })
    }

    /// One call within the soft limit that openraft gives it. openraft itself does not end it.
    async fn call<Q, A, F>(
        &self,
        option: &RPCOption,
        ask: Q,
        send: impl FnOnce(RaftClient<Channel>, Request<Q>) -> F,
    ) -> Result<A, Rpc>
    where
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let link = self.link.as_ref().map_err(|error| unreachable(error))?;
        let limit = option.soft_ttl();
        let mut request = Request::new(ask);
        // So that the peer drops what nobody waits for any more.
        request.set_timeout(limit);
        match tokio::time::timeout(limit, send(link.client(), request)).await {
            Ok(Ok(response)) => {
                if link.answered() {
                    tracing::info!(peer = %self.member.name, "answers again");
                }
                Ok(response.into_inner())
            }
            Ok(Err(status)) => Err(self.failed(link, &status)),
            Err(_) => Err(self.missed(link, &format!("no answer within {limit:?}"))),
        }
    }

    fn failed(&self, link: &Link, status: &Status) -> Rpc {
        match status.code() {
            // Unreachable makes openraft wait before it tries again.
            Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Unknown => {
                self.missed(link, status.message())
            }
            Code::FailedPrecondition
            | Code::PermissionDenied
            | Code::Unauthenticated
            | Code::Unimplemented => {
                if link.missed() {
                    tracing::error!(peer = %self.member.name, "refuses: {}", status.message());
                }
                if status.code() == Code::PermissionDenied {
                    self.heard.refuse(status.message());
                }
                unreachable(status.message())
            }
            _ => {
                link.answered();
                RPCError::Network(NetworkError::from_string(status))
            }
        }
    }

    fn missed(&self, link: &Link, why: &str) -> Rpc {
        if link.missed() {
            tracing::warn!(peer = %self.member.name, address = %self.member.address, "{why}");
        }
        unreachable(why)
    }

    fn malformed(&self, error: codec::Malformed) -> Rpc {
        RPCError::Network(NetworkError::from_string(format!("{}: {error}", self.member.name)))
    }

    fn vote_request(&self, rpc: &VoteRequest<TypeConfig>) -> pb::RaftVoteRequest {
        pb::RaftVoteRequest {
            peers: self.peers(),
            vote: Some(codec::vote_to(&rpc.vote)),
            last: rpc.last_log_id.as_ref().map(codec::log_id_to),
            leadership_transfer: rpc.leadership_transfer,
        }
    }

    fn vote_response(
        &self,
        response: &pb::RaftVoteResponse,
    ) -> Result<VoteResponse<TypeConfig>, Rpc> {
        let vote = codec::vote_from(response.vote.as_ref()).map_err(|e| self.malformed(e))?;
        let last = response.last.as_ref().map(codec::log_id_from);
        Ok(VoteResponse::new(vote, last, response.granted))
    }
}

fn unreachable(why: &str) -> Rpc {
    RPCError::Unreachable(Unreachable::from_string(why))
}

impl RaftNetworkV2<TypeConfig> for Peer {
    type SnapshotData = Bytes;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, Rpc> {
        let ask = pb::AppendRequest {
            peers: self.peers(),
            vote: Some(codec::vote_to(&rpc.vote)),
            prev: rpc.prev_log_id.as_ref().map(codec::log_id_to),
            committed: rpc.leader_commit.as_ref().map(codec::log_id_to),
            entries: rpc.entries.iter().map(codec::entry_to).collect(),
        };
        let answer = self
            .call(&option, ask, |mut client, ask| async move { client.append(ask).await })
            .await?;
        match answer.outcome() {
            pb::append_response::Outcome::Success => Ok(AppendEntriesResponse::Success),
            pb::append_response::Outcome::Partial => {
                let upto = answer.upto.as_ref().map(codec::log_id_from);
                Ok(AppendEntriesResponse::PartialSuccess(upto))
            }
            pb::append_response::Outcome::Conflict => Ok(AppendEntriesResponse::Conflict),
            pb::append_response::Outcome::HigherVote => {
                let vote = codec::vote_from(answer.vote.as_ref()).map_err(|e| self.malformed(e))?;
                Ok(AppendEntriesResponse::HigherVote(vote))
            }
            pb::append_response::Outcome::Unspecified => {
                Err(self.malformed(codec::Malformed("append response: no outcome")))
            }
        }
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, Rpc> {
        let ask = self.vote_request(&rpc);
        let answer = self
            .call(&option, ask, |mut client, ask| async move { client.vote(ask).await })
            .await?;
        self.vote_response(&answer)
    }

    // openraft's default grants: without this, pre-vote would be off without a word.
    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, Rpc> {
        let ask = self.vote_request(&rpc);
        let answer = self
            .call(&option, ask, |mut client, ask| async move { client.pre_vote(ask).await })
            .await?;
        self.vote_response(&answer)
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, Stream> {
        let parts = parts(self.peers(), &vote, &snapshot);
        let sending = self.call(&option, tokio_stream::iter(parts), |mut client, ask| async move {
            client.snapshot(ask).await
        });
        let answer = tokio::select! {
            biased;
            closed = cancel => return Err(StreamingError::Closed(closed)),
            answer = sending => answer?,
        };
        let vote = codec::vote_from(answer.vote.as_ref()).map_err(|e| self.malformed(e))?;
        Ok(SnapshotResponse::new(vote))
    }

    async fn transfer_leader(
        &mut self,
        rpc: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, Rpc> {
        let ask = pb::TransferLeaderRequest {
            peers: self.peers(),
            from_leader: Some(codec::vote_to(rpc.from_leader())),
            to_node: *rpc.to_node_id(),
            last: rpc.last_log_id().map(codec::log_id_to),
        };
        let answer = self
            .call(&option, ask, |mut client, ask| async move { client.transfer_leader(ask).await })
            .await?;
        if answer.granted {
            return Ok(Ok(()));
        }
        let expected = rpc.last_log_id().copied();
        Ok(Err(TransferLeaderError::LogNotFlushed { expected, actual: None }))
    }
}

/// Head, chunks, tail.
fn parts(peers: Option<pb::Peers>, vote: &Vote, snapshot: &Snapshot) -> Vec<pb::SnapshotPart> {
    use pb::snapshot_part::Part;
    let data = &snapshot.snapshot;
    let head = pb::SnapshotHead {
        peers,
        vote: Some(codec::vote_to(vote)),
        meta: Some(codec::meta_to(&snapshot.meta)),
        bytes: data.len() as u64,
    };
    let chunks = (0..data.len())
        .step_by(SNAPSHOT_PART_BYTES)
        .map(|at| Part::Chunk(data.slice(at..data.len().min(at + SNAPSHOT_PART_BYTES))));
    let tail = pb::SnapshotTail { crc32c: crc32c::crc32c(data) };
    std::iter::once(Part::Head(head))
        .chain(chunks)
        .chain(std::iter::once(Part::Tail(tail)))
        .map(|part| pb::SnapshotPart { part: Some(part) })
        .collect()
}
