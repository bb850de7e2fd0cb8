//! The replicated state. Knows what was committed; nobody but `apply` changes it.

use crate::{
    Activation, AgentId, ArbiterId, ClusterId, ClusterSpec, Epoch, EvidenceKind, Goal, GroupId,
    GroupSpec, Incarnation, InstanceId, Layer, LogId, Mode, Plan, PlanEnd, PlanId, RegionId,
    RequestId, ResourceId, SynchronousSets, Token, Voter, WallMillis,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How far the epoch of every group jumps in a restore, unless the operator says more: no cluster
/// changes its active region so often between a backup and its end.
pub const EPOCH_JUMP: u64 = 1_000_000;

/// The newest `State.version` that this build supports. 2: members change, a cluster is restored
/// (decisions 0031 and 0032).
pub const STATE_VERSION_MAX: u32 = 2;
/// Ended plans kept per group.
pub const PLANS_KEPT_MAX: usize = 64;
/// Outcomes of requests kept, oldest dropped first.
pub const REQUESTS_KEPT_MAX: usize = 1024;
/// Events kept for `history`.
pub const EVENTS_KEPT_MAX: usize = 512;

/// All that is replicated.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Selects the behaviour of `apply`; raised only when every voter supports it.
    pub version: u32,
    /// Set by `Initialize`.
    pub cluster_id: Option<ClusterId>,
    /// Regions, voters, agents, and the specification of each group.
    pub spec: ClusterSpec,
    /// What became of each group.
    pub groups: BTreeMap<GroupId, Group>,
    /// Which life of each agent is bound.
    pub bindings: BTreeMap<AgentId, Binding>,
    /// Outcomes of requests, so that asking again is safe.
    pub requests: BTreeMap<RequestId, RequestOutcome>,
    /// Newest last.
    pub events: Vec<crate::Event>,
    /// What people asked for, and what became of it.
    #[serde(default)]
    pub audit: crate::AuditTrail,
    /// What one person asked for and another must agree to, by the index of the asking entry.
    #[serde(default)]
    pub approvals: BTreeMap<u64, crate::Approval>,
    /// Every Raft node id that was ever given to an arbiter: none is given twice.
    #[serde(default)]
    pub node_ids: BTreeSet<u64>,
    /// Arbiters that are on their way in: named, and not voting yet.
    #[serde(default)]
    pub joining: BTreeMap<ArbiterId, Voter>,
    /// Where a restored cluster comes from; none: it began by itself.
    #[serde(default)]
    pub restored: Option<Restored>,
}

/// Where a restored cluster comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restored {
    /// The clusters before it, newest last: an agent that serves one of them may change over.
    pub from: Vec<ClusterId>,
    /// When the backup was taken, by the wall clock of who took it.
    pub taken: WallMillis,
    /// The last entry in it.
    pub at: LogId,
    /// How far each epoch jumped.
    pub epoch_jump: u64,
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestOutcome {
    /// Log index at which it was applied; for a refusal, of the refused entry.
    pub index: u64,
    /// None: done. Some: refused, with the sentence.
    pub refused: Option<crate::Rejected>,
}

/// The bound life of an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    /// The life that may hold leases.
    pub incarnation: Incarnation,
    /// Boot of the host that this life belongs to.
    pub boot_id: String,
    /// What State knows of its enforcement, per group; absent: unarmed.
    pub arming: BTreeMap<GroupId, Arming>,
    /// It was bound in the cluster that this one was restored from. What it holds, another arbiter
    /// may still renew: the end of its lease proves nothing, until it is bound anew.
    #[serde(default)]
    pub foreign: bool,
}

/// A committed arming (design §5): the deadman may kill.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arming {
    /// What the expiry of its lease counts as: `lease-expired`, or a class lower where the deadman
    /// holds the resource less firmly.
    pub expiry_counts_as: EvidenceKind,
}

/// A goal of one layer in one region, with the token of the entry that set it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegionGoal {
    /// What its agents must make true.
    pub goal: Goal,
    /// Carried by each order.
    pub token: Token,
}

/// Loss that would follow if the active region were lost now, against the RPO.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LagMark {
    /// Never seen; counts as over.
    #[default]
    Unknown,
    /// Within the RPO.
    Within,
    /// Over the RPO.
    Over,
}

