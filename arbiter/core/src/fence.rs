//! Evidence of a fence and the proof that a promotion needs. Knows State; never how a fence is
//! made.

use crate::{
    AgentId, By, Epoch, Group, GroupSpec, Incarnation, Instance, InstanceId, Plan, Policy,
    RegionId, Token,
};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// Why a fence is believed. Ordered weakest to strongest (design §6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EvidenceKind {
    /// An operator's word, by name and reason, for one plan and token.
    Attested,
    /// An API's word.
    ProviderAsserted,
    /// The deadman was armed, as State says, and the lease is dead.
    LeaseExpired,
    /// `fence_command` run and `fence_check` polled until true.
    PowerOff,
    /// The agent: no process in the cgroup, none holding the data, port closed, start file gone.
    Confirmed,
}

impl EvidenceKind {
    /// The next weaker kind; the weakest stays. Without a PID namespace or a unit bound to the
    /// deadman, its evidence counts one class lower.
    pub fn one_lower(self) -> Self {
        match self {
            Self::Confirmed => Self::PowerOff,
            Self::PowerOff => Self::LeaseExpired,
            Self::LeaseExpired => Self::ProviderAsserted,
            Self::ProviderAsserted | Self::Attested => Self::Attested,
        }
    }

    /// The word in configuration and output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Attested => "attested",
            Self::ProviderAsserted => "provider-asserted",
            Self::LeaseExpired => "lease-expired",
            Self::PowerOff => "power-off",
            Self::Confirmed => "confirmed",
        }
    }
}

impl fmt::Display for EvidenceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Evidence for one instance, counting for one fence goal of one plan only (I3).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// What kind it is.
    pub kind: EvidenceKind,
    /// The instance it is about.
    pub instance: InstanceId,
    /// The agent beside the instance.
    pub agent: AgentId,
    /// The agent's life that held the lease, or that confirmed.
    pub incarnation: Incarnation,
    /// Token of the fence goal that it answers.
    pub token: Token,
    /// Raft term in which it was observed; `apply` refuses it in another.
    pub term: u64,
    /// For `lease-expired`: how long the leader waited since its last answer, or since its
    /// election if that was later. `apply` computes what was required.
    pub waited: Option<Duration>,
    /// The source stopped cleanly: a standby that followed has received all of its stream.
    pub clean: bool,
    /// For people: who attested and why, what the command said.
    pub note: String,
}

/// Which region is active, at which epoch. Nothing outside this file can change one of them: only
/// a [`FenceProof`] raises an epoch, apart from the very first (I2, I3).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Activation {
    active: Option<RegionId>,
    epoch: Epoch,
}

impl Activation {
    /// The active region; none until first activated.
    pub fn active(&self) -> Option<&RegionId> {
        self.active.as_ref()
    }

    /// One higher each time the active region changes; 0 until first activated.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// A cluster was restored: above every epoch that the former one may have given. False: there
    /// is no room for that. // I2
    pub(crate) fn restored(&mut self, active: Option<&RegionId>, jump: u64) -> bool {
        // Room for as many again: a saturated epoch would not rise any more.
        let Some(epoch) = self.epoch.0.checked_add(jump).filter(|epoch| *epoch <= u64::MAX / 2)
        else {
            return false;
        };
        self.epoch = Epoch(epoch);
        if self.active.is_some() {
            self.active = active.cloned().or(self.active.take());
        }
        true
    }

    /// Epoch 0 to 1: policy names the first active region. Any other epoch needs a proof (I2).
    pub(crate) fn begin(&mut self, region: &RegionId) {
        // Without an active region the epoch is 0, or what a restore made of it.
        if self.active.is_none() {
            self.active = Some(region.clone());
            self.epoch = Epoch(self.epoch.0.saturating_add(1));
        }
    }
}

/// Why the fence of a plan's source is not proven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unproven {
    /// The plan belongs to another epoch than the group is at.
    OtherEpoch,
    /// No evidence for this instance.
    Missing(InstanceId),
    /// Evidence for this instance is of this kind, which is weaker than policy asks.
    TooWeak(InstanceId, EvidenceKind),
}

