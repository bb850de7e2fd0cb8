//! The cluster's beginning, its members and its leader's place. Knows voters by name; never what a
//! command means.

use super::channel::{Lane, Link};
use super::handle::{ProposeError, RaftHandle};
use super::leadership::Leadership;
use super::reads::who_does;
use super::timing::VoterAt;
use super::types::{Member, RaftLogId};
use crate::clock;
use arbiter_core::{Proposal, Rejected};
use arbiter_proto::v1 as pb;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::{InitializeError as RaftInitializeError, RaftError};
use openraft::{Instant as _, ServerState};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;

/// How long each voter may take to say who it is.
const IDENTIFY_LIMIT: Duration = Duration::from_secs(5);

/// Why a cluster was not initialized.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InitializeError {
    /// It was, earlier.
    #[error("this cluster is initialized already; see `arbiter status`")]
    Already,
    /// A voter does not answer, or is another.
    #[error("voter {name} at {address}: {why}; start every voter, then initialize again")]
    Voter {
        /// Its configured name.
        name: String,
        /// Where it was asked.
        address: String,
        /// What it said, or that it said nothing.
        why: String,
    },
    /// The members are set; the first command is not in yet: ask again, here or at the leader.
    #[error(transparent)]
    Propose(#[from] ProposeError),
    /// openraft refused.
    #[error("{0}")]
    Refused(String),
}

/// Why leadership was not transferred.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TransferError {
    /// Ask the leader.
    #[error("this arbiter does not lead{}", who_does(.0.as_ref()))]
    NotLeader(Option<String>),
    /// No such voter.
    #[error("no voter is called `{0}`; see `arbiter members list`")]
    NoSuchVoter(String),
    /// It did not take over in time; who leads is to be looked up.
    #[error("{0} did not take over within {1:?}; is it reachable and caught up?")]
    NotTaken(String, Duration),
    /// This node is stopping.
    #[error("this arbiter is stopping: {0}")]
    Stopped(String),
}

/// What this node knows of Raft, for people and metrics. Ages are by this node's clock.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RaftStatus {
    /// This node.
    pub node_id: u64,
    /// Its term.
    pub term: u64,
    /// `leader`, `follower`, `candidate`, `learner`.
    pub role: &'static str,
    /// Members are known: `initialize` was done, here or elsewhere.
    pub initialized: bool,
    /// Last entry in the log.
    pub last_log: Option<u64>,
    /// Last entry applied.
    pub applied: Option<u64>,
    /// Last entry in the snapshot.
    pub snapshot: Option<u64>,
    /// Leader only: since a quorum last answered.
    pub quorum_acked: Option<Duration>,
    /// The members, by name.
    pub peers: BTreeMap<String, PeerStatus>,
    /// Why peers and this disk do not fit, and what to do.
    pub refused: Option<String>,
}

/// A member.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerStatus {
    /// Raft node id.
    pub node_id: u64,
    /// `host:port` of its gRPC face.
    pub address: String,
    /// It votes.
    pub voter: bool,
    /// Leader only: entries that it lacks; none: not known.
    pub lag: Option<u64>,
    /// Since it last answered (leader) or asked (others); none: never.
    pub heard: Option<Duration>,
    /// The newest `State.version` that its build supports, as far as this node was told.
    pub supports: Option<u32>,
}

impl RaftHandle {
    /// Begins a cluster, once in its life: asks every voter of the configuration who it is, pins
    /// their disks in the first entry, and proposes `proposal`, which is to be the core's
    /// `Initialize`. Where the members are set already and State is still empty, only proposes.
    ///
    /// # Errors
    /// [`InitializeError`].
    pub async fn initialize(
        &self,
        proposal: &Proposal,
    ) -> Result<Result<u64, Rejected>, InitializeError> {
        if self.state().with(|state| state.cluster_id.is_some()) {
            return Err(InitializeError::Already);
        }
        if !self.status().initialized {
            let members = self.identify(proposal.command.version()).await?;
            match self.inner.raft.initialize(members).await {
                Ok(()) => {}
                Err(RaftError::APIError(RaftInitializeError::NotAllowed(_))) => {}
                Err(error) => return Err(InitializeError::Refused(error.to_string())),
            }
        }
        let mut leader = self.leader();
        let limit = 4 * self.inner.options.timing.election_max;
        let known = leader.wait_for(|now| now.acting || (now.leader.is_some() && !now.mine));
        // Without a leader the proposal says so itself.
        let _ = tokio::time::timeout(limit, known).await;
        Ok(self.propose(proposal).await?)
    }

    /// Asks every voter who it is, and whether it can read what comes first in the log.
    async fn identify(&self, version: u32) -> Result<BTreeMap<u64, Member>, InitializeError> {
        let mut members = BTreeMap::new();
        for voter in &self.inner.options.voters {
            let incarnation = if voter.node_id == self.inner.identity.node_id {
                self.inner.identity.incarnation
            } else {
                let failed = |why| InitializeError::Voter {
                    name: voter.name.clone(),
                    address: voter.address.clone(),
                    why,
                };
                let said = self.ask_who(voter).await.map_err(failed)?;
                let supported = said.state_version_max;
                if supported < version {
                    let why = format!("supports state version {supported}, {version} is needed");
                    return Err(failed(why));
                }
                said.incarnation
            };
            let (name, address) = (voter.name.clone(), voter.address.clone());
            members.insert(voter.node_id, Member { name, address, incarnation });
        }
        Ok(members)
    }

