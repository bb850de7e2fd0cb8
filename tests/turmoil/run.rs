//! One seed: three arbiters, two agents and some clients live through faults, and are held to what
//! they said. Knows how a run goes; the parts know what they do.

use super::agent::FakeAgent;
use super::client::{self, Client};
use super::faults::{Faults, LATENCY_MAX};
use super::node::{AGENTS, ARBITERS, Place};
use super::oracle::{Oracle, Phase};
use super::os;
use super::rng::Rng;
use arbiter::raft::memory::{Lie, MemoryDisk};
use arbiter_tests::history::group::{Group, listed};
use arbiter_tests::history::linear;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;
use tokio::time::sleep;
use turmoil::{Builder, Sim};

/// Clients.
const CLIENTS: usize = 4;
/// One step of the simulation.
const STEP: Duration = Duration::from_millis(1);
/// The cluster begins within this time.
const BEGIN_LIMIT: Duration = Duration::from_secs(30);
/// How long faults strike.
const FAULTS: Duration = Duration::from_secs(30);
/// How long everything may take to be well again, and everybody to be answered.
const HEAL_LIMIT: Duration = Duration::from_secs(40);
/// Pause between two transfers of leadership or changes of members, in milliseconds.
const TRANSFER_MS: (u64, u64) = (1_000, 6_000);
/// Clocks run up to this much apart, in parts in a million: the ρ of the design.
const RATE_MAX: u64 = 5_000;
/// A link that broke by chance is mended this often, at each message.
const REPAIR: f64 = 0.05;

/// A bug that is planted, to show that it is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plant {
    /// Reads are answered without a quorum's word, by whoever believes that it leads.
    StaleRead,
    /// A vote is given before it is durable.
    UnsyncedVote,
    /// Entries are acknowledged before they are durable.
    UnsyncedEntries,
    /// What is asked again is done again.
    AskedTwiceDoneTwice,
}

impl Plant {
    /// Every one.
    pub const ALL: [Self; 4] =
        [Self::StaleRead, Self::UnsyncedVote, Self::UnsyncedEntries, Self::AskedTwiceDoneTwice];
}

/// What became of a seed.
pub struct Outcome {
    /// What did not hold.
    pub broken: Option<String>,
    /// Of the transcript.
    pub hash: u64,
    /// How often what was done.
    pub counts: BTreeMap<&'static str, u64>,
}

/// Runs a seed.
pub fn run(seed: u64, plant: Option<Plant>, print: bool) -> Outcome {
    os::simulate(seed);
    let mut rng = Rng::new(seed);
    let places: Vec<Rc<Place>> = ARBITERS
        .iter()
        .enumerate()
        .map(|(n, name)| place(name, n as u64 + 1, plant, &mut rng))
        .collect();
    let oracle = Oracle::new(places.clone(), print);
    let mut sim = Builder::new()
        .rng_seed(rng.draw())
        .tick_duration(STEP)
        .simulation_duration(BEGIN_LIMIT + FAULTS + HEAL_LIMIT + BEGIN_LIMIT)
        .min_message_latency(Duration::from_millis(1))
        .max_message_latency(LATENCY_MAX)
        .tcp_capacity(4_096)
        .repair_rate(REPAIR)
        .enable_random_order()
        .build();
    let clients = people(&mut sim, &places, &oracle, plant, &mut rng);
    let mut faults = Faults::new(Rng::new(rng.draw()), places.clone(), clients, oracle.clone());
    for place in &places {
        place.disk.set_sync(faults.sync());
    }
    let went = play(&mut sim, &oracle, &mut faults);
    if let Err(why) = went {
        oracle.breaks(why);
    }
    let history = oracle.history.operations();
    if let (None, Err(wrong)) = (oracle.broken(), linear::check(Group::begun(), &history)) {
        if print {
            print!("{}", listed(&history));
        }
        oracle.breaks(wrong.to_string());
    }
    let mut counts = std::mem::take(&mut faults.counts);
    let open = history.iter().filter(|operation| operation.returned.is_none()).count();
    counts.insert("calls", (history.len() - open) as u64);
    counts.insert("changes acknowledged", oracle.acks() as u64);
    counts.insert("leaders", oracle.terms() as u64);
    counts.insert("entries", oracle.last());
    Outcome { broken: oracle.broken(), hash: oracle.hash(), counts }
}

