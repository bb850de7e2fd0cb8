//! The executor of one instance: which order stands, what was stored, what is tried and when
//! again. Timeouts aside, everything about order and repetition is here; drivers know none of it.

mod commits;
mod leaving;
mod pooler;
mod reached;
mod task;

pub use commits::{STALL_AGAIN_AFTER, STALL_LIMIT};
pub use pooler::{PAUSE_MAX, PAUSE_UNRENEWED_MAX};
use task::Task;

use super::{AgentAction, Failure, Reached, is_current};
use crate::{
    Condition, DoneReport, EXTERNAL_FENCE, ErrorReport, Fact, Fencing, Goal, GroupId, Instance,
    InstanceId, InstanceReport, Instant, Layer, Order, Role, Terms, Timing, Token,
};
use std::time::Duration;

/// First wait after a failed attempt; doubled after each further one.
pub const RETRY_FIRST: Duration = Duration::from_millis(100);
/// Longest wait between two attempts.
pub const RETRY_MAX: Duration = Duration::from_secs(5);
/// Longest time between two observations.
pub const OBSERVE_EVERY_MAX: Duration = Duration::from_secs(1);
/// An observation that did not end is given up after this.
pub const OBSERVE_LIMIT: Duration = Duration::from_secs(10);
/// A standby that has not followed for so long is asked for again: it may need to be brought back.
pub const ASTRAY_AFTER: Duration = Duration::from_secs(30);
/// Least time between two starts of an instance that nobody orders.
pub const START_AS_IS_EVERY: Duration = Duration::from_secs(5);
/// The instance setting that lets the agent start it while nobody orders it.
pub const START_SETTING: &str = "start";

/// What the group lets a held instance do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Leave {
    /// Become or stay primary.
    pub(super) active: bool,
    /// Run without being writable.
    pub(super) rest: bool,
    /// Be started though nobody orders it.
    pub(super) as_is: bool,
    /// Serve, for a workload: its region is not cut off.
    pub(super) serve: bool,
    /// Cut off another region.
    pub(super) outside: bool,
}

/// Where an executor stands while it converges.
pub(super) struct Context<'a> {
    pub(super) group: &'a GroupId,
    pub(super) instance: &'a InstanceId,
    pub(super) leave: Leave,
    pub(super) timing: Timing,
    pub(super) attempts: &'a mut u64,
}

/// What is known of writes, from what was done and not from what was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Writes {
    /// Nothing was done to it in this process.
    Unknown,
    /// It was made active, or that was tried.
    Possible,
    /// Fenced, or made a replica.
    Impossible,
}

/// One instance.
#[derive(Clone, Debug)]
pub(super) struct Executor {
    spec: Instance,
    /// Highest token seen, in this process or on disk.
    seen: Token,
    /// Highest token on disk.
    stored: Token,
    storing: Option<Token>,
    order: Option<Order>,
    /// The leader spoke to this process.
    told: bool,
    fence_due: bool,
    writes: Writes,
    running: Option<(u64, Task)>,
    done: Option<(DoneReport, Terms, Instant)>,
    verified: Option<Token>,
    verifying: Option<Token>,
    error: Option<ErrorReport>,
    failures: u32,
    retry_at: Instant,
    fact: Fact,
    fact_at: Option<Instant>,
    observing: Option<Instant>,
    /// Since when a standby that did follow is seen not to.
    astray: Option<Instant>,
    started_at: Option<Instant>,
    commits: commits::Commits,
    pause: pooler::Pause,
}

impl Executor {
    pub(super) fn new(spec: Instance, stored: Token) -> Self {
        Self {
            spec,
            seen: stored,
            stored,
            storing: None,
            order: None,
            told: false,
            fence_due: false,
            writes: Writes::Unknown,
            running: None,
            done: None,
            verified: None,
            verifying: None,
            error: None,
            failures: 0,
            retry_at: Instant::default(),
            fact: Fact::default(),
            fact_at: None,
            observing: None,
            astray: None,
            started_at: None,
            commits: commits::Commits::default(),
            pause: pooler::Pause::default(),
        }
    }

    fn is_held(&self) -> bool {
        self.spec.layer == Layer::Data && self.spec.fencing == Fencing::Required
    }

