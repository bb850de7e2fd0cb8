//! One group on one agent: its lease, its arming, and which of its instances may do what. Knows
//! what the deadman shows; never what a driver does.

mod leave;

use super::executor::Executor;
use super::{AgentAction, DeadmanEvent, Failure, GATE_MISSING, Hold, Lease, Reached, Waiting};
use crate::{
    Arming, EvidenceKind, Fact, Goal, GroupDirective, GroupId, GroupReport, Instance, InstanceId,
    Instant, Timing, Token,
};
use std::collections::BTreeMap;
use std::time::Duration;

/// What was asked of the deadman, the gate or the disk and not done is asked again after this.
pub const ASK_AGAIN_AFTER: Duration = Duration::from_millis(500);

/// Something outside that arming needs, in the order in which it is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Ask {
    Gate(bool),
    Arm,
    Disarm,
    Persist(Option<Arming>),
}

/// One group on one agent.
#[derive(Clone, Debug)]
pub(super) struct GroupMachine {
    pub(super) id: GroupId,
    pub(super) lease: Lease,
    /// When workloads beside this agent must stop unless a quorum is heard: one lease after the
    /// last answer. It is no lease: no deadman knows it, and nothing is granted by it.
    serves_until: Option<Instant>,
    /// That time came, and no answer since.
    cut_off: bool,
    /// What the deadman last showed; none before it did and after it went.
    pub(super) hold: Option<Hold>,
    counts_as: EvidenceKind,
    /// What the leader asks; none before it did.
    arm_wanted: Option<bool>,
    /// Armed, it serves on without a quorum, as the leader said last: no lease runs.
    serves_on: bool,
    /// The highest revision of a Directive obeyed in this process.
    obeyed: u64,
    /// The leader's last answer renewed the lease, or none came yet.
    granted: bool,
    /// When the last Report left that was answered.
    answered: Option<Instant>,
    armed_on_disk: Option<Arming>,
    /// The deadman was told to disarm and has not shown it: until then it counts as neither.
    disarming: bool,
    gate: Option<bool>,
    /// The last thing asked and when, so that it is not asked at every step.
    asked: Option<(Ask, Instant)>,
    asked_deadline: Option<(Option<Instant>, Instant)>,
    pub(super) instances: BTreeMap<InstanceId, Executor>,
    /// When the Report left whose answer last renewed the lease.
    pub(super) renewed: Option<Instant>,
    /// That was in this process.
    pub(super) renewed_here: bool,
    /// Since when the renewals stay away: what may stall does.
    pub(super) isolated: Option<Instant>,
    pub(super) asked_pause: Option<(bool, Instant)>,
    pub(super) news: bool,
    attempts: u64,
}

impl GroupMachine {
    pub(super) fn new(id: GroupId, timing: Timing, armed_on_disk: Option<Arming>) -> Self {
        Self {
            id,
            lease: Lease::new(timing),
            serves_until: None,
            cut_off: false,
            hold: None,
            counts_as: EvidenceKind::Attested,
            arm_wanted: None,
            serves_on: false,
            obeyed: 0,
            granted: true,
            answered: None,
            armed_on_disk,
            disarming: false,
            // The gate was in before the disk said so.
            gate: armed_on_disk.map(|_| true),
            asked: None,
            asked_deadline: None,
            instances: BTreeMap::new(),
            renewed: None,
            renewed_here: false,
            isolated: None,
            asked_pause: None,
            news: false,
            attempts: 0,
        }
    }

    pub(super) fn add(&mut self, id: InstanceId, instance: Instance, stored: Token) {
        self.instances.insert(id, Executor::new(instance, stored));
    }

    /// Gate, deadman and disk all say so.
    pub(super) fn is_armed(&self) -> bool {
        let held = self.hold.as_ref().is_some_and(|hold| hold.armed);
        held && !self.disarming && self.gate == Some(true) && self.armed_on_disk.is_some()
    }

    /// Anything at all still enforces, or is about to.
    fn enforces(&self) -> bool {
        self.armed_on_disk.is_some()
            || self.arm_wanted == Some(true)
            || self.hold.as_ref().is_some_and(|hold| hold.armed)
    }

    pub(super) fn tick(&mut self, now: Instant) {
        self.note_isolation(now);
        if self.lease.lapse(now) {
            self.news = true;
            if self.enforces() {
                self.fence_all();
            }
        }
        if self.workloads_stop_at().is_some_and(|at| at <= now) {
            self.serves_until = None;
            if self.enforces() {
                self.cut_off = true;
                self.news = true;
                self.instances.values_mut().for_each(Executor::cut_off);
            }
        }
    }

