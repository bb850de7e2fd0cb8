//! The simulated world: true time, a queue of what is due, and everything there is. It moves from
//! one due thing to the next and lets the invariants be checked after each.

use super::broken::Broken;
use super::clock::{Clock, MS, Nanos, SECOND};
use super::coverage::Counts;
use super::dns::Dns;
use super::event::Due;
use super::host::Host;
use super::leader::Arbiter;
use super::lives::{Lives, Next};
use super::net::Net;
use super::raft::{ARBITERS, Raft};
use super::rng::Rng;
use super::scenario::{At, Scenario};

use super::table::Cells;
use super::topology::Topology;
use crate::invariants::Watch;
use arbiter_core::plant::Plant;
use std::collections::BTreeMap;

/// How long the world then has to become healthy.
pub const HEAL_SECONDS: u64 = 60;
/// Between two looks whether all is well.
const LOOK: Nanos = SECOND / 2;
/// Events in one run; more is a loop.
const EVENTS_MAX: u64 = 3_000_000;
/// Keeps the times at which people look apart from other chance.
const ROUNDS: u64 = 0x0a5e;

/// What a run is asked.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// A bug to plant.
    pub plant: Option<Plant>,
    /// Only breaches whose words begin so count; all, if empty.
    pub only: &'static str,
    /// Keep the transcript.
    pub trace: bool,
    /// Clocks deviate by so many parts of a million, more than ρ allows; see `Shape::draw`.
    pub beyond: Option<i64>,
}

/// What became of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The first broken invariant, in words.
    pub broken: Option<String>,
    /// Things done.
    pub steps: u64,
    /// Epochs gained over all groups: how much happened.
    pub epochs: u64,
    /// How often what happened.
    pub counts: Counts,
    /// How often rows of plans ended in which way.
    pub cells: Cells,
    /// All that happened but chance.
    pub script: Scenario,
    /// When it ended.
    pub ended: Nanos,
    /// The transcript, if it was kept.
    pub trace: Vec<String>,
}

/// Everything there is.
pub struct World {
    /// True time.
    pub now: Nanos,
    due: BTreeMap<(Nanos, u64), Due>,
    next: u64,
    /// Chance.
    pub rng: Rng,
    /// What people draw from.
    pub people: Rng,
    /// When they look: the same in a run and in its replay, where they want nothing by themselves.
    pub rounds: Rng,
    /// They do what they draw; else what the script says.
    pub improvises: bool,
    /// What happens, and what people did.
    pub script: Scenario,
    /// Its shape.
    pub topology: Topology,
    /// The network.
    pub net: Net,
    /// The Raft group.
    pub raft: Raft,
    /// Arbiters.
    pub arbiters: Vec<Arbiter>,
    /// Agents' hosts.
    pub hosts: Vec<Host>,
    /// The DNS server.
    pub dns: Dns,
    /// What the invariants remember.
    pub watch: Watch,
    /// Faults are over.
    pub healed: bool,
    /// Streams dialled so far.
    pub streams: u64,
    /// Promotions asked for so far.
    pub forks: u64,
    /// Operators' requests so far.
    pub requests: u64,
    /// What comes once all is well.
    pub lives: Lives,
    /// A resource whose driver fails.
    pub broken: Option<Broken>,
    /// What cuts a region's power does not answer while things go wrong.
    pub switch_broken: bool,
    pub(super) counts: Counts,
    options: Options,
    trace: Vec<String>,
}

impl World {
    /// The world of a scenario.
    pub fn new(scenario: Scenario, options: Options) -> Self {
        let topology = Topology::of_shape(&scenario.shape);
        let mut world = Self::of(topology, scenario, options);
        world.begin();
        world.begin_script();
        world
    }

    /// The world of `topology`, in which nobody asks for anything and nothing goes wrong by itself.
    pub fn staged(topology: Topology, options: Options) -> Self {
        let scenario = Scenario::of_seed(1, None);
        let mut world = Self::of(topology, scenario, options);
        world.healed = true;
        world.begin();
        world
    }

