//! What goes into the Raft log. Each command names what it expects; stale is [`Rejected`], quietly.

use crate::{
    AgentId, ArbiterId, Arming, By, ClusterId, ClusterSpec, DrillId, DrillKind, DrillPhase, Epoch,
    Evidence, GroupId, Halt, Incarnation, InstanceId, LagMark, LogId, Loss, LossBound, Mode,
    PlanId, PlanKind, Position, RegionId, RequestId, ResourceId, State, StepId, StepState,
    Synchronous, Token, Voter, WallMillis,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use thiserror::Error;

/// A command on its way into the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposal {
    /// Set for what a client asked: asked twice is done once.
    pub request: Option<RequestId>,
    /// Who asks.
    pub by: By,
    /// Why, for people.
    pub reason: String,
    /// The proposer's wall clock, for people.
    pub wall: WallMillis,
    /// What is asked.
    pub command: Command,
}

/// How long a leader waited, by its own clock, in its own term.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waited {
    /// The term in which all of it passed; refused in another.
    pub term: u64,
    /// Since the later of the last answer and the election.
    pub elapsed: Duration,
}

/// What is asked of the replicated state. Fields are named by their types; each variant says the
/// rest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "fields are named by their types")]
pub enum Command {
    /// Once in a cluster's life: its name and first specification.
    Initialize { cluster_id: ClusterId, spec: ClusterSpec },
    /// A new specification. Refused where it would move a resource of an open plan, or change what
    /// an armed agent holds. Longer leases take effect with [`Command::RaiseLease`].
    ApplyPolicy { spec: ClusterSpec },
    /// Raise `State.version`; proposed when every voter reports support.
    RaiseVersion { version: u32 },
    /// Once in a cluster's life, instead of `Initialize`: it goes on from a backup of another.
    Restore(Box<Restore>),
    /// An arbiter is about to join, under an id that none ever had.
    ReserveNode { name: ArbiterId, voter: Voter },
    /// Raft's members as they are now, and who is still on the way in.
    SetVoters { voters: BTreeMap<ArbiterId, Voter>, joining: BTreeMap<ArbiterId, Voter> },
    /// After a restore: no other region serves this group.
    SettleGroup { group: GroupId },
    /// An operator says that nothing beside an agent that was bound before the restore accepts
    /// writes, or ever will. It never shortens the lease wait.
    AttestAgent { agent: AgentId, waited: Waited },

    /// Epoch 0 → 1: the region that policy names, whose agent alone reports the primaries (I2).
    ActivateFirst { group: GroupId, region: RegionId, primaries: BTreeMap<ResourceId, InstanceId> },
    /// Bind a life of an agent. `former_dead`: the wait for the former life's leases, where it may
    /// have any.
    Bind { agent: AgentId, incarnation: Incarnation, boot_id: String, former_dead: Option<Waited> },
    /// Ask the group's agents to arm, or not to. `Disarm` takes effect in State at once.
    Arm { group: GroupId, armed: bool },
    /// A Report showed the arming with, in the active region, its deadline running.
    RecordArmed { group: GroupId, agent: AgentId, incarnation: Incarnation, arming: Arming },
    /// A Report showed less than State says: State follows at once.
    RecordUnarmed { group: GroupId, agent: AgentId, incarnation: Incarnation },
    /// Set the mode. `Manual` and `Automatic` need both regions armed.
    SetMode { group: GroupId, mode: Mode, expected_epoch: Epoch },
    /// Before the first grant longer than `lease_max`.
    RaiseLease { group: GroupId, lease: Duration },
    /// After the old wait has passed without a longer grant. `since`: the entry that last changed
    /// L in the policy; stale if another changed it since.
    LowerLease { group: GroupId, lease: Duration, since: u64, waited: Waited },
    /// Whom the commits of `primary` wait for: `named` by its order, `counted` on. Grows in two
    /// entries, the second after `primary` was seen to wait; shrinks in one (I11).
    SetSynchronous {
        group: GroupId,
        resource: ResourceId,
        primary: InstanceId,
        /// With the [`Synchronous::since`] that it follows; stale if another changed it.
        set: Synchronous,
    },
    /// The loss that would follow crossed the RPO; committed before the Report is answered.
    MarkLag { group: GroupId, lag: LagMark },
    /// The hold-down after the last failover passed by the clock of one leader.
    EndHoldDown { group: GroupId, waited: Waited },
    /// What would be done now if nothing blocked it (in `observe`, its mode does); empty: the
    /// signs of loss are gone.
    RecordJudgement { group: GroupId, would_have: String },

