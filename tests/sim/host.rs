//! An agent's host: its clock, disk, agent, deadman and servers. It does for the machines of the
//! core
//! what `arbiter/src/agent` does with system calls.

use super::clock::{Clock, MS, Nanos, SECOND};
use super::deadman::DEADMAN_LIMIT;
use super::event::{Due, Work};
use super::kinds::Kind;
use super::outside::Outside;
use super::postgres::Postgres;
use super::raft::VOTERS;
use super::topology::Topology;
use super::world::World;
use arbiter_core::agent::{AgentAction, AgentEvent, AgentMachine, Deadman, DeadmanEvent, Stored};
use arbiter_core::leader::StreamId;
use arbiter_core::plant::Plant;
use arbiter_core::{
    Arming, Directive, GroupId, Incarnation, Instance, InstanceId, Layer, RegionId, Report,
    ResourceId, Timing, Token, drills_beside, external_fences_beside,
};
use std::collections::{BTreeMap, BTreeSet};

/// A group's instance.
pub type Key = (GroupId, InstanceId);

/// Directives kept to be sent again.
const HEARD_MAX: usize = 20;
/// Where what the network kept comes from.
const NOBODY: usize = usize::MAX;
/// Without a word from the leader this long, another arbiter is dialled.
const DIAL_AFTER: Nanos = 2 * SECOND;

/// A process.
#[derive(Clone, Debug, Default)]
pub struct Process {
    /// It exists.
    pub up: bool,
    /// It is stopped for now.
    pub frozen: bool,
    /// Grows with each start.
    pub life: u64,
    /// What came while it was stopped.
    pub parked: Vec<Due>,
    pub(super) wakes: u64,
}

/// A host.
pub struct Host {
    /// Its number.
    pub index: usize,
    /// It runs.
    pub up: bool,
    /// Its power was cut by hand, and stays so for now.
    pub locked: bool,
    /// Its clock.
    pub clock: Clock,
    /// What its agent wrote to disk.
    pub disk: Stored,
    /// Instances that its configuration names.
    pub instances: BTreeMap<Key, Instance>,
    timings: BTreeMap<GroupId, Timing>,
    /// The agent's process.
    pub agent: Process,
    /// What runs in it.
    pub machine: Option<AgentMachine>,
    /// The deadman's process.
    pub deadman: Process,
    /// What runs in it.
    pub holds: Deadman,
    /// Database servers.
    pub servers: BTreeMap<Key, Postgres>,
    /// What its agent reaches by an API.
    pub outside: BTreeMap<Key, Outside>,
    /// Cgroups that are frozen.
    pub frozen: BTreeSet<GroupId>,
    /// The arbiter that the agent dialled, and since when it heard nothing.
    pub via: usize,
    pub(super) quiet_since: Nanos,
    /// Its stream there.
    pub stream: StreamId,
    /// What drivers of zones were last ordered to name, by instance; in the agent's memory.
    pub ordered: BTreeMap<Key, (Token, RegionId)>,
    /// Attempts of drivers that run, by instance.
    pub working: BTreeMap<Key, u64>,
    pub(super) deadman_last: Nanos,
    boots: u64,
    /// What forked late is dead for good once its cgroup was thawed.
    shown: String,
    /// Directives that reached it, to be sent again.
    heard: Vec<Directive>,
    pub(super) thawed: BTreeMap<GroupId, Nanos>,
}