    fn of(topology: Topology, script: Scenario, options: Options) -> Self {
        let net = Net::new(topology.region_of.len(), topology.delay_max);
        let cluster = &script.shape.cluster;
        let clock = |at: usize| Clock::new(0, cluster.clocks.get(at).copied().unwrap_or(0));
        let arbiters = (0..ARBITERS).map(|at| Arbiter::new(clock(at))).collect();
        let hosts = (0..topology.agents.len())
            .map(|host| Host::new(host, &topology, clock(ARBITERS + host)))
            .collect();
        let people = script.people;
        Self {
            now: SECOND,
            due: BTreeMap::new(),
            next: 0,
            rng: Rng::new(script.luck),
            people: Rng::new(people.unwrap_or(script.luck)),
            rounds: Rng::new(script.luck ^ ROUNDS),
            improvises: people.is_some(),
            net,
            raft: Raft::new(),
            arbiters,
            hosts,
            dns: Dns::default(),
            watch: Watch::default(),
            healed: false,
            streams: 0,
            forks: 0,
            requests: 0,
            lives: Lives::default(),
            broken: None,
            switch_broken: cluster.switch_broken,
            script: Scenario { people: None, ..script },
            topology,
            counts: Counts::new(),
            options,
            trace: Vec::new(),
        }
    }

    fn begin(&mut self) {
        let shape = format!(
            "{} agents, {} groups, {:?}",
            self.hosts.len(),
            self.topology.spec.groups.len(),
            self.topology.spec.groups.values().next().map(|group| group.policy.timing)
        );
        self.say(|| shape);
        for host in 0..self.hosts.len() {
            self.after(0, Due::AgentStart { host });
        }
        for from in 0..ARBITERS {
            self.after(from as u64 * 37 * MS, Due::Vantage { from });
        }
        self.after(0, Due::RaftTick);
        self.after(10 * MS, Due::Replicate);
    }

    /// What people do and what goes wrong, until all is mended.
    fn begin_script(&mut self) {
        self.after(2 * SECOND, Due::Operator);
        self.after(2 * SECOND, Due::Face);
        for At { at, what } in self.script.faults.clone() {
            self.at(at, Due::Fault(what));
        }
        for At { at, what: (group, wish) } in self.script.wishes.clone() {
            self.at(at, Due::Wish { group, wish });
        }
        self.at(self.script.heal, Due::Heal);
    }

    /// The longest lease that policy named at first.
    pub fn longest_lease(&self) -> Nanos {
        let groups = self.topology.spec.groups.values();
        let lease = groups.map(|group| group.policy.timing.lease.as_nanos() as u64).max();
        lease.unwrap_or(SECOND)
    }

    /// Whether `bug` is planted.
    pub fn planted(&self, bug: Plant) -> bool {
        self.options.plant == Some(bug)
    }

    /// A line of the transcript.
    pub fn say(&mut self, line: impl FnOnce() -> String) {
        if self.options.trace {
            let now = self.now / 1_000;
            self.trace.push(format!("{:>5}.{:06} {}", now / 1_000_000, now % 1_000_000, line()));
        }
    }

    /// `due` comes `delay` from now.
    pub fn after(&mut self, delay: Nanos, due: Due) {
        self.at(self.now + delay, due);
    }

    /// `due` comes at `at`, or now if that has passed.
    pub fn at(&mut self, at: Nanos, due: Due) {
        self.next += 1;
        self.due.insert((at.max(self.now), self.next), due);
    }

