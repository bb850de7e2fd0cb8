//! Evidence of a fence and the proof that a promotion needs. Knows State; never how a fence is made.

use crate::{AgentId, Epoch, Incarnation, InstanceId, RegionId, Token};
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
}
