//! Raft, abstract: one log, terms, elections, quorum rounds, unknown outcomes. It knows which voter
//! believes to lead; nothing of what an entry means but that `settle` applies it.

use super::clock::Nanos;
use arbiter_core::{LogId, Proposal, Rejected, State, settle};
use std::collections::BTreeMap;
use std::rc::Rc;

/// Voters.
pub const VOTERS: usize = 3;

/// One voter.
#[derive(Clone, Debug)]
pub struct Voter {
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
}

/// An entry on its way.
#[derive(Clone, Debug)]
pub struct Pending {
    /// Who proposed it, in which term.
    pub from: usize,
    /// Term of the proposer.
    pub term: u64,
    /// Voters that have it on disk.
    pub held: Vec<usize>,
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
}

/// The Raft group.
pub struct Raft {
    /// Its voters.
    pub voters: Vec<Voter>,
    states: BTreeMap<u64, Rc<State>>,
    last: u64,
    /// Entries on their way, by number.
    pub pending: BTreeMap<u64, Pending>,
    next: u64,
}

impl Raft {
    /// An empty log.
    pub fn new() -> Self {
        let voter = Voter {
            term: 0,
            leads: None,
            leader: None,
            heard: 0,
            applied: 0,
            up: true,
            frozen: false,
        };
        Self {
            voters: vec![voter; VOTERS],
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
        for peer in (0..VOTERS).filter(|peer| *peer != leader) {
            let voter = &self.voters[peer];
            if !voter.up || voter.frozen || !reach(peer) {
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
        (held.len() > VOTERS / 2).then_some(held)
    }

    /// An entry leaves its leader, which reached the voters `held`.
    pub fn propose(&mut self, from: usize, term: u64, held: Vec<usize>, proposal: Proposal) -> u64 {
        self.next += 1;
        self.pending.insert(self.next, Pending { from, term, held, proposal });
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
        let settled = settle(&self.states[&(self.last - 1)], proposal, at);
        self.states.insert(self.last, Rc::new(settled.state));
        // What the slowest voter has applied is what it acts on.
        let oldest = self.voters.iter().map(|voter| voter.applied).min().unwrap_or(0);
        self.states = self.states.split_off(&oldest);
        Committed { at, proposal: proposal.clone(), outcome: settled.outcome }
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
        let able = |voter: &Voter| voter.up && !voter.frozen;
        if !able(&self.voters[candidate]) {
            return None;
        }
        let votes: Vec<usize> = (0..VOTERS)
            .filter(|&peer| peer == candidate || (able(&self.voters[peer]) && reach(peer)))
            .collect();
        if votes.len() <= VOTERS / 2 {
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
            let quorum = entry.held.len() > VOTERS / 2;
            survives = survives && quorum && keep();
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
