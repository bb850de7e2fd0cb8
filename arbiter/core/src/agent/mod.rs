//! The agent as a pure machine: leases, arming and the execution of orders, for every group that
//! one agent serves. It knows what was promised and what was seen; it never touches a process, a
//! file, a socket or a clock. `arbiter/src/agent` carries out its actions and feeds it events.

mod change;
mod deadman;
mod executor;
mod gaps;
mod group;
mod isolation;
mod lease;
mod report;
#[cfg(test)]
mod tests;

pub use deadman::*;
pub use executor::{PAUSE_MAX, PAUSE_UNRENEWED_MAX, STALL_AGAIN_AFTER, STALL_LIMIT};
pub use lease::Lease;

use crate::{
    AgentId, Arming, ClusterId, CommitWait, Directive, EvidenceKind, Fact, Goal, GroupId,
    Incarnation, Instance, InstanceId, Instant, Order, Position, Terms, Timing, Token,
};
use group::GroupMachine;
use std::collections::BTreeMap;
use std::time::Duration;

/// Reports remembered with the instant they left; an answer to an older one renews nothing.
pub const SENT_KEPT_MAX: usize = 64;
/// Least time between two Reports that nobody's need but news asks for.
pub const REPORT_SPACING: Duration = Duration::from_millis(20);
/// How often an agent without groups reports.
pub const REPORT_IDLE: Duration = Duration::from_secs(1);

/// The detail of a Fact by which a driver says that an armed instance has lost its start gate.
pub const GATE_MISSING: &str = "start gate";

/// What an agent finds on its disk when it starts, and who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its configured name.
    pub agent: AgentId,
    /// Its life: the stored one on the same boot, else a new random one, stored before use.
    pub incarnation: Incarnation,
    /// Boot of its host.
    pub boot_id: String,
    /// The cluster that it serves; none before it learned it.
    pub cluster_id: Option<ClusterId>,
    /// Highest token stored for each instance (I10).
    pub tokens: BTreeMap<(GroupId, InstanceId), Token>,
    /// Groups that are armed, by this life or one before it.
    pub armed: BTreeMap<GroupId, Arming>,
    /// The cluster that an operator says is gone for good: the agent leaves it once it is fenced,
    /// and learns another.
    pub leaves: Option<ClusterId>,
}

/// A goal reached, as the driver says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reached {
    /// For `Fenced`, and for `Drained` of a source: what proves it.
    pub evidence: Option<EvidenceKind>,
    /// Where the stream ended, for `Fenced` and `Drained`.
    pub end: Option<Position>,
    /// The stop was clean.
    pub clean: bool,
    /// What is seen now.
    pub fact: Fact,
}

/// Why a driver did not reach a goal; named by what is done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Tried again with back-off.
    Retry(String),
    /// Somebody has to do something; tried again seldom.
    Refused(String),
    /// The resource has seen a higher token: not tried again at this one.
    Stale(Token),
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Failure::Retry(why) | Failure::Refused(why) => f.write_str(why),
            Failure::Stale(seen) => write!(f, "the resource has seen the higher token {seen}"),
        }
    }
}

/// How it stands with a wait that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// Every commit acknowledged from now on was waited for, and every one before is where it is
    /// to be.
    InEffect,
    /// Of a stall: that is not sure yet, but a standby has all that was acknowledged.
    StandbyHasAll,
}

