//! The agent's machine by itself; the simulator runs it in company.

mod gate;
mod mandate;
