//! External fences: an operator's command that takes a region's power, and its check. Knows hosts;
//! never what stands on them.

use super::clock::{Nanos, SECOND};
use super::event::Due;
use super::fault::Fault;
use super::topology::{REGIONS, Topology};
use super::world::World;
use arbiter_core::RegionId;
use arbiter_core::leader::{Cut, SeatEvent};

/// How long a region stays without power; somebody switches it on again.
const OFF: (Nanos, Nanos) = (5 * SECOND, 20 * SECOND);

impl World {
    /// The command. It works, as the check says at once.
    pub(super) fn cut_power(&mut self, region: &RegionId) {
        let line = format!("the power of {region} is cut");
        self.say(|| line);
        for host in 0..self.hosts.len() {
            let here = REGIONS[self.topology.region(Topology::node(host))] == region.as_str();
            if !here || !self.hosts[host].up {
                continue;
            }
            self.power_fails(host);
            let off = self.rng.range(OFF.0, OFF.1);
            self.after(off, Due::Fault(Fault::Boot { host }));
        }
    }

    /// While things go wrong the power switches of some seeds do not answer.
    pub(super) fn is_switch_broken(&self) -> bool {
        self.switch_broken && !self.healed
    }

    /// A host is gone, with all but its disk.
    pub(super) fn power_fails(&mut self, host: usize) {
        let keeps = self.keeps_start_files();
        self.falls_silent(host);
        self.hosts[host].crash(keeps);
    }

    /// The leader cuts off what no agent of the target can. It does not always work.
    pub(super) fn leader_cuts(&mut self, term: u64, cut: Cut) -> SeatEvent {
        let off = self.rng.chance(500) && !self.is_switch_broken();
        if off {
            self.cut_power(&cut.region);
        }
        SeatEvent::CutEnded { term, cut, off }
    }
}
