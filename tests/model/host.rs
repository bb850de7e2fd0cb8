//! A host of the model: clock, disk, agent and deadman of the core, and one database server. It
//! carries out what the machines ask for, at once where the moment matters to nobody, else when
//! the model says so.

use super::cluster::{CLUSTER, GROUP, REGIONS, cluster, database, group, timing};
use super::scope::{Flaw, Rate};
use super::shared::Shared;
use arbiter_core::agent::{AgentMachine, Deadman, DeadmanAction, DeadmanEvent, Stored};
use arbiter_core::plant::{Plant, is_planted};
use arbiter_core::{
    Condition, EvidenceKind, Fact, Goal, GroupId, Incarnation, Instance, InstanceId, Instant,
    Position, Role, Terms, Token, TrafficFact, Upstream,
};
use std::collections::BTreeMap;

/// What every clock shows in the beginning, in milliseconds.
const BOOTED_MS: u64 = 1_000_000;
/// Where every stream ends: nothing is written in the model.
const END: Position = Position { timeline: 1, offset: 1000 };

/// A database server.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct Server {
    /// It runs.
    pub running: bool,
    /// In which role.
    pub primary: bool,
    /// The file without which only the agent starts it.
    pub start_file: bool,
    /// Its cgroup is frozen.
    pub frozen: bool,
    /// It was killed, and is gone by then: a kill may take as long as it has.
    pub dies: Option<u64>,
}

impl Server {
    /// Whether a write succeeds at `now`.
    pub fn accepts(&self, now: u64) -> bool {
        let lives = self.dies.map_or(!self.frozen, |dies| now < dies);
        self.running && self.primary && lives
    }

    fn kill(&mut self) {
        self.running = false;
        self.dies = None;
    }
}

/// What a driver was asked and has not ended.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct Work {
    /// Of what.
    pub instance: InstanceId,
    /// Its number.
    pub attempt: u64,
    /// For what.
    pub goal: Shared<(Goal, Terms)>,
    /// At which token.
    pub token: Token,
}

/// A host.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct Host {
    /// Its place among the regions.
    pub region: usize,
    /// Millionths of the arbiters' rate.
    pub rate: Rate,
    /// The agent.
    pub agent: Shared<AgentMachine>,
    /// Which process of it.
    pub process: u64,
    /// The deadman.
    pub deadman: Shared<Deadman>,
    /// What the agent wrote to disk.
    pub disk: Shared<Stored>,
    /// The database.
    pub server: Server,
    /// What drivers do now.
    pub works: Vec<Work>,
    /// When the last deadline that an armed deadman held passes, in true time.
    pub deadline: Option<u64>,
    /// The highest token at which a driver was asked, by instance.
    pub acted: BTreeMap<InstanceId, Token>,
}

impl Host {
    /// A host as it is before anybody armed anything.
    pub fn new(region: usize, rate: Rate, traffic: bool) -> Self {
        let name = REGIONS[region];
        let stored = Stored {
            leaves: None,
            agent: format!("agent-{name}").as_str().into(),
            incarnation: Incarnation(100 * (region as u64 + 1)),
            boot_id: "boot-1".to_owned(),
            cluster_id: Some(CLUSTER.into()),
            tokens: BTreeMap::new(),
            armed: BTreeMap::new(),
        };
        let now = Instant::from_millis(BOOTED_MS);
        let machine = AgentMachine::new(stored.clone(), beside(region, traffic), &timings(), now);
        Self {
            region,
            rate,
            agent: Shared::new(machine),
            process: 1,
            deadman: Shared::new(Deadman::new()),
            disk: Shared::new(stored),
            server: Server {
                running: true,
                primary: region == 0,
                start_file: true,
                frozen: false,
                dies: None,
            },
            works: Vec::new(),
            deadline: None,
            acted: BTreeMap::new(),
        }
    }

    /// What its clock shows at `now`.
    pub fn local(&self, now: u64) -> Instant {
        Instant::from_nanos(BOOTED_MS * 1_000_000 + now * self.rate)
    }

    /// The first millisecond at which its clock shows `local`.
    pub fn when(&self, local: Instant) -> u64 {
        local.since(Instant::from_millis(BOOTED_MS)).as_nanos().div_ceil(self.rate.into()) as u64
    }

    /// Its database.
    pub fn database(&self) -> InstanceId {
        database(self.region)
    }

    /// A new process of the agent, from what is on disk.
    pub fn start(&mut self, now: u64, traffic: bool) {
        let stored = (*self.disk).clone();
        let beside = beside(self.region, traffic);
        let machine = AgentMachine::new(stored, beside, &timings(), self.local(now));
        self.agent = Shared::new(machine);
        self.works.clear();
        self.process += 1;
    }

    /// Power fails and comes back: the disk stays, tmpfs and processes do not.
    pub fn reboot(&mut self) {
        let keeps = is_planted(Plant::StartFilesKept);
        self.server.kill();
        self.server.frozen = false;
        self.server.start_file &= keeps;
        // What finds its start file starts by itself.
        self.server.running = self.server.start_file;
        self.deadman = Shared::new(Deadman::new());
        let mut disk = (*self.disk).clone();
        disk.incarnation = Incarnation(disk.incarnation.0 + 1);
        disk.boot_id = format!("boot-{}", disk.incarnation);
        self.disk = Shared::new(disk);
    }

