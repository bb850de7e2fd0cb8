//! The agent's machine by itself; the simulator runs it in company.

mod deadman;
mod gate;
mod holding;
mod mandate;
mod pooler;
mod stall;
mod verify;
mod workload;
