//! What goes wrong in a simulation, and is mended again. Knows hosts, links and disks; never what
//! they are for.

use super::node::{AGENTS, ARBITERS, Place};
use super::oracle::Oracle;
use super::rng::Rng;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;
use turmoil::Sim;

/// Pause between two faults, in milliseconds.
const PAUSE_MS: (u64, u64) = (100, 1_500);
/// How long a fault lasts.
const LASTS_MS: (u64, u64) = (100, 5_000);
/// A sync, where nothing is wrong.
const SYNC_US: (u64, u64) = (200, 4_000);
/// A sync of a slow disk.
const SLOW_MS: (u64, u64) = (20, 400);
/// Batches that may have become durable by chance.
const KEPT_MAX: u64 = 3;
/// Part of the connections that break at each message, where a link loses.
const LOSS: f64 = 0.01;
/// How a link delays at most, in milliseconds.
const DELAY_MS: (u64, u64) = (30, 250);
/// How long the two that a trap keeps apart stay so.
const TRAP: Duration = Duration::from_secs(4);
/// A link without a fault.
pub const LATENCY_MAX: Duration = Duration::from_millis(12);

/// A fault, and how it is mended.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Mend {
    Start(usize),
    Join(String, String),
    Release(String, String),
    OneWay(String, String),
    Loss(String, String),
    Delay(String, String),
    Disk(usize),
}

/// Everything that goes wrong.
pub struct Faults {
    rng: Rng,
    places: Vec<Rc<Place>>,
    clients: Vec<String>,
    oracle: Oracle,
    next: Duration,
    /// What is wrong, and until when.
    mends: BTreeMap<Mend, Duration>,
    /// How often what was done.
    pub counts: BTreeMap<&'static str, u64>,
    /// Leaders seen so far: a new one is a good time to strike.
    terms: usize,
    /// Who is to vote for the next leader, and forget it.
    forgetful: Option<usize>,
}

impl Faults {
    /// Nothing is wrong yet.
    pub fn new(rng: Rng, places: Vec<Rc<Place>>, clients: Vec<String>, oracle: Oracle) -> Self {
        let (next, mends) = (Duration::ZERO, BTreeMap::new());
        Self {
            rng,
            places,
            clients,
            oracle,
            next,
            mends,
            counts: BTreeMap::new(),
            terms: 0,
            forgetful: None,
        }
    }

    fn millis(&mut self, (low, high): (u64, u64)) -> Duration {
        Duration::from_millis(self.rng.range(low, high))
    }

    /// Mends what is over, and lets the next thing go wrong when it is time.
    pub fn turn(&mut self, sim: &mut Sim<'_>, now: Duration) {
        let over: Vec<Mend> =
            self.mends.iter().filter(|(_, until)| **until <= now).map(|(m, _)| m.clone()).collect();
        for mend in over {
            self.mends.remove(&mend);
            self.mend(sim, &mend);
        }
        let elected = std::mem::replace(&mut self.terms, self.oracle.terms()) < self.terms;
        if elected && let Some(voter) = self.forgetful.take() {
            self.forgets(sim, voter, now);
        }
        if now >= self.next || (elected && self.rng.chance(300)) {
            self.next = now + self.millis(PAUSE_MS);
            let until = now + self.millis(LASTS_MS);
            self.strike(sim, until);
        }
    }

    /// Mends everything.
    pub fn heal(&mut self, sim: &mut Sim<'_>) {
        for (mend, _) in std::mem::take(&mut self.mends) {
            self.mend(sim, &mend);
        }
    }

    fn wrong(&mut self, what: &'static str, text: &str, mend: Mend, until: Duration) {
        *self.counts.entry(what).or_default() += 1;
        self.oracle.note(&format!("{what} {text}"));
        self.mends.insert(mend, until);
    }

    fn strike(&mut self, sim: &mut Sim<'_>, until: Duration) {
        match self.rng.range(0, 99) {
            0..4 => self.sets_a_trap(sim, until),
            4..30 => self.crash(sim, until),
            30..45 => self.cut(sim, until),
            45..57 => self.alone(sim, until),
            57..69 => self.one_way(sim, until),
            69..75 => self.loss(sim, until),
            75..85 => self.delay(sim, until),
            _ => self.disk(until),
        }
    }

