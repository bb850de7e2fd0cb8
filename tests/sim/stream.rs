//! Streams between agents and arbiters: dialled, ended by either side, and lost with a process
//! between them. Knows no Report.

use super::clock::{Nanos, SECOND};
use super::event::Due;
use super::raft::ARBITERS;
use super::topology::Topology;
use super::world::World;
use arbiter_core::AgentId;
use arbiter_core::leader::{SeatEvent, StreamEnd, StreamId};

/// An arbiter takes a stream on which nothing is heard for gone after this long.
const KEEPALIVE: (Nanos, Nanos) = (SECOND, 3 * SECOND);

impl World {
    /// A new stream, to the next arbiter; the one before it is hung up.
    pub(super) fn dial(&mut self, index: usize) {
        self.hang_up(index);
        self.streams += 1;
        let via = self.hosts[index].via;
        let mut others = (1..=ARBITERS).map(|on| (via + on) % ARBITERS);
        let next = others.find(|at| self.raft.is_voter(*at)).unwrap_or(via);
        let host = &mut self.hosts[index];
        host.stream = StreamId(self.streams);
        host.via = next;
        host.quiet_since = self.now;
    }

    /// The agent's end of its stream goes, and says so.
    pub(super) fn hang_up(&mut self, index: usize) {
        let (via, stream) = (self.hosts[index].via, self.hosts[index].stream);
        let agent = self.topology.agents[index].clone();
        for delay in self.net.send(Topology::node(index), via, &mut self.rng) {
            let agent = agent.clone();
            self.after(delay, Due::Closed { via, at: via, stream, agent });
        }
    }

    /// The agent's host is gone without a word.
    pub(super) fn falls_silent(&mut self, index: usize) {
        let (via, stream) = (self.hosts[index].via, self.hosts[index].stream);
        let agent = self.topology.agents[index].clone();
        let delay = self.rng.range(KEEPALIVE.0, KEEPALIVE.1);
        self.after(delay, Due::Closed { via, at: via, stream, agent });
    }

    /// The arbiter that relays is gone: both ends of each stream learn it.
    pub(super) fn relay_ends(&mut self, via: usize) {
        let leader = self.raft.voters.iter().position(|voter| voter.leads.is_some());
        for host in 0..self.hosts.len() {
            if self.hosts[host].via != via {
                continue;
            }
            let (stream, agent) = (self.hosts[host].stream, self.topology.agents[host].clone());
            for delay in self.net.send(via, Topology::node(host), &mut self.rng) {
                self.after(delay, Due::StreamEnds { host, stream });
            }
            let Some(at) = leader else { continue };
            for delay in self.net.send(via, at, &mut self.rng) {
                let agent = agent.clone();
                self.after(delay, Due::Closed { via, at, stream, agent });
            }
        }
    }

    /// An arbiter learns that a stream has ended.
    pub(super) fn closed(&mut self, via: usize, at: usize, stream: StreamId, agent: AgentId) {
        let again = agent.clone();
        if !self.awake(at, || Due::Closed { via, at, stream, agent: again }) {
            return;
        }
        if self.raft.voters[at].leads.is_some() {
            self.seat_step(at, SeatEvent::Closed { stream, agent });
            return self.turn(at);
        }
        let known = self.raft.voters[at].leader;
        let Some((leader, _)) = known.filter(|(leader, _)| at == via && *leader != at) else {
            return;
        };
        for delay in self.net.send(at, leader, &mut self.rng) {
            let agent = agent.clone();
            self.after(delay, Due::Closed { via, at: leader, stream, agent });
        }
    }

    /// A leader ends a stream.
    pub(super) fn end_stream(&mut self, leader: usize, stream: StreamId, why: &StreamEnd) {
        let what = match why {
            StreamEnd::Wrong { .. } => "streams refused",
            StreamEnd::Replaced => "streams replaced",
            StreamEnd::NotRead => "streams not read",
        };
        self.count(what, 1);
        self.say(|| format!("arbiter {leader} ends stream {}: {why}", stream.0));
        let Some(host) = self.hosts.iter().position(|host| host.stream == stream) else { return };
        let delay = 2 * self.net.delay(&mut self.rng);
        self.after(delay, Due::StreamEnds { host, stream });
    }
}
