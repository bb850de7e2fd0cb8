//! Simulator, invariants, real-process cases and benchmarks of the region arbiter.

#[cfg(any(feature = "fuzz", feature = "turmoil"))]
pub mod accepted;
#[cfg(feature = "fuzz")]
pub mod fuzz;
pub mod history;
#[cfg(feature = "hosts")]
pub mod hosts;
#[cfg(feature = "sim")]
pub mod invariants;
#[cfg(feature = "model")]
pub mod model;
#[cfg(any(feature = "hosts", feature = "turmoil"))]
pub mod puppet;
#[cfg(any(feature = "fuzz", feature = "hosts"))]
pub mod raw;
#[cfg(feature = "sim")]
pub mod sim;
