//! Cases on real processes: arbiters, agents, PostgreSQL and BIND in network namespaces.
//!
//! Each case says in one sentence what must hold, plays it on a platform of its own, and ends with
//! the check that every case shares: the old primary acknowledged nothing after the new one began.

mod adopted;
mod agents;
mod asks;
mod attested;
mod certificates;
pub mod chaos;
mod command_line;
mod cuts;
mod demo;
mod disk;
mod drills;
mod durability;
mod fences;
mod groups;
mod holds;
#[path = "../../arbiter/tests/support/kubernetes/mod.rs"]
mod kubernetes;
pub mod leader;
mod load;
mod members;
mod patroni;
mod plans;
mod platform;
mod platform_faults;
pub mod pooled;
mod processes;
pub mod proofs;
mod pull;
mod quorum;
pub mod rejoin;
mod rows;
#[path = "../../arbiter/tests/support/s3_client.rs"]
mod s3_client;
mod services;
pub mod stage;
mod standby;
mod together;
mod turned;
mod twice;

use arbiter::lab::cluster::{FIRST_PAIR, Lab, Pair};
use stage::Stage;
use std::future::Future;
use std::io;
use std::pin::Pin;

/// What a case does on its stage.
pub type Play = for<'a> fn(&'a mut Stage) -> Pin<Box<dyn Future<Output = io::Result<()>> + 'a>>;

/// A case.
#[derive(Clone, Copy)]
pub struct Case {
    /// Its name on the command line.
    pub name: &'static str,
    /// What must hold, in one sentence.
    pub holds: &'static str,
    /// Timer profile.
    pub profile: &'static str,
    /// Lines for `[groups.default]`.
    pub group: &'static str,
    /// Round trip added between arbiters, in milliseconds.
    pub delay_ms: u64,
    /// Mode in which it starts; `observe` starts unarmed.
    pub mode: &'static str,
    /// Its PostgreSQL pairs.
    pub pairs: &'static [Pair],
    /// More of the cluster's file, see [`arbiter::lab::cluster::Options::more`].
    pub more: &'static str,
    /// What is put in place before anything is started.
    pub prepare: fn(&Lab) -> io::Result<()>,
    /// Whether each region has a bucket and a Kubernetes cluster too.
    pub services: bool,
    /// What it does.
    pub play: Play,
    /// Whether it proves by itself that nothing overlapped.
    pub own_proof: bool,
    /// What it does instead, without a platform made for it.
    pub alone: Option<fn() -> io::Result<()>>,
}

impl Case {
    /// A case on profile `regional`, in mode `automatic`.
    pub const fn new(name: &'static str, holds: &'static str, play: Play) -> Self {
        Self {
            name,
            holds,
            profile: "regional",
            group: "",
            delay_ms: 0,
            mode: "automatic",
            pairs: &[FIRST_PAIR],
            more: "",
            prepare: |_| Ok(()),
            services: false,
            play,
            own_proof: false,
            alone: None,
        }
    }

    /// A case that makes what it needs itself.
    pub const fn alone(
        name: &'static str,
        holds: &'static str,
        run: fn() -> io::Result<()>,
    ) -> Self {
        let mut case = Self::new(name, holds, |_| Box::pin(async { Ok(()) }));
        case.alone = Some(run);
        case
    }

    /// Run it.
    ///
    /// # Errors
    /// What did not hold.
    pub fn run(&self) -> io::Result<()> {
        match self.alone {
            Some(run) => run(),
            None => Stage::play(self).map(drop),
        }
    }

    /// On another profile.
    pub const fn profile(mut self, profile: &'static str) -> Self {
        self.profile = profile;
        self
    }

    /// With these lines in `[groups.default]`.
    pub const fn group(mut self, lines: &'static str) -> Self {
        self.group = lines;
        self
    }

    /// With a round trip of `ms` milliseconds between arbiters.
    pub const fn delay_ms(mut self, ms: u64) -> Self {
        self.delay_ms = ms;
        self
    }

    /// With these PostgreSQL pairs; the first is the group `default`'s.
    pub const fn pairs(mut self, pairs: &'static [Pair]) -> Self {
        self.pairs = pairs;
        self
    }

    /// With more resources, and what they need in place.
    pub const fn with(mut self, more: &'static str, prepare: fn(&Lab) -> io::Result<()>) -> Self {
        (self.more, self.prepare) = (more, prepare);
        self
    }

    /// With a bucket and a Kubernetes cluster in each region, see [`services`].
    pub const fn with_services(mut self) -> Self {
        self.services = true;
        self
    }

    /// Proves by itself that nothing overlapped: with many moves an epoch may see no write.
    pub const fn own_proof(mut self) -> Self {
        self.own_proof = true;
        self
    }

    /// In another mode.
    pub const fn mode(mut self, mode: &'static str) -> Self {
        self.mode = mode;
        self
    }
}

/// Every case, in the order in which they run.
pub fn cases() -> Vec<Case> {
    [
        cuts::CASES,
        plans::CASES,
        turned::CASES,
        leader::CASES,
        load::CASES,
        disk::CASES,
        rows::CASES,
        quorum::CASES,
        agents::CASES,
        certificates::CASES,
        groups::CASES,
        standby::CASES,
        rejoin::CASES,
        drills::CASES,
        durability::CASES,
        pooled::CASES,
        together::CASES,
        platform::CASES,
        platform_faults::CASES,
        adopted::CASES,
        fences::CASES,
        pull::CASES,
        attested::CASES,
        twice::CASES,
        patroni::CASES,
        members::CASES,
        command_line::CASES,
        chaos::CASES,
        demo::CASES,
    ]
    .concat()
}