    /// The deadman is killed, and what it holds dies with it.
    pub fn lose_deadman(&mut self) {
        let held = self.deadman.holds().values().any(|hold| hold.armed);
        if held {
            self.server.kill();
        }
        self.server.frozen = false;
        self.deadman = Shared::new(Deadman::new());
    }

    /// What its deadman is due to do next, in true time; nothing once all is killed and frozen.
    pub fn deadman_due(&self, flaw: Option<Flaw>) -> Option<u64> {
        let waits = |hold: &&arbiter_core::agent::Hold| hold.armed && !hold.frozen;
        let holds = self.deadman.holds().values().filter(waits);
        let due = holds.filter_map(|hold| hold.kill_at()).min();
        due.filter(|_| flaw != Some(Flaw::DeadmanSleeps)).map(|at| self.when(at))
    }

    /// One event for the deadman, and what comes of it.
    pub fn deadman_step(&mut self, event: DeadmanEvent, now: u64) {
        let mut deadman = (*self.deadman).clone();
        let actions = deadman.step(event.clone(), self.local(now));
        self.deadman = Shared::new(deadman);
        for action in actions {
            match action {
                DeadmanAction::Kill(_) => self.killed(now),
                DeadmanAction::Freeze(_) | DeadmanAction::Pause(_) => self.server.frozen = true,
                DeadmanAction::Continue(_) => self.server.frozen = false,
                DeadmanAction::Thaw(_) => {
                    // The kill before it is over when the thaw returns.
                    self.server.kill();
                    self.server.frozen = false;
                }
            }
        }
        self.remember(&event, now);
    }

    fn killed(&mut self, now: u64) {
        self.server.start_file = false;
        let hold = self.deadman.holds().get(&group());
        let by = hold.and_then(|hold| hold.deadline).map_or(now, |deadline| self.when(deadline));
        if self.server.running && now < by {
            self.server.dies.get_or_insert(by);
        } else {
            self.server.kill();
        }
    }

    /// Keep the deadline of an armed hold in true time: I4 is about it, whatever becomes of the
    /// deadman.
    fn remember(&mut self, event: &DeadmanEvent, now: u64) {
        let hold = self.deadman.holds().get(&group()).filter(|hold| hold.armed);
        if let Some(deadline) = hold.and_then(|hold| hold.deadline) {
            self.deadline = Some(self.when(deadline));
        }
        match event {
            DeadmanEvent::Disarm(_) => self.deadline = None,
            DeadmanEvent::Clear(_) if hold.is_some() => self.deadline = Some(now),
            _ => {}
        }
    }

    /// Whether a driver's work can end now: what is frozen or dying answers nobody.
    pub fn can_end(&self, work: &Work) -> bool {
        let held = self.server.frozen || self.server.dies.is_some();
        work.instance != self.database() || work.goal.0 == Goal::Fenced || !held
    }

    /// What is seen of an instance.
    pub fn fact(&self, instance: &InstanceId, zone: &Zone, now: u64) -> Fact {
        if *instance != self.database() {
            let names = zone.names.map(|region| REGIONS[region].into());
            let traffic = TrafficFact { token: zone.token, names, drift: String::new() };
            let condition = Condition::Healthy;
            return Fact { condition, traffic: Some(traffic), ..Fact::default() };
        }
        let server = &self.server;
        let condition = match (server.running, server.start_file) {
            (true, _) => Condition::Healthy,
            (false, true) => Condition::Dead,
            (false, false) => Condition::Stopped,
        };
        let streams = server.running && !server.primary;
        let age = std::time::Duration::ZERO;
        Fact {
            condition,
            role: if server.primary { Role::Primary } else { Role::Replica },
            writable: server.accepts(now),
            position: Some(END),
            upstream: streams.then_some(Upstream { position: END, age, streaming: true }),
            ..Fact::default()
        }
    }

    /// A driver ends: what it made true of the database, and what it learned.
    pub fn made(&mut self, goal: Goal) -> Option<EvidenceKind> {
        let server = &mut self.server;
        let stops = goal == Goal::Fenced || (goal == Goal::Drained && server.primary);
        match goal {
            _ if stops => {
                server.kill();
                server.start_file = false;
            }
            Goal::Active | Goal::Standby => {
                server.start_file = true;
                server.running = true;
                server.primary = goal == Goal::Active;
            }
            _ => {}
        }
        stops.then_some(EvidenceKind::Confirmed)
    }

    /// Where its stream ends.
    pub fn end(&self) -> Position {
        END
    }
}

/// The zone that both regions write.
#[derive(Clone, Debug, Default, PartialEq, Hash)]
pub struct Zone {
    /// The token that it holds.
    pub token: Option<Token>,
    /// Whom it names.
    pub names: Option<usize>,
}

/// Instances beside the agent of a region.
fn beside(region: usize, traffic: bool) -> BTreeMap<(GroupId, InstanceId), Instance> {
    let spec = cluster(traffic).groups.remove(&group()).expect("the one group");
    let own = spec.instances.into_iter().filter(|(_, i)| i.region.as_str() == REGIONS[region]);
    own.map(|(id, instance)| ((GROUP.into(), id), instance)).collect()
}

fn timings() -> BTreeMap<GroupId, arbiter_core::Timing> {
    BTreeMap::from([(group(), timing())])
}
