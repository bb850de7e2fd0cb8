//! The shape of a seed's cluster, as few plain values: what a scenario file holds of it. Knows no
//! specification; `topology.rs` makes one of it.

use super::clock::{MS, Nanos, RATE_PPM_MAX};
use super::kinds::{self, Kind};
use super::raft::ARBITERS;
use super::rng::Rng;
use super::text::{list, span};
use arbiter_core::{Profile, Timing};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How fast everything is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pace {
    /// The profile of that name.
    Metro,
    /// See there.
    Regional,
    /// See there.
    Wan,
    /// A long lease makes a wait that forgets ρ visible.
    WanLong,
}

impl Pace {
    /// Its timers.
    pub fn timing(self) -> Timing {
        match self {
            Self::Metro => Profile::Metro.timing(),
            Self::Regional => Profile::Regional.timing(),
            Self::Wan => Profile::Wan.timing(),
            Self::WanLong => Timing { lease: Duration::from_secs(30), ..Profile::Wan.timing() },
        }
    }

    fn draw(rng: &mut Rng) -> Self {
        match rng.range(0, 5) {
            0 | 5 => Self::Metro,
            1 => Self::Wan,
            2 => Self::WanLong,
            _ => Self::Regional,
        }
    }
}

/// What is not as everywhere else. Everything that is so by default is left out of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Cluster {
    /// See there.
    pub pace: Pace,
    /// Agents' hosts: 2 or 4.
    pub hosts: usize,
    /// Longest ordinary delay of a message.
    #[serde(with = "span")]
    pub delay: Nanos,
    /// What deadmen hold less firmly counts one class lower.
    #[serde(default, skip_serializing_if = "is_default")]
    pub weak_deadmen: bool,
    /// What cuts a region's power does not answer while things go wrong.
    #[serde(default, skip_serializing_if = "is_default")]
    pub switch_broken: bool,
    /// Clocks, in parts of a million too fast: of the arbiters, then of the hosts.
    #[serde(with = "list")]
    pub clocks: Vec<i64>,
    /// A release to come is installed, arbiter by arbiter.
    #[serde(default, skip_serializing_if = "is_default")]
    pub upgrades: bool,
}

/// One group. Everything that is so by default is left out of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct GroupShape {
    /// Its first active region, by index.
    #[serde(skip_serializing_if = "is_default")]
    pub active: usize,
    /// What it has beside a database and a name.
    #[serde(with = "list", skip_serializing_if = "Vec::is_empty")]
    pub kinds: Vec<Kind>,
    /// Two kinds of signal make a region lost.
    #[serde(skip_serializing_if = "is_default")]
    pub two_signals: bool,
    /// Power can be cut.
    #[serde(skip_serializing_if = "is_default")]
    pub power_switch: bool,
    /// What a lease proves is not enough: it waits for the switch, or for an operator.
    #[serde(skip_serializing_if = "is_default")]
    pub only_power_off: bool,
    /// The RPO is the least that configuration accepts, else a minute.
    #[serde(skip_serializing_if = "is_default")]
    pub short_rpo: bool,
    /// A primary that does not come back moves the group.
    #[serde(skip_serializing_if = "is_default")]
    pub restart_then_failover: bool,
    /// A halted failover whose source returns goes on.
    #[serde(skip_serializing_if = "is_default")]
    pub no_abort_on_return: bool,
    /// A plan whose target is lost is superseded without an operator.
    #[serde(skip_serializing_if = "is_default")]
    pub supersede_by_itself: bool,
    /// See the policy.
    #[serde(skip_serializing_if = "is_default")]
    pub clients_decide: bool,
    /// Drift is put in order.
    #[serde(skip_serializing_if = "is_default")]
    pub repair: bool,
    /// Commits wait.
    #[serde(skip_serializing_if = "is_default")]
    pub strict: bool,
    /// Without anybody to wait for nothing is acknowledged.
    #[serde(skip_serializing_if = "is_default")]
    pub block_alone: bool,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// One seed's cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// All of it.
    pub cluster: Cluster,
    /// Its groups, g1 first.
    pub groups: Vec<GroupShape>,
}

impl Shape {
    /// Drawn by `rng`. `beyond`: clocks deviate by so many parts of a million, which is more than ρ
    /// allows, and all in the direction that does harm.
    pub fn draw(rng: &mut Rng, beyond: Option<i64>) -> Self {
        let pace = Pace::draw(rng);
        let pace = if beyond.is_some() { Pace::WanLong } else { pace };
        let rtt = pace.timing().rtt.as_nanos() as u64;
        let delay = match rng.range(0, 2) {
            0 => 2 * MS,
            1 => (rtt / 4).max(MS),
            _ => (rtt / 2).max(MS),
        };
        let hosts = if rng.chance(300) { 4 } else { 2 };
        let count = if rng.chance(500) { 2 } else { 1 };
        let groups = (0..count).map(|at| GroupShape::draw(at, rng)).collect();
        let weak_deadmen = rng.chance(150);
        let switch_broken = rng.chance(500);
        let clocks = (0..ARBITERS + hosts).map(|at| match beyond {
            // Leases last longer than those believe who wait for their end.
            Some(most) if at < ARBITERS => most,
            Some(most) => -most,
            None => rate(rng, RATE_PPM_MAX),
        });
        let clocks = clocks.collect();
        let upgrades = rng.chance(200);
        let cluster = Cluster { pace, hosts, delay, weak_deadmen, switch_broken, clocks, upgrades };
        Self { cluster, groups }
    }

    /// The longest lease that policy names at first.
    pub fn lease(&self) -> Nanos {
        self.cluster.pace.timing().lease.as_nanos() as u64
    }
}

/// Most clocks are as wrong as they may be.
fn rate(rng: &mut Rng, most: i64) -> i64 {
    match rng.range(0, 4) {
        0 | 1 => -most,
        2 | 3 => most,
        _ => rng.range(0, 2 * most as u64) as i64 - most,
    }
}

impl GroupShape {
    fn draw(number: usize, rng: &mut Rng) -> Self {
        let active = if number == 0 { 0 } else { rng.index(2) };
        let kinds = kinds::draw(rng);
        let power_switch = rng.chance(400);
        let only_power_off = power_switch && rng.chance(500);
        let strict = rng.chance(150);
        Self {
            active,
            kinds,
            two_signals: rng.chance(500),
            power_switch,
            only_power_off,
            short_rpo: rng.chance(500) && !only_power_off,
            restart_then_failover: rng.chance(500),
            no_abort_on_return: rng.chance(300),
            supersede_by_itself: rng.chance(300),
            clients_decide: rng.chance(200),
            repair: rng.chance(300),
            strict,
            block_alone: strict && rng.chance(300),
        }
    }
}