/// What happens to an agent.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "fields are named by their types")]
pub enum AgentEvent {
    /// Time passed; due at [`AgentMachine::next_wake`], harmless at any time.
    Tick,
    /// The leader spoke, in answer or by itself.
    Directive(Directive),
    /// An [`AgentAction::Observe`] ended. What cannot be seen is `Condition::Unknown`.
    Observed { group: GroupId, instance: InstanceId, fact: Fact },
    /// An [`AgentAction::Ensure`] ended that was not cancelled.
    EnsureEnded {
        group: GroupId,
        instance: InstanceId,
        /// As given in the action; another is ignored.
        attempt: u64,
        result: Result<Reached, Failure>,
    },
    /// An [`AgentAction::Verify`] ended.
    VerifyEnded {
        group: GroupId,
        instance: InstanceId,
        token: Token,
        result: Result<Fact, Failure>,
    },
    /// An [`AgentAction::SetCommitWait`] ended.
    CommitWaitSet {
        group: GroupId,
        instance: InstanceId,
        /// As given in the action; another is ignored.
        attempt: u64,
        result: Result<Waiting, Failure>,
    },
    /// An [`AgentAction::PersistCluster`] ended. `ok`: it is on disk, fsynced.
    ClusterPersisted { cluster: Option<ClusterId>, ok: bool },
    /// An [`AgentAction::StoreToken`] ended. `ok`: it is on disk, fsynced.
    TokenStored { group: GroupId, instance: InstanceId, token: Token, ok: bool },
    /// An [`AgentAction::PersistArming`] ended. `ok`: it is on disk, fsynced.
    ArmingPersisted { group: GroupId, arming: Option<Arming>, ok: bool },
    /// An [`AgentAction::SetGate`] ended for every instance of the group.
    GateSet { group: GroupId, armed: bool, ok: bool },
    /// What the deadman holds now: upon connecting to it, after each request, and when a hold
    /// changed. Holds that it has not are absent. The second is what the expiry of a lease counts
    /// as, by how firmly this deadman holds the group.
    DeadmanShows { holds: BTreeMap<GroupId, Hold>, counts_as: BTreeMap<GroupId, EvidenceKind> },
    /// The deadman is gone or does not answer. What it held is to be taken as unheld.
    DeadmanGone,
}

/// What an agent must do. Nothing here may block another action.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "fields are named by their types")]
pub enum AgentAction {
    /// Call [`AgentMachine::report`] now and send what it returns; without a connection, drop it.
    SendReport,
    /// Write the cluster's name to disk, or that none is known any more; then `ClusterPersisted`.
    PersistCluster(Option<ClusterId>),
    /// Why the agent does not change over to a cluster that says that it goes on from its own, for
    /// people. Told when it changes.
    StaysWith { cluster: ClusterId, why: String },
    /// Where arbiters are reached from now on, `host:port`, besides those of its configuration.
    LearnArbiters(Vec<String>),
    /// Look at an instance; always ends with `Observed`.
    Observe { group: GroupId, instance: InstanceId },
    /// Write the token to disk, fsynced, then `TokenStored`.
    StoreToken { group: GroupId, instance: InstanceId, token: Token },
    /// Ask the driver. An `Ensure` of the same instance that still runs is dropped first.
    Ensure {
        group: GroupId,
        instance: InstanceId,
        attempt: u64,
        goal: Goal,
        token: Token,
        terms: Terms,
    },
    /// Drop the running `Ensure` of this instance; it does not end.
    CancelEnsure { group: GroupId, instance: InstanceId },
    /// Have the server wait for others before it acknowledges. One of the same instance that still
    /// runs is dropped first.
    SetCommitWait { group: GroupId, instance: InstanceId, attempt: u64, wait: CommitWait },
    /// Ask the driver for a real write.
    Verify { group: GroupId, instance: InstanceId, token: Token },
    /// Nobody orders this unarmed instance and it does not run: start it in the role that its data
    /// says. Drops nothing, and has no end event; the next observation shows.
    StartAsIs { group: GroupId, instance: InstanceId },
    /// Put the start gates of the group's instances in, or take them out.
    SetGate { group: GroupId, armed: bool },
    /// Write to disk, fsynced, whether the group is armed.
    PersistArming { group: GroupId, arming: Option<Arming> },
    /// Tell the deadman; it answers with `DeadmanShows`.
    Deadman(DeadmanEvent),
}

