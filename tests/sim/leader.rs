//! An arbiter: its clock, its seat when it leads, elections and its loops. What the seat wants is
//! done by `seat.rs`.

use super::clock::{Clock, MS, Nanos};
use super::event::Due;
use super::raft::{ARBITERS, Committed};
use super::world::World;
use arbiter_core::leader::Seat;
use arbiter_core::{Command, LogId, Rejected, View, preferred_leader};

/// Between two looks of the leader at the time.
const TICK: Nanos = 50 * MS;

/// One arbiter.
pub struct Arbiter {
    /// Its host's clock.
    pub clock: Clock,
    /// What it holds while it leads, and until it leads again.
    pub seat: Option<Seat>,
    /// What came while its process was frozen.
    pub parked: Vec<Due>,
}

impl Arbiter {
    /// A new one.
    pub fn new(clock: Clock) -> Self {
        Self { clock, seat: None, parked: Vec::new() }
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
        let (net, rng) = (&mut self.net, &mut self.rng);
        self.raft.round(leader, term, |to| net.there_and_back(leader, to, rng))
    }

    pub(super) fn raft_tick(&mut self) {
        for leader in 0..ARBITERS {
            let voter = &self.raft.voters[leader];
            let Some(term) = voter.leads.filter(|_| voter.is_awake()) else { continue };
            let Some(held) = self.round(leader, term) else { continue };
            for &peer in &held {
                let (now, last) = (self.now, self.raft.last());
                let voter = &mut self.raft.voters[peer];
                voter.heard = now;
                voter.term = voter.term.max(term);
                voter.leader = Some((leader, term));
                // A leader follows only what it was told is committed, which is all of it here.
                voter.applied = if peer == leader { voter.applied } else { last };
            }
            self.members_beat(leader, &held);
        }
        let timing = self.topology.timing;
        // The witness looks first.
        let voters = (0..ARBITERS).rev().filter(|at| self.raft.votes_in_its_own(*at));
        let voters: Vec<usize> = voters.collect();
        for (place, &voter) in voters.iter().enumerate() {
            let patience = self.patience(place as u32, voters.len() as u32);
            let state = &self.raft.voters[voter];
            if state.leads.is_none() && self.now > state.heard + patience {
                self.elect(voter);
            }
        }
        self.after(timing.heartbeat.as_nanos() as u64, Due::RaftTick);
    }

    /// How long one of `voters` waits for a leader. The windows are disjoint.
    fn patience(&mut self, place: u32, voters: u32) -> Nanos {
        let timing = self.topology.timing;
        let window = (timing.election_max - timing.election_min) / voters;
        let least = timing.election_min + window * place;
        least.as_nanos() as u64 + self.rng.range(0, window.as_nanos() as u64 / 2)
    }

    /// `candidate` tries to become leader.
    pub(super) fn elect(&mut self, candidate: usize) {
        let (net, rng, now) = (&mut self.net, &mut self.rng, self.now);
        let reached: Vec<bool> =
            (0..ARBITERS).map(|peer| net.there_and_back(candidate, peer, rng)).collect();
        let won = self.raft.elect(candidate, now, |peer| reached[peer], || rng.chance(500));
        let Some((term, settled)) = won else { return };
        for entry in settled {
            self.note_commit(&entry);
        }
        self.say(|| format!("arbiter {candidate} leads in term {term}"));
        self.watch.elected.insert(term, now);
        self.count("leader changes", 1);
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
        if self.net.both(leader, to) && self.raft.voters[to].is_awake() {
            self.elect(to);
        }
    }

    /// An entry has its place in the log, whoever put it there.
    pub(super) fn note_commit(&mut self, committed: &Committed) {
        let Committed { at: LogId { index, .. }, proposal, outcome, torn } = committed;
        self.watch.seen.extend(torn.clone().map(|torn| format!("version: {torn}")));
        if let Err(Rejected::Breach { invariant, detail }) = outcome {
            self.watch.seen.push(format!("{invariant} in State: {detail}"));
        }
        if outcome.is_ok() {
            self.count_command(&proposal.command);
            self.attested(&proposal.command);
        }
        match outcome {
            Ok(_) => self.say(|| format!("#{index} {:?} by {:?}", proposal.command, proposal.by)),
            Err(Rejected::Stale(_)) => {
                let attests = matches!(proposal.command, Command::Attest { .. });
                self.count("attestations refused: another fence goal", u64::from(attests));
            }
            Err(refused) => {
                self.say(|| format!("#{index} refused: {:?}: {refused}", proposal.command));
            }
        }
    }
}
