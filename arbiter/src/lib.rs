//! The region arbiter: arbiter node, agent and command line in one binary.

pub mod agent;
pub mod audit_file;
pub mod backup;
pub mod calendar;
pub mod cli;
pub mod clock;
pub mod cost;
pub mod credentials;
pub mod dial;
pub mod dns_client;
pub mod drivers;
#[doc(hidden)]
pub mod fuzzing;
pub mod lab;
pub mod leader;
pub mod node;
pub mod notify;
pub mod policy_file;
pub mod probes;
pub mod raft;
pub mod server;
pub mod telemetry;
pub mod tls;
pub mod wire;