/// One agent: the executor and the leases of all its groups.
#[derive(Clone, Debug)]
pub struct AgentMachine {
    agent: AgentId,
    incarnation: Incarnation,
    boot_id: String,
    cluster_id: Option<ClusterId>,
    /// See [`Stored::leaves`].
    leaves: Option<ClusterId>,
    change: change::Change,
    arbiters: Vec<String>,
    groups: BTreeMap<GroupId, GroupMachine>,
    /// Highest term whose orders were obeyed.
    term: u64,
    sequence: u64,
    sent: BTreeMap<u64, Instant>,
    gaps: gaps::Gaps,
    reported_at: Option<Instant>,
    report_wanted: bool,
    /// What the deadman holds was shown, or that it is gone: before, a Report would show less
    /// arming than there is, and State would follow.
    deadman_known: bool,
}

impl AgentMachine {
    /// An agent that starts at `now`. `instances` are its own, as its configuration names them,
    /// and `timings` its groups' until a Directive brings those in force.
    ///
    /// Until the first `DeadmanShows` or `DeadmanGone` it starts nothing.
    pub fn new(
        stored: Stored,
        instances: BTreeMap<(GroupId, InstanceId), Instance>,
        timings: &BTreeMap<GroupId, Timing>,
        now: Instant,
    ) -> Self {
        let mut groups: BTreeMap<GroupId, GroupMachine> = BTreeMap::new();
        for ((group, id), instance) in instances {
            let token = if crate::planted!(TokenLostAtRestart) {
                Token::default()
            } else {
                stored.tokens.get(&(group.clone(), id.clone())).copied().unwrap_or_default()
            };
            let timing =
                timings.get(&group).copied().unwrap_or_else(|| crate::Profile::default().timing());
            let armed = stored.armed.get(&group).copied();
            groups
                .entry(group.clone())
                .or_insert_with(|| GroupMachine::new(group, timing, armed))
                .add(id, instance, token);
        }
        Self {
            agent: stored.agent,
            incarnation: stored.incarnation,
            boot_id: stored.boot_id,
            cluster_id: stored.cluster_id,
            leaves: stored.leaves,
            change: change::Change::default(),
            arbiters: Vec::new(),
            groups,
            term: 0,
            // The life outlives this process: no number is used twice in it, or an answer to an
            // earlier Report would be taken for one to a later.
            sequence: now.0,
            sent: BTreeMap::new(),
            gaps: gaps::Gaps::default(),
            reported_at: None,
            report_wanted: true,
            deadman_known: false,
        }
    }

    /// One event. What time itself brought (a lapse, a retry) is seen first.
    pub fn step(&mut self, event: AgentEvent, now: Instant) -> Vec<AgentAction> {
        let mut out = Vec::new();
        for group in self.groups.values_mut() {
            group.tick(now);
        }
        self.take(event, now, &mut out);
        self.leave_cluster(now, &mut out);
        for group in self.groups.values_mut() {
            self.report_wanted |= group.converge(now, &mut out);
        }
        if self.deadman_known && self.report_at().is_none_or(|at| at <= now) {
            out.push(AgentAction::SendReport);
        }
        out
    }

    /// When to call [`AgentMachine::step`] with a Tick at the latest.
    pub fn next_wake(&self, now: Instant) -> Option<Instant> {
        let groups = self.groups.values().filter_map(|group| group.next_wake(now));
        groups.chain(self.report_at()).min()
    }

    /// Whether every instance of `group` here is armed: gate, deadman and disk.
    pub fn is_armed(&self, group: &GroupId) -> bool {
        self.groups.get(group).is_some_and(GroupMachine::is_armed)
    }

    /// The lease of `group`, for people and metrics.
    pub fn lease(&self, group: &GroupId) -> Option<&Lease> {
        self.groups.get(group).map(|group| &group.lease)
    }