impl Host {
    /// A host of `topology` with its servers running, as before anybody armed anything.
    pub fn new(index: usize, topology: &Topology, clock: Clock) -> Self {
        let agent = &topology.agents[index];
        let mut instances = BTreeMap::new();
        let mut timings = BTreeMap::new();
        let (mut servers, mut outside) = (BTreeMap::new(), BTreeMap::new());
        for (group, spec) in &topology.spec.groups {
            timings.insert(group.clone(), spec.policy.timing);
            let active = &spec.policy.initial_active;
            let first = |resource: &ResourceId| {
                let mut data = spec.instances_of(active, Layer::Data);
                data.find(|(_, known)| known.resource == *resource).map(|(id, _)| id.clone())
            };
            for (id, known) in spec.instances.iter().filter(|(_, known)| known.agent == *agent) {
                let key = (group.clone(), id.clone());
                let kind = Kind::of(known).expect("the kinds name every resource");
                let first = first(&known.resource);
                let primary = first.as_ref() == Some(id);
                if kind.is_server() {
                    let upstream = first.filter(|_| !primary);
                    let server = Postgres::new(kind == Kind::Redis, primary, upstream);
                    servers.insert(key.clone(), server);
                } else if kind.is_outside() {
                    let open = known.region == *active || kind == Kind::Pooler;
                    outside.insert(key.clone(), Outside::new(kind, open, None));
                }
                instances.insert(key, known.clone());
            }
            let more = external_fences_beside(spec, agent).into_iter();
            for (id, one) in more.chain(drills_beside(spec, agent)) {
                instances.insert((group.clone(), id), one);
            }
        }
        let mut host = Self {
            index,
            up: true,
            locked: false,
            clock,
            disk: Stored {
                agent: agent.clone(),
                incarnation: Incarnation(0),
                boot_id: String::new(),
                cluster_id: None,
                tokens: BTreeMap::new(),
                armed: BTreeMap::new(),
                leaves: None,
            },
            instances,
            timings,
            agent: Process::default(),
            machine: None,
            deadman: Process { up: true, life: 1, ..Process::default() },
            holds: Deadman::new(),
            servers,
            outside,
            frozen: BTreeSet::new(),
            via: index % VOTERS,
            quiet_since: 0,
            stream: StreamId(0),
            ordered: BTreeMap::new(),
            working: BTreeMap::new(),
            deadman_last: 0,
            boots: 0,
            shown: String::new(),
            heard: Vec::new(),
            thawed: BTreeMap::new(),
        };
        host.booted();
        host
    }

    fn booted(&mut self) {
        self.boots += 1;
        self.disk.incarnation = Incarnation(1_000 * (self.index as u64 + 1) + self.boots);
        self.disk.boot_id = format!("boot-{}-{}", self.index, self.boots);
    }

    /// Power fails. The disk stays; tmpfs, processes and the deadman's memory do not.
    pub fn crash(&mut self, keeps_start_files: bool) {
        self.up = false;
        self.agent.end();
        self.deadman.end();
        self.machine = None;
        self.holds = Deadman::new();
        self.frozen.clear();
        self.working.clear();
        for server in self.servers.values_mut() {
            server.kill(false);
            server.frozen = false;
            server.start_file &= keeps_start_files;
        }
    }

    /// Directives that its agent has not read.
    pub fn unread(&self) -> usize {
        let directive =
            |due: &&Due| matches!(due, Due::ToAgent { event: AgentEvent::Directive(_), .. });
        self.agent.parked.iter().filter(directive).count()
    }

    /// Power returns.
    pub fn boot(&mut self, now: Nanos) {
        self.up = true;
        self.clock.reboot(now);
        self.booted();
    }
}

impl Process {
    /// It is gone, with all it was about to do.
    pub fn end(&mut self) {
        self.up = false;
        self.frozen = false;
        self.life += 1;
        self.parked.clear();
    }
}

impl World {
    pub(super) fn host_due(&mut self, due: Due) {
        match due {
            Due::AgentStart { host } => self.agent_start(host),
            Due::AgentWake { host, process, number } => {
                if self.hosts[host].agent.wakes == number {
                    self.agent_step(host, process, AgentEvent::Tick);
                }
            }
            Due::ToAgent { host, process, event } => self.agent_step(host, process, event),
            Due::DirectiveIn { host, from, directive } => self.directive_in(host, from, directive),
            Due::StreamEnds { host, stream } => {
                if self.hosts[host].stream == stream {
                    self.dial(host);
                }
            }
            Due::ToDeadman { host, life, event } => self.deadman_step(host, life, event),
            Due::DeadmanWake { host, life, number } => {
                if self.hosts[host].deadman.wakes == number {
                    self.deadman_step(host, life, DeadmanEvent::Tick);
                }
            }
            Due::DeadmanStart { host } => self.deadman_start(host),
            Due::DeadmanCheck { host, process } => self.deadman_check(host, process),
            Due::Killed { host, group } => self.killed(host, &group),
            Due::LateFork { host, group } => self.late_fork(host, &group),
            Due::Store { host, process, group, instance, token } => {
                let (g, i) = (group.clone(), instance.clone());
                let again = || Due::Store { host, process, group: g, instance: i, token };
                if self.park(host, process, again) || !self.agent_runs(host, process) {
                    return;
                }
                // A full disk, now and then.
                let ok = self.healed || !self.rng.chance(10);
                if ok {
                    self.watch_store(host, &(group.clone(), instance.clone()), token);
                    self.hosts[host].disk.tokens.insert((group.clone(), instance.clone()), token);
                }
                let event = AgentEvent::TokenStored { group, instance, token, ok };
                self.agent_step(host, process, event);
            }
            driver => self.driver_due(driver),
        }
    }