    pub(super) fn must_fence(&mut self) {
        let fenced = |done: &(DoneReport, Terms, Instant)| done.0.goal == Goal::Fenced;
        let already = self.writes == Writes::Impossible && self.done.as_ref().is_some_and(fenced);
        if self.is_held() && !already {
            self.fence_due = true;
            self.retry_at = Instant::default();
            self.failures = 0;
        }
    }

    /// Nobody with a quorum is heard any more, as long as a lease lasts: a workload that serves is
    /// stopped, unasked. No lease waits for that, and none is needed.
    pub(super) fn cut_off(&mut self) {
        let serves = match &self.order {
            Some(order) => order.goal == Goal::Active,
            // A former process obeyed; what it was told last is not known. Who was never ordered
            // about (mode `observe`) would never be told to come back.
            None => !self.told && self.stored > Token::default(),
        };
        if self.spec.layer == Layer::Workload && serves {
            self.fence_due = true;
            self.done = None;
            self.retry_at = Instant::default();
            self.failures = 0;
        }
    }

    /// A quorum is heard: a workload's own fence that has not ended is given up.
    pub(super) fn reconnected(&mut self) {
        if self.spec.layer == Layer::Workload {
            self.fence_due = false;
        }
    }

    /// Whether it is writable, shall be, or is not known not to be.
    pub(super) fn needs_lease(&self) -> bool {
        if !self.is_held() {
            return false;
        }
        let wanted = self.order.as_ref().is_some_and(|order| order.goal == Goal::Active);
        wanted
            || match self.writes {
                Writes::Possible => true,
                Writes::Impossible => false,
                Writes::Unknown => {
                    let replica = self.fact.role == Role::Replica && !self.fact.writable;
                    self.fence_due || self.fact_at.is_none() || !replica
                }
            }
    }

    /// The order that stands from now on; none: keep it as it is.
    pub(super) fn ordered(&mut self, order: Option<Order>, now: Instant) {
        self.told = true;
        let Some(order) = order else {
            self.order = None;
            self.error = None;
            return;
        };
        // I10: below the highest seen, same epoch and older revision included, nothing is obeyed.
        if !is_current(&order, self.seen) {
            return;
        }
        if let Some(before) = &self.order
            && before.token == order.token
            && before.goal != order.goal
            && order.goal != Goal::Fenced
        {
            return;
        }
        let same = self.order.as_ref().is_some_and(|before| {
            before.token == order.token && before.goal == order.goal && before.terms == order.terms
        });
        self.seen = self.seen.max(order.token);
        if !same {
            self.retry_at = now;
            self.failures = 0;
            self.error = None;
        }
        self.order = Some(order);
        self.pause_renewed(now);
    }

    pub(super) fn observed(&mut self, fact: Fact, now: Instant) -> bool {
        let news = self.fact.condition != fact.condition
            || self.fact.role != fact.role
            || self.fact.writable != fact.writable;
        // Looked at after it was done: what accepts writes is not fenced, whatever was done.
        let since = self.observing.take();
        let undone = self.done.take_if(|(done, _, at)| {
            let quiet = super::group::is_quiet(done.goal);
            quiet && fact.writable && since.is_some_and(|since| since > *at)
        });
        if undone.is_some() {
            self.writes = Writes::Unknown;
        }
        self.fact = fact;
        self.fact_at = Some(now);
        self.commits_seen(since);
        self.pause_seen(now);
        self.astray = if self.follows() { None } else { self.astray.or(Some(now)) };
        news || undone.is_some()
    }

    pub(super) fn ensure_ended(
        &mut self,
        attempt: u64,
        result: Result<Reached, Failure>,
        now: Instant,
    ) -> bool {
        let Some((_, task)) = self.running.take_if(|(running, _)| *running == attempt) else {
            return false;
        };
        match result {
            Ok(reached) => self.reached(task, reached, now),
            Err(failure) => self.failed(task.token, failure, now),
        }
        self.observing = None;
        true
    }

