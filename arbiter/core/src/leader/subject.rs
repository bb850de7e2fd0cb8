//! What a decision is about, without what differs each time it is taken: measured times, notes and
//! positions. Two with one subject are the same decision.

use crate::{
    AgentId, Arming, Command, DrillId, DrillPhase, Epoch, Evidence, EvidenceKind, GroupId, Halt,
    Incarnation, InstanceId, LagMark, OpenPlan, PlanId, PlanKind, RegionId, ResourceId, StepId,
    StepState, Token,
};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// The subject of a command.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "fields are named by their types")]
pub enum Subject {
    /// A life that is bound, on which boot.
    Life(AgentId, Incarnation, String),
    /// An arming, or with none that it is gone.
    Arming(GroupId, AgentId, Incarnation, Option<EvidenceKind>),
    /// The first active region and its primaries.
    First(GroupId, RegionId, BTreeMap<ResourceId, InstanceId>),
    /// L that is raised.
    Raise(GroupId, Duration),
    /// L that is lowered, and the entry that set it.
    Lower(GroupId, Duration, u64),
    /// A mark of the lag.
    Lag(GroupId, LagMark),
    /// The end of a hold-down.
    HoldDown(GroupId),
    /// A judgement.
    Judgement(GroupId),
    /// A plan that opens, and the one that it supersedes.
    Open(Option<PlanId>, Opening),
    /// How a row ends, or with none that it is tried again.
    Row(GroupId, PlanId, StepId, Option<StepState>),
    /// A piece of evidence.
    Evidence {
        group: GroupId,
        plan: PlanId,
        proof: Proof,
    },
    /// A halt at a row, and what to do next.
    Halt(GroupId, PlanId, StepId, String),
    /// An abort.
    Abort(GroupId, PlanId, Epoch),
    /// An instance that was fenced after all.
    Fenced(GroupId, InstanceId),
    /// An instance that is a standby again.
    Standby(GroupId, InstanceId),
    Loss(GroupId, PlanId, InstanceId),
    /// Instances that serve.
    Serving(GroupId, PlanId, BTreeSet<InstanceId>),
    /// A restored group that goes on.
    Settled(GroupId),
    /// A zone.
    Zone(GroupId, String),
    /// What somebody else changed in the records.
    Drift(GroupId, InstanceId, String),
    /// How a phase of a drill ends, and whether it failed.
    Phase(GroupId, DrillId, DrillPhase, bool),
    /// A mode, or a maintenance, whose time passed, and the entry that set it.
    Reverts(GroupId, u64),
    Ends(GroupId, u64),
    /// Overrides of a plan that lapse.
    Lapses(GroupId, PlanId),
    /// A request that nobody used.
    Request(u64),
    /// What only people ask for: `decide` never says it.
    Asked,
}

/// What tells two pieces of evidence for one plan apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "fields are named by their types")]
pub struct Proof {
    pub instance: InstanceId,
    pub kind: EvidenceKind,
    pub agent: AgentId,
    pub incarnation: Incarnation,
    pub token: Token,
    pub term: u64,
    pub clean: bool,
}

/// What tells two openings of a plan apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "fields are named by their types")]
pub struct Opening {
    pub group: GroupId,
    pub kind: PlanKind,
    pub target: RegionId,
    pub epoch: Epoch,
    pub immediate: bool,
    pub accept_loss: bool,
    pub candidates: BTreeMap<ResourceId, InstanceId>,
}

