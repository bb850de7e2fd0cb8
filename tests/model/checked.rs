//! The model as the checker walks it: initial states, steps, and properties.

use super::cluster::group;
use super::invariants;
use super::scope::{Flaw, Left, Scope};
use super::world::{Act, Broken, Seen, World};
use arbiter_core::agent::AgentEvent;
use arbiter_core::plant::plant;
use arbiter_core::{Command, Mode};
use stateright::{Model, Property};
use std::hash::{Hash, Hasher};
use std::time::Duration;

/// One run of the model.
#[derive(Clone, Debug)]
pub struct Checked {
    /// What it looks at.
    pub scope: &'static Scope,
    /// All rates of clocks.
    pub full: bool,
    /// How much of it.
    pub bound: Left,
    /// What is planted.
    pub flaw: Option<Flaw>,
}

impl PartialEq for World {
    fn eq(&self, other: &Self) -> bool {
        self.now == other.now
            && self.log == other.log
            && self.arbiters == other.arbiters
            && self.hosts == other.hosts
            && self.zone == other.zone
            && self.up == other.up
            && self.down == other.down
            && self.left == other.left
            && (self.broken, self.seen) == (other.broken, other.seen)
    }
}

impl Hash for World {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.now.hash(hasher);
        self.log.hash(hasher);
        self.arbiters.hash(hasher);
        self.hosts.hash(hasher);
        self.zone.hash(hasher);
        self.up.hash(hasher);
        self.down.hash(hasher);
        self.left.hash(hasher);
        (self.broken, self.seen).hash(hasher);
    }
}

impl Checked {
    /// A run of `scope`.
    pub fn new(scope: &'static Scope, full: bool, flaw: Option<Flaw>) -> Self {
        let bound = if full { scope.full } else { scope.short };
        Self { scope, full, bound, flaw }
    }

    fn rates(&self) -> &'static [super::scope::Rate] {
        if self.full { self.scope.rates } else { &self.scope.rates[..1] }
    }

    /// The bug is planted in the thread that runs: the checker has its own.
    fn planted(&self) {
        plant(match self.flaw {
            Some(Flaw::Core(bug)) => Some(bug),
            _ => None,
        });
    }

    /// A cluster that was initialised, activated, armed and let act, by the same machines.
    fn armed(&self, rate: super::scope::Rate) -> World {
        plant(None);
        let mut world = World::new(self.scope, rate, self.flaw);
        let settle = |world: &mut World| {
            for _ in 0..4 {
                (0..2).for_each(|at| world.exchange(at));
                while !world.arbiters[0].flight.is_empty() {
                    world.commit(0, 0);
                }
                world.wait_until(world.now + 1000);
            }
        };
        settle(&mut world);
        world.operate(Command::Arm { group: group(), armed: true });
        settle(&mut world);
        let expected_epoch = world.group().epoch();
        world.operate(Command::SetMode { group: group(), mode: Mode::Manual, expected_epoch });
        settle(&mut world);
        (0..2).for_each(|at| world.exchange(at));
        assert_eq!(world.group().mode, Mode::Manual, "the cluster is armed");
        assert!(world.hosts[0].server.accepts(world.now), "its first region serves");
        world.up.iter_mut().for_each(Vec::clear);
        world.down.iter_mut().for_each(Vec::clear);
        world.left = self.bound;
        world.seen = 0;
        world
    }

    fn of_hosts(&self, world: &World, acts: &mut Vec<Act>) {
        for at in 0..2 {
            if !self.scope.fine[at] {
                acts.extend(world.wants_exchange().then_some(Act::Exchange(at)));
                continue;
            }
            let host = &world.hosts[at];
            let local = host.local(world.now);
            if host.agent.next_wake(local).is_some_and(|wake| wake <= local) {
                acts.push(Act::Tick(at));
            }
            acts.extend((0..world.down[at].len()).map(|slot| Act::Read(at, slot)));
            let works = host.works.iter().enumerate().filter(|(_, work)| host.can_end(work));
            acts.extend(works.map(|(index, _)| Act::WorkEnds(at, index)));
            for by in 0..2 {
                if world.arbiters[by].seat.is_some() {
                    acts.extend((0..world.up[at].len()).map(|slot| Act::Hear(by, at, slot)));
                }
            }
            acts.extend((world.left.restarts > 0).then_some(Act::Restart(at)));
            acts.extend((world.left.reboots > 0).then_some(Act::Reboot(at)));
            acts.extend((world.left.killed > 0).then_some(Act::KillDeadman(at)));
        }
    }

    fn of_arbiters(&self, world: &World, acts: &mut Vec<Act>) {
        for at in 0..2 {
            // One that began while it led may have been confirmed before it was deposed; another
            // never ends.
            let honest = world.arbiters[at].round.is_some_and(|(_, _, led)| led);
            acts.extend(honest.then_some(Act::RoundEnds(at)));
        }
        let flight = world.arbiters[world.log.leader].flight.len();
        acts.extend((0..flight).map(Act::Commit));
        if world.left.elections > 0 {
            acts.push(Act::Elect(1 - world.log.leader));
        }
    }

    fn of_operators(&self, world: &World, acts: &mut Vec<Act>) {
        let plan = world.group().plan.as_ref();
        if plan.is_none() && world.left.opens > 0 {
            acts.push(Act::Open);
        }
        let undone = plan.is_some_and(|plan| plan.before_point_of_no_return());
        if undone && world.left.aborts > 0 {
            acts.push(Act::Abort);
        }
        if plan.is_some() && !undone && world.left.supersedes > 0 {
            acts.push(Act::Supersede);
        }
        if world.left.disarms > 0 {
            acts.push(Act::Disarm);
        }
    }

    fn step(&self, world: &mut World, act: Act) -> bool {
        let leader = world.log.leader;
        match act {
            Act::WaitUntil(then) => {
                world.left.waits -= 1;
                world.wait_until(then);
            }
            Act::Tick(at) => {
                let shown = world.shown(at);
                world.agent_step(at, shown, true);
                world.agent_step(at, AgentEvent::Tick, true);
            }
            Act::Hear(by, at, slot) => {
                let report = (*world.up[at][slot]).clone();
                world.hear(by, at, report);
            }
            Act::RoundEnds(at) => world.round_ends(at),
            Act::Read(at, slot) => {
                let directive = (*world.down[at][slot]).clone();
                world.agent_step(at, AgentEvent::Directive(directive), true);
            }
            Act::WorkEnds(at, index) => world.work_ends(at, index, true),
            Act::Exchange(at) => {
                world.left.exchanges -= 1;
                world.exchange(at);
            }
            Act::Commit(index) => world.commit(leader, index),
            Act::Elect(at) => {
                world.left.elections -= 1;
                world.elect(at);
            }
            Act::Restart(_) | Act::Reboot(_) | Act::KillDeadman(_) => self.fault(world, act),
            operator => return self.operator(world, operator),
        }
        true
    }

    fn fault(&self, world: &mut World, act: Act) {
        let (now, traffic) = (world.now, world.rules.traffic);
        let (at, event) = match act {
            Act::Restart(at) => {
                world.left.restarts -= 1;
                (at, None)
            }
            Act::Reboot(at) => {
                world.left.reboots -= 1;
                world.hosts[at].reboot();
                (at, None)
            }
            Act::KillDeadman(at) => {
                world.left.killed -= 1;
                world.hosts[at].lose_deadman();
                (at, Some(AgentEvent::DeadmanGone))
            }
            _ => return,
        };
        match event {
            Some(event) => world.agent_step(at, event, true),
            None => world.hosts[at].start(now, traffic),
        }
        let shown = world.shown(at);
        world.agent_step(at, shown, true);
    }

    fn operator(&self, world: &mut World, act: Act) -> bool {
        let plan = world.group().plan.as_ref().map(|plan| plan.id);
        let expected_epoch = world.group().epoch();
        let command = match act {
            Act::Open => {
                world.left.opens -= 1;
                world.opening().map(Command::OpenPlan)
            }
            Act::Abort => {
                world.left.aborts -= 1;
                let took = Duration::ZERO;
                let group = group();
                plan.map(|plan| Command::AbortPlan { group, plan, expected_epoch, took })
            }
            Act::Supersede => {
                world.left.supersedes -= 1;
                world.superseding()
            }
            Act::Disarm => {
                world.left.disarms -= 1;
                let mode = Mode::Observe;
                world.operate(Command::SetMode { group: group(), mode, expected_epoch });
                Some(Command::Arm { group: group(), armed: false })
            }
            _ => None,
        };
        command.is_some_and(|command| world.operate(command))
    }
}

