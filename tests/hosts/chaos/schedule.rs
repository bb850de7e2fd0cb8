//! What goes wrong when, from a seed. Knows names of faults and times; never the platform.

use std::fmt;
use std::time::Duration;

/// A data region, or the witness, by its place.
pub type Place = usize;

/// What goes wrong, until it is mended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// An arbiter is killed, and starts again.
    KillArbiter(Place),
    /// An arbiter is stopped by SIGSTOP, and goes on.
    StopArbiter(Place),
    /// An agent is killed, and starts again.
    KillAgent(Place),
    /// An agent is stopped, and goes on.
    StopAgent(Place),
    /// The deadmen of a region are killed.
    KillDeadman(Place),
    /// The deadmen of a region are stopped, and go on.
    StopDeadman(Place),
    /// The postmaster of a region is killed.
    KillPostgres(Place),
    /// The postmaster of a region is stopped, and goes on.
    StopPostgres(Place),
    /// Every process of a region is killed; its arbiter and agent start again.
    KillRegion(Place),
    /// A region is cut off, both ways.
    Cut(Place),
    /// What a region sends is lost.
    CutOut(Place),
    /// What a region should receive is lost.
    CutIn(Place),
    /// An arbiter's host is cut off.
    CutArbiter(Place),
    /// An agent's host is cut off.
    CutAgent(Place),
    /// An operator asks for a switchover to the other region.
    Switchover,
    /// An operator sets the mode to manual, and back.
    Manual,
}

impl Fault {
    /// One fault at a time changes the network, so that mending one heals no other.
    fn is_cut(self) -> bool {
        use Fault::{Cut, CutAgent, CutArbiter, CutIn, CutOut};
        matches!(self, Cut(_) | CutOut(_) | CutIn(_) | CutArbiter(_) | CutAgent(_))
    }

    /// Long enough, it is answered by a failover.
    fn loses_a_region(self) -> bool {
        use Fault::{Cut, CutAgent, CutIn, CutOut, KillRegion};
        matches!(self, Cut(_) | CutIn(_) | CutOut(_) | CutAgent(_) | KillRegion(_))
    }

    /// Stops what fences a region. Agent and deadman stopped at once are beyond what software can
    /// see (SAFETY and design §5 say so): never both.
    fn stops_a_fence(self) -> bool {
        matches!(self, Self::StopAgent(_) | Self::StopDeadman(_))
    }
}

/// One event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// When it begins, from the start.
    pub at: Duration,
    /// How long it lasts.
    pub lasts: Duration,
    /// What.
    pub fault: Fault,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (at, lasts) = (self.at.as_secs_f64(), self.lasts.as_secs_f64());
        write!(f, "{at:>7.1} s {:?} for {lasts:.1} s", self.fault)
    }
}

/// Chance (SplitMix64).
pub struct Chance(u64);

impl Chance {
    /// From a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x2545_f491_4f6c_dd1d)
    }

    /// From `low` to `high`, both included.
    pub fn range(&mut self, low: u64, high: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        low + (z ^ (z >> 31)) % (high - low + 1)
    }
}

/// Pause between two events, in milliseconds.
const PAUSE_MS: (u64, u64) = (800, 7_000);
/// How long most last.
const SHORT_MS: (u64, u64) = (200, 6_000);
/// How long some last: longer than a lease.
const LONG_MS: (u64, u64) = (8_000, 20_000);

/// The events of `time`, in order.
pub fn schedule(seed: u64, time: Duration) -> Vec<Event> {
    let mut chance = Chance::new(seed);
    let mut events: Vec<Event> = Vec::new();
    let mut at = Duration::from_secs(1);
    while at < time {
        let fault = fault(&mut chance);
        let often = if fault.loses_a_region() { 2 } else { 4 };
        let (low, high) = if chance.range(1, often) == 1 { LONG_MS } else { SHORT_MS };
        let lasts = Duration::from_millis(chance.range(low, high));
        let lasts_still = |event: &&Event| event.at + event.lasts > at;
        let apart = events.iter().filter(lasts_still).all(|other| {
            let same = std::mem::discriminant(&other.fault) == std::mem::discriminant(&fault);
            let cuts = other.fault.is_cut() && fault.is_cut();
            let fences = other.fault.stops_a_fence() && fault.stops_a_fence();
            !same && !cuts && !fences
        });
        if apart {
            events.push(Event { at, lasts, fault });
            at += Duration::from_millis(chance.range(PAUSE_MS.0, PAUSE_MS.1));
        }
        at += Duration::from_millis(50);
    }
    events
}

fn fault(chance: &mut Chance) -> Fault {
    let arbiter = chance.range(0, 2) as Place;
    let region = chance.range(0, 1) as Place;
    match chance.range(0, 99) {
        0..10 => Fault::KillArbiter(arbiter),
        10..17 => Fault::StopArbiter(arbiter),
        17..24 => Fault::KillAgent(region),
        24..31 => Fault::StopAgent(region),
        31..36 => Fault::KillDeadman(region),
        36..40 => Fault::StopDeadman(region),
        40..46 => Fault::KillPostgres(region),
        46..51 => Fault::StopPostgres(region),
        51..59 => Fault::KillRegion(arbiter),
        59..71 => Fault::Cut(arbiter),
        71..77 => Fault::CutOut(arbiter),
        77..83 => Fault::CutIn(arbiter),
        83..86 => Fault::CutArbiter(arbiter),
        86..91 => Fault::CutAgent(region),
        91..97 => Fault::Switchover,
        _ => Fault::Manual,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_always_one_schedule_and_never_stops_agent_and_deadman_at_once() {
        for seed in 1..200 {
            let events = schedule(seed, Duration::from_secs(600));
            assert_eq!(events, schedule(seed, Duration::from_secs(600)));
            assert!(events.len() > 60, "{}", events.len());
            for (n, one) in events.iter().enumerate() {
                for other in events[n + 1..].iter().filter(|o| o.at < one.at + one.lasts) {
                    let both = one.fault.stops_a_fence() && other.fault.stops_a_fence();
                    let cuts = one.fault.is_cut() && other.fault.is_cut();
                    assert!(!both && !cuts, "seed {seed}: {one} and {other}");
                }
            }
        }
        assert_ne!(schedule(1, Duration::from_secs(60)), schedule(2, Duration::from_secs(60)));
    }
}
