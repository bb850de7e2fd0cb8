//! The simulated world: true time, a queue of what is due, and everything there is. It moves from
//! one due thing to the next and lets the invariants be checked after each.

use super::broken::Broken;
use super::clock::{Clock, MS, Nanos, SECOND};
use super::coverage::Counts;
use super::dns::Dns;
use super::event::Due;
use super::fault::Fault;
use super::host::Host;
use super::leader::Arbiter;
use super::lives::{Lives, Next};
use super::net::Net;
use super::raft::{Raft, VOTERS};
use super::rng::Rng;
use super::topology::Topology;
use crate::invariants::Watch;
use arbiter_core::plant::Plant;
use std::collections::BTreeMap;

/// How long faults and operators act.
const FAULTS_LEASES: u64 = 16;
/// First of all a cluster is set up in peace.
const CALM_SECONDS: u64 = 8;
/// Least and greatest length of that.
const FAULTS_SECONDS: (u64, u64) = (60, 300);
/// How long the world then has to become healthy.
pub const HEAL_SECONDS: u64 = 60;
/// Between two looks whether all is well.
const LOOK: Nanos = SECOND / 2;
/// Events in one run; more is a loop.
const EVENTS_MAX: u64 = 3_000_000;

/// What a run is asked.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// A bug to plant.
    pub plant: Option<Plant>,
    /// Only breaches whose words begin so count; all, if empty.
    pub only: &'static str,
    /// Keep the transcript.
    pub trace: bool,
}

/// What became of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Its seed.
    pub seed: u64,
    /// The first broken invariant, in words.
    pub broken: Option<String>,
    /// Things done.
    pub steps: u64,
    /// Epochs gained over all groups: how much happened.
    pub epochs: u64,
    /// How often what happened.
    pub counts: Counts,
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
    /// The world of a seed.
    pub fn new(seed: u64, options: Options) -> Self {
        let mut rng = Rng::new(seed);
        let topology = Topology::draw(&mut rng);
        let mut world = Self::of(topology, rng, options);
        world.begin();
        world.begin_faults();
        world
    }

    /// The world of `topology`, in which nobody asks for anything and nothing goes wrong by itself.
    pub fn staged(topology: Topology, options: Options) -> Self {
        let mut world = Self::of(topology, Rng::new(1), options);
        world.healed = true;
        world.begin();
        world
    }

    fn of(topology: Topology, mut rng: Rng, options: Options) -> Self {
        let net = Net::new(topology.region_of.len(), topology.delay_max);
        let clock = |rng: &mut Rng| {
            let rate = match rng.range(0, 4) {
                0 | 1 => -5_000,
                2 | 3 => 5_000,
                _ => rng.range(0, 10_000) as i64 - 5_000,
            };
            Clock::new(0, rate)
        };
        let arbiters = (0..VOTERS).map(|_| Arbiter::new(clock(&mut rng))).collect();
        let hosts = (0..topology.agents.len())
            .map(|host| Host::new(host, &topology, clock(&mut rng)))
            .collect();
        let switch_broken = rng.chance(500);
        Self {
            now: SECOND,
            due: BTreeMap::new(),
            next: 0,
            rng,
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
            switch_broken,
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
        for from in 0..VOTERS {
            self.after(from as u64 * 37 * MS, Due::Vantage { from });
        }
        self.after(0, Due::RaftTick);
        self.after(10 * MS, Due::Replicate);
    }

    /// What people do and what goes wrong, until all is mended.
    fn begin_faults(&mut self) {
        self.after(2 * SECOND, Due::Operator);
        self.after(2 * SECOND, Due::Face);
        let lease = self.longest_lease();
        let faults =
            (FAULTS_LEASES * lease).clamp(FAULTS_SECONDS.0 * SECOND, FAULTS_SECONDS.1 * SECOND);
        let mut at = CALM_SECONDS * SECOND;
        while at < faults {
            let fault = Fault::draw(self);
            self.after(at, Due::Fault(fault));
            at += self.rng.range(lease / 8, 3 * lease);
        }
        self.after(faults, Due::Heal);
    }

    /// The longest lease that policy names now.
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
    pub fn run(mut self, seed: u64) -> Outcome {
        arbiter_core::plant::plant(self.options.plant);
        let (options, mut steps) = (self.options, 0);
        let mut broken = None;
        let mut end = None;
        let mut patience = HEAL_SECONDS * SECOND / LOOK;
        while let Some(((at, _), due)) = self.due.pop_first() {
            if end.is_some_and(|end| at > end) {
                broken = None;
                // A planted bug counts as found only by what it makes unsafe.
                let next = match self.unwell().filter(|_| options.plant.is_none()) {
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
            if matches!(due, Due::Heal) {
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
        let counts = self.counted();
        Outcome { seed, broken, steps, epochs, counts, trace: self.trace }
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
