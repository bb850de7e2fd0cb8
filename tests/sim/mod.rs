//! The first simulator: the real core, agent and deadman in a world of faults, from one seed.
//!
//! Everything under test is `arbiter-core`'s own: `apply`, `decide`, orders, leases, the agent's
//! and
//! the deadman's machines. Faked are clocks, network, Raft, disks, processes, servers and DNS. A
//! seed draws the cluster and all that happens to it; the same seed is the same run.

mod attesting;
pub mod broken;
pub mod clock;
pub mod coverage;
mod deadman;
pub mod dns;
mod drill;
mod driver;
pub mod event;
pub mod face;
pub mod fault;
mod fields;
pub mod file;
pub mod host;
pub mod kinds;
mod leader;
pub mod lives;
pub mod many;
pub mod members;
pub mod net;
mod operator;
pub mod outside;
pub mod postgres;
mod power;
pub mod product;
pub mod raft;
pub mod rng;
pub mod scenario;
mod seat;
pub mod shape;
pub mod shrink;
mod stream;
pub mod table;
pub mod text;
pub mod topology;
mod vantage;
pub mod wish;
pub mod world;
mod zone;

pub use scenario::Scenario;
pub use world::{Options, Outcome};

/// One run of what `seed` draws.
pub fn run(seed: u64, options: Options) -> Outcome {
    replay(Scenario::of_seed(seed, options.beyond), options)
}

/// One run of `scenario`.
pub fn replay(scenario: Scenario, options: Options) -> Outcome {
    world::World::new(scenario, options).run()
}