/// What became of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Who may open plans.
    pub mode: Mode,
    /// The active region and the epoch, which change together and only by proof (I2, I3). Read
    /// them with [`Group::active`] and [`Group::epoch`].
    pub activation: Activation,
    /// Log index of the entry that last changed a goal of this group, whether it is to arm, or whom
    /// commits wait for.
    pub revision: u64,
    /// Which instance of each resource is primary in the active region.
    pub primaries: BTreeMap<ResourceId, InstanceId>,
    /// What each region's agents must make true, per layer. Empty while the group is unordered.
    pub goals: BTreeMap<RegionId, BTreeMap<Layer, RegionGoal>>,
    /// Whether agents are to arm (`Arm`) or not (`Disarm`, the start).
    pub arming_wanted: bool,
    /// The source gets no further renewal. Set by a failover's `stop-lease` and by the evidence of
    /// a switchover; cleared by an abort and by `advance-epoch`.
    pub lease_stopped: bool,
    /// The longest L that may be outstanding: raised in an entry before the first longer grant,
    /// lowered only by an entry after the old wait has passed.
    pub lease_max: Duration,
    /// Log index of the entry that last changed L in the policy.
    pub lease_changed: u64,
    /// The open plan (I5).
    pub plan: Option<Plan>,
    /// The mode was set for a time.
    #[serde(default)]
    pub timed_mode: Option<TimedMode>,
    /// A longer L than policy's is in force.
    #[serde(default)]
    pub maintenance: Option<Maintenance>,
    /// Ended plans, newest last, at most [`PLANS_KEPT_MAX`].
    pub plans: Vec<Plan>,
    /// Whom the primaries' commits wait for, in `strict` (I11).
    #[serde(default)]
    pub synchronous: SynchronousSets,
    /// The open drill: at most one.
    #[serde(default)]
    pub drill: Option<crate::Drill>,
    /// Ended drills, newest last, at most [`crate::DRILLS_KEPT_MAX`].
    #[serde(default)]
    pub drills: Vec<crate::Drill>,
    /// See [`LagMark`].
    pub lag: LagMark,
    /// The hold-down after the last failover has not passed.
    pub holding_down: bool,
    /// Whether traffic was ever written, per zone (the traffic instance's `zone` setting).
    pub zones: BTreeMap<String, ZoneState>,
    /// What somebody else changed in the traffic records, in words, per traffic instance.
    pub drift: BTreeMap<InstanceId, String>,
    /// Instances of a fenced region for which there is no evidence, and since when (best effort).
    pub unfenced: BTreeMap<InstanceId, WallMillis>,
    /// Data instances of a region that lost the active role, until each is seen as a standby.
    pub returning: BTreeSet<InstanceId>,
    /// What would have been done last if nothing had blocked it (in `observe`, its mode), and when.
    pub would_have: Option<(String, WallMillis)>,
    /// The signs behind `would_have` still hold.
    pub judged_lost: bool,
    /// Set by a restore, to the epoch of the backup, until it is known that no other region serves:
    /// meanwhile nothing is leased or ordered to serve.
    #[serde(default)]
    pub unsettled: Option<Epoch>,
}

/// A mode that was set for a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimedMode {
    /// Index of the entry that set it.
    pub since: u64,
    /// How long it lasts, by the clock of one leader: one elected meanwhile begins anew.
    pub lasts: Duration,
    /// The mode after it.
    pub then: Mode,
    /// When it ends, for people, by the wall clock of the entry that set it.
    pub until: WallMillis,
    /// The time passed and the mode could not go back: why. It stays until an operator sets one.
    pub stays_because: Option<String>,
}

/// A longer L for a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Maintenance {
    /// L meanwhile.
    pub lease: Duration,
    /// Index of the entry that began it.
    pub since: u64,
    /// How long it lasts, by the clock of one leader: one elected meanwhile begins anew.
    pub lasts: Duration,
    /// When it ends, for people, by the wall clock of the entry that began it.
    pub until: WallMillis,
}

/// What State knows of a zone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ZoneState {
    /// The TXT record was created once; absent now, it halts until adopted.
    pub initialised: bool,
    /// An operator allowed the next write at this token to take over what is there.
    pub adopt: Option<Token>,
}

impl State {
    /// The specification and the state of a group; none when either is missing.
    pub fn group(&self, id: &GroupId) -> Option<(&GroupSpec, &Group)> {
        Some((self.spec.groups.get(id)?, self.groups.get(id)?))
    }

    /// A plan, open or kept.
    pub fn plan(&self, id: PlanId) -> Option<(&GroupId, &Plan)> {
        self.groups.iter().find_map(|(name, group)| {
            group.plan.iter().chain(&group.plans).find(|plan| plan.id == id).map(|p| (name, p))
        })
    }

    /// An id that no arbiter ever had.
    pub fn next_node_id(&self) -> u64 {
        let known = self.spec.voters.values().chain(self.joining.values()).map(|v| v.node_id);
        let highest = known.chain(self.node_ids.iter().copied()).max();
        highest.unwrap_or(0).saturating_add(1)
    }

    /// Whether `agent` was bound before the restore and has not changed over.
    pub fn is_foreign(&self, agent: &AgentId) -> bool {
        self.bindings.get(agent).is_some_and(|binding| binding.foreign)
    }

    /// What State knows of `agent`'s arming for `group`.
    pub fn arming(&self, agent: &AgentId, group: &GroupId) -> Option<Arming> {
        self.bindings.get(agent)?.arming.get(group).copied()
    }
}

impl Group {
    /// The active region; none until first activated.
    pub fn active(&self) -> Option<&RegionId> {
        self.activation.active()
    }

    /// One higher each time [`Group::active`] changes; 0 until first activated.
    pub fn epoch(&self) -> Epoch {
        self.activation.epoch()
    }

    /// L as it is to be: policy's, or the longer one of a maintenance.
    pub fn lease_wanted(&self, spec: &GroupSpec) -> Duration {
        let longer = self.maintenance.as_ref().map(|maintenance| maintenance.lease);
        spec.policy.timing.lease.max(longer.unwrap_or_default())
    }

    /// The plan that `plan` superseded, if it did.
    pub(crate) fn superseded_by(&self, plan: PlanId) -> Option<&Plan> {
        let ended = PlanEnd::Superseded(plan);
        self.plans.last().filter(|before| before.end.as_ref() == Some(&ended))
    }

    /// The goal of `layer` in `region`.
    pub fn goal(&self, region: &RegionId, layer: Layer) -> Option<RegionGoal> {
        self.goals.get(region)?.get(&layer).copied()
    }
}
