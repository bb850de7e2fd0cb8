//! The agent's machine by itself; the simulator runs it in company.

mod arming;
mod attempts;
mod change;
mod deadman;
mod gate;
mod holding;
mod host;
mod lease;
mod mandate;
mod pooler;
mod protocol;
mod stall;
mod verify;
mod waits;
mod workload;
