//! A plan: what was resolved when it opened, and how far it is. Knows rows; runs none.

use crate::{
    Epoch, Evidence, InstanceId, Loss, Override, PlanId, Position, RegionId, ResourceId, StepId,
    Token, WallMillis,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// A plan never changes kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PlanKind {
    /// Planned: both sides healthy, no loss.
    Switchover,
    /// The source is not trusted.
    Failover,
}

/// Who opened or changed something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum By {
    /// The leader, as policy says.
    Policy,
    /// A person, by name.
    Operator(String),
}

/// The one state word of a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StepState {
    /// Its turn has not come.
    #[default]
    Pending,
    /// Its turn.
    Running,
    /// True.
    Done,
    /// Nothing to make true in this plan.
    Skipped,
    /// The source's agent did not answer; the order stands.
    Unanswered,
    /// Tried, not true; the plan goes on degraded.
    Degraded,
    /// Tried, not true.
    Failed,
}

/// A row of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepRecord {
    /// Which row.
    pub id: StepId,
    /// Its state word.
    pub state: StepState,
    /// Failed attempts.
    pub attempts: u32,
    /// How long it ran, by the clock of the leader that ended it.
    pub took: Duration,
    /// For people: what was found or what failed.
    pub note: String,
}

/// Why a plan waits for an operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Halt {
    /// The row.
    pub step: StepId,
    /// Why.
    pub reason: String,
    /// The command to run next.
    pub next: String,
}

/// How a plan ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PlanEnd {
    /// Every row is done.
    Completed,
    /// Undone before the point of no return; the source serves.
    Aborted(String),
    /// Its target was lost after the point of no return; the named plan goes on.
    Superseded(PlanId),
}

/// What the plan may lose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LossBound {
    /// Bytes of the source's stream that the target has not; none where unknown.
    pub bytes: Option<u64>,
    /// Age of the newest position known of the source at the decision; none where unknown.
    pub age: Option<Duration>,
}

/// A plan of one group. At most one is open per group (I5).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Its id.
    pub id: PlanId,
    /// Its kind.
    pub kind: PlanKind,
    /// The region that loses.
    pub source: RegionId,
    /// The region that gains.
    pub target: RegionId,
    /// Epoch at which it opened.
    pub epoch: Epoch,
    /// Who opened it.
    pub by: By,
    /// Why.
    pub reason: String,
    /// A failover that skips the clean stop.
    pub immediate: bool,
    /// An operator accepted loss over the RPO: see [`Plan::overrides`], where by whom.
    pub accept_loss: bool,
    /// The gates that operators went through for it, by code.
    #[serde(default)]
    pub overrides: BTreeMap<String, Override>,
    /// When it opened, for people.
    pub opened: WallMillis,
    /// Rows, resolved when it opened.
    pub steps: Vec<StepRecord>,
    /// The row whose turn it is; `steps.len()` when ended.
    pub cursor: usize,
    /// Token of this plan's fence goal: evidence counts for it only (I3).
    pub fence_token: Token,
    /// Evidence so far, the strongest for each instance.
    pub evidence: BTreeMap<InstanceId, Evidence>,
    /// End of the source's stream per resource: as confirmed by a clean stop, else as last known.
    pub source_end: BTreeMap<ResourceId, Position>,
    /// Which instance of each resource is promoted in the target: when the plan opened the one that
    /// had received most, from `catch-up` on the one that has, which never changes again.
    pub candidates: BTreeMap<ResourceId, InstanceId>,
    /// Where each candidate stood when it stopped receiving.
    pub target_end: BTreeMap<ResourceId, Position>,
    /// What it may lose.
    pub loss: LossBound,
    /// What it did lose, exactly, per instance of the source, once that could be read.
    #[serde(default)]
    pub lost: BTreeMap<InstanceId, Loss>,
    /// Set while it waits for an operator.
    pub halt: Option<Halt>,
    /// Set when it ended.
    pub end: Option<PlanEnd>,
    /// How long it was open, by the clock of the leader that ended it.
    pub took: Duration,
    /// When what happened.
    #[serde(default)]
    pub times: PlanTimes,
}

/// When things of a plan happened, for its report: by the wall clock of the leader that proposed
/// the entry, so that two of them may differ by what two hosts' clocks do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanTimes {
    /// When each row ended; those that were resolved when it opened are left out.
    pub ended: BTreeMap<StepId, WallMillis>,
    /// Everything that is to serve from the point of no return on: what is promoted, the target's
    /// workloads and traffic, every pooler. When it was first seen to: a verified write of what is
    /// fenced by evidence, the goal reached of the others; none: not yet.
    pub serving: BTreeMap<InstanceId, Option<WallMillis>>,
    /// Best-effort instances of the source that nothing proved fenced.
    pub unfenced: BTreeMap<InstanceId, Unfenced>,
}

/// How long an instance may have taken writes beside the new active region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unfenced {
    /// When the epoch rose.
    pub since: WallMillis,
    /// When it was seen fenced, or its region was made active again; none: not yet.
    pub until: Option<WallMillis>,
}

impl Plan {
    /// The row whose turn it is; none when the plan ended.
    pub fn step(&self) -> Option<StepId> {
        if self.end.is_some() {
            return None;
        }
        self.steps.get(self.cursor).map(|record| record.id)
    }

    /// Whether the source may still be resumed.
    pub fn before_point_of_no_return(&self) -> bool {
        self.step().is_some_and(|step| step <= StepId::AdvanceEpoch)
    }

    /// The epoch rose by it.
    pub fn advanced(&self) -> bool {
        self.record(StepId::AdvanceEpoch).is_some_and(|record| record.state == StepState::Done)
    }

    /// Why this plan's source cannot be promoted again with `resource` at `position`; none: it can.
    /// What ends before the fork lacks writes that were the target's before it was promoted. // I6
    pub(crate) fn unfit_to_return(
        &self,
        resource: &ResourceId,
        position: Option<Position>,
    ) -> Option<String> {
        let fork = self.target_end.get(resource)?;
        match position {
            None => Some("its position is not known".to_owned()),
            Some(at) if at < *fork => Some(format!("it ends at {at}, before the fork at {fork}")),
            Some(_) => None,
        }
    }

    /// The record of row `id`, if this plan has it.
    pub fn record(&self, id: StepId) -> Option<&StepRecord> {
        self.steps.iter().find(|record| record.id == id)
    }
}