    /// When the fence of the data begins at the latest: what is slow to stop is asked no later.
    fn workloads_stop_at(&self) -> Option<Instant> {
        let until = self.serves_until.filter(|_| !self.serves_on);
        until.map(|until| until.before(self.lease.timing().fence))
    }

    /// A quorum answered the Report sent at `sent`.
    fn heard(&mut self, sent: Instant, now: Instant) {
        let timing = self.lease.timing();
        let until = sent + timing.lease;
        if until.before(timing.fence) > now {
            self.serves_until = self.serves_until.max(Some(until));
            self.cut_off = false;
            self.instances.values_mut().for_each(Executor::reconnected);
        }
    }

    /// Fence every instance that could be written to: the lease lapsed, the deadman went, or an
    /// armed host came up. // I4
    fn fence_all(&mut self) {
        self.news = true;
        self.instances.values_mut().for_each(Executor::must_fence);
    }

    /// The leader's part for this group. `sent`: when the Report of this process left that it
    /// answers; it was made from a State that is no older.
    pub(super) fn told(&mut self, told: &GroupDirective, sent: Option<Instant>, now: Instant) {
        if told.revision < self.obeyed {
            return;
        }
        let answers = sent.is_some();
        self.answered = sent.or(self.answered);
        self.obeyed = told.revision;
        self.lease.set_timing(told.timing);
        // A late "do not arm" must not disarm what State has since recorded as armed.
        if answers || told.arm {
            self.arm_wanted = Some(told.arm);
        }
        if answers {
            self.granted = told.lease.is_some();
        }
        // State was first to know that no lease runs any more; that one does it learns from us. A
        // late "serve on" must not end a lease whose end State has since come to count. // I4
        if answers || !told.serves_on {
            self.serves_on = told.serves_on;
        }
        if self.serves_on {
            self.lease.end();
        }
        for (id, executor) in &mut self.instances {
            let order = told.orders.iter().find(|order| order.instance == *id);
            executor.ordered(order.cloned(), now);
        }
        if let Some(sent) = sent {
            self.heard(sent, now);
        }
    }

    pub(super) fn renew(&mut self, sent: Instant, length: Duration, now: Instant) {
        if self.serves_on {
            self.is_renewed(sent);
            return;
        }
        self.news |= self.lease.is_lapsed() || self.lease.deadline().is_none();
        if self.lease.renew(sent, length, now) {
            self.is_renewed(sent);
        }
    }

    /// Whether anything here is writable, shall be, or is not known not to be.
    pub(super) fn needs_lease(&self) -> bool {
        self.instances.values().any(Executor::needs_lease)
    }

    pub(super) fn deadman_shows(&mut self, hold: Hold, counts_as: EvidenceKind, now: Instant) {
        if let (None, None, Some(deadline)) = (&self.hold, self.lease.deadline(), hold.deadline) {
            // The deadman outlived us: its deadline is ours again.
            if let Some(timing) = hold.timing {
                self.lease.set_timing(timing);
            }
            self.lease.resume(deadline);
            self.renewed = Some(deadline.before(self.lease.timing().lease));
            if self.lease.lapse(now) && hold.armed {
                self.fence_all();
            }
        }
        if self.hold.is_none() && self.armed_on_disk.is_some() {
            // A process that has just begun has one lease to hear somebody.
            self.serves_until.get_or_insert(now + self.lease.timing().lease);
        }
        // I4: armed, says the disk, but nobody held it: the host was rebooted, or the deadman died.
        if self.armed_on_disk.is_some() && !hold.armed && !crate::planted!(NotFencedAtBoot) {
            self.fence_all();
        }
        self.news |= self.hold.as_ref().is_none_or(|before| {
            before.armed != hold.armed || before.deadline.is_some() != hold.deadline.is_some()
        });
        self.disarming &= hold.armed;
        self.counts_as = counts_as;
        self.hold = Some(hold);
    }

    pub(super) fn deadman_gone(&mut self) {
        self.hold = None;
        self.news = true;
        if self.armed_on_disk.is_some() {
            self.fence_all();
        }
    }

