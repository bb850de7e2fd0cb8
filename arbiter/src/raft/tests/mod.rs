//! Tests of consensus on the real store and the real transport.

mod cluster;
mod crash;
mod damage;
mod full;
mod idle;
mod isolated;
mod kept;
mod kit;
mod members;
mod suite;
