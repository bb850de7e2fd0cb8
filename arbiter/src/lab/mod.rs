//! The lab: a two-region platform with a witness, on one machine, in network namespaces.
//!
//! `arbiter demo` and the cases of `tests/hosts` are played in it. It knows how to make regions,
//! servers, writers and cuts; it never knows the inside of the arbiter, whose binary it starts.

mod ask;
pub mod bind;
pub mod cluster;
mod config;
pub mod delay;
pub mod demo;
pub mod net;
pub mod operator;
pub mod postgres;
pub mod process;
pub mod writer;
