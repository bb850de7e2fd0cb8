//! What the leader does, read as sentences.

mod automatic;
mod best_effort;
mod drills;
mod failback;
mod losses;
mod managed;
mod overrides;
mod plans;
mod pooled;
mod recovered;
mod resumed;
mod signals;
mod strict;
mod superseding;
mod two_standbys;
mod walk;
mod watched;
mod zoneless;
