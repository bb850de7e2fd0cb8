//! What one lock holds: the core's seat, the queues to agents, and what is left to do once the lock
//! is released. Knows no clock and no I/O but handing a Directive to a queue; decides nothing.

use super::sessions::{Outbox, StreamId};
use arbiter_core::leader::{
    Applied, Cut, RoundId, Seat, SeatAction, SeatEvent, StreamEnd, StreamId as Stream, Subject,
};
use arbiter_core::{Instant, Proposal};
use std::collections::{BTreeMap, VecDeque};

/// A decision on its way into the log.
pub(super) struct Wanted {
    pub term: u64,
    pub subject: Subject,
    pub proposal: Box<Proposal>,
}

/// Everything under the lock.
#[derive(Default)]
pub(super) struct Held {
    /// The seat, while this arbiter leads.
    pub seat: Option<Seat>,
    outboxes: BTreeMap<Stream, Outbox>,
    /// The quorum round to begin next; at most one runs.
    pub round: Option<RoundId>,
    pub wanted: Vec<Wanted>,
    /// External fences to run, with the term that asked for them.
    pub cuts: Vec<(u64, Cut)>,
}

impl Held {
    /// Another seat, or none: the streams of the former end.
    pub fn seat(&mut self, seat: Option<Seat>) {
        *self = Self { seat, ..Self::default() };
    }

    /// The queue of a stream.
    pub fn opens(&mut self, stream: StreamId, outbox: &Outbox) {
        self.outboxes.entry(stream.0).or_insert_with(|| outbox.clone());
    }

    /// Take in an event, and hand over what it lets be said before anything else is taken in. Says
    /// which streams ended.
    pub fn step(
        &mut self,
        applied: Applied,
        event: SeatEvent,
        now: Instant,
    ) -> Vec<(Stream, StreamEnd)> {
        let Some(seat) = &mut self.seat else { return Vec::new() };
        let mut ended = Vec::new();
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            if let SeatEvent::Closed { stream, .. } = &event {
                self.outboxes.remove(stream);
            }
            for action in seat.step(applied, event, now) {
                match action {
                    SeatAction::Send { stream, agent, directive } => {
                        let outbox = self.outboxes.get(&stream);
                        if outbox.is_none_or(|outbox| outbox.try_send(directive).is_err()) {
                            tracing::info!(%agent, "its stream is closed: it does not read");
                            events.push_back(SeatEvent::NotRead { stream, agent });
                        }
                    }
                    SeatAction::End { stream, why } => {
                        // Dropping its queue ends a stream.
                        self.outboxes.remove(&stream);
                        ended.push((stream, why));
                    }
                    SeatAction::BeginRound { round } => self.round = Some(round),
                    SeatAction::Cut { term, cut } => self.cuts.push((term, cut)),
                    SeatAction::Propose { term, subject, proposal } => {
                        self.wanted.push(Wanted { term, subject, proposal });
                    }
                }
            }
        }
        ended
    }
}
