//! The types that openraft is built from here. Knows their shape; never what a command means.

use arbiter_core::{Proposal, Rejected};
use bytes::Bytes;
use openraft::impls::leader_id_std::LeaderId;
use std::fmt;

openraft::declare_raft_types!(
    /// One leader per term (`leader_id_std`): the default of openraft allows two to share one.
    pub TypeConfig:
        D = Command,
        R = Response,
        NodeId = u64,
        Node = Member,
        LeaderId = LeaderId<u64, u64>,
        AsyncRuntime = openraft_rt_tokio::TokioRuntime,
);

/// What became of an entry: the index at which it was done, or why it was refused.
pub type Response = Result<u64, Rejected>;

/// Raft of this project.
pub type Raft = openraft::Raft<TypeConfig, super::machine::StateMachine>;
/// Position of an entry.
pub type RaftLogId = openraft::type_config::alias::LogIdOf<TypeConfig>;
/// A vote, as saved and sent.
pub type Vote = openraft::type_config::alias::VoteOf<TypeConfig>;
/// An entry.
pub type Entry = openraft::type_config::alias::EntryOf<TypeConfig>;
/// What an entry carries.
pub type Payload = openraft::type_config::alias::PayloadOf<TypeConfig>;
/// Who votes and who listens.
pub type Membership = openraft::Membership<u64, Member>;
/// The same, with the entry that set it.
pub type StoredMembership = openraft::type_config::alias::StoredMembershipOf<TypeConfig>;
/// Head of a snapshot.
pub type SnapshotMeta = openraft::type_config::alias::SnapshotMetaOf<TypeConfig>;
/// A snapshot: head and framed bytes.
pub type Snapshot = openraft::type_config::alias::SnapshotOf<TypeConfig, Bytes>;

/// A member of the cluster, as the log knows it. The incarnation pins the disk: another disk under
/// the same id is refused by everybody who has this entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Member {
    /// Its configured name.
    pub name: String,
    /// `host:port` of its gRPC face.
    pub address: String,
    /// The life of its disk; 0: not pinned.
    pub incarnation: u64,
}

/// A core [`Proposal`], serialised once where it is proposed and decoded once where it is applied.
#[derive(Clone, PartialEq, Eq)]
pub struct Command(pub Bytes);

impl Command {
    /// Serialises `proposal`.
    pub fn encode(proposal: &Proposal) -> Self {
        Self(Bytes::from(serde_json::to_vec(proposal).expect("core types serialise to JSON")))
    }

    /// The proposal.
    ///
    /// # Errors
    /// Bytes that this build cannot read.
    pub fn decode(&self) -> Result<Proposal, serde_json::Error> {
        serde_json::from_slice(&self.0)
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Command({} bytes)", self.0.len())
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}
