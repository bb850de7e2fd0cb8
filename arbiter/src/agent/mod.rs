//! The agent's side: hands of the core's agent machines, and the session with the arbiters.
//!
//! # Layout
//! - `run`: the loop; `options`: what it is told; `store`: its disk; `session`: its stream;
//!   `tasks`: what takes time
//! - `companion`, `held`, `link`: the deadman as the agent sees it; `deadman/`: the deadman itself
//! - `holder`, `spawn`, `namespace`, `cgroup`, `tree`, `guards`, `units`: hands on processes;
//!   `means`: what of that a test hides
//!
//! Knows processes, cgroups, files of the state directory, the deadman beside it and the stream to
//! an arbiter. Never knows Raft, plans or what a kind of resource needs; judges nothing itself.

pub mod cgroup;
mod companion;
pub mod deadman;
mod guards;
mod held;
mod holder;
pub mod link;
pub mod means;
pub mod namespace;
mod options;
mod rehearsal;
mod run;
mod session;
pub mod spawn;
pub mod store;
mod tasks;
pub mod tree;
pub(crate) mod units;

pub use holder::run_tool;
pub use options::{AgentOptions, default_runtime_dir, own_program};
pub use run::{AgentError, Opened, Opener, run, run_with};