impl Subject {
    /// Of a command.
    pub fn of(command: &Command) -> Self {
        use Command::*;
        match command {
            Bind { agent, incarnation, boot_id, former_dead: _ } => {
                Self::Life(agent.clone(), *incarnation, boot_id.clone())
            }
            RecordArmed { group, agent, incarnation, arming: Arming { expiry_counts_as } } => {
                let shown = Some(*expiry_counts_as);
                Self::Arming(group.clone(), agent.clone(), *incarnation, shown)
            }
            RecordUnarmed { group, agent, incarnation } => {
                Self::Arming(group.clone(), agent.clone(), *incarnation, None)
            }
            ActivateFirst { group, region, primaries } => {
                Self::First(group.clone(), region.clone(), primaries.clone())
            }
            RaiseLease { group, lease } => Self::Raise(group.clone(), *lease),
            LowerLease { group, lease, since, waited: _ } => {
                Self::Lower(group.clone(), *lease, *since)
            }
            MarkLag { group, lag } => Self::Lag(group.clone(), *lag),
            EndHoldDown { group, waited: _ } => Self::HoldDown(group.clone()),
            RecordJudgement { group, would_have: _ } => Self::Judgement(group.clone()),
            RecordFenced { group, instance } => Self::Fenced(group.clone(), instance.clone()),
            RecordStandby { group, instance } => Self::Standby(group.clone(), instance.clone()),
            RecordLoss { group, plan, instance, loss: _ } => {
                Self::Loss(group.clone(), *plan, instance.clone())
            }
            RecordServing { group, plan, instances } => {
                Self::Serving(group.clone(), *plan, instances.clone())
            }
            SettleGroup { group } => Self::Settled(group.clone()),
            RecordZone { group, zone } => Self::Zone(group.clone(), zone.clone()),
            RecordDrift { group, instance, drift } => {
                Self::Drift(group.clone(), instance.clone(), drift.clone())
            }
            RevertMode { group, since, waited: _ } => Self::Reverts(group.clone(), *since),
            EndMaintenance { group, since, waited: _ } => Self::Ends(group.clone(), *since),
            LapseOverrides { group, plan, waited: _ } => Self::Lapses(group.clone(), *plan),
            EndApproval { id, waited: _ } => Self::Request(*id),
            of_a_plan => Self::of_plan(of_a_plan),
        }
    }

    fn of_plan(command: &Command) -> Self {
        use Command::*;
        match command {
            OpenPlan(open) | OpenDrillPlan { drill: _, open } => {
                Self::Open(None, Opening::of(open))
            }
            EndDrillPhase { group, drill, phase, said: _, failed } => {
                Self::Phase(group.clone(), *drill, *phase, failed.is_some())
            }
            Supersede { plan, open, stands: _, took: _ } => {
                Self::Open(Some(*plan), Opening::of(open))
            }
            EndStep { group, plan, step, outcome, took: _ } => {
                Self::Row(group.clone(), *plan, *step, Some(outcome.state))
            }
            RetryStep { group, plan, step, note: _ } => {
                Self::Row(group.clone(), *plan, *step, None)
            }
            RecordEvidence { group, plan, evidence, end: _, took: _ } => {
                Self::Evidence { group: group.clone(), plan: *plan, proof: Proof::of(evidence) }
            }
            HaltPlan { group, plan, halt: Halt { step, next, reason: _ } } => {
                Self::Halt(group.clone(), *plan, *step, next.clone())
            }
            AbortPlan { group, plan, expected_epoch, took: _ } => {
                Self::Abort(group.clone(), *plan, *expected_epoch)
            }
            _ => Self::Asked,
        }
    }
}

impl Proof {
    fn of(evidence: &Evidence) -> Self {
        Self {
            instance: evidence.instance.clone(),
            kind: evidence.kind,
            agent: evidence.agent.clone(),
            incarnation: evidence.incarnation,
            token: evidence.token,
            term: evidence.term,
            clean: evidence.clean,
        }
    }
}

impl Opening {
    fn of(open: &OpenPlan) -> Self {
        Self {
            group: open.group.clone(),
            kind: open.kind,
            target: open.target.clone(),
            epoch: open.expected_epoch,
            immediate: open.immediate,
            accept_loss: open.accept_loss,
            candidates: open.candidates.clone(),
        }
    }
}
