//! Fuzz targets: whatever reads bytes from outside is fed any bytes, and holds what each target
//! says. `./tests/run fuzz` feeds them by cargo fuzz (`cargo/`), the test `replay` feeds the kept
//! inputs (`corpus/`, `regressions/`) and changed ones.
//!
//! Knows inputs and properties; where the parsers are, `arbiter::fuzzing` says.

mod agent;
mod bucket;
mod calls;
mod commands;
mod config;
mod dns;
mod grpc;
mod handlers;
mod heap;
mod input;
mod kubernetes;
mod log;
mod messages;
mod pages;
mod pgbouncer;
mod postgres;
mod redis;
mod replay;
mod requests;
mod rig;
mod seeds;
mod state;
mod worlds;

pub use grpc::METHODS;
pub use heap::{Counting, HEAP_BYTES_MAX};
pub use input::Input;
pub use replay::{Kept, kept, random};
pub use seeds::seeds;

use std::path::PathBuf;
use std::sync::Once;

/// What a target does with bytes. It panics where a property does not hold.
pub type Target = fn(&[u8]);

/// Longest input: what is read from outside is longer only where a limit of its own says so.
pub const INPUT_BYTES_MAX: usize = 64 * 1024;

/// Every target, by the name of its file in `cargo/fuzz_targets` and its folder of inputs.
pub const TARGETS: &[(&str, Target)] = &[
    ("agent", agent::target),
    ("apply", state::apply),
    ("bucket", bucket::target),
    ("command", agent::command),
    ("config", config::target),
    ("directive", messages::directive),
    ("dns", dns::target),
    ("grpc", grpc::target),
    ("handlers", handlers::target),
    ("kubernetes", kubernetes::target),
    ("log", log::target),
    ("pages", pages::target),
    ("pgbouncer", pgbouncer::target),
    ("postgres", postgres::target),
    ("proposal", state::proposal),
    ("redis", redis::target),
    ("report", messages::report),
    ("traffic-manager", dns::traffic_manager),
];

/// Feed `bytes` to the target of this name.
///
/// # Panics
/// Where a property does not hold, more than [`HEAP_BYTES_MAX`] is in use at once (where
/// [`Counting`] counts), or there is no such target.
pub fn run(name: &str, bytes: &[u8]) {
    static WRITTEN: Once = Once::new();
    WRITTEN.call_once(|| write_seeds(name));
    let found = TARGETS.iter().find(|(known, _)| *known == name);
    let (_, target) = found.unwrap_or_else(|| panic!("there is no fuzz target {name}"));
    within_heap(name, || target(&bytes[..bytes.len().min(INPUT_BYTES_MAX)]));
}

/// The made inputs of a target, into the folder `ARBITER_FUZZ_WRITE`, for cargo fuzz to begin with.
fn write_seeds(name: &str) {
    let Some(folder) = std::env::var_os("ARBITER_FUZZ_WRITE").map(PathBuf::from) else { return };
    let made = seeds();
    for (number, one) in made.iter().filter(|one| one.target == name).enumerate() {
        let place = folder.join(format!("made-{number}"));
        std::fs::write(&place, &one.bytes).expect("it can be written");
    }
}

/// Run `work`, and see what it takes.
///
/// # Panics
/// Where it has more than [`HEAP_BYTES_MAX`] in use at once.
pub fn within_heap(name: &str, work: impl FnOnce()) {
    let peak = heap::peak_of(work);
    assert!(peak <= HEAP_BYTES_MAX, "{name} took {peak} bytes of heap, {HEAP_BYTES_MAX} at most");
}

/// An error or refusal that says something: people are told of it.
#[track_caller]
fn tells(text: &str) {
    assert!(!text.trim().is_empty(), "an error without a text");
}

/// What a value is as JSON, read back: it must be the same.
#[track_caller]
fn survives_json<T>(value: &T)
where
    T: serde::Serialize + for<'a> serde::Deserialize<'a> + PartialEq + std::fmt::Debug,
{
    let text = serde_json::to_vec(value).expect("it was JSON, or is stored as JSON");
    let back: T = serde_json::from_slice(&text).expect("what was written can be read");
    assert!(back == *value, "read back as another: {value:?}\n{back:?}");
}
