//! All of the model at one moment, and what may happen next.

use super::cluster::{REGIONS, cluster, database, group, timing};
use super::host::{Host, Zone};
use super::leader::{Arbiter, Log, arbiter_clock, share};
use super::scope::{BEYOND, Flaw, Left, Rate, Scope};
use super::shared::Shared;
use arbiter_core::agent::{AgentEvent, DeadmanEvent};
use arbiter_core::{
    Command, Directive, Group, LossBound, OpenPlan, PlanKind, Position, Report, State, StepId,
};
use std::collections::BTreeMap;
use std::time::Duration;

/// Messages on their way to one receiver. Each may come at any time, any number of times, in any
/// order, or never; one more pushes out the oldest.
const WAY_MAX: usize = 2;
/// Rounds of one exchange: until nothing is left to be done.
const ROUNDS: usize = 4;

/// What stays the same in a run.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// The group has a zone.
    pub traffic: bool,
    /// Agents that are played message by message.
    pub fine: [bool; 2],
    /// Quorum rounds take time.
    pub rounds: bool,
    /// What is planted.
    pub flaw: Option<Flaw>,
}

/// An invariant that was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "named by the invariant")]
pub enum Broken {
    I1,
    I2,
    I3,
    I4,
    I5,
    I6,
    I7,
    I8,
    I9,
    I10,
}

impl Broken {
    /// By the word that `apply` has for it.
    pub fn named(word: &str) -> Self {
        use Broken::*;
        let all = [I1, I2, I3, I4, I5, I6, I7, I8, I9, I10];
        all.into_iter().find(|one| format!("{one:?}") == word).unwrap_or(I1)
    }
}

/// Something that a run should come across.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "named by what is seen")]
pub enum Seen {
    Completed,
    Aborted,
    Superseded,
    LeaseRanOut,
    Confirmed,
    Disarmed,
    Bound,
    TrafficMoved,
    ZoneRefused,
}

/// The model at one moment.
#[derive(Clone, Debug)]
pub struct World {
    /// True time in milliseconds.
    pub now: u64,
    /// The register.
    pub log: Log,
    /// Two of the three arbiters: who leads, and who may.
    pub arbiters: [Arbiter; 2],
    /// One host a region.
    pub hosts: [Host; 2],
    /// What clients are pointed with.
    pub zone: Zone,
    /// Reports on their way, by host.
    pub up: [Vec<Shared<Report>>; 2],
    /// Directives on their way, by host.
    pub down: [Vec<Shared<Directive>>; 2],
    /// What may happen still.
    pub left: Left,
    /// Bits of [`Broken`].
    pub broken: u16,
    /// Bits of [`Seen`].
    pub seen: u16,
    /// See there.
    pub rules: Rules,
}

/// A step. What is not named here happens by itself, at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Act {
    /// Time passes until then. Deadmen act on the way.
    WaitUntil(u64),
    /// An agent looks what is due.
    Tick(usize),
    /// An arbiter hears a Report that is on its way.
    Hear(usize, usize, usize),
    /// A quorum round ends well.
    RoundEnds(usize),
    /// An agent reads a Directive that is on its way.
    Read(usize, usize),
    /// A driver ends.
    WorkEnds(usize, usize),
    /// An agent that is played as a whole reports, is answered and obeys, until it is at rest.
    Exchange(usize),
    /// A proposal enters the log.
    Commit(usize),
    /// An operator opens a failover away from the active region.
    Open,
    /// An operator undoes the open plan.
    Abort,
    /// An operator supersedes it.
    Supersede,
    /// An operator disarms the group.
    Disarm,
    /// An arbiter is elected.
    Elect(usize),
    /// An agent dies and starts again.
    Restart(usize),
    /// Power fails and comes back.
    Reboot(usize),
    /// A deadman is killed.
    KillDeadman(usize),
}

/// The newest are kept, none twice.
pub fn keep_newest<T: std::fmt::Debug>(way: &mut Vec<Shared<T>>, message: Shared<T>) {
    way.retain(|known| *known != message);
    way.push(message);
    if way.len() > WAY_MAX {
        way.remove(0);
    }
}

impl World {
    /// A cluster before its policy is known.
    pub fn new(scope: &Scope, rate: Rate, flaw: Option<Flaw>) -> Self {
        let rate = if flaw == Some(Flaw::ClockBeyondRho) { BEYOND } else { rate };
        let traffic = scope.traffic;
        let state = share(State::default());
        let mut world = Self {
            now: 0,
            log: Log { state, index: 0, term: 0, leader: 0 },
            arbiters: [Arbiter::new(), Arbiter::new()],
            hosts: [Host::new(0, rate, traffic), Host::new(1, super::scope::EVEN, traffic)],
            zone: Zone::default(),
            up: [Vec::new(), Vec::new()],
            down: [Vec::new(), Vec::new()],
            left: Left::default(),
            broken: 0,
            seen: 0,
            rules: Rules { traffic, fine: scope.fine, rounds: scope.rounds, flaw },
        };
        world.elect(0);
        let spec = cluster(traffic);
        world.operate(Command::Initialize { cluster_id: super::cluster::CLUSTER.into(), spec });
        world
    }

    /// The group.
    pub fn group(&self) -> &Group {
        &self.log.state.groups[&group()]
    }

    /// Note that an invariant is broken.
    pub fn breaks(&mut self, broken: Broken) {
        self.broken |= 1 << broken as u16;
    }

    /// Note that something happened.
    pub fn sees(&mut self, seen: Seen) {
        self.seen |= 1 << seen as u16;
    }

