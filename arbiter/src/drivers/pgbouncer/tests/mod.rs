//! The driver against real PgBouncers, and real PostgreSQL servers behind them.

mod holding;
mod leading;
mod looking;
mod rig;
