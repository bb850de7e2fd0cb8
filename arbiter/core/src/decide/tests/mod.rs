//! What the leader does, read as sentences.

mod automatic;
mod failback;
mod losses;
mod plans;
mod signals;
mod superseding;
mod two_standbys;
mod walk;
mod watched;