    /// Open a plan; `preflight` found nothing against it.
    OpenPlan(OpenPlan),
    /// The row whose turn it is ended. `took`: by the leader's clock.
    EndStep { group: GroupId, plan: PlanId, step: StepId, outcome: StepOutcome, took: Duration },
    /// A failed attempt at a row that is tried again.
    RetryStep { group: GroupId, plan: PlanId, step: StepId, note: String },
    /// Evidence for an instance of the plan's source; `end`: where its stream ended, if a clean
    /// stop told. Ends the rows that it completes; `took`: how long the present one ran.
    RecordEvidence {
        group: GroupId,
        plan: PlanId,
        evidence: Evidence,
        end: Option<Position>,
        took: Duration,
    },
    /// The plan waits for an operator.
    HaltPlan { group: GroupId, plan: PlanId, halt: Halt },
    /// An operator lets a halted plan go on, optionally accepting loss over the RPO.
    ResumePlan { group: GroupId, plan: PlanId, expected_epoch: Epoch, accept_loss: bool },
    /// Undo before the point of no return: the source is resumed, evidence is void.
    AbortPlan { group: GroupId, plan: PlanId, expected_epoch: Epoch, took: Duration },
    /// After the point of no return the target is lost: close the plan, open a failover back, in
    /// one entry. `stands`: where the old source was seen to stand, fenced. See
    /// [`crate::supersede`].
    Supersede {
        plan: PlanId,
        open: OpenPlan,
        #[serde(default)]
        stands: BTreeMap<ResourceId, Position>,
        took: Duration,
    },
    /// An operator attests the fence of an instance for the open plan and its token. It never
    /// shortens the lease wait: `waited` must be all of it. See [`crate::attest`].
    Attest { group: GroupId, plan: PlanId, instance: InstanceId, token: Token, waited: Waited },

    /// Begin a drill. Its plans open with [`Command::OpenDrillPlan`].
    RunDrill { group: GroupId, kind: DrillKind, accept_loss: bool, expected_epoch: Epoch },
    /// The next plan of a drill opens; `preflight` found nothing against it.
    OpenDrillPlan { drill: DrillId, open: OpenPlan },
    /// A phase of a drill ended by what agents did, or failed. A plan of it that is open stays.
    EndDrillPhase {
        group: GroupId,
        drill: DrillId,
        phase: DrillPhase,
        /// What each part said of itself.
        said: BTreeMap<InstanceId, String>,
        /// Why, where it failed.
        failed: Option<String>,
    },
    /// An operator ends a drill. A plan of it that can still be undone is, in the same entry.
    AbortDrill { group: GroupId, drill: DrillId, expected_epoch: Epoch, took: Duration },

    /// A best-effort instance without evidence was fenced after all, or seen so.
    RecordFenced { group: GroupId, instance: InstanceId },
    /// An instance of a region that lost the active role was seen as a standby again.
    RecordStandby { group: GroupId, instance: InstanceId },
    /// What a failover cost was read on its old side.
    RecordLoss { group: GroupId, plan: PlanId, instance: InstanceId, loss: Loss },
    /// Instances were seen to serve at the epoch of the plan, for its report: see
    /// [`crate::PlanTimes::serving`].
    RecordServing { group: GroupId, plan: PlanId, instances: BTreeSet<InstanceId> },
    /// Traffic was first written to a zone, or read there.
    RecordZone { group: GroupId, zone: String },
    /// Traffic records were changed by somebody else, in words; empty: they are right again.
    RecordDrift { group: GroupId, instance: InstanceId, drift: String },
    /// An operator lets the next traffic write take over what stands in the zone.
    AdoptTraffic { group: GroupId, zone: String, expected_epoch: Epoch },

    /// For the audit log alone: a call that was refused before it could be a command, or that is
    /// done outside the log. `result`: `done`, `begun`, or the code of the refusal.
    NoteCall { call: String, group: Option<GroupId>, detail: String, result: String },

    /// Set the mode for `lasts`; then it goes back to what it was.
    SetModeFor { group: GroupId, mode: Mode, lasts: Duration, expected_epoch: Epoch },
    /// That time passed by the clock of one leader. `since`: the entry that set it.
    RevertMode { group: GroupId, since: u64, waited: Waited },
    /// L is `lease`, longer than policy's, for `lasts`: arbiters, agents and hosts can be upgraded
    /// without a fence.
    Maintain { group: GroupId, lease: Duration, lasts: Duration, expected_epoch: Epoch },
    /// L is policy's again: `waited` by the leader when the time passed; none: an operator ends it.
    EndMaintenance { group: GroupId, since: u64, waited: Option<Waited> },
    /// What an operator overrode for this plan holds no longer: it was not needed in time.
    LapseOverrides { group: GroupId, plan: PlanId, waited: Waited },