    fn crash(&mut self, sim: &mut Sim<'_>, until: Duration) {
        let at = self.rng.index(self.places.len());
        let kept = self.rng.range(0, KEPT_MAX) as usize;
        // Mostly back soon: what it forgot matters while others remember the same term.
        let until = if self.rng.chance(500) { until } else { until.min(self.next) };
        self.crash_one(sim, at, kept, until);
    }

    fn crash_one(&mut self, sim: &mut Sim<'_>, at: usize, kept: usize, until: Duration) {
        let place = self.places[at].clone();
        if self.mends.contains_key(&Mend::Start(at)) {
            return;
        }
        let unsynced = place.disk.unsynced();
        sim.crash(place.name);
        let lost = place.die(kept);
        let text = format!("{}, {lost} of {unsynced} batches lost", place.name);
        self.wrong("crash", &text, Mend::Start(at), until);
    }

    /// The leader falls, and the other two do not hear each other: whoever leads next has its vote.
    fn sets_a_trap(&mut self, sim: &mut Sim<'_>, until: Duration) {
        let Some(voter) = self.oracle.newest_leader() else { return };
        let others: Vec<&str> =
            ARBITERS.iter().enumerate().filter(|(n, _)| *n != voter).map(|(_, a)| *a).collect();
        if self.forgetful.is_none() && self.free(others[0], others[1]) {
            sim.partition(others[0], others[1]);
            let mend = Mend::Join(others[0].to_owned(), others[1].to_owned());
            self.wrong("trap", ARBITERS[voter], mend, until + TRAP);
            self.crash_one(sim, voter, 0, self.next.min(until));
            self.forgetful = Some(voter);
        }
    }

    /// It voted just now: it crashes before that is more than its word, and hears the leader no
    /// more.
    fn forgets(&mut self, sim: &mut Sim<'_>, voter: usize, now: Duration) {
        let Some(leader) = self.oracle.newest_leader().filter(|leader| *leader != voter) else {
            return;
        };
        if self.free(ARBITERS[leader], ARBITERS[voter]) {
            self.crash_one(sim, voter, 0, now + Duration::from_millis(20));
            sim.partition(ARBITERS[leader], ARBITERS[voter]);
            let mend = Mend::Join(ARBITERS[leader].to_owned(), ARBITERS[voter].to_owned());
            self.wrong("forgets", ARBITERS[voter], mend, now + TRAP);
        }
    }

    /// Two hosts; the first is an arbiter.
    fn pair(&mut self) -> (String, String) {
        let one = self.rng.index(ARBITERS.len());
        let others: Vec<&str> = ARBITERS.iter().copied().filter(|a| *a != ARBITERS[one]).collect();
        let other = match self.rng.range(0, 9) {
            0 => AGENTS[self.rng.index(AGENTS.len())].to_owned(),
            1 | 2 => self.clients[self.rng.index(self.clients.len())].clone(),
            _ => others[self.rng.index(others.len())].to_owned(),
        };
        (ARBITERS[one].to_owned(), other)
    }

    fn free(&self, one: &str, other: &str) -> bool {
        let of = |a: &String, b: &String| (a == one && b == other) || (a == other && b == one);
        self.mends.keys().all(|mend| match mend {
            Mend::Join(a, b) | Mend::Release(a, b) | Mend::OneWay(a, b) | Mend::Loss(a, b) => {
                !of(a, b)
            }
            Mend::Start(_) | Mend::Delay(..) | Mend::Disk(_) => true,
        })
    }

    fn cut(&mut self, sim: &mut Sim<'_>, until: Duration) {
        let (one, other) = self.pair();
        if self.free(&one, &other) {
            self.cut_link(sim, one, other, until);
        }
    }