    /// Who `voter` says that it is. It must be new.
    pub(super) async fn ask_who(&self, voter: &VoterAt) -> Result<pb::IdentifyResponse, String> {
        let answer = self.identify_at(voter.node_id, &voter.name, &voter.address).await?;
        if answer.name != voter.name {
            return Err(format!("calls itself {}: check its --name", answer.name));
        }
        if answer.initialized {
            return Err("belongs to an initialized cluster already: begin it anew, with an empty \
                        data directory and a new node id"
                .to_owned());
        }
        Ok(answer)
    }

    async fn identify_at(
        &self,
        to: u64,
        name: &str,
        address: &str,
    ) -> Result<pb::IdentifyResponse, String> {
        let member = Member { name: name.to_owned(), address: address.to_owned(), incarnation: 0 };
        let link: Arc<Link> =
            self.inner.channels.link(&member, Lane::Log).map_err(|error| error.to_string())?;
        let cluster_id = self.inner.options.cluster_id.clone();
        let mut ask = tonic::Request::new(pb::IdentifyRequest { cluster_id, to });
        ask.set_timeout(IDENTIFY_LIMIT);
        let mut client = link.client();
        let answer = tokio::time::timeout(IDENTIFY_LIMIT, client.identify(ask))
            .await
            .map_err(|_| format!("no answer within {IDENTIFY_LIMIT:?}"))?;
        Ok(answer.map_err(|status| status.message().to_owned())?.into_inner())
    }

    /// The newest `State.version` that each member supports, by name; none: it does not say.
    pub async fn supported(&self) -> BTreeMap<String, Option<u32>> {
        let known = self.members();
        let me = self.inner.identity.node_id;
        let asked = known.voters.into_iter().chain(known.learners);
        let asked = asked.map(|(id, (name, address))| async move {
            if id == me {
                return (name, Some(arbiter_core::STATE_VERSION_MAX));
            }
            let said = self.identify_at(id, &name, &address).await;
            (name, said.ok().map(|said| said.state_version_max))
        });
        let said: BTreeMap<_, _> = futures::future::join_all(asked).await.into_iter().collect();
        self.inner.heard.supports(&said);
        said
    }

    /// Makes the voter called `to` the leader, and waits until it is.
    ///
    /// # Errors
    /// [`TransferError`].
    pub async fn transfer_leader(&self, to: &str) -> Result<(), TransferError> {
        let target = {
            let metrics = self.inner.raft.metrics();
            let membership = metrics.borrow_watched().membership_config.clone();
            membership
                .membership()
                .voter_ids()
                .find(|id| membership.membership().get_node(id).is_some_and(|m| m.name == to))
        };
        let target = target.ok_or_else(|| TransferError::NoSuchVoter(to.to_owned()))?;
        let mut leader = self.leader();
        let now = leader.borrow().clone();
        if now.node_id == Some(target) {
            return Ok(());
        }
        if !now.mine {
            return Err(TransferError::NotLeader(now.leader.map(|name| name.0)));
        }
        let stopped = |error: String| TransferError::Stopped(error);
        self.inner
            .raft
            .trigger()
            .transfer_leader(target)
            .await
            .map_err(|error| stopped(error.to_string()))?;
        let limit = self.inner.options.timing.election_max;
        let taken = leader.wait_for(|now: &Leadership| now.node_id == Some(target));
        match tokio::time::timeout(limit, taken).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(stopped(error.to_string())),
            Err(_) => Err(TransferError::NotTaken(to.to_owned(), limit)),
        }
    }

    /// What this node knows of Raft.
    pub fn status(&self) -> RaftStatus {
        let metrics = self.inner.raft.metrics();
        // Copied: the guard must not be held while anything else is done.
        let metrics = metrics.borrow_watched().clone();
        let membership = metrics.membership_config.membership();
        let voters: Vec<u64> = membership.voter_ids().collect();
        let index = |at: Option<RaftLogId>| at.map(|at| at.index);
        let asked = self.inner.heard.peers();
        let supports = self.inner.heard.supported();
        let now = clock::now();
        let peers = membership.nodes().map(|(id, member)| {
            let matched = metrics.replication.as_ref().and_then(|all| all.get(id).copied());
            let lag = matched.map(|at| {
                let have = index(at).map_or(0, |at| at + 1);
                metrics.last_log_index.map_or(0, |last| (last + 1).saturating_sub(have))
            });
            // openraft's instants can only be asked how old they are.
            let answered = metrics.heartbeat.as_ref().and_then(|all| all.get(id).copied());
            let answered = answered.flatten().map(|at| at.into_inner().elapsed());
            let heard = answered.or_else(|| asked.get(id).map(|at| now.since(*at)));
            let peer = PeerStatus {
                node_id: *id,
                address: member.address.clone(),
                voter: voters.contains(id),
                lag,
                heard,
                supports: supports.get(&member.name).copied().flatten(),
            };
            (member.name.clone(), peer)
        });
        RaftStatus {
            node_id: metrics.id,
            term: metrics.current_term,
            role: role(metrics.state),
            initialized: !voters.is_empty(),
            last_log: metrics.last_log_index,
            applied: index(metrics.last_applied),
            snapshot: index(metrics.snapshot),
            quorum_acked: metrics.last_quorum_acked.map(|at| at.into_inner().elapsed()),
            peers: peers.collect(),
            refused: self.inner.heard.refused(),
        }
    }
}

fn role(state: ServerState) -> &'static str {
    match state {
        ServerState::Leader => "leader",
        ServerState::Follower => "follower",
        ServerState::Candidate => "candidate",
        ServerState::Learner => "learner",
        ServerState::Shutdown => "stopped",
    }
}
