//! The agent's side: hands of the core's agent machines, and the session with the arbiters.
//!
//! Knows processes, cgroups, files of the state directory, the deadman beside it and the stream to
//! an arbiter. Never knows Raft, plans or what a kind of resource needs; judges nothing itself.

pub mod cgroup;
pub mod deadman;
pub mod link;
pub mod namespace;
pub mod spawn;
