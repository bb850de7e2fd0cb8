//! From decisions into the log: each on its way once, refused ones not repeated at once.

use super::{Seat, SeatAction, Subject};
use crate::{Command, Instant, Proposal, State, decide, decide::proposal};
use std::time::Duration;

/// How a proposal ended, by what is done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Applied.
    Done,
    /// What it expected was no longer so: decided again at the next turn.
    Stale,
    /// Refused: decided again after a while.
    Refused,
    /// It may be applied yet; proposing it again is safe, since it names what it expects.
    Unknown,
    /// It did not enter the log.
    NotProposed,
}

impl Ended {
    /// It is not taken again before this has passed.
    fn rest(self) -> Option<Duration> {
        match self {
            Ended::Done => None,
            Ended::Stale => Some(Duration::from_millis(20)),
            Ended::Refused => Some(Duration::from_secs(1)),
            Ended::Unknown | Ended::NotProposed => Some(Duration::from_millis(100)),
        }
    }
}

impl Seat {
    /// What to propose now, without what is on its way already; what is returned is on its way.
    pub(super) fn decide(&mut self, state: &State, now: Instant) -> Vec<SeatAction> {
        self.view.note(state, now);
        self.in_flight.retain(|_, rests| rests.is_none_or(|until| now < until));
        let mut wanted = Vec::new();
        for proposal in decide(state, &self.view, now) {
            wanted.extend(self.set_on_its_way(state, proposal));
        }
        self.barred.retain(|agent, life| {
            state.bindings.get(agent).is_some_and(|binding| binding.incarnation == *life)
        });
        wanted.extend(self.settle(state));
        wanted
    }

    /// Propose, unless the same is on its way already.
    pub(super) fn set_on_its_way(
        &mut self,
        state: &State,
        proposal: Proposal,
    ) -> Option<SeatAction> {
        let subject = Subject::of(&proposal.command);
        if self.in_flight.contains_key(&subject) {
            return None;
        }
        self.in_flight.insert(subject.clone(), None);
        self.bar(state, &proposal);
        let (term, proposal) = (self.view.term, Box::new(proposal));
        Some(SeatAction::Propose { term, subject, proposal })
    }

    /// A life that speaks again stays barred while the entry that calls it dead may be applied yet:
    /// one that changes nothing goes in after it, and how that ends shows that no more will come.
    fn settle(&mut self, state: &State) -> Vec<SeatAction> {
        let unsettled = self.barred.iter().filter_map(|(agent, life)| {
            let speaks = self
                .view
                .reports
                .get(agent)
                .is_some_and(|heard| heard.report.incarnation == *life && heard.connected);
            let of_it = |subject: &Subject| matches!(subject, Subject::Life(of, ..) if of == agent);
            let open = self.in_flight.keys().any(of_it);
            let binding = state.bindings.get(agent).filter(|_| speaks && !open)?;
            Some(Command::Bind {
                agent: agent.clone(),
                incarnation: *life,
                boot_id: binding.boot_id.clone(),
                former_dead: None,
            })
        });
        let unsettled: Vec<_> = unsettled.map(proposal).collect();
        unsettled.into_iter().filter_map(|one| self.set_on_its_way(state, one)).collect()
    }

    /// The former life is not answered while the entry that calls its leases dead is on its way.
    fn bar(&mut self, state: &State, proposal: &Proposal) {
        let Command::Bind { agent, former_dead: Some(_), .. } = &proposal.command else {
            return;
        };
        if let Some(binding) = state.bindings.get(agent) {
            self.barred.insert(agent.clone(), binding.incarnation);
        }
    }

    /// A proposal of this term ended. What may be applied yet bars what it barred, and that one did
    /// not enter the log says nothing of one before.
    pub(super) fn proposal_ended(
        &mut self,
        term: u64,
        subject: Subject,
        ended: Ended,
        now: Instant,
    ) {
        if term != self.view.term {
            return;
        }
        if let Subject::Life(agent, ..) = &subject
            && matches!(ended, Ended::Done | Ended::Stale | Ended::Refused)
        {
            self.barred.remove(agent);
        }
        match ended.rest() {
            Some(rest) => self.in_flight.insert(subject, Some(now + rest)),
            None => self.in_flight.remove(&subject),
        };
    }
}
