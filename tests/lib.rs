//! Simulator, invariants, real-process cases and benchmarks of the region arbiter.

#[cfg(feature = "hosts")]
pub mod hosts;