impl fmt::Display for Unproven {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherEpoch => write!(f, "the plan belongs to another epoch"),
            Self::Missing(instance) => write!(f, "no evidence that {instance} is fenced"),
            Self::TooWeak(instance, kind) => {
                write!(f, "evidence for {instance} is only {kind}, weaker than policy asks")
            }
        }
    }
}

/// Proof that nothing in a plan's source accepts writes. It cannot be written, read or copied, and
/// has one private constructor: who holds it may raise the epoch, nobody else can (I3).
#[derive(Debug)]
pub struct FenceProof {
    epoch: Epoch,
    target: RegionId,
}

impl FenceProof {
    /// I3: evidence for every instance of the source that is or could become primary, answering
    /// this plan's own fence goal, strong enough for policy where policy opened the plan.
    pub(crate) fn establish(
        spec: &GroupSpec,
        group: &Group,
        plan: &Plan,
    ) -> Result<Self, Vec<Unproven>> {
        let mut unproven = Vec::new();
        if plan.epoch != group.epoch() || group.active() != Some(&plan.source) {
            unproven.push(Unproven::OtherEpoch);
        }
        for (id, _) in spec.needing_evidence(&plan.source) {
            match plan.evidence.get(id).filter(|e| e.token == plan.fence_token) {
                None => unproven.push(Unproven::Missing(id.clone())),
                Some(evidence) if !worth(plan, &spec.policy, evidence.kind).0 => {
                    unproven.push(Unproven::TooWeak(id.clone(), evidence.kind));
                }
                Some(_) => {}
            }
        }
        if unproven.is_empty() || crate::planted!(FenceSkipped) {
            return Ok(Self { epoch: plan.epoch, target: plan.target.clone() });
        }
        Err(unproven)
    }
}

impl GroupSpec {
    /// Whether an external fence can speak for `instance`.
    pub(crate) fn can_be_cut_off(&self, instance: &Instance) -> bool {
        instance.needs_evidence() && self.policy.external_fence.contains_key(&instance.region)
    }

    /// Whether evidence of `kind` about `instance` can ever be true: its driver gives it, its lease
    /// does (`by_lease`), an external fence does, or an operator, who can always attest.
    pub(crate) fn can_give(&self, instance: &Instance, kind: EvidenceKind, by_lease: bool) -> bool {
        match kind {
            EvidenceKind::Attested => true,
            _ if by_lease => instance.dies_with_lease(),
            EvidenceKind::PowerOff if self.can_be_cut_off(instance) => true,
            own => instance.evidence.contains(&own),
        }
    }
}

/// The weakest evidence that counts for `plan`. An operator who opens a plan may use any; a
/// switchover, whoever opened it, ends only with the source's own word.
pub(crate) fn weakest_allowed(plan: &Plan, policy: &Policy) -> EvidenceKind {
    match (plan.kind, &plan.by) {
        (crate::PlanKind::Switchover, _) => EvidenceKind::Confirmed,
        (crate::PlanKind::Failover, By::Policy) => policy.evidence_min,
        (crate::PlanKind::Failover, By::Operator(_)) => EvidenceKind::Attested,
    }
}

/// What evidence of `kind` is worth to `plan`: whether it is enough, then its strength. An
/// operator's word for a failover is enough whoever opened it: policy names what it may use by
/// itself, and who attests answers by name.
pub(crate) fn worth(plan: &Plan, policy: &Policy, kind: EvidenceKind) -> (bool, EvidenceKind) {
    let word = plan.kind == crate::PlanKind::Failover && kind == EvidenceKind::Attested;
    (word || kind >= weakest_allowed(plan, policy), kind)
}

impl Group {
    /// The epoch rises by one and the target is active. Spends the proof.
    pub(crate) fn advance(&mut self, proof: FenceProof) {
        // The proof was made for this epoch; a second one for the same epoch changes nothing.
        if self.activation.epoch == proof.epoch {
            self.activation = Activation {
                active: Some(proof.target),
                epoch: Epoch(proof.epoch.0.saturating_add(1)),
            };
        }
    }
}