    fn report_at(&self) -> Option<Instant> {
        let last = self.reported_at?;
        let renewal = self.groups.values().map(|group| group.lease.timing().renewal).min();
        let idle = renewal.unwrap_or(REPORT_IDLE);
        Some(last + if self.report_wanted { REPORT_SPACING } else { idle })
    }

    fn take(&mut self, event: AgentEvent, now: Instant, out: &mut Vec<AgentAction>) {
        match event {
            AgentEvent::Tick => {}
            AgentEvent::Directive(directive) => self.directive(directive, now, out),
            AgentEvent::DeadmanShows { holds, counts_as } => {
                self.deadman_known = true;
                for (id, group) in &mut self.groups {
                    let hold = holds.get(id).cloned().unwrap_or_default();
                    let counts_as = counts_as.get(id).copied();
                    group.deadman_shows(hold, counts_as.unwrap_or(EvidenceKind::Attested), now);
                }
            }
            AgentEvent::DeadmanGone => {
                self.deadman_known = true;
                self.groups.values_mut().for_each(GroupMachine::deadman_gone);
            }
            AgentEvent::Observed { group, instance, fact } => {
                self.with(&group, |group| group.observed(&instance, fact, now));
            }
            AgentEvent::EnsureEnded { group, instance, attempt, result } => {
                self.with(&group, |group| group.ensure_ended(&instance, attempt, result, now));
            }
            AgentEvent::VerifyEnded { group, instance, token, result } => {
                self.with(&group, |group| group.verify_ended(&instance, token, result, now));
            }
            AgentEvent::CommitWaitSet { group, instance, attempt, result } => {
                self.with(&group, |group| group.commits_ended(&instance, attempt, result, now));
            }
            AgentEvent::ClusterPersisted { cluster, ok } => self.changed_over(cluster, ok),
            AgentEvent::TokenStored { group, instance, token, ok } => {
                self.with(&group, |group| group.token_stored(&instance, token, ok, now));
            }
            AgentEvent::ArmingPersisted { group, arming, ok } => {
                self.with(&group, |group| group.arming_persisted(arming, ok));
            }
            AgentEvent::GateSet { group, armed, ok } => {
                self.with(&group, |group| group.gate_set(armed, ok));
            }
        }
    }

    fn with(&mut self, group: &GroupId, then: impl FnOnce(&mut GroupMachine)) {
        if let Some(group) = self.groups.get_mut(group) {
            then(group);
        }
    }

    fn directive(&mut self, directive: Directive, now: Instant, out: &mut Vec<AgentAction>) {
        // A cluster without a name was not initialised: it has nothing to say, least of all a name.
        if directive.incarnation != self.incarnation || directive.cluster_id.0.is_empty() {
            return;
        }
        // A name on its way to the disk is not served yet, and what it was before not any more.
        if self.change.is_under_way() {
            return;
        }
        match &self.cluster_id {
            Some(known) if *known != directive.cluster_id => {
                return self.invited(&directive, now, out);
            }
            Some(_) => {}
            None => {
                self.cluster_id = Some(directive.cluster_id.clone());
                out.push(AgentAction::PersistCluster(self.cluster_id.clone()));
            }
        }
        self.learn(&directive.arbiters, out);
        let sent = directive.answers.and_then(|sequence| self.sent.get(&sequence).copied());
        if let Some(sent) = sent {
            self.gaps.answered(sent, now);
        }
        let old_term = directive.term < self.term;
        self.term = self.term.max(directive.term);
        for (id, told) in directive.groups {
            let Some(group) = self.groups.get_mut(&id) else { continue };
            if !old_term {
                group.told(&told, sent, now);
            }
            if let (Some(sent), Some(length)) = (sent, told.lease) {
                group.renew(sent, length, now);
            }
        }
    }
}

/// Whether an order may be obeyed by one who has seen `seen`. // I10
fn is_current(order: &Order, seen: Token) -> bool {
    if crate::planted!(OlderRevisionObeyed) {
        return order.token.epoch >= seen.epoch;
    }
    order.token >= seen
}
