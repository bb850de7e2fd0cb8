//! Drills: a plan run on purpose and undone, or a rehearsal on copies. Knows what a drill is, when
//! one is due and who takes part; what ends a phase is in `decide`, what follows in `apply`.

mod measure;
mod part;
mod window;

pub use measure::{Due, Measured, due, predicted_recovery, proposals};
pub use part::{
    DRILL_CHECK, DRILL_KIND, DRILL_SAID, REHEARSAL, check_id, drills_beside, rehearsal_id,
};
pub(crate) use part::{drill_orders, drill_parts};
pub use window::Window;

use crate::{By, Durability, Group, GroupSpec, InstanceId, PlanId, RegionId, Token, WallMillis};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// Ended drills kept per group.
pub const DRILLS_KEPT_MAX: usize = 64;

/// The log index of the entry that began the drill.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DrillId(pub u64);

impl fmt::Display for DrillId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What is drilled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DrillKind {
    /// Copies of the standby's resources are promoted aside, checked and removed.
    Rehearsal,
    /// A switchover and the way back.
    Switchover,
    /// A failover of a healthy region that skips its clean stop, and the way back.
    RegionLoss,
}

impl DrillKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Rehearsal, Self::Switchover, Self::RegionLoss];

    /// Its word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rehearsal => "rehearsal",
            Self::Switchover => "switchover",
            Self::RegionLoss => "region-loss",
        }
    }
}

/// Where a drill stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DrillPhase {
    /// Agents of the standby region promote copies aside.
    Rehearse,
    /// The plan to the other region opens, and runs.
    Execute,
    /// The user's checks run against the region that is active now.
    Check,
    /// The old region becomes a standby again; then the plan back opens, and runs.
    FailBack,
}

impl DrillPhase {
    /// Its word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rehearse => "rehearse",
            Self::Execute => "execute",
            Self::Check => "check",
            Self::FailBack => "fail-back",
        }
    }
}

/// How a drill ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DrillEnd {
    /// It ended where it began, and nothing failed on the way.
    Completed,
    /// Something failed, or could not begin in time.
    Failed(String),
    /// A real plan or an operator's command took precedence: it says nothing of the procedure.
    Interrupted(String),
    /// An operator ended it.
    Aborted(String),
}

impl DrillEnd {
    /// Its state word, and why.
    pub fn words(&self) -> (&'static str, &str) {
        match self {
            Self::Completed => ("completed", ""),
            Self::Failed(why) => ("failed", why),
            Self::Interrupted(why) => ("interrupted", why),
            Self::Aborted(why) => ("aborted", why),
        }
    }
}

/// A drill of one group. At most one is open per group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drill {
    /// Its id.
    pub id: DrillId,
    /// Its kind.
    pub kind: DrillKind,
    /// Who asked for it.
    pub by: By,
    /// Why.
    pub reason: String,
    /// When, for people.
    pub began: WallMillis,
    /// The region that was active then, and is again in the end.
    pub home: RegionId,
    /// The other region: where a plan leads, or where copies are promoted.
    pub away: RegionId,
    /// Loss was accepted by name.
    pub accept_loss: bool,
    /// Commits wait for the standby until the plan is through, as in `strict`. // I11
    pub stalls: bool,
    /// Where it stands.
    pub phase: DrillPhase,
    /// Of the entry that began this phase: what agents are ordered carries it.
    pub token: Token,
    /// The plan to the other region, once it opened.
    pub out: Option<PlanId>,
    /// The plan back, once it opened.
    pub back: Option<PlanId>,
    /// What the plan to the other region took and may have lost.
    pub measured: Option<Measured>,
    /// What each part said of itself.
    pub said: BTreeMap<InstanceId, String>,
    /// What failed and let it go on.
    pub faults: Vec<String>,
    /// Set when it ended.
    pub end: Option<DrillEnd>,
    /// When it ended, for people.
    pub ended: WallMillis,
}

impl Drill {
    /// The plan that it waits for, once that opened.
    pub fn plan(&self) -> Option<PlanId> {
        match self.phase {
            DrillPhase::Execute => self.out,
            DrillPhase::FailBack => self.back,
            DrillPhase::Rehearse | DrillPhase::Check => None,
        }
    }
}

/// Policy of drills.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrillPolicy {
    /// How often one is due; zero: never.
    pub every: Duration,
    /// How long a drill waits for anything before it has failed.
    pub limit: Duration,
    /// Settings of the user's checks; empty: there are none.
    pub check: BTreeMap<String, String>,
    /// When none may begin.
    pub blocked: Vec<Window>,
    /// How long its plan may be on its way to the point of no return; none: as long as any plan.
    #[serde(default)]
    pub abort_after: Option<Duration>,
}

impl Group {
    /// Whether `plan` is one of the open drill.
    pub fn is_drill_plan(&self, plan: PlanId) -> bool {
        self.drill.as_ref().is_some_and(|drill| [drill.out, drill.back].contains(&Some(plan)))
    }

    /// Whether commits wait for a standby now: a drill may ask for more than policy, until its plan
    /// is through, also where that halted and the drill has failed. // I11
    pub fn durability(&self, spec: &GroupSpec) -> Durability {
        let plan = self.plan.as_ref().map(|plan| plan.id);
        let open = self.drill.iter().filter(|drill| drill.phase == DrillPhase::Execute);
        let left = self.drills.last().filter(|drill| plan.is_some() && drill.out == plan);
        held_to(spec, open.chain(left).any(|drill| drill.stalls))
    }

    /// What `plan` may lose. The drill asks more of its own plan than policy; a real loss meanwhile
    /// is not held up by it. // I11
    pub fn durability_of(&self, spec: &GroupSpec, plan: PlanId) -> Durability {
        let drills = self.drill.iter().chain(self.drills.last());
        held_to(spec, drills.into_iter().any(|drill| drill.stalls && drill.out == Some(plan)))
    }

    /// An ended drill or the open one.
    pub fn drill(&self, id: DrillId) -> Option<&Drill> {
        self.drill.iter().chain(&self.drills).find(|drill| drill.id == id)
    }
}

fn held_to(spec: &GroupSpec, stalls: bool) -> Durability {
    if stalls { Durability::Strict } else { spec.policy.durability }
}