    pub(super) fn observed(&mut self, instance: &InstanceId, fact: Fact, now: Instant) {
        if let Some(executor) = self.instances.get_mut(instance) {
            // I4: somebody took the gate out. It is to be put in again, and armed is what has one.
            if fact.detail.contains_key(GATE_MISSING) && self.gate == Some(true) {
                self.gate = None;
                self.news = true;
            }
            self.news |= executor.observed(fact, now);
        }
    }

    pub(super) fn ensure_ended(
        &mut self,
        instance: &InstanceId,
        attempt: u64,
        result: Result<Reached, Failure>,
        now: Instant,
    ) {
        if let Some(executor) = self.instances.get_mut(instance) {
            self.news |= executor.ensure_ended(attempt, result, now);
        }
    }

    pub(super) fn verify_ended(
        &mut self,
        instance: &InstanceId,
        token: Token,
        result: Result<Fact, Failure>,
        now: Instant,
    ) {
        if let Some(executor) = self.instances.get_mut(instance) {
            self.news |= executor.verify_ended(token, result, now);
        }
    }

    pub(super) fn token_stored(
        &mut self,
        instance: &InstanceId,
        token: Token,
        ok: bool,
        now: Instant,
    ) {
        if let Some(executor) = self.instances.get_mut(instance) {
            self.news |= executor.token_stored(token, ok, now);
        }
    }

    pub(super) fn commits_ended(
        &mut self,
        instance: &InstanceId,
        attempt: u64,
        result: Result<Waiting, Failure>,
        now: Instant,
    ) {
        if let Some(executor) = self.instances.get_mut(instance) {
            self.news |= executor.commits_ended(attempt, result, now);
        }
    }

    pub(super) fn arming_persisted(&mut self, arming: Option<Arming>, ok: bool) {
        if ok {
            self.armed_on_disk = arming;
            self.asked = None;
            self.news = true;
        }
    }

    pub(super) fn gate_set(&mut self, armed: bool, ok: bool) {
        if ok {
            self.gate = Some(armed);
            self.asked = None;
            self.news = true;
        }
    }

    /// What stands against leaving the cluster; none: nothing here is writable, or will be unasked.
    /// `by_word`: an operator answers for what no deadman holds.
    pub(super) fn holds(&self, by_word: bool, now: Instant) -> Option<String> {
        if !self.enforces() {
            let open = self.instances.iter().filter(|_| !by_word);
            let open = open.filter(|(_, executor)| !executor.is_idle(true));
            let first = open.map(|(id, _)| id).next()?;
            return Some(format!(
                "{first} is not armed, and is a primary or not seen to be none: stop it, or start \
                 the agent with --leave-cluster"
            ));
        }
        if self.lease.is_live(now) && self.needs_lease() {
            return Some("its lease lives".to_owned());
        }
        let busy = self.instances.iter().find(|(_, executor)| !executor.is_idle(false));
        busy.map(|(id, _)| format!("{id} is not fenced yet"))
    }

    /// The cluster that told it what to do is another now. What is armed stays so.
    pub(super) fn changed_over(&mut self) {
        self.lease.end();
        self.arm_wanted = None;
        self.obeyed = 0;
        self.granted = false;
        self.answered = None;
        self.serves_until = None;
        self.renewed = None;
        self.isolated = None;
        self.instances.values_mut().for_each(Executor::forget_order);
        self.news = true;
    }

    /// Bring the outside nearer to what shall be. Says whether there is news to report.
    pub(super) fn converge(&mut self, now: Instant, out: &mut Vec<AgentAction>) -> bool {
        if let Some(ask) = self.next_arming() {
            self.ask(ask, now, out);
        }
        self.converge_deadline(now, out);
        self.converge_pause(now, out);
        let leave = self.leave(now);
        for (id, executor) in &mut self.instances {
            let mut context = super::executor::Context {
                group: &self.id,
                instance: id,
                leave,
                timing: *self.lease.timing(),
                attempts: &mut self.attempts,
            };
            executor.converge(&mut context, now, out);
            executor.converge_commits(self.isolated.is_some(), &mut context, now, out);
        }
        std::mem::take(&mut self.news)
    }

