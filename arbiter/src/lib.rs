//! The region arbiter: arbiter node, agent and command line in one binary.

pub mod agent;
pub mod clock;
pub mod drivers;
pub mod wire;