    /// One of two persons asks to do `action`.
    AskApproval { action: String },
    /// The other one agrees.
    Approve { id: u64 },
    /// `action` is about to be done, once, by the one who asked.
    UseApproval { action: String },
    /// Nobody used it in time.
    EndApproval { id: u64, waited: Waited },
}

/// See [`Command::Restore`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restore {
    /// The new cluster.
    pub cluster_id: ClusterId,
    /// Its specification, from its own file: arbiters differ, groups may not be fewer.
    pub spec: ClusterSpec,
    /// The State in the backup.
    pub backup: State,
    /// The last entry in it.
    pub at: LogId,
    /// When it was taken.
    pub taken: WallMillis,
    /// What an operator knows better than the backup: the region that is active.
    pub active: BTreeMap<GroupId, RegionId>,
    /// How far each epoch jumps: above all that the former cluster may have given since.
    pub epoch_jump: u64,
}

impl Command {
    /// The `State.version` from which every voter can read it.
    pub fn version(&self) -> u32 {
        use Command::*;
        match self {
            Restore(_)
            | ReserveNode { .. }
            | SetVoters { .. }
            | SettleGroup { .. }
            | AttestAgent { .. }
            | NoteCall { .. }
            | SetModeFor { .. }
            | RevertMode { .. }
            | Maintain { .. }
            | EndMaintenance { .. }
            | LapseOverrides { .. }
            | AskApproval { .. }
            | Approve { .. }
            | UseApproval { .. }
            | EndApproval { .. } => 2,
            _ => 1,
        }
    }
}

/// See [`Command::OpenPlan`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenPlan {
    /// The group.
    pub group: GroupId,
    /// Its kind.
    pub kind: PlanKind,
    /// The region to activate.
    pub target: RegionId,
    /// The epoch the asker believes in.
    pub expected_epoch: Epoch,
    /// Skip the clean stop.
    pub immediate: bool,
    /// Loss over the RPO is accepted.
    pub accept_loss: bool,
    /// Which instance of each resource would be promoted now; `catch-up` chooses again.
    pub candidates: BTreeMap<ResourceId, InstanceId>,
    /// Ends of the source's streams as last known.
    pub source_end: BTreeMap<ResourceId, Position>,
    /// What it may lose.
    pub loss: LossBound,
    /// For people: what was compared on both sides, a sentence each.
    #[serde(default)]
    pub compared: Vec<String>,
    /// Gates that the asker overrides, by code, and whether each was closed.
    #[serde(default)]
    pub overrides: BTreeMap<String, bool>,
}

/// How a row ended, with what later rows need of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepOutcome {
    /// `Done`, `Skipped`, `Unanswered`, `Degraded` or `Failed`; the table says what follows.
    pub state: StepState,
    /// For people.
    pub note: String,
    /// `fence-source` of a clean stop: where the source ended.
    pub source_end: BTreeMap<ResourceId, Position>,
    /// `catch-up`: which instances are promoted; a resource left out keeps the one that it has.
    #[serde(default)]
    pub candidates: BTreeMap<ResourceId, InstanceId>,
    /// `catch-up`: where the candidates stand.
    pub target_end: BTreeMap<ResourceId, Position>,
    /// `catch-up`: the bound, now known.
    pub loss: Option<LossBound>,
}

/// Why a command was refused. Named by what the caller does next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Error)]
#[serde(rename_all = "kebab-case")]
pub enum Rejected {
    /// What the command expected is no longer so: look again. Quiet.
    #[error("stale: {0}")]
    Stale(String),
    /// Not as things stand; the text says why and what to do.
    #[error("{reason}; {next}")]
    Refused {
        /// Machine-readable, such as `plan-open`, `wrong-epoch`, `not-armed`.
        code: String,
        /// Why.
        reason: String,
        /// The command or remedy to try next.
        next: String,
    },
    /// The next State would break an invariant. Never expected.
    #[error("breaks invariant {invariant}: {detail}")]
    Breach {
        /// `I1` to `I11`.
        invariant: String,
        /// Which sentence, with what values.
        detail: String,
    },
    /// `State.version` of this entry is above what this build supports.
    #[error("this build supports state version {supported}, the entry asks for {asked}")]
    Unsupported {
        /// What it asks for.
        asked: u32,
        /// What this build has.
        supported: u32,
    },
}

impl Rejected {
    /// The machine-readable code.
    pub fn code(&self) -> &str {
        match self {
            Self::Stale(_) => "stale",
            Self::Refused { code, .. } => code,
            Self::Breach { .. } => "breach",
            Self::Unsupported { .. } => "unsupported",
        }
    }
}
