//! What the leader last heard and saw, with its own clock. Never persisted.

use crate::{
    AgentId, ArbiterId, GroupId, Instant, LeaseBook, PlanId, RegionId, Report, StepId, Token,
};
use std::collections::{BTreeMap, BTreeSet};

/// The leader's view, rebuilt from nothing at each election.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// Term in which this arbiter leads.
    pub term: u64,
    /// When it was elected.
    pub elected: Instant,
    /// Last Report of each agent and when it arrived.
    pub reports: BTreeMap<AgentId, Heard>,
    /// What each arbiter sees of each probe.
    pub probes: BTreeMap<(ArbiterId, GroupId, String), Probed>,
    /// When each arbiter (vantage point) was last heard.
    pub vantages: BTreeMap<ArbiterId, Instant>,
    /// What each arbiter sees of a group's public name.
    pub service: BTreeMap<(ArbiterId, GroupId), ServiceSeen>,
    /// Answers given, per lease.
    pub leases: LeaseBook,
    /// When this leader first saw the row whose turn it is, and whether it was already halted.
    pub progress: BTreeMap<GroupId, (PlanId, StepId, u32, Instant)>,
    /// Since when each group's active region looks lost / its primary dead; for `detect_after`.
    pub suspected: BTreeMap<GroupId, Instant>,
    /// Since when each group's primary is reported dead.
    pub primary_dead: BTreeMap<GroupId, Instant>,
    /// External fence checks that came back true, per (group, region, fence token).
    pub powered_off: BTreeSet<(GroupId, RegionId, Token)>,
    /// Since when this leader knows that a hold-down runs.
    pub hold_down_since: BTreeMap<GroupId, Instant>,
    /// Since when this leader has granted no lease longer than the policy's L.
    pub short_since: BTreeMap<GroupId, Instant>,
}

/// A Report and when it arrived.
#[derive(Clone, Debug)]
pub struct Heard {
    /// When, by the leader's clock.
    pub at: Instant,
    /// What.
    pub report: Report,
    /// A stream of this agent is open, here or through a relay.
    pub connected: bool,
}

/// The last result of one probe from one vantage point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probed {
    /// When it arrived at the leader.
    pub at: Instant,
    /// None: could not be read, so unknown (never healthy).
    pub up: Option<bool>,
    /// In words.
    pub detail: String,
    /// Since when it has this value.
    pub since: Instant,
}

/// What a vantage point sees of a group's public name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceSeen {
    /// When it arrived at the leader.
    pub at: Instant,
    /// Region that the name leads to, if any of ours.
    pub region: Option<RegionId>,
    /// Token in the TXT record.
    pub token: Option<Token>,
    /// The address answered.
    pub reached: bool,
    /// In words.
    pub detail: String,
}