    /// Whether this process of the agent exists and is not stopped.
    pub(super) fn agent_runs(&self, host: usize, process: u64) -> bool {
        let agent = &self.hosts[host].agent;
        agent.up && agent.life == process && !agent.frozen
    }

    /// Whether `due` must wait because this process is stopped for now.
    pub(super) fn park(&mut self, host: usize, process: u64, due: impl FnOnce() -> Due) -> bool {
        let agent = &mut self.hosts[host].agent;
        if agent.up && agent.life == process && agent.frozen {
            agent.parked.push(due());
            return true;
        }
        false
    }

    fn agent_start(&mut self, index: usize) {
        let now = self.now;
        let host = &mut self.hosts[index];
        if !host.up || host.agent.up {
            return;
        }
        host.agent.up = true;
        host.agent.frozen = false;
        host.agent.life += 1;
        host.quiet_since = now;
        host.working.clear();
        host.ordered.clear();
        let local = host.clock.at(now);
        let machine =
            AgentMachine::new(host.disk.clone(), host.instances.clone(), &host.timings, local);
        host.machine = Some(machine);
        let process = host.agent.life;
        let up = host.deadman.up;
        self.dial(index);
        self.say(|| format!("host {index}: agent starts, process {process}"));
        if up {
            self.show_deadman(index, 5 * MS);
        } else {
            self.after(20 * MS, Due::DeadmanStart { host: index });
        }
        self.after(MS, Due::ToAgent { host: index, process, event: AgentEvent::Tick });
        self.replay_directive(index);
        self.after(DEADMAN_LIMIT, Due::DeadmanCheck { host: index, process });
    }

    /// One event for the agent, if it is this process of it.
    pub(super) fn agent_step(&mut self, index: usize, process: u64, event: AgentEvent) {
        let again = event.clone();
        if self.park(index, process, || Due::ToAgent { host: index, process, event: again })
            || !self.agent_runs(index, process)
        {
            return;
        }
        let local = self.hosts[index].clock.at(self.now);
        let Some(mut machine) = self.hosts[index].machine.take() else { return };
        for action in machine.step(event, local) {
            self.agent_action(index, process, &mut machine, action);
        }
        let wake = machine.next_wake(local);
        self.hosts[index].machine = Some(machine);
        if let Some(wake) = wake {
            let host = &mut self.hosts[index];
            host.agent.wakes += 1;
            let number = host.agent.wakes;
            // A busy host is late, never early.
            let at = host.clock.when(wake) + self.rng.range(0, MS);
            self.at(at, Due::AgentWake { host: index, process, number });
        }
    }

    /// The network delivers something old once more.
    pub(super) fn replay_directive(&mut self, index: usize) {
        let heard = &self.hosts[index].heard;
        if heard.is_empty() || self.healed {
            return;
        }
        let directive = heard[self.rng.index(heard.len())].clone();
        let delay = self.rng.range(MS, 20 * MS);
        self.after(delay, Due::DirectiveIn { host: index, from: NOBODY, directive });
    }

