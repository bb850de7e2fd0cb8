//! The leader's critical section (design §5): what a leader holds for one term. Checking State,
//! recording the answer time and handing over the answer are one [`Seat::step`], and so is each
//! decision to stop or expire a lease.
//!
//! Knows State, Reports and what is on its way; never a clock, a lock, a socket or Raft. The caller
//! holds one lock for the whole of a step and of the `Send`s that it returns.

mod answer;
mod fence;
mod identity;
mod propose;
mod sessions;
mod subject;

#[cfg(test)]
mod tests;

pub use fence::Cut;
pub use propose::Ended;
pub use sessions::{StreamEnd, StreamId};
pub use subject::Subject;

use crate::{AgentId, Directive, Incarnation, Instant, Proposal, Report, State, View};
use answer::{Pending, Round};
use sessions::Session;
use std::collections::BTreeMap;

/// State as this arbiter has applied it.
#[derive(Clone, Copy, Debug)]
pub struct Applied<'a> {
    /// What was applied.
    pub state: &'a State,
    /// Index of the last entry in it.
    pub index: u64,
}

/// A quorum round of a leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RoundId {
    /// Its term.
    pub term: u64,
    /// Counts up within the term.
    pub number: u64,
}

/// What a quorum round confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Confirmed {
    /// The term in which this arbiter led at some instant after the round began.
    pub term: u64,
    /// Everything committed before the round began is at or below this index.
    pub index: u64,
}

/// What happens to a leader. What it sees of the world otherwise is written into [`Seat::view`].
#[derive(Clone, Debug)]
pub enum SeatEvent {
    /// A Report arrived on a stream.
    Report {
        /// The stream.
        stream: StreamId,
        /// The Report.
        report: Report,
    },
    /// A stream ended.
    Closed {
        /// The stream.
        stream: StreamId,
        /// Whose it was.
        agent: AgentId,
    },
    /// A Directive could not be handed over: the agent does not read, or is gone.
    NotRead {
        /// The stream.
        stream: StreamId,
        /// Whose it is.
        agent: AgentId,
    },
    /// State or View may have changed, or time passed. Due at each change and every few
    /// milliseconds, harmless at any time.
    Turn,
    /// A quorum round ended, and State is applied up to what it confirmed. None: no quorum.
    RoundEnded {
        /// The round.
        round: RoundId,
        /// What it confirmed.
        confirmed: Option<Confirmed>,
    },
    /// A [`SeatAction::Cut`] ended.
    CutEnded {
        /// The term in which it was asked for.
        term: u64,
        /// What was to be cut off.
        cut: Cut,
        /// The check came back true.
        off: bool,
    },
    /// A [`SeatAction::Propose`] ended.
    ProposalEnded {
        /// The term in which it was proposed.
        term: u64,
        /// What it was about.
        subject: Subject,
        /// How.
        ended: Ended,
    },
}

/// What a leader must do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SeatAction {
    /// Propose, in this term only; ends with `ProposalEnded`.
    Propose {
        /// The term.
        term: u64,
        /// What it is about.
        subject: Subject,
        /// The proposal; its wall clock is the caller's to fill.
        proposal: Box<Proposal>,
    },
    /// Begin a quorum round now; ends with `RoundEnded`.
    BeginRound {
        /// The round.
        round: RoundId,
    },
    /// Run an external fence once, and its check until it is true, a limit passed or nobody wants
    /// it any more; ends with `CutEnded`.
    Cut {
        /// The term.
        term: u64,
        /// What to cut off.
        cut: Cut,
    },
    /// Hand over, under the lock that this step holds; `NotRead` if that cannot be.
    Send {
        /// On which stream.
        stream: StreamId,
        /// To whom.
        agent: AgentId,
        /// What.
        directive: Directive,
    },
    /// End a stream.
    End {
        /// Which.
        stream: StreamId,
        /// Why.
        why: StreamEnd,
    },
}

/// The seat of the leader of one term.
#[derive(Clone, Debug)]
pub struct Seat {
    /// What was heard and seen, and the lease book.
    pub view: View,
    sessions: BTreeMap<AgentId, Session>,
    pending: BTreeMap<AgentId, Pending>,
    /// Reports that are answered but for groups whose mark of the lag is not in State.
    unmarked: BTreeMap<AgentId, Pending>,
    round: Option<Round>,
    rounds: u64,
    /// External fences that run, and when one that ended may run again.
    cutting: BTreeMap<Cut, Option<Instant>>,
    /// After a round that failed: none begins before.
    rests_until: Option<Instant>,
    /// Proposals on their way, and when a refused one may be proposed again.
    in_flight: BTreeMap<Subject, Option<Instant>>,
    /// Lives whose leases are proposed to be dead: no longer answered, so that what was waited for
    /// stays true until the entry is applied or refused.
    barred: BTreeMap<AgentId, Incarnation>,
    /// Index of the State that was last looked through for news.
    pushed: u64,
}

impl Seat {
    /// The seat of a leader elected at `now` in `term`. `former`: what it held when it led before;
    /// all of it is forgotten, on purpose, the answers first.
    pub fn elected(term: u64, now: Instant, former: Option<Seat>) -> Self {
        let mut view = View::elected(term, now);
        if crate::planted!(OldAnswersRemembered)
            && let Some(former) = former
        {
            view.leases = former.view.leases;
        }
        Self {
            view,
            sessions: BTreeMap::new(),
            pending: BTreeMap::new(),
            unmarked: BTreeMap::new(),
            round: None,
            rounds: 0,
            cutting: BTreeMap::new(),
            rests_until: None,
            in_flight: BTreeMap::new(),
            barred: BTreeMap::new(),
            pushed: 0,
        }
    }

    /// Take in one event. The caller holds its lock until it has done every `Send` returned.
    pub fn step(&mut self, applied: Applied, event: SeatEvent, now: Instant) -> Vec<SeatAction> {
        match event {
            SeatEvent::Report { stream, report } => self.hear(applied, stream, report, now),
            SeatEvent::Closed { stream, agent } => {
                self.drop_session(stream, &agent);
                Vec::new()
            }
            SeatEvent::NotRead { stream, agent } => {
                let why = StreamEnd::NotRead;
                let dropped = self.drop_session(stream, &agent);
                dropped.then_some(SeatAction::End { stream, why }).into_iter().collect()
            }
            SeatEvent::Turn => {
                let mut actions = self.begin(applied, now);
                actions.extend(self.push_news(applied));
                actions.extend(self.decide(applied.state, now));
                actions
            }
            SeatEvent::RoundEnded { round, confirmed } => {
                self.round_ended(applied, round, confirmed, now)
            }
            SeatEvent::CutEnded { term, cut, off } => {
                self.cut_ended(term, cut, off, now);
                Vec::new()
            }
            SeatEvent::ProposalEnded { term, subject, ended } => {
                self.proposal_ended(term, subject, ended, now);
                Vec::new()
            }
        }
    }
}