impl Model for Checked {
    type State = World;
    type Action = Act;

    fn init_states(&self) -> Vec<World> {
        self.rates().iter().map(|rate| self.armed(*rate)).collect()
    }

    fn actions(&self, world: &World, acts: &mut Vec<Act>) {
        // What is broken stays so.
        if world.broken != 0 {
            return;
        }
        self.planted();
        self.of_hosts(world, acts);
        self.of_arbiters(world, acts);
        self.of_operators(world, acts);
        if world.left.waits > 0 {
            acts.extend(world.moments().into_iter().map(Act::WaitUntil));
        }
    }

    fn next_state(&self, world: &World, act: Act) -> Option<World> {
        self.planted();
        let mut next = world.clone();
        let changes = self.step(&mut next, act);
        invariants::look(&mut next);
        changes.then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        macro_rules! holds {
            ($($name:literal $broken:ident)*) => {
                vec![$(Property::always($name, |_, world: &World| {
                    world.broken & (1 << Broken::$broken as u16) == 0
                })),*]
            };
        }
        let mut all = holds! {
            "I1: one region writes" I1
            "I2: the epoch rises with the active region" I2
            "I3: evidence is true" I3
            "I4: no write after the deadline" I4
            "I5: one plan is open" I5
            "I6: no way back past the point of no return" I6
            "I7: traffic names the active region" I7
            "I8: a witness is never active" I8
            "I9: without a quorum nothing changes" I9
            "I10: no lower token, and the disk first" I10
        };
        macro_rules! seen {
            ($($name:literal $seen:ident)*) => {
                [$(($name, Property::sometimes($name, |_, world: &World| {
                    world.seen & (1 << Seen::$seen as u16) != 0
                }))),*]
            };
        }
        let happens = seen! {
            "a failover completes" Completed
            "an abort resumes" Aborted
            "a plan is superseded" Superseded
            "a lease runs out" LeaseRanOut
            "a source confirms" Confirmed
            "a group is unarmed" Disarmed
            "a life is bound" Bound
            "traffic moves" TrafficMoved
            "a zone refuses" ZoneRefused
        };
        let wanted = happens.into_iter().filter(|(name, _)| self.scope.sees.contains(name));
        all.extend(wanted.map(|(_, property)| property));
        all
    }
}
