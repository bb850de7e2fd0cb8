//! An arbiter: its clock, its seat when it leads, elections and its loops. What the seat wants is
//! done by `seat.rs`.

use super::clock::{Clock, MS, Nanos};
use super::event::Due;
use super::raft::{Committed, VOTERS};
use super::topology::{REGIONS, Topology};
use super::world::World;
use arbiter_core::leader::Seat;
use arbiter_core::{GroupId, LogId, Rejected, ServiceSeen, View, preferred_leader};

/// Between two looks of the leader at the time.
const TICK: Nanos = 50 * MS;
/// Between two heartbeats, and two looks for an election.
const RAFT_TICK: Nanos = 100 * MS;
/// Between two rounds of probes of one arbiter.
const VANTAGE: Nanos = 500 * MS;

/// One arbiter.
pub struct Arbiter {
    /// Its host's clock.
    pub clock: Clock,
    /// What it holds while it leads, and until it leads again.
    pub seat: Option<Seat>,
    /// Marks of its round that have not ended, and whether all that did were committed.
    pub marks: (usize, bool),
    /// What came while its process was frozen.
    pub parked: Vec<Due>,
}

impl Arbiter {
    /// A new one.
    pub fn new(clock: Clock) -> Self {
        Self { clock, seat: None, marks: (0, true), parked: Vec::new() }
    }
}

impl World {
    /// The view of an arbiter that leads.
    pub(super) fn view(&self, leader: usize) -> Option<&View> {
        self.arbiters[leader].seat.as_ref().map(|seat| &seat.view)
    }

    /// Whether `arbiter` can take `due` now; parks it while it is frozen.
    pub(super) fn awake(&mut self, arbiter: usize, due: impl FnOnce() -> Due) -> bool {
        let voter = &self.raft.voters[arbiter];
        if voter.up && voter.frozen {
            self.arbiters[arbiter].parked.push(due());
            return false;
        }
        voter.up
    }

    pub(super) fn leads(&self, arbiter: usize, term: u64) -> bool {
        self.raft.voters[arbiter].leads == Some(term)
    }

    /// A quorum round of `leader`, now.
    pub(super) fn round(&mut self, leader: usize, term: u64) -> Option<Vec<usize>> {
        let net = &self.net;
        self.raft.round(leader, term, |from, to| net.up(from, to))
    }

    pub(super) fn raft_tick(&mut self) {
        for leader in 0..VOTERS {
            let voter = &self.raft.voters[leader];
            let Some(term) = voter.leads.filter(|_| voter.up && !voter.frozen) else { continue };
            let Some(held) = self.round(leader, term) else { continue };
            for peer in held {
                let (now, last) = (self.now, self.raft.last());
                let voter = &mut self.raft.voters[peer];
                voter.heard = now;
                voter.term = voter.term.max(term);
                voter.leader = Some((leader, term));
                // A leader follows only what it was told is committed, which is all of it here.
                voter.applied = if peer == leader { voter.applied } else { last };
            }
        }
        // The witness looks first; windows are disjoint.
        for (place, voter) in [2, 1, 0].into_iter().enumerate() {
            let quiet = (600 + 300 * place as u64) * MS;
            let state = &self.raft.voters[voter];
            if state.leads.is_none() && self.now > state.heard + quiet {
                self.elect(voter);
            }
        }
        self.after(RAFT_TICK, Due::RaftTick);
    }

    /// `candidate` tries to become leader.
    pub(super) fn elect(&mut self, candidate: usize) {
        let (net, rng, now) = (&self.net, &mut self.rng, self.now);
        let won = self.raft.elect(candidate, now, |from, to| net.up(from, to), || rng.chance(500));
        let Some((term, settled)) = won else { return };
        for entry in settled {
            self.note_commit(&entry);
        }
        self.say(|| format!("arbiter {candidate} leads in term {term}"));
        self.watch.elected.insert(term, now);
        let arbiter = &mut self.arbiters[candidate];
        let former = arbiter.seat.take();
        arbiter.seat = Some(Seat::elected(term, arbiter.clock.at(now), former));
        let phase = self.rng.range(MS, TICK);
        self.after(phase, Due::LeaderTick { leader: candidate, term });
    }

    pub(super) fn leader_tick(&mut self, leader: usize, term: u64) {
        if !self.awake(leader, || Due::LeaderTick { leader, term }) || !self.leads(leader, term) {
            return;
        }
        self.turn(leader);
        self.maybe_transfer(leader);
        self.after(TICK, Due::LeaderTick { leader, term });
    }

    fn maybe_transfer(&mut self, leader: usize) {
        let state = self.raft.state(leader);
        let local = self.arbiters[leader].clock.at(self.now);
        let me = &self.topology.arbiters[leader];
        let Some(view) = self.view(leader) else { return };
        let Some(better) = preferred_leader(&state, view, me, local) else { return };
        let Some(to) = self.topology.arbiters.iter().position(|name| *name == better) else {
            return;
        };
        if self.net.both(leader, to) && self.raft.voters[to].up && !self.raft.voters[to].frozen {
            self.elect(to);
        }
    }

    /// An entry has its place in the log, whoever put it there.
    pub(super) fn note_commit(&mut self, committed: &Committed) {
        let Committed { at: LogId { index, .. }, proposal, outcome } = committed;
        if let Err(Rejected::Breach { invariant, detail }) = outcome {
            self.watch.seen.push(format!("{invariant} in State: {detail}"));
        }
        match outcome {
            Ok(_) => self.say(|| format!("#{index} {:?} by {:?}", proposal.command, proposal.by)),
            Err(Rejected::Stale(_)) => {}
            Err(refused) => {
                self.say(|| format!("#{index} refused: {:?}: {refused}", proposal.command));
            }
        }
    }

    pub(super) fn vantage(&mut self, from: usize) {
        self.after(VANTAGE, Due::Vantage { from });
        let voter = &self.raft.voters[from];
        if !voter.up || voter.frozen {
            return;
        }
        let Some((leader, _)) = voter.leader else { return };
        let reached = self.raft.voters[leader].up
            && !self.raft.voters[leader].frozen
            && self.net.up(from, leader)
            && self.raft.voters[leader].leads.is_some();
        if !reached {
            return;
        }
        let groups: Vec<GroupId> = self.topology.spec.groups.keys().cloned().collect();
        let name = self.topology.arbiters[from].clone();
        for group in &groups {
            for (index, region) in REGIONS.iter().enumerate() {
                let up = self.region_serves(from, group, index);
                let local = self.arbiters[leader].clock.at(self.now);
                let probe = format!("{region}-db");
                if let Some(seat) = self.arbiters[leader].seat.as_mut() {
                    seat.view.probe(&name, group, &probe, Some(up), String::new(), local);
                }
            }
            let at = self.arbiters[leader].clock.at(self.now);
            let dns = self.topology.dns();
            let read = self.dns.read(group).filter(|_| self.net.both(from, dns));
            let region = read.as_ref().map(|(_, region)| region.clone());
            let served = REGIONS
                .iter()
                .position(|name| region.as_ref().is_some_and(|region| region.as_str() == *name));
            let seen = ServiceSeen {
                at,
                token: read.map(|(token, _)| token),
                region,
                reached: served.is_some_and(|index| self.region_serves(from, group, index)),
                detail: String::new(),
            };
            if let Some(seat) = self.arbiters[leader].seat.as_mut() {
                seat.view.service_seen(&name, group, seen);
            }
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
