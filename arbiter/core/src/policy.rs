//! What an operator asked for. Lives in State; files only bootstrap it. Knows no file format.

use crate::{
    AgentId, ArbiterId, DrillPolicy, EvidenceKind, GroupId, Instance, InstanceId, RegionId, Timing,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// Who may open plans.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Judges and records; orders nothing. What is armed stays so: its deadman still fences.
    #[default]
    Observe,
    /// An operator opens plans.
    Manual,
    /// The leader opens failovers as well.
    Automatic,
}

/// What is done about a primary that died beside a live agent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnPrimaryFailure {
    /// Its agent restarts it where it is, for ever.
    #[default]
    Restart,
    /// Restarted for `start_limit`, then the primary counts as lost.
    RestartThenFailover,
    /// Lost at once.
    Failover,
}

/// What is done about traffic records that somebody else changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnDrift {
    /// An event and a `drift` fault; the records stay.
    #[default]
    Alert,
    /// The same, and the records are put back.
    Repair,
}

/// What is done once the preferred region could be active again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Failback {
    /// It is proposed; an operator does it.
    #[default]
    Propose,
    /// In `automatic`, the leader does it after the hold-down.
    Automatic,
}

/// Whether acknowledged writes may be lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// Bounded by `rpo` before the decision, counted after it.
    #[default]
    Async,
    /// None is (I11).
    Strict,
}

/// What a primary does in `strict` while it has no synchronous standby.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StrictAlone {
    /// It acknowledges writes; no failover opens by itself until it has one again.
    #[default]
    Accept,
    /// It acknowledges none until then.
    Block,
}

/// What an `async` primary does whose renewals stay away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnIsolation {
    /// It serves until its fence.
    #[default]
    Serve,
    /// After two missed renewals it acknowledges only what a standby elsewhere has.
    Stall,
}

/// What an armed region does that no quorum answers any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnQuorumLoss {
    /// It serves as long as its lease allows, then it is fenced.
    #[default]
    Fence,
    /// It serves on. State never knows it as armed, and the end of its lease proves nothing (I9).
    Hold,
}

/// Policy of one group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Lease timers.
    pub timing: Timing,
    /// The region named active when the group is first activated.
    pub initial_active: RegionId,
    /// Where failback leads; none: no proposal.
    pub preferred: Option<RegionId>,
    /// See [`Failback`].
    #[serde(default)]
    pub failback: Failback,
    /// How long the signs of loss must hold.
    pub detect_after: Duration,
    /// How many different kinds of signal must agree, 1..
    pub signal_kinds_min: u8,
    /// How long a primary may take to start or recover.
    pub start_limit: Duration,
    /// How long a switchover may drain the source.
    pub drain_limit: Duration,
    /// How long a failover first tries a clean stop of a live source.
    pub clean_stop_limit: Duration,
    /// No failover opens by itself this soon after the last one.
    pub hold_down: Duration,
    /// The weakest evidence that a plan opened by policy may use.
    pub evidence_min: EvidenceKind,
    /// Greatest loss that a failover may bring, in time.
    pub rpo: Duration,
    /// RTO: how long a recovery may take; none: no objective.
    #[serde(default)]
    pub rto: Option<Duration>,
    /// See [`DrillPolicy`].
    #[serde(default)]
    pub drill: DrillPolicy,
    /// Mode `automatic` may be set.
    #[serde(default = "allowed")]
    pub allow_automatic: bool,
    /// See [`OnPrimaryFailure`].
    pub on_primary_failure: OnPrimaryFailure,
    /// A halted failover aborts when its source reports again, healthy.
    pub abort_when_source_returns: bool,
    /// A lost target after the point of no return is superseded without a command.
    pub supersede_by_itself: bool,
    /// Probes alone decide, even against a live agent that reports its data healthy.
    pub clients_decide: bool,
    /// See [`OnDrift`].
    pub on_drift: OnDrift,
    /// See [`Durability`].
    pub durability: Durability,
    /// See [`StrictAlone`].
    #[serde(default)]
    pub strict_alone: StrictAlone,
    /// See [`OnIsolation`].
    #[serde(default)]
    pub on_isolation: OnIsolation,
    /// See [`OnQuorumLoss`].
    #[serde(default)]
    pub on_quorum_loss: OnQuorumLoss,
    /// Whether an external fence command is configured for a region: the region it cuts → the
    /// command driver's instance settings (`fence_command`, `fence_check`).
    pub external_fence: BTreeMap<RegionId, BTreeMap<String, String>>,
    /// Time limit of one attempt at a row after the point of no return.
    pub step_limit: Duration,
    /// Attempts at such a row before it halts, 1..
    pub step_attempts_max: u32,
}

/// A policy written before this could be said allowed it.
fn allowed() -> bool {
    true
}

/// Kind of region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RegionKind {
    /// Has resources; may be active.
    Data,
    /// Votes, holds nothing, never active (I8).
    Witness,
}

/// A voter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Voter {
    /// Raft node id; never reused.
    pub node_id: u64,
    /// Where it stands.
    pub region: RegionId,
    /// `host:port` of its gRPC face.
    pub address: String,
}

/// What a probe's word is, beside the silence of agents (design §6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SignalKind {
    /// Whether something in the region answers.
    #[default]
    Health,
    /// Whether alerts of several of its services fire.
    Alerts,
    /// What the provider says of itself. It corroborates and never decides: it is shown only.
    Provider,
}

/// Something every arbiter looks at from where it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeSpec {
    /// The region whose health it tells of.
    pub region: RegionId,
    /// Kind of probe, such as `tcp`; the core knows none.
    pub kind: String,
    /// What its word is. A State written before there were others has health alone.
    #[serde(default)]
    pub signal: SignalKind,
    /// `host:port` or URL.
    pub target: String,
    /// Time limit of one try.
    pub limit: Duration,
    /// Settings of its kind; opaque here.
    #[serde(default)]
    pub settings: BTreeMap<String, String>,
}

/// A group as the policy describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupSpec {
    /// Its rules.
    pub policy: Policy,
    /// Its resources' instances, in both regions.
    pub instances: BTreeMap<InstanceId, Instance>,
    /// Looked at by every arbiter, by name.
    pub probes: BTreeMap<String, ProbeSpec>,
}

/// The whole of a cluster as policy describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterSpec {
    /// The regions.
    pub regions: BTreeMap<RegionId, RegionKind>,
    /// The voters.
    pub voters: BTreeMap<ArbiterId, Voter>,
    /// The agents and where they stand.
    pub agents: BTreeMap<AgentId, RegionId>,
    /// The groups.
    pub groups: BTreeMap<GroupId, GroupSpec>,
    /// Membership and what replaces a lost quorum take two persons: see [`crate::Approval`].
    #[serde(default)]
    pub two_person: bool,
}
