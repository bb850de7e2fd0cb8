//! What crosses the wire between agent and leader: `Report` up, `Directive` down.

use crate::{
    AgentId, Arming, ClusterId, CommitWait, Commits, EvidenceKind, Fact, Goal, GroupId,
    Incarnation, InstanceId, Layer, Position, RegionId, Timing, Token,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// What an agent tells. It renews the leases that the Directive answering it lists.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The cluster that the agent serves; none before it learned it.
    pub cluster_id: Option<ClusterId>,
    /// The agent.
    pub agent: AgentId,
    /// Its life.
    pub incarnation: Incarnation,
    /// Boot of its host.
    pub boot_id: String,
    /// Counts up within a life; the Directive that answers names it. The agent remembers when it
    /// sent which, and deadlines count from there.
    pub sequence: u64,
    /// Its groups.
    pub groups: BTreeMap<GroupId, GroupReport>,
    /// Whether its host has a watchdog device, for people; none: not said.
    pub watchdog: Option<bool>,
    /// The longest time that it waited for a renewal today, yesterday and so on, by the days of its
    /// host's running, [`RENEWAL_GAP_DAYS`] at most; zero: not known.
    pub gaps: Vec<Duration>,
}

/// Days for which the longest waits for a renewal are remembered.
pub const RENEWAL_GAP_DAYS: usize = 7;

/// Enforcement of one group as an agent shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupReport {
    /// None: unarmed. What the expiry of its lease counts as, where armed.
    pub arming: Option<Arming>,
    /// A deadline is running at the deadman.
    pub deadline_running: bool,
    /// The lease lapsed: the fence has begun, or (unarmed) would have.
    pub lapsed: bool,
    /// Time left of the lease, for people.
    pub remaining: Option<Duration>,
    /// The highest [`GroupDirective::revision`] obeyed in this process: what this Report shows is
    /// no older than that.
    pub obeyed: u64,
    /// How often an unarmed deadman would have killed.
    pub would_have_killed: u64,
    /// Its instances.
    pub instances: BTreeMap<InstanceId, InstanceReport>,
}

/// One instance as an agent shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceReport {
    /// Last observation.
    pub fact: Fact,
    /// Age of that observation when sent.
    pub age: Duration,
    /// Highest token stored on disk (I10).
    pub token: Token,
    /// The goal reached, its token, and what was learned on the way.
    pub done: Option<DoneReport>,
    /// `verify` succeeded at this token.
    pub verified: Option<Token>,
    /// Why the goal is not reached, and whether it is refused for good.
    pub error: Option<ErrorReport>,
    /// Whom its commits were seen to wait for, as the order that stands asks; none: not yet.
    pub commits: Option<CommitWait>,
}

/// A goal reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DoneReport {
    /// The goal.
    pub goal: Goal,
    /// The token of the order.
    pub token: Token,
    /// Evidence, for `Fenced` (and a source's `Drained`): `Confirmed` at most.
    pub evidence: Option<EvidenceKind>,
    /// Where the stream ended, for `Fenced` and `Drained`.
    pub end: Option<Position>,
    /// The stop was clean, so that the instance can come back as a standby by itself.
    pub clean: bool,
}

/// Why a goal is not reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorReport {
    /// The token of the order.
    pub token: Token,
    /// True: no retry will help without somebody's doing.
    pub refused: bool,
    /// A higher token was seen at the resource.
    pub stale: Option<Token>,
    /// One sentence: what failed and the remedy.
    pub message: String,
}

/// What the leader tells an agent: leases and goals. Goals are level-triggered and idempotent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Directive {
    /// The cluster.
    pub cluster_id: ClusterId,
    /// Term of the leader.
    pub term: u64,
    /// The Report it answers; none when pushed. Only an answer renews.
    pub answers: Option<u64>,
    /// The life that it is meant for.
    pub incarnation: Incarnation,
    /// Per group of that agent.
    pub groups: BTreeMap<GroupId, GroupDirective>,
    /// The cluster that the agent serves, which this one goes on from: it may change over, fenced.
    pub succeeds: Option<ClusterId>,
    /// Where arbiters are reached now, `host:port`.
    pub arbiters: Vec<String>,
}

/// One group's part of a Directive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupDirective {
    /// Log index of the entry that last changed a goal or the arming of this group. An agent
    /// obeys nothing made from a lower one than it has obeyed.
    pub revision: u64,
    /// Timers in force.
    pub timing: Timing,
    /// L of the renewed lease; none: not renewed.
    pub lease: Option<Duration>,
    /// Whether the agent is to be armed.
    pub arm: bool,
    /// Armed, it serves on without a quorum: its deadman has no deadline, and its lease is none.
    #[serde(default)]
    pub serves_on: bool,
    /// What to make true. Empty: keep as it is (mode `observe`, or not yet activated).
    pub orders: Vec<Order>,
}

/// A goal for one instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// The group.
    pub group: GroupId,
    /// The instance.
    pub instance: InstanceId,
    /// Its layer.
    pub layer: Layer,
    /// What to make true.
    pub goal: Goal,
    /// Refused below the highest stored for the instance.
    pub token: Token,
    /// Run `verify` once the goal is reached.
    pub verify: bool,
    /// Everything else that the goal needs.
    pub terms: Terms,
    /// Whom the commits of a primary wait for; none: its kind cannot be told.
    pub commits: Option<Commits>,
}

/// Particulars of an order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// How long a clean stop may take before it is killed; zero: kill at once; none: the clean
    /// stop only, however long (a switchover).
    pub clean_stop: Option<Duration>,
    /// `Standby`: whom to follow, `host:port`; empty: nobody yet.
    pub upstream: String,
    /// `Drained` of a target: what must have been received and replayed, if known.
    pub until: Option<Position>,
    /// Traffic: the region that the records must name.
    pub names: Option<RegionId>,
    /// Traffic: the zone was never written; creating the record is allowed.
    pub may_create: bool,
    /// Traffic: an operator lets this token take over what is there.
    pub adopt: bool,
    /// Traffic: policy repairs drift.
    pub repair: bool,
    /// `Active`: whom commits wait for from the promotion on.
    pub promoted: CommitWait,
}
