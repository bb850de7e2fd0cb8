//! What people are told. Made by `apply`; posted by the leader at least once.

use crate::{GroupId, PlanId, WallMillis};
use serde::{Deserialize, Serialize};

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EventKind {
    /// A cluster began.
    Initialized,
    /// A new specification is in force.
    PolicyApplied,
    /// `State.version` rose.
    VersionRaised,
    /// Members of the cluster changed.
    MembersChanged,
    /// The cluster went on from a backup, or what came of it was settled.
    Restored,
    /// The active region changed (or was first named).
    ActiveChanged,
    /// A plan opened.
    PlanOpened,
    /// A row ended.
    StepEnded,
    /// A plan waits for an operator.
    PlanHalted,
    /// An operator let a plan go on.
    PlanResumed,
    /// A plan ended.
    PlanEnded,
    /// Evidence was recorded.
    EvidenceRecorded,
    /// What a failover lost was read on its old side.
    LossCounted,
    /// A drill began.
    DrillBegan,
    /// A drill ended, and did not fail.
    DrillEnded,
    /// A drill failed.
    DrillFailed,
    /// The mode changed.
    ModeChanged,
    /// A mode was set for a time, which passed, and it could not go back.
    ModeStays,
    /// A longer lease than policy's began, or ended.
    MaintenanceChanged,
    /// A person asks for what takes two.
    ApprovalAsked,
    /// The second person agreed.
    Approved,
    /// Nobody used a request in time.
    ApprovalEnded,
    /// What an operator overrode for a plan holds no longer.
    OverridesLapsed,
    /// Arming changed.
    ArmingChanged,
    /// A life of an agent was bound.
    AgentBound,
    /// Loss crossed the RPO.
    LagChanged,
    /// Traffic records were changed by somebody else.
    Drift,
    /// `observe`: what would have been done.
    WouldHave,
    /// One more arbiter lost and nothing can be decided. Seen by the leader, not in the log.
    MarginLost,
    /// A mode that counts on arming is not in effect. Seen by the leader, not in the log.
    ModeNotInEffect,
    /// Nothing: somebody tries the receivers. Not in the log.
    Test,
}

/// An event: id, group, reason and the next command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Unique: log index and the number within the entry, `index.n`.
    pub id: String,
    /// What happened.
    pub kind: EventKind,
    /// The group; none for the cluster.
    pub group: Option<GroupId>,
    /// The plan, if any.
    pub plan: Option<PlanId>,
    /// One sentence.
    pub message: String,
    /// The command to run next, if any.
    pub next: String,
    /// The proposer's wall clock.
    pub wall: WallMillis,
}
