//! The plan table: the one place where the order of a plan is written (design §6).
//!
//! `decide`, `arbiter plan`, `arbiter status`, the README and the diagram all walk it.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A row's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepId {
    /// See [`STEPS`].
    Preflight,
    /// See [`STEPS`].
    StopLease,
    /// See [`STEPS`].
    FenceSource,
    /// See [`STEPS`].
    ProveFence,
    /// See [`STEPS`].
    CatchUp,
    /// See [`STEPS`].
    AdvanceEpoch,
    /// See [`STEPS`].
    PromoteData,
    /// See [`STEPS`].
    ActivateWorkloads,
    /// See [`STEPS`].
    VerifyTarget,
    /// See [`STEPS`].
    SwitchTraffic,
    /// See [`STEPS`].
    VerifyService,
}

/// Who makes a row true.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Actor {
    /// The leading arbiter.
    Leader,
    /// Agents of the region that loses.
    Source,
    /// Agents of the region that gains.
    Target,
    /// Every arbiter, from where it stands.
    Arbiters,
}

/// What happens when a row fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnFailure {
    /// The plan does not open; `explain` says why.
    Refuse,
    /// The plan ends and the source is resumed.
    Abort,
    /// The plan goes on with the next row.
    NextRow,
    /// The plan waits for an operator.
    Halt,
    /// Tried again a bounded number of times, then as `Halt`.
    RetryThenHalt,
    /// Tried again with back-off, without end; halts only if refused.
    RetryForEver,
    /// The plan completes and the group is degraded, saying who still sees what.
    Degrade,
    /// Cannot fail.
    Never,
}

/// One row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// The row's name.
    pub id: StepId,
    /// Its name in text.
    pub name: &'static str,
    /// Who makes it true.
    pub on: Actor,
    /// What it makes true, for people.
    pub makes_true: &'static str,
    /// What happens when it fails in a switchover.
    pub switchover: OnFailure,
    /// What happens when it fails in a failover.
    pub failover: OnFailure,
}

use Actor::{Arbiters, Leader, Source, Target};
use OnFailure::{Abort, Degrade, Halt, Never, NextRow, Refuse, RetryForEver, RetryThenHalt};

const fn row(
    id: StepId,
    name: &'static str,
    on: Actor,
    makes_true: &'static str,
    switchover: OnFailure,
    failover: OnFailure,
) -> Step {
    Step { id, name, on, makes_true, switchover, failover }
}

/// The rows, in the order of execution. Everything before [`StepId::AdvanceEpoch`] can be undone.
#[rustfmt::skip]
pub const STEPS: &[Step] = &[
    row(StepId::Preflight, "preflight", Leader,
        "target healthy, loss within RPO, nothing that would stall half-way", Refuse, Refuse),
    row(StepId::StopLease, "stop-lease", Leader,
        "no further renewal; a switchover renews on, and its poolers hold clients back", Never, Never),
    row(StepId::FenceSource, "fence-source", Source,
        "fenced: stopped cleanly if the agent answers, else killed", Abort, NextRow),
    row(StepId::ProveFence, "prove-fence", Leader,
        "evidence for every instance that is or could become primary", Abort, Halt),
    row(StepId::CatchUp, "catch-up", Target,
        "all that can be received is received and replayed; the loss bound is known", Abort, Halt),
    row(StepId::AdvanceEpoch, "advance-epoch", Leader,
        "epoch + 1 and active = target, in one entry: the point of no return", Never, Never),
    row(StepId::PromoteData, "promote-data", Target,
        "databases, caches and buckets active", RetryThenHalt, RetryThenHalt),
    row(StepId::ActivateWorkloads, "activate-workloads", Target,
        "services scaled up, restores done", RetryThenHalt, RetryThenHalt),
    row(StepId::VerifyTarget, "verify-target", Target,
        "a real write succeeds at the new epoch, and the user's checks pass", RetryThenHalt, RetryThenHalt),
    row(StepId::SwitchTraffic, "switch-traffic", Target,
        "DNS names the target at this token, read back from the authority", RetryForEver, RetryForEver),
    row(StepId::VerifyService, "verify-service", Arbiters,
        "from each vantage point the public name reaches the target", Degrade, Degrade),
];

/// The rows that a plan has which opens under a version of State. An open one keeps its own.
/// In the simulator a release to come has a row less, so that both meet.
pub(crate) fn rows_of(version: u32) -> impl Iterator<Item = &'static Step> {
    let to_come = cfg!(feature = "plant") && version > crate::STATE_VERSION_MAX;
    STEPS.iter().filter(move |step| !(to_come && step.id == StepId::VerifyService))
}

impl StepId {
    /// The row of the table.
    pub fn row(self) -> &'static Step {
        STEPS.iter().find(|step| step.id == self).expect("every StepId has a row; tested")
    }

    /// The word in output.
    pub fn as_str(self) -> &'static str {
        self.row().name
    }

    /// Whether the plan can still be aborted while this row runs.
    pub fn before_point_of_no_return(self) -> bool {
        self < StepId::AdvanceEpoch
    }
}

impl fmt::Display for StepId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