    fn agent_action(
        &mut self,
        index: usize,
        process: u64,
        machine: &mut AgentMachine,
        action: AgentAction,
    ) {
        let host = index;
        match action {
            AgentAction::SendReport => self.send_report(index, machine),
            AgentAction::PersistCluster(id) => self.hosts[index].disk.cluster_id = id,
            AgentAction::StaysWith { .. } | AgentAction::LearnArbiters(_) => {}
            AgentAction::Observe { group, instance } => {
                let delay = self.rng.range(MS, 20 * MS);
                self.after(delay, Due::Look { host, process, group, instance });
            }
            AgentAction::StoreToken { group, instance, token } => {
                let delay = self.rng.range(MS, 10 * MS);
                self.after(delay, Due::Store { host, process, group, instance, token });
            }
            AgentAction::Ensure { group, instance, attempt, goal, token, terms } => {
                self.watch_ensure(index, &group, &instance, goal, token);
                self.say(|| format!("host {index}: ensure {instance} {goal} at {token}"));
                self.hosts[index].working.insert((group.clone(), instance.clone()), attempt);
                let work = Work {
                    host,
                    process,
                    group,
                    instance,
                    attempt,
                    goal,
                    token,
                    terms,
                    swap: None,
                };
                self.begin_work(work);
            }
            AgentAction::CancelEnsure { group, instance } => {
                self.hosts[index].working.remove(&(group, instance));
            }
            AgentAction::SetCommitWait { group, instance, attempt, wait } => {
                let asked = ((group, instance), attempt, wait);
                let delay = self.rng.range(MS, 20 * MS);
                self.after(delay, Due::CommitWait { host, process, asked });
            }
            AgentAction::Verify { group, instance, token } => {
                let (delay, hung) = (self.rng.range(MS, 20 * MS), false);
                self.after(delay, Due::Verify { host, process, group, instance, token, hung });
            }
            AgentAction::StartAsIs { group, instance } => {
                if let Some(server) = self.hosts[index].servers.get_mut(&(group, instance)) {
                    server.start();
                }
            }
            AgentAction::SetGate { group, armed } => {
                for ((of, _), server) in &mut self.hosts[index].servers {
                    if *of == group {
                        server.gate = armed;
                    }
                }
                let event = AgentEvent::GateSet { group, armed, ok: true };
                let delay = self.rng.range(MS, 10 * MS);
                self.after(delay, Due::ToAgent { host, process, event });
            }
            AgentAction::PersistArming { group, arming } => {
                self.persist_arming(index, process, group, arming);
            }
            AgentAction::Deadman(event) => self.tell_deadman(index, event),
        }
    }

    fn persist_arming(
        &mut self,
        host: usize,
        process: u64,
        group: GroupId,
        arming: Option<Arming>,
    ) {
        let armed = &mut self.hosts[host].disk.armed;
        match arming {
            Some(arming) => armed.insert(group.clone(), arming),
            None => armed.remove(&group),
        };
        self.say(|| format!("host {host}: {group} armed on disk: {}", arming.is_some()));
        let event = AgentEvent::ArmingPersisted { group, arming, ok: true };
        let delay = self.rng.range(MS, 10 * MS);
        self.after(delay, Due::ToAgent { host, process, event });
    }

    fn send_report(&mut self, index: usize, machine: &mut AgentMachine) {
        let now = self.now;
        let host = &mut self.hosts[index];
        let report = machine.report(host.clock.at(now));
        self.watch_report(index, &report);
        self.watch_sent(index, report.sequence);
        self.say_report(index, &report);
        let host = &mut self.hosts[index];
        if now > host.quiet_since + DIAL_AFTER {
            self.dial(index);
        }
        let (via, stream) = (self.hosts[index].via, self.hosts[index].stream);
        for delay in self.net.send(Topology::node(index), via, &mut self.rng) {
            self.after(delay, Due::ReportIn { via, at: via, stream, report: report.clone() });
        }
    }

    /// A line when what the agent shows of its enforcement changes.
    fn say_report(&mut self, index: usize, report: &Report) {
        let mut shown = String::new();
        for (group, part) in &report.groups {
            let words = [
                (part.arming.is_some(), "armed"),
                (part.deadline_running, "deadline"),
                (part.lapsed, "lapsed"),
            ];
            let words = words.iter().filter(|(so, _)| *so).map(|(_, word)| *word);
            let words: Vec<&str> = words.collect();
            shown.push_str(&format!(" {group}: {}", words.join(" ")));
        }
        if self.hosts[index].shown != shown {
            self.hosts[index].shown.clone_from(&shown);
            self.say(|| format!("host {index} shows{shown}"));
        }
    }

    fn directive_in(&mut self, index: usize, from: usize, directive: Directive) {
        let now = self.now;
        let host = &mut self.hosts[index];
        if !host.up || !host.agent.up {
            return;
        }
        if from == host.via {
            host.quiet_since = now;
        }
        let process = host.agent.life;
        // One of each kind is enough.
        let orders = |of: &Directive| -> Vec<_> {
            of.groups.values().flat_map(|part| part.orders.clone()).collect()
        };
        if host.heard.last().is_none_or(|last| orders(last) != orders(&directive)) {
            if host.heard.len() == HEARD_MAX {
                host.heard.remove(0);
            }
            host.heard.push(directive.clone());
        }
        self.watch_answer(index, &directive);
        self.agent_step(index, process, AgentEvent::Directive(directive));
    }

    /// Keep or lose start files over a reboot; only a planted bug keeps them.
    pub(super) fn keeps_start_files(&self) -> bool {
        self.planted(Plant::StartFilesKept)
    }
}
