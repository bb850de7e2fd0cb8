//! What arbiters see from where they stand: probes of the servers, and the public name. Each look
//! goes to the leader as a message.

use super::clock::{MS, Nanos};
use super::event::{Due, Looked};
use super::topology::{REGIONS, Topology};
use super::world::World;
use arbiter_core::{GroupId, ServiceSeen};

/// Between two rounds of probes of one arbiter.
const VANTAGE: Nanos = 500 * MS;

impl World {
    pub(super) fn vantage(&mut self, from: usize) {
        self.after(VANTAGE, Due::Vantage { from });
        let voter = &self.raft.voters[from];
        let Some((leader, _)) = voter.leader.filter(|_| voter.is_awake()) else { return };
        if !self.raft.is_voter(from) {
            return;
        }
        let lost = self.name_is_lost();
        let groups = self.topology.spec.groups.keys();
        let looked = groups.map(|group| self.look_from(from, group, lost));
        let looked: Vec<Looked> = looked.collect();
        for delay in self.net.send(from, leader, &mut self.rng) {
            self.after(delay, Due::Seen { from, leader, looked: looked.clone() });
        }
    }

    fn look_from(&self, from: usize, group: &GroupId, lost: bool) -> Looked {
        let up = [0, 1].map(|region| self.region_serves(from, group, region));
        let dns = self.topology.dns();
        let record = self.dns.read(group).filter(|_| self.net.both(from, dns) && !lost);
        let served = record
            .as_ref()
            .and_then(|at| REGIONS.iter().position(|name| at.names.as_str() == *name));
        let reached = served.is_some_and(|index| up[index]);
        Looked { group: group.clone(), up, record, reached }
    }

    /// What an arbiter saw reaches the one that it believes to lead.
    pub(super) fn seen(&mut self, from: usize, leader: usize, looked: Vec<Looked>) {
        let again = looked.clone();
        if !self.awake(leader, || Due::Seen { from, leader, looked: again }) {
            return;
        }
        let leads = self.raft.voters[leader].leads.is_some();
        let arbiter = &mut self.arbiters[leader];
        let at = arbiter.clock.at(self.now);
        let Some(seat) = arbiter.seat.as_mut().filter(|_| leads) else { return };
        let name = &self.topology.arbiters[from];
        for Looked { group, up, record, reached } in looked {
            for (region, up) in REGIONS.iter().zip(up) {
                let probe = format!("{region}-db");
                seat.view.probe(name, &group, &probe, Some(up), String::new(), at);
            }
            let token = record.as_ref().and_then(|record| record.token);
            let region = record.map(|record| record.names);
            let seen = ServiceSeen { at, token, region, reached, detail: String::new() };
            seat.view.service_seen(name, &group, seen);
        }
    }

    /// Whether a server of `group` in a region answers `arbiter`.
    fn region_serves(&self, arbiter: usize, group: &GroupId, region: usize) -> bool {
        self.hosts.iter().enumerate().any(|(index, host)| {
            self.topology.region(Topology::node(index)) == region
                && host.up
                && self.net.both(arbiter, Topology::node(index))
                && host
                    .servers
                    .iter()
                    .any(|((of, _), server)| of == group && server.running && !server.frozen)
        })
    }
}