    fn reached(&mut self, task: Task, reached: Reached, now: Instant) {
        self.failures = 0;
        self.astray = None;
        self.fact = reached.fact;
        self.fact_at = Some(now);
        if super::group::is_quiet(task.goal) {
            self.writes = Writes::Impossible;
        }
        if task.goal == Goal::Fenced {
            self.fence_due = false;
        }
        self.pause_over(task.goal);
        if task.own {
            let running = |done: &(DoneReport, Terms, Instant)| {
                matches!(done.0.goal, Goal::Active | Goal::Standby)
            };
            self.done.take_if(|done| running(done));
            return;
        }
        self.error = None;
        let Task { goal, token, terms, .. } = task;
        let Reached { evidence, end, clean, .. } = reached;
        self.done = Some((DoneReport { goal, token, evidence, end, clean }, terms, now));
    }

    fn failed(&mut self, token: Token, failure: Failure, now: Instant) {
        let wait = (RETRY_FIRST * 2u32.saturating_pow(self.failures.min(10))).min(RETRY_MAX);
        self.failures += 1;
        let (refused, stale, message, wait) = match failure {
            Failure::Retry(message) => (false, None, message, wait),
            Failure::Refused(message) => (true, None, message, RETRY_MAX),
            Failure::Stale(seen) => {
                let message = format!("the resource has seen the higher token {seen}");
                (true, Some(seen), message, RETRY_MAX)
            }
        };
        self.retry_at = now + wait;
        self.error = Some(ErrorReport { token, refused, stale, message });
    }

    pub(super) fn verify_ended(
        &mut self,
        token: Token,
        result: Result<Fact, Failure>,
        now: Instant,
    ) -> bool {
        if self.verifying != Some(token) {
            return false;
        }
        self.verifying = None;
        match result {
            Ok(fact) => {
                self.failures = 0;
                self.error = None;
                self.verified = Some(token);
                self.fact = fact;
                self.fact_at = Some(now);
            }
            Err(failure) => self.failed(token, failure, now),
        }
        true
    }

    pub(super) fn token_stored(&mut self, token: Token, ok: bool, now: Instant) -> bool {
        if self.storing == Some(token) {
            self.storing = None;
        }
        if ok {
            self.stored = self.stored.max(token);
        } else {
            self.failed(token, Failure::Retry("the token could not be stored".into()), now);
        }
        true
    }

    /// What the driver shall be asked now; none: nothing, or not yet.
    fn task(&self, leave: Leave, now: Instant) -> Option<Task> {
        if let Some(task) = self.lets_go(now) {
            return Some(task);
        }
        let order = self.order.as_ref();
        if self.fence_due {
            // It must be over within F: a clean stop may use up the whole of it.
            let at_once = Some(Duration::ZERO);
            let kills =
                |order: &&Order| order.goal == Goal::Fenced && order.terms.clean_stop == at_once;
            return Some(match order.filter(kills) {
                Some(order) => Task::ordered(order),
                None => Task {
                    goal: Goal::Fenced,
                    token: self.stored,
                    terms: Terms { clean_stop: at_once, ..Terms::default() },
                    own: true,
                },
            });
        }
        let order = order?;
        let allowed = match order.goal {
            // An order to cut off another region does not outlive the quorum's word: meanwhile the
            // plan may be undone, and that region serve again.
            Goal::Fenced => leave.outside || self.spec.kind != EXTERNAL_FENCE,
            Goal::Active if self.spec.layer == Layer::Workload => leave.serve,
            Goal::Active => leave.active || !self.is_held(),
            Goal::Drained if !self.may_pause() => false,
            Goal::Standby | Goal::Drained => leave.rest || !self.is_held(),
        };
        (allowed && !self.is_reached(order)).then(|| Task::ordered(order))
    }

    pub(super) fn converge(
        &mut self,
        context: &mut Context<'_>,
        now: Instant,
        out: &mut Vec<AgentAction>,
    ) {
        self.observe(context, now, out);
        let task = self.task(context.leave, now);
        if let Some((_, running)) = &self.running
            && !task.as_ref().is_some_and(|task| task.is_same(running))
        {
            // A newer order, or one withdrawn; and a fence overtakes anything.
            let (group, instance) = (context.group.clone(), context.instance.clone());
            out.push(AgentAction::CancelEnsure { group, instance });
            self.running = None;
        }
        self.store(context, now, out);
        match task {
            Some(task) if self.running.is_none() && self.retry_at <= now => {
                self.start(task, context, out);
            }
            Some(_) => {}
            None => self.at_rest(context, now, out),
        }
    }

