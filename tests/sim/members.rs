//! Who votes, and how that changes under load: one arbiter more, one less, or an empty one in the
//! place of another. A change is two entries, as openraft makes it: between them a quorum is one of
//! the old voters and one of the new. Knows node ids; what an arbiter decides is not its part.

use super::raft::{ARBITERS, Raft, VOTERS};
use super::world::World;
use arbiter_core::{ArbiterId, State, Voter as Named};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A change that nobody could make is given up after as many heartbeats.
const PATIENCE_BEATS: u32 = 400;

/// Who votes, by one entry of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// Grows with each entry about it.
    pub at: u64,
    /// Node ids of the voters.
    pub ids: Vec<u64>,
    /// During a change: those that will be.
    pub next: Option<Vec<u64>>,
}

impl Config {
    /// That of a new cluster.
    pub fn first() -> Self {
        Self { at: 1, ids: (1..=VOTERS as u64).collect(), next: None }
    }

    fn has(&self, id: u64) -> bool {
        id != 0 && (self.ids.contains(&id) || self.next.iter().flatten().any(|next| *next == id))
    }

    fn is_quorum(&self, held: &[u64]) -> bool {
        let most =
            |ids: &Vec<u64>| 2 * ids.iter().filter(|id| held.contains(id)).count() > ids.len();
        most(&self.ids) && self.next.as_ref().is_none_or(most)
    }
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Seats {
    /// An empty arbiter takes the place of this one.
    Replace,
    /// This one votes no more.
    Remove,
    /// An empty arbiter votes too.
    Add,
}

/// A change that is wanted.
#[derive(Clone, Debug)]
pub struct Change {
    /// The arbiter that joins first as a learner.
    pub learner: Option<usize>,
    /// Who votes after it.
    pub ids: Vec<u64>,
    beats: u32,
}

impl Raft {
    /// The newest entry about who votes.
    pub fn config(&self) -> &Config {
        let configs = self.voters.iter().map(|voter| &voter.config);
        configs.max_by_key(|config| config.at).expect("there are arbiters")
    }

    /// Whether it votes now.
    pub fn is_voter(&self, at: usize) -> bool {
        self.config().has(self.voters[at].id)
    }

    /// Whether it is on its way to vote.
    pub fn is_learner(&self, at: usize) -> bool {
        self.change.as_ref().is_some_and(|change| change.learner == Some(at))
    }

    pub(super) fn is_told(&self, leader: usize, peer: usize) -> bool {
        self.voters[leader].config.has(self.voters[peer].id) || self.is_learner(peer)
    }

    /// Whether `held` is a quorum, as `of` sees it.
    pub(super) fn is_quorum(&self, of: usize, held: &[usize]) -> bool {
        let ids: Vec<u64> = held.iter().map(|at| self.voters[*at].id).collect();
        self.voters[of].config.is_quorum(&ids)
    }

    pub(super) fn votes_in_its_own(&self, at: usize) -> bool {
        self.voters[at].config.has(self.voters[at].id)
    }

    /// A vote goes to nobody whose log is behind.
    pub(super) fn gives_vote(&self, peer: usize, candidate: usize) -> bool {
        let (voter, asks) = (&self.voters[peer], &self.voters[candidate]);
        voter.is_awake() && asks.config.has(voter.id) && asks.config.at >= voter.config.at
    }

    /// The leader reached a quorum with a heartbeat: the change goes on. Says who votes no more.
    pub(super) fn change_goes_on(&mut self, leader: usize, held: &[usize]) -> Vec<usize> {
        let config = self.voters[leader].config.clone();
        if let Some(next) = config.next {
            let at = self.config().at + 1;
            let ends = Config { at, ids: next.clone(), next: None };
            held.iter().for_each(|peer| self.voters[*peer].config = ends.clone());
            self.change = None;
            let was = |at: &usize| config.ids.contains(&self.voters[*at].id);
            let gone = |at: &usize| !next.contains(&self.voters[*at].id);
            return (0..ARBITERS).filter(was).filter(gone).collect();
        }
        held.iter().for_each(|peer| self.voters[*peer].config = config.clone());
        let Some(change) = &mut self.change else { return Vec::new() };
        change.beats += 1;
        if change.beats > PATIENCE_BEATS {
            self.change = None;
        } else if change.learner.is_none_or(|learner| held.contains(&learner)) {
            let next = Some(change.ids.clone());
            let at = self.config().at + 1;
            self.voters[leader].config = Config { at, ids: config.ids, next };
        }
        Vec::new()
    }
}

impl World {
    /// An operator changes who votes.
    pub(super) fn change_members(&mut self, arbiter: usize, seats: Seats) {
        let config = self.raft.config().clone();
        if self.raft.change.is_some() || config.next.is_some() {
            return;
        }
        let id = self.raft.voters[arbiter].id;
        let votes = config.has(id);
        let many = config.ids.len();
        let fits = match seats {
            Seats::Replace => votes,
            // Two are no better than one.
            Seats::Remove => votes && many > VOTERS,
            Seats::Add => true,
        };
        let idle = (0..ARBITERS).find(|at| !self.raft.is_voter(*at));
        let learner = idle.filter(|_| seats != Seats::Remove);
        if !fits || (learner.is_none() && seats != Seats::Remove) {
            return;
        }
        let mut ids = config.ids;
        if seats != Seats::Add {
            ids.retain(|known| *known != id);
        }
        if let Some(at) = learner {
            ids.push(self.joins_empty(at));
        }
        self.count("changes of who votes", 1);
        self.raft.change = Some(Change { learner, ids, beats: 0 });
    }

    /// An arbiter with an empty disk and a new id. Its build is the newest that is in use.
    fn joins_empty(&mut self, at: usize) -> u64 {
        self.kill_arbiter(at);
        let newest = self.raft.voters.iter().map(|voter| voter.supports).max().unwrap_or(1);
        let (now, last) = (self.now, self.raft.last());
        self.raft.ids += 1;
        let id = self.raft.ids;
        let voter = &mut self.raft.voters[at];
        (voter.id, voter.config, voter.term) = (id, Config::default(), 0);
        (voter.leader, voter.heard, voter.applied) = (None, now, last);
        (voter.up, voter.supports) = (true, newest);
        self.arbiters[at].clock.reboot(now);
        let region = self.topology.region(at);
        self.say(|| format!("arbiter {at} of region {region} joins empty as node {id}"));
        id
    }

    /// A heartbeat went through.
    pub(super) fn members_beat(&mut self, leader: usize, held: &[usize]) {
        let changing = self.raft.change.is_some() || self.raft.voters[leader].config.next.is_some();
        for at in self.raft.change_goes_on(leader, held) {
            self.count("voters gone", 1);
            self.say(|| format!("arbiter {at} votes no more"));
            // It is told, or goes on without anybody.
            if self.net.both(leader, at) || at == leader {
                self.kill_arbiter(at);
            }
        }
        if changing {
            let config = self.raft.voters[leader].config.clone();
            self.say(|| format!("who votes: {config:?}"));
        }
    }

    /// Voters as the specification is to name them; none: it does.
    pub(super) fn voters_to_name(&self, state: &State) -> Option<BTreeMap<ArbiterId, Named>> {
        let mut named = BTreeMap::new();
        for at in (0..ARBITERS).filter(|at| self.raft.is_voter(*at)) {
            let region = self.topology.region_name(at);
            let voter = Named { node_id: self.raft.voters[at].id, region, address: String::new() };
            named.insert(self.topology.arbiters[at].clone(), voter);
        }
        (self.raft.config().next.is_none() && state.spec.voters != named).then_some(named)
    }
}