    /// Run to the end, or to the first broken invariant.
    pub fn run(mut self) -> Outcome {
        arbiter_core::plant::plant(self.options.plant);
        let (options, mut steps) = (self.options, 0);
        let mut broken = None;
        let mut end = self.script.until;
        let mut patience = HEAL_SECONDS * SECOND / LOOK;
        while let Some(((at, _), due)) = self.due.pop_first() {
            if end.is_some_and(|end| at > end) {
                if self.script.until.is_some() {
                    break;
                }
                broken = None;
                // A planted bug counts as found only by what it makes unsafe.
                let counts = |why: &String| why.starts_with(options.only);
                let unwell = self.unwell().filter(|_| options.plant.is_none()).filter(counts);
                let next = match unwell {
                    // A plan may just have opened: it is given its time.
                    Some(why) if patience == 0 => {
                        broken = Some(why);
                        Next::End
                    }
                    Some(_) => Next::Look,
                    None if options.plant.is_some() => Next::End,
                    None => self.next_life(),
                };
                patience = match next {
                    Next::End => break,
                    Next::Look => patience.saturating_sub(1),
                    Next::Within(time) => time / LOOK,
                };
                end = end.map(|end| end + LOOK);
            }
            self.now = at;
            if matches!(due, Due::Heal) && self.script.until.is_none() {
                let settle = 3 * self.longest_lease() + HEAL_SECONDS * SECOND;
                end = Some(self.now + settle);
            }
            self.take(due);
            steps += 1;
            broken = crate::invariants::check(&mut self, options.only);
            if broken.is_none() && steps > EVENTS_MAX {
                broken = Some(format!("more than {EVENTS_MAX} steps"));
            }
            if broken.is_some() {
                break;
            }
        }
        arbiter_core::plant::plant(None);
        if let Some(line) = &broken {
            let line = format!("BROKEN {line}");
            self.say(|| line);
        }
        let groups = self.raft.newest().groups.values();
        let epochs = groups.map(|group| group.epoch().0).sum();
        let (counts, ended) = (self.counted(), self.now);
        let cells = std::mem::take(&mut self.watch.cells);
        let (trace, script) = (self.trace, self.script);
        Outcome { broken, steps, epochs, counts, cells, script, ended, trace }
    }

    /// The next thing that is due; says what it breaks.
    pub fn step(&mut self) -> Option<String> {
        let ((at, _), due) = self.due.pop_first()?;
        self.now = at;
        self.take(due);
        crate::invariants::check(self, self.options.only)
    }

    /// The transcript so far.
    pub fn transcript(&mut self) -> Vec<String> {
        std::mem::take(&mut self.trace)
    }

    fn take(&mut self, due: Due) {
        match due {
            Due::RaftTick => self.raft_tick(),
            Due::Commit { number, carries } => self.commit(number, carries),
            Due::Applied { voter, term, index, carries, ended } => {
                self.applied(voter, term, index, carries, ended);
            }
            Due::Carried { leader, term, carries, ended } => {
                self.carried(leader, term, carries, ended);
            }
            Due::LeaderTick { leader, term } => self.leader_tick(leader, term),
            Due::Vantage { from } => self.vantage(from),
            Due::ReportIn { via, at, stream, report } => self.report_in(via, at, stream, report),
            Due::Relayed { host, via, directive } => self.relayed(host, via, directive),
            Due::RoundEnded { leader, round, confirmed } => {
                self.round_ended(leader, round, confirmed);
            }
            Due::Seen { from, leader, looked } => self.seen(from, leader, looked),
            Due::Closed { via, at, stream, agent } => self.closed(via, at, stream, agent),
            Due::Operator => self.operator(),
            Due::Wish { group, wish } => self.wished(&group, wish),
            Due::Face => self.face(),
            Due::FaceAnswers { leader, term, asked, confirmed } => {
                self.face_answers(leader, term, asked, confirmed);
            }
            Due::Fault(fault) => self.fault(fault),
            Due::Heal => self.heal(),
            Due::Replicate => self.replicate(),
            Due::DnsIn(swap) => self.dns_in(&swap),
            host => self.host_due(host),
        }
    }
}