    /// What passes is lost, or waits until the link is mended.
    fn cut_link(&mut self, sim: &mut Sim<'_>, one: String, other: String, until: Duration) {
        let text = format!("{one} {other}");
        if self.rng.chance(500) {
            sim.partition(one.as_str(), other.as_str());
            self.wrong("cut", &text, Mend::Join(one, other), until);
        } else {
            sim.hold(one.as_str(), other.as_str());
            self.wrong("hold", &text, Mend::Release(one, other), until);
        }
    }

    /// An arbiter loses all other arbiters, and keeps its clients.
    fn alone(&mut self, sim: &mut Sim<'_>, until: Duration) {
        let one = self.rng.index(ARBITERS.len());
        for other in ARBITERS.into_iter().filter(|other| *other != ARBITERS[one]) {
            if self.free(ARBITERS[one], other) {
                self.cut_link(sim, ARBITERS[one].to_owned(), other.to_owned(), until);
            }
        }
    }

    fn one_way(&mut self, sim: &mut Sim<'_>, until: Duration) {
        let (one, other) = self.pair();
        if self.free(&one, &other) {
            let (from, to) = if self.rng.chance(500) { (one, other) } else { (other, one) };
            sim.partition_oneway(from.as_str(), to.as_str());
            self.wrong("one-way", &format!("{from} {to}"), Mend::OneWay(from, to), until);
        }
    }

    fn loss(&mut self, sim: &mut Sim<'_>, until: Duration) {
        let (one, other) = self.pair();
        if self.free(&one, &other) {
            sim.set_link_fail_rate(one.as_str(), other.as_str(), LOSS);
            self.wrong("loss", &format!("{one} {other}"), Mend::Loss(one, other), until);
        }
    }

    fn delay(&mut self, sim: &mut Sim<'_>, until: Duration) {
        let (one, other) = self.pair();
        let most = self.millis(DELAY_MS);
        sim.set_link_max_message_latency(one.as_str(), other.as_str(), most);
        let text = format!("{one} {other} up to {most:?}");
        self.wrong("delay", &text, Mend::Delay(one, other), until);
    }

    fn disk(&mut self, until: Duration) {
        let at = self.rng.index(self.places.len());
        let place = self.places[at].clone();
        if self.rng.chance(700) {
            let sync = self.millis(SLOW_MS);
            place.disk.set_sync(sync);
            self.wrong("slow-disk", &format!("{} {sync:?}", place.name), Mend::Disk(at), until);
        } else {
            place.disk.set_hangs(true);
            self.wrong("disk-hangs", place.name, Mend::Disk(at), until);
        }
    }

    fn mend(&mut self, sim: &mut Sim<'_>, mend: &Mend) {
        match mend {
            Mend::Start(at) => {
                self.oracle.note(&format!("start {}", self.places[*at].name));
                sim.bounce(self.places[*at].name);
            }
            Mend::Join(one, other) => {
                self.oracle.note(&format!("join {one} {other}"));
                sim.repair(one.as_str(), other.as_str());
            }
            Mend::Release(one, other) => {
                self.oracle.note(&format!("release {one} {other}"));
                sim.release(one.as_str(), other.as_str());
            }
            Mend::OneWay(from, to) => {
                self.oracle.note(&format!("both ways {from} {to}"));
                sim.repair_oneway(from.as_str(), to.as_str());
            }
            Mend::Loss(one, other) => {
                self.oracle.note(&format!("no loss {one} {other}"));
                sim.set_link_fail_rate(one.as_str(), other.as_str(), 0.0);
                sim.repair(one.as_str(), other.as_str());
            }
            Mend::Delay(one, other) => {
                sim.set_link_max_message_latency(one.as_str(), other.as_str(), LATENCY_MAX);
            }
            Mend::Disk(at) => {
                let sync = self.sync();
                self.places[*at].disk.set_hangs(false);
                self.places[*at].disk.set_sync(sync);
            }
        }
    }

    /// How long a healthy disk syncs.
    pub fn sync(&mut self) -> Duration {
        Duration::from_micros(self.rng.range(SYNC_US.0, SYNC_US.1))
    }
}
