//! What `explain` prints: each gate, whether it is open, with the numbers (design §6).

use serde::{Deserialize, Serialize};

/// What a reason is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Topic {
    /// Whether the active region looks lost.
    RegionLost,
    /// Whether its primary looks lost.
    PrimaryLost,
    /// Whether a failover may open by itself.
    Automatic,
    /// Whether a switchover would open now.
    Switchover,
    /// Whether a failover by command would open now.
    Failover,
    /// Whether the preferred region would be made active again.
    Failback,
    /// Why the open plan waits.
    Plan,
    /// What makes the group degraded.
    Degraded,
    /// What a failover would miss.
    Readiness,
}

/// One gate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// What it is about.
    pub topic: Topic,
    /// Machine-readable, such as `mode`, `hold-down`, `rpo`, `signal-kinds`.
    pub code: String,
    /// True: this gate lets it pass.
    pub open: bool,
    /// It is closed, and an operator goes through it.
    #[serde(default)]
    pub overridden: bool,
    /// One sentence with the numbers.
    pub text: String,
    /// The command to run next, if any.
    pub next: String,
}

/// Health of a region, for a group, as the leader sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// Its agents report, and nothing speaks against it.
    Healthy,
    /// Some sign of loss.
    Suspect,
    /// Every sign that can be seen, for `detect_after`.
    Unreachable,
}
