//! Raft, abstract: one log, terms, elections, quorum rounds, changes of who votes, unknown
//! outcomes.
//! It knows which voter believes to lead; nothing of what an entry means but that `settle` applies
//! it.

use super::clock::Nanos;
use super::members::{Change, Config};
use arbiter_core::{LogId, Proposal, Rejected, STATE_VERSION_MAX, State, settle};
use std::collections::BTreeMap;
use std::rc::Rc;

/// Voters that a cluster begins with.
pub const VOTERS: usize = 3;
/// Arbiters that there may be: one more than vote, so that one can take the place of another.
pub const ARBITERS: usize = 4;

/// One arbiter, as Raft sees it.
#[derive(Clone, Debug)]
pub struct Voter {
    /// Its node id, new with each empty disk; 0: it never joined.
    pub id: u64,
    /// Who votes, by the newest entry about it that it has.
    pub config: Config,
    /// Highest term seen; on disk.
    pub term: u64,
    /// The term in which it believes to lead.
    pub leads: Option<u64>,
    /// Whom it believes to lead, in which term.
    pub leader: Option<(usize, u64)>,
    /// Last time it heard a leader.
    pub heard: Nanos,
    /// Entries applied.
    pub applied: u64,
    /// Its process runs.
    pub up: bool,
    /// Its process is stopped for now.
    pub frozen: bool,
    /// The newest `State.version` that its build supports.
    pub supports: u32,
}

impl Voter {
    /// Its process runs and is not stopped.
    pub fn is_awake(&self) -> bool {
        self.up && !self.frozen
    }
}

/// An entry on its way, that a quorum has on disk.
#[derive(Clone, Debug)]
pub struct Pending {
    /// Who proposed it, in which term.
    pub from: usize,
    /// Term of the proposer.
    pub term: u64,
    /// The entry.
    pub proposal: Proposal,
}

/// What became of an entry.
pub struct Committed {
    /// Its place.
    pub at: LogId,
    /// The entry.
    pub proposal: Proposal,
    /// Applied or refused.
    pub outcome: Result<u64, Rejected>,
    /// A build among the arbiters would have made another State of it, or could make none.
    pub torn: Option<String>,
}

/// The Raft group.
pub struct Raft {
    /// Arbiters by index, whether they vote or not.
    pub voters: Vec<Voter>,
    /// The change of who votes that is wanted.
    pub change: Option<Change>,
    pub(super) ids: u64,
    states: BTreeMap<u64, Rc<State>>,
    last: u64,
    /// Entries on their way, by number.
    pub pending: BTreeMap<u64, Pending>,
    next: u64,
}

impl Raft {
    /// An empty log.
    pub fn new() -> Self {
        let config = Config::first();
        let voter = |index: usize| Voter {
            id: if index < VOTERS { index as u64 + 1 } else { 0 },
            config: if index < VOTERS { config.clone() } else { Config::default() },
            term: 0,
            leads: None,
            leader: None,
            heard: 0,
            applied: 0,
            up: index < VOTERS,
            frozen: false,
            supports: STATE_VERSION_MAX,
        };
        Self {
            voters: (0..ARBITERS).map(voter).collect(),
            change: None,
            ids: VOTERS as u64,
            states: BTreeMap::from([(0, Rc::new(State::default()))]),
            last: 0,
            pending: BTreeMap::new(),
            next: 0,
        }
    }

    /// Index of the last committed entry.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// The newest State.
    pub fn newest(&self) -> &Rc<State> {
        &self.states[&self.last]
    }

    /// The State that `voter` has applied.
    pub fn state(&self, voter: usize) -> Rc<State> {
        self.states[&self.voters[voter].applied].clone()
    }

    /// The arbiter that leads and can be asked, with its term.
    pub fn leading(&self) -> Option<(usize, u64)> {
        let mut awake = self.voters.iter().enumerate().filter(|(_, voter)| voter.is_awake());
        awake.find_map(|(at, voter)| Some((at, voter.leads?)))
    }

    /// Voters that answer a round of `leader` now. None: no quorum, or a higher term is met, in
    /// which case it steps down.
    pub fn round(
        &mut self,
        leader: usize,
        term: u64,
        mut reach: impl FnMut(usize) -> bool,
    ) -> Option<Vec<usize>> {
        let mut held = vec![leader];
        let mut higher = None;
        for peer in (0..ARBITERS).filter(|peer| *peer != leader) {
            let voter = &self.voters[peer];
            if !voter.is_awake() || !self.is_told(leader, peer) || !reach(peer) {
                continue;
            }
            if voter.term > term {
                higher = Some(voter.term.max(higher.unwrap_or(0)));
            } else {
                held.push(peer);
            }
        }
        if let Some(higher) = higher {
            let voter = &mut self.voters[leader];
            voter.leads = None;
            voter.term = voter.term.max(higher);
            return None;
        }
        self.is_quorum(leader, &held).then_some(held)
    }

