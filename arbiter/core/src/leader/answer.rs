//! Answering Reports: one quorum round for all that wait (design §5). Renewals are not logged.

use super::{Applied, Confirmed, Cut, RoundId, Seat, SeatAction, StreamId};
use crate::{AgentId, Instant, Report, State, decide::crossed, lag_crossing};
use std::time::Duration;

/// Wait after a failed round, so that a lost quorum does not make a busy loop.
const ROUND_RETRY: Duration = Duration::from_millis(50);

/// A Report that waits for a quorum round.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    stream: StreamId,
    report: Report,
    /// Planted: what State allowed when the round began.
    #[cfg(feature = "plant")]
    checked: Option<crate::Directive>,
}

impl Pending {
    pub fn new(stream: StreamId, report: Report) -> Self {
        Self {
            stream,
            report,
            #[cfg(feature = "plant")]
            checked: None,
        }
    }
}

/// The round that runs, and what waited for one before it began.
#[derive(Clone, Debug)]
pub(super) struct Round {
    id: RoundId,
    batch: Vec<Pending>,
    cuts: Vec<Cut>,
}

impl Seat {
    /// The Reports that wait become the batch of a round, unless one runs. What they show to have
    /// crossed its RPO is marked meanwhile: only its own lease waits for that.
    pub(super) fn begin(&mut self, applied: Applied, now: Instant) -> Vec<SeatAction> {
        self.take_marked(applied.state, now);
        let rests = self.rests_until.is_some_and(|until| now < until);
        if self.round.is_some() || rests {
            return Vec::new();
        }
        let cuts = self.cuts_to_ask(applied, now);
        if self.pending.is_empty() && cuts.is_empty() {
            return Vec::new();
        }
        self.view.note(applied.state, now);
        let batch: Vec<_> = std::mem::take(&mut self.pending).into_values().collect();
        let marks =
            batch.iter().flat_map(|one| lag_crossing(applied.state, &self.view, &one.report, now));
        let marks: Vec<_> = marks.collect();
        let mut actions = Vec::new();
        for mark in marks {
            actions.extend(self.set_on_its_way(applied.state, mark));
        }
        self.rounds += 1;
        let id = RoundId { term: self.view.term, number: self.rounds };
        self.round = Some(Round { id, batch, cuts });
        actions.extend(self.ask(applied, now));
        actions
    }

    /// Reports whose last marks are in State wait for another round, and are answered in full.
    fn take_marked(&mut self, state: &State, now: Instant) {
        let view = &self.view;
        let ready =
            |_: &AgentId, one: &mut Pending| crossed(state, view, &one.report, now).is_empty();
        for (agent, one) in self.unmarked.extract_if(.., ready) {
            self.pending.entry(agent).or_insert(one);
        }
    }

    /// Every Report of the batch has arrived, so the round begins after each of them.
    fn ask(&mut self, applied: Applied, now: Instant) -> Vec<SeatAction> {
        let Some(round) = &mut self.round else { return Vec::new() };
        let id = round.id;
        #[cfg(feature = "plant")]
        if crate::planted!(AnswerRecordedAfterCheck) {
            for pending in &mut round.batch {
                let checked = crate::directive(applied.state, &self.view, &pending.report);
                pending.checked = Some(checked);
            }
        }
        if crate::planted!(NoQuorumRound) {
            let confirmed = Confirmed { term: id.term, index: applied.index };
            return self.round_ended(applied, id, Some(confirmed), now);
        }
        vec![SeatAction::BeginRound { round: id }]
    }

    /// A round that ended in another term, or that State here has not caught up with, answers
    /// nothing.
    pub(super) fn round_ended(
        &mut self,
        applied: Applied,
        round: RoundId,
        confirmed: Option<Confirmed>,
        now: Instant,
    ) -> Vec<SeatAction> {
        if self.round.as_ref().is_none_or(|running| running.id != round) {
            return Vec::new();
        }
        let holds = confirmed
            .is_some_and(|seen| seen.term == self.view.term && seen.index <= applied.index);
        if !holds {
            return self.failed(now);
        }
        let Some(Round { batch, cuts, .. }) = self.round.take() else { return Vec::new() };
        let answers = batch.into_iter().filter_map(|one| self.answer(applied.state, one, now));
        let mut actions: Vec<_> = answers.collect();
        actions.extend(self.cut(applied, &cuts, now));
        actions.extend(self.begin(applied, now));
        actions
    }

    /// The Reports of the batch wait for another round, at a turn after a short rest: their agents
    /// say nothing new for a renewal period, which a lease may not have. A newer one takes the
    /// place of an older one.
    fn failed(&mut self, now: Instant) -> Vec<SeatAction> {
        let batch = self.round.take().map(|round| round.batch).unwrap_or_default();
        for pending in batch {
            let agent = &pending.report.agent;
            let session = self.sessions.get(agent);
            if session.is_some_and(|session| session.stream == pending.stream) {
                self.pending.entry(agent.clone()).or_insert(pending);
            }
        }
        self.rests_until = Some(now + ROUND_RETRY);
        Vec::new()
    }

    /// Answer a Report: State is checked, the answer time recorded and the answer handed over in
    /// this one step, which the decision to stop or expire a lease is too. // I4
    fn answer(&mut self, state: &State, pending: Pending, now: Instant) -> Option<SeatAction> {
        let report = &pending.report;
        if self.barred.get(&report.agent) == Some(&report.incarnation) {
            return None;
        }
        let session = self.sessions.get_mut(&report.agent);
        let session = session.filter(|session| session.stream == pending.stream)?;
        let directive = self.view.answer(state, report, now);
        #[cfg(feature = "plant")]
        let directive = match &pending.checked {
            Some(checked) => self.view.recorded(report, checked, now),
            None => directive,
        };
        let send = session.send(&report.agent, directive);
        if !crossed(state, &self.view, report, now).is_empty() {
            self.unmarked.insert(report.agent.clone(), pending);
        }
        Some(send)
    }
}