    /// Time passes, and no deadman is late.
    pub fn wait_until(&mut self, then: u64) {
        loop {
            let due = (0..2).filter_map(|at| Some((self.next_due(at)?, at))).min();
            let Some((when, at)) = due.filter(|(when, _)| *when <= then) else { break };
            self.now = when.max(self.now);
            let host = &mut self.hosts[at];
            if host.server.dies.is_some_and(|dies| dies <= self.now) {
                host.server.running = false;
                host.server.dies = None;
            } else {
                host.deadman_step(DeadmanEvent::Tick, self.now);
            }
        }
        self.now = then;
        self.turn(self.log.leader);
    }

    fn next_due(&self, at: usize) -> Option<u64> {
        let host = &self.hosts[at];
        host.server.dies.into_iter().chain(host.deadman_due(self.rules.flaw)).min()
    }

    /// What an agent that is played as a whole does in one go.
    pub fn exchange(&mut self, at: usize) {
        let leader = self.log.leader;
        for _ in 0..ROUNDS {
            let shown = self.shown(at);
            self.agent_step(at, shown, false);
            self.agent_step(at, AgentEvent::Tick, false);
            let report = self.report_of(at);
            self.hear(leader, at, report);
            if self.arbiters[leader].round.is_some() {
                self.round_ends(leader);
            }
            for directive in std::mem::take(&mut self.down[at]) {
                self.agent_step(at, AgentEvent::Directive((*directive).clone()), false);
            }
            while let Some(index) = self.ready(at) {
                self.work_ends(at, index, false);
            }
        }
        self.turn(leader);
    }

    /// Whether an agent that is played as a whole has something to do: a plan needs its target.
    pub fn wants_exchange(&self) -> bool {
        let plan = self.group().plan.as_ref();
        let turn = plan.and_then(|plan| plan.step()).is_some_and(|step| step >= StepId::CatchUp);
        turn && self.left.exchanges > 0 && self.arbiters[self.log.leader].round.is_none()
    }

    /// A driver's work that can end now.
    pub fn ready(&self, at: usize) -> Option<usize> {
        self.hosts[at].works.iter().position(|work| self.hosts[at].can_end(work))
    }

    /// Moments worth waiting for: a renewal from now, when a source begins to fence, when its
    /// deadline passes, and when its leader may take its lease as dead.
    pub fn moments(&self) -> Vec<u64> {
        let soon = self.now + timing().renewal.as_millis() as u64;
        let mut moments: Vec<u64> = (self.left.reports > 0).then_some(soon).into_iter().collect();
        for host in self.hosts.iter().filter(|host| self.rules.fine[host.region]) {
            let lease = host.agent.lease(&group());
            let fence = lease.and_then(|lease| lease.fence_at()).map(|at| host.when(at));
            moments.extend(fence);
            moments.extend(host.deadline);
            moments.extend(self.lease_dead(host));
        }
        moments.retain(|moment| *moment > self.now);
        moments.sort_unstable();
        moments.dedup();
        moments
    }

    /// When the leader may take the lease beside `host` as dead, while a plan waits for that.
    fn lease_dead(&self, host: &Host) -> Option<u64> {
        let group_state = self.group();
        let plan = group_state.plan.as_ref()?;
        let waits = plan.step().is_some_and(|step| step <= StepId::ProveFence);
        let seat = self.arbiters[self.log.leader].seat.as_ref().filter(|_| waits)?;
        let agent = host.disk.agent.clone();
        let life = self.log.state.bindings.get(&agent)?.incarnation;
        let now = arbiter_clock(self.now);
        let silent = seat.view.leases.silent_for(&group(), &agent, life, now);
        let required = timing().dead_after(group_state.lease_max);
        Some(self.now + required.saturating_sub(silent).as_millis() as u64)
    }

    /// A failover away from the active region, whatever speaks against it that State does not know.
    pub fn opening(&self) -> Option<OpenPlan> {
        let group_state = self.group();
        let active =
            REGIONS.iter().position(|r| group_state.active().is_some_and(|a| a.0 == *r))?;
        let target = 1 - active;
        Some(OpenPlan {
            group: group(),
            kind: PlanKind::Failover,
            target: REGIONS[target].into(),
            expected_epoch: group_state.epoch(),
            immediate: true,
            accept_loss: true,
            overrides: BTreeMap::new(),
            candidates: BTreeMap::from([("db".into(), database(target))]),
            source_end: BTreeMap::new(),
            loss: LossBound::default(),
            compared: Vec::new(),
        })
    }

    /// The command that supersedes the open plan.
    pub fn superseding(&self) -> Option<Command> {
        let plan = self.group().plan.as_ref().filter(|plan| !plan.before_point_of_no_return())?;
        let stands = BTreeMap::from([("db".into(), Position { timeline: 1, offset: 1000 })]);
        let took = Duration::ZERO;
        Some(Command::Supersede { plan: plan.id, open: self.opening()?, stands, took })
    }

    /// One line for a transcript: what is so before the next step.
    pub fn line(&self) -> String {
        let group = self.group();
        let active = group.active().map_or("nobody", |active| active.as_str());
        let plan = group.plan.as_ref().and_then(|plan| plan.step());
        let plan = plan.map_or("no plan".to_owned(), |step| step.to_string());
        let hosts = self.hosts.iter().map(|host| {
            let writes = if host.server.accepts(self.now) { "writes" } else { "-" };
            let by = host.deadline.map_or("no deadline".to_owned(), |by| format!("by {by}"));
            format!("{} {writes} {by}", REGIONS[host.region])
        });
        let hosts: Vec<String> = hosts.collect();
        format!("{:>6} {active} {} {plan:<14} {:<46}", self.now, group.epoch(), hosts.join(", "))
    }
}