    fn start(&mut self, task: Task, context: &mut Context<'_>, out: &mut Vec<AgentAction>) {
        // I10: on disk before it is acted on. A fence alone is done first and recorded after.
        if task.goal != Goal::Fenced && self.stored < task.token {
            return;
        }
        if task.goal == Goal::Active {
            self.writes = Writes::Possible;
        }
        *context.attempts += 1;
        let attempt = *context.attempts;
        out.push(AgentAction::Ensure {
            group: context.group.clone(),
            instance: context.instance.clone(),
            attempt,
            goal: task.goal,
            token: task.token,
            terms: task.terms.clone(),
        });
        self.running = Some((attempt, task));
    }

    /// Store the token of the order that stands: before it is acted on, or after its fence.
    fn store(&mut self, context: &Context<'_>, now: Instant, out: &mut Vec<AgentAction>) {
        let Some(order) = &self.order else { return };
        let fenced = self.done.as_ref().is_some_and(|(done, _, _)| done.token == order.token);
        let due = order.goal != Goal::Fenced || fenced;
        if order.token <= self.stored || self.storing.is_some() || !due || now < self.retry_at {
            return;
        }
        self.storing = Some(order.token);
        out.push(AgentAction::StoreToken {
            group: context.group.clone(),
            instance: context.instance.clone(),
            token: order.token,
        });
    }

    /// Nothing is left to be made true: verify what is, or start what nobody orders.
    fn at_rest(&mut self, context: &Context<'_>, now: Instant, out: &mut Vec<AgentAction>) {
        let (group, instance) = (context.group.clone(), context.instance.clone());
        let Some(order) = &self.order else {
            let down = matches!(self.fact.condition, Condition::Dead | Condition::Stopped);
            let mine = self.spec.settings.get(START_SETTING).is_some_and(|who| who == "agent");
            let waited = self.started_at.is_none_or(|at| at + START_AS_IS_EVERY <= now);
            if down && mine && waited && context.leave.as_is && self.spec.layer == Layer::Data {
                self.started_at = Some(now);
                out.push(AgentAction::StartAsIs { group, instance });
            }
            return;
        };
        let token = order.token;
        // One that hangs is for an older token: it keeps no newer one waiting.
        let due = order.verify && self.verified != Some(token) && self.verifying != Some(token);
        if due && self.is_reached(order) && self.retry_at <= now {
            self.verifying = Some(token);
            out.push(AgentAction::Verify { group, instance, token });
        }
    }

    fn observe(&mut self, context: &Context<'_>, now: Instant, out: &mut Vec<AgentAction>) {
        let busy = self.observing.is_some_and(|since| now < since + OBSERVE_LIMIT);
        let every = observe_every(&context.timing);
        if busy || self.fact_at.is_some_and(|at| now < at + every) {
            return;
        }
        self.observing = Some(now);
        let (group, instance) = (context.group.clone(), context.instance.clone());
        out.push(AgentAction::Observe { group, instance });
    }

    pub(super) fn next_wake(&self, timing: &Timing, now: Instant) -> Option<Instant> {
        let observe = match (self.observing, self.fact_at) {
            (Some(since), _) => since + OBSERVE_LIMIT,
            (None, Some(at)) => at + observe_every(timing),
            (None, None) => now,
        };
        let later = [Some(self.retry_at), self.pause_wake()].into_iter().flatten();
        let later = later.filter(|at| now < *at);
        later.chain(Some(observe)).chain(self.commits_wake(now)).min()
    }

    pub(super) fn report(&self, now: Instant) -> InstanceReport {
        // I10: what could not be stored is never reported.
        let stored = |done: &DoneReport| done.token <= self.stored;
        InstanceReport {
            fact: self.fact.clone(),
            age: self.fact_at.map_or(Duration::MAX, |at| now.since(at)),
            token: self.stored,
            done: self.done.as_ref().map(|(done, _, _)| done.clone()).filter(stored),
            verified: self.verified,
            error: self.error.clone(),
            commits: self.commits_shown(),
        }
    }
}

fn observe_every(timing: &Timing) -> Duration {
    (timing.renewal / 2).min(OBSERVE_EVERY_MAX)
}