    /// An entry leaves its leader, which reached a quorum.
    pub fn propose(&mut self, from: usize, term: u64, proposal: Proposal) -> u64 {
        self.next += 1;
        self.pending.insert(self.next, Pending { from, term, proposal });
        self.next
    }

    /// The voters have written the entry. None: a newer leader was elected meanwhile, so that its
    /// fate is settled already.
    pub fn commit(&mut self, number: u64) -> Option<Committed> {
        let entry = self.pending.remove(&number)?;
        Some(self.append(entry.term, &entry.proposal))
    }

    fn append(&mut self, term: u64, proposal: &Proposal) -> Committed {
        self.last += 1;
        let at = LogId { term, index: self.last };
        let before = self.states[&(self.last - 1)].clone();
        let (settled, torn) = self.settled(&before, proposal, at);
        self.states.insert(self.last, Rc::new(settled.state));
        // Who does not vote applies nothing, and holds nothing back.
        for at in 0..ARBITERS {
            if !self.is_voter(at) {
                self.voters[at].applied = self.last;
            }
        }
        // What the slowest voter has applied is what it acts on.
        let oldest = self.voters.iter().map(|voter| voter.applied).min().unwrap_or(0);
        self.states = self.states.split_off(&oldest);
        Committed { at, proposal: proposal.clone(), outcome: settled.outcome, torn }
    }

    /// What each build among the arbiters makes of the entry: all the same.
    fn settled(
        &self,
        before: &State,
        proposal: &Proposal,
        at: LogId,
    ) -> (arbiter_core::Settled, Option<String>) {
        let applying = (0..ARBITERS).filter(|at| self.is_voter(*at) || self.is_learner(*at));
        let mut builds: Vec<u32> = applying.map(|at| self.voters[at].supports).collect();
        builds.sort_unstable();
        builds.dedup();
        let settle_as = |build: u32| {
            arbiter_core::plant::support(Some(build));
            settle(before, proposal, at)
        };
        let newest = builds.pop().unwrap_or(STATE_VERSION_MAX);
        let mut torn = None;
        for build in builds {
            let other = settle_as(build);
            if matches!(other.outcome, Err(Rejected::Unsupported { .. })) {
                // To be asked for a version that it has not is refused alike, or it is the end.
                torn = Some(format!("a build for version {build} cannot apply #{}", at.index));
            }
            let own = settle_as(newest);
            if own.state != other.state {
                torn = Some(format!("builds for {build} and {newest} disagree on #{}", at.index));
            }
        }
        (settle_as(newest), torn)
    }

    /// `candidate` asks for votes; says in which term it leads, if it won. `keep` decides for each
    /// entry of an older term still on its way whether the new leader has it: an unknown outcome.
    pub fn elect(
        &mut self,
        candidate: usize,
        now: Nanos,
        reach: impl Fn(usize) -> bool,
        mut keep: impl FnMut() -> bool,
    ) -> Option<(u64, Vec<Committed>)> {
        if !self.voters[candidate].is_awake() || !self.votes_in_its_own(candidate) {
            return None;
        }
        let votes: Vec<usize> = (0..ARBITERS)
            .filter(|&peer| peer == candidate || (self.gives_vote(peer, candidate) && reach(peer)))
            .collect();
        if !self.is_quorum(candidate, &votes) {
            return None;
        }
        let term = votes.iter().map(|&voter| self.voters[voter].term).max().unwrap_or(0) + 1;
        for &voter in &votes {
            let voter = &mut self.voters[voter];
            voter.term = term;
            voter.leads = None;
            voter.leader = Some((candidate, term));
            voter.heard = now;
        }
        let mut committed = Vec::new();
        let mut survives = true;
        for (_, entry) in std::mem::take(&mut self.pending) {
            survives = survives && keep();
            if survives {
                committed.push(self.append(entry.term, &entry.proposal));
            }
        }
        self.voters[candidate].leads = Some(term);
        self.voters[candidate].applied = self.last;
        Some((term, committed))
    }
}

impl Default for Raft {
    fn default() -> Self {
        Self::new()
    }
}
