//! Simulator, invariants, real-process cases and benchmarks of the region arbiter.

#[cfg(feature = "hosts")]
pub mod hosts;
#[cfg(feature = "sim")]
pub mod invariants;
#[cfg(feature = "sim")]
pub mod sim;