fn place(name: &'static str, node_id: u64, plant: Option<Plant>, rng: &mut Rng) -> Rc<Place> {
    let disk = MemoryDisk::default();
    disk.set_lie(match plant {
        Some(Plant::UnsyncedVote) => Lie::Votes,
        Some(Plant::UnsyncedEntries) => Lie::Entries,
        _ => Lie::None,
    });
    let incarnation = rng.draw().max(1);
    let rate = rng.range(0, 2 * RATE_MAX) as i64 - RATE_MAX as i64;
    Rc::new(Place { name, node_id, disk, incarnation, rate, handle: RefCell::default() })
}

/// Everybody who lives in the simulation; the names of the clients.
fn people(
    sim: &mut Sim<'_>,
    places: &[Rc<Place>],
    oracle: &Oracle,
    plant: Option<Plant>,
    rng: &mut Rng,
) -> Vec<String> {
    for place in places.iter().cloned() {
        sim.host(place.name, move || place.clone().live());
    }
    for (n, name) in AGENTS.into_iter().enumerate() {
        let seed = rng.draw();
        sim.host(name, move || async move {
            FakeAgent::new(name, n == 0, Rng::new(seed)).live().await;
            Ok(())
        });
    }
    let (begins, chance) = (oracle.clone(), Rng::new(rng.draw()));
    sim.client("beginner", async move {
        client::begin(begins, chance).await;
        Ok(())
    });
    let (moves, mut chance) = (oracle.clone(), Rng::new(rng.draw()));
    sim.client("mover", async move {
        moves.begun().await;
        while !moves.quiet() {
            sleep(Duration::from_millis(chance.range(TRANSFER_MS.0, TRANSFER_MS.1))).await;
            client::transfer(&mut chance).await;
        }
        Ok(())
    });
    (0..CLIENTS)
        .map(|n| {
            let name = format!("client-{n}");
            let chance = Rng::new(rng.draw());
            let client = Client::new(name.clone(), oracle.clone(), chance, plant);
            sim.client(name.as_str(), async move {
                client.live().await;
                Ok(())
            });
            name
        })
        .collect()
}

/// The cluster begins, faults strike, and all becomes well.
fn play(sim: &mut Sim<'_>, oracle: &Oracle, faults: &mut Faults) -> Result<(), String> {
    let mut deadline = BEGIN_LIMIT;
    loop {
        let clients_done = sim.step().map_err(|error| error.to_string())?;
        let now = sim.elapsed();
        os::elapsed(now);
        oracle.look(now);
        if let Some(broken) = oracle.broken() {
            return Err(broken);
        }
        match oracle.phase() {
            Phase::Beginning if now > deadline => {
                return Err(format!("the cluster has not begun within {BEGIN_LIMIT:?}"));
            }
            Phase::Beginning => {}
            Phase::Faults => {
                if deadline == BEGIN_LIMIT {
                    deadline = now + FAULTS;
                }
                if now < deadline {
                    faults.turn(sim, now);
                    continue;
                }
                oracle.enter(Phase::Quiet);
                faults.heal(sim);
                deadline = now + HEAL_LIMIT;
            }
            Phase::Quiet if clients_done && oracle.agree() => {
                oracle.nothing_lost();
                return Ok(());
            }
            Phase::Quiet if now > deadline => {
                return Err(format!(
                    "not well {HEAL_LIMIT:?} after the last fault: clients done: {clients_done}, \
                     arbiters agree: {}",
                    oracle.agree()
                ));
            }
            Phase::Quiet => {}
        }
    }
}