    /// The next thing that arming or disarming needs. More enforcement: gate, deadman, disk, and
    /// only then is it reported. Less: State was first; disk, deadman, gate.
    fn next_arming(&self) -> Option<Ask> {
        let hold = self.hold.as_ref()?;
        if self.disarming {
            return Some(Ask::Disarm);
        }
        let wanted = self.arm_wanted.unwrap_or(self.armed_on_disk.is_some());
        let arming = Arming { expiry_counts_as: self.counts_as };
        if wanted {
            if self.gate != Some(true) {
                return Some(Ask::Gate(true));
            }
            if !hold.armed {
                return Some(Ask::Arm);
            }
            return (self.armed_on_disk != Some(arming)).then_some(Ask::Persist(Some(arming)));
        }
        // Only the leader's word disarms: what a deadman holds may belong to a former life here.
        if self.arm_wanted != Some(false) {
            return None;
        }
        if self.armed_on_disk.is_some() {
            return Some(Ask::Persist(None));
        }
        if hold.armed {
            return Some(Ask::Disarm);
        }
        (self.gate != Some(false)).then_some(Ask::Gate(false))
    }

    fn ask(&mut self, ask: Ask, now: Instant, out: &mut Vec<AgentAction>) {
        let again = |at: &Instant| now < *at + ASK_AGAIN_AFTER;
        if self.asked.as_ref().is_some_and(|(before, at)| *before == ask && again(at)) {
            return;
        }
        let group = self.id.clone();
        out.push(match ask.clone() {
            Ask::Gate(armed) => AgentAction::SetGate { group, armed },
            Ask::Persist(arming) => AgentAction::PersistArming { group, arming },
            Ask::Arm => {
                // A lease that only counted is none: it begins with the next renewal.
                self.lease.end();
                AgentAction::Deadman(DeadmanEvent::Arm(group))
            }
            Ask::Disarm => {
                self.disarming = true;
                AgentAction::Deadman(DeadmanEvent::Disarm(group))
            }
        });
        self.asked = Some((ask, now));
    }

    /// Tell the deadman the deadline, or that nothing hangs on it any more.
    fn converge_deadline(&mut self, now: Instant, out: &mut Vec<AgentAction>) {
        let Some(hold) = &self.hold else { return };
        // Nothing is writable or shall be, and nobody renews: a deadline would only kill a replica.
        if self.lease.deadline().is_some() && !self.granted && !self.needs_lease() {
            self.lease.end();
        }
        let wanted = self.lease.deadline();
        let kept = wanted.is_none() && self.needs_lease() && !self.serves_on;
        if hold.deadline == wanted || kept {
            return;
        }
        if wanted.is_some() && !self.lease.is_live(now) {
            return;
        }
        let again = |at: &Instant| now < *at + ASK_AGAIN_AFTER;
        if self.asked_deadline.is_some_and(|(before, at)| before == wanted && again(&at)) {
            return;
        }
        let group = self.id.clone();
        let timing = *self.lease.timing();
        out.push(AgentAction::Deadman(match wanted {
            Some(deadline) => DeadmanEvent::Renew { group, deadline, timing },
            None => DeadmanEvent::Clear(group),
        }));
        self.asked_deadline = Some((wanted, now));
    }

    pub(super) fn next_wake(&self, now: Instant) -> Option<Instant> {
        let asked = self.asked.as_ref().map(|(_, at)| *at + ASK_AGAIN_AFTER);
        let deadline = self.asked_deadline.map(|(_, at)| at + ASK_AGAIN_AFTER);
        let again = asked.into_iter().chain(deadline).filter(|at| now < *at);
        let timing = *self.lease.timing();
        let instances =
            self.instances.values().filter_map(|executor| executor.next_wake(&timing, now));
        let stops = self.lease.fence_at().into_iter().chain(self.workloads_stop_at());
        let stops = stops.chain(self.isolation_wake(now));
        again.chain(stops).chain(instances).min()
    }

    pub(super) fn report(&self, now: Instant) -> GroupReport {
        let hold = self.hold.clone().unwrap_or_default();
        GroupReport {
            arming: self.armed_on_disk.filter(|_| self.is_armed()),
            deadline_running: hold.armed && hold.is_running(now),
            lapsed: self.lease.is_lapsed(),
            remaining: self.lease.deadline().map(|deadline| deadline.since(now)),
            would_have_killed: hold.would_have_killed,
            obeyed: self.obeyed,
            instances: self
                .instances
                .iter()
                .map(|(id, executor)| (id.clone(), executor.report(now)))
                .collect(),
        }
    }
}

/// Whether `goal` leaves an instance unable to take writes.
pub(super) fn is_quiet(goal: Goal) -> bool {
    goal != Goal::Active
}
