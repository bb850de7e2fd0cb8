//! Streams of agents, and what was last told on each. Knows no transport.

use super::{Applied, Seat, SeatAction};
use crate::{AgentId, Directive, Incarnation, push};
use thiserror::Error;

/// One stream of an agent. A later one has a higher number; never reused while a leader leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StreamId(pub u64);

/// Why a leader ends a stream.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum StreamEnd {
    /// No retry helps until somebody mends it: a code, a sentence and what to do next.
    #[error("{text}; {next}")]
    Wrong {
        /// Machine-readable, such as `wrong-cluster`.
        code: &'static str,
        /// Why.
        text: String,
        /// What to do.
        next: String,
    },
    /// Another stream of the same agent took over.
    #[error("another stream of this agent took over")]
    Replaced,
    /// Its agent does not read.
    #[error("it was not read")]
    NotRead,
}

/// The stream that speaks for an agent.
#[derive(Clone, Debug)]
pub(super) struct Session {
    pub stream: StreamId,
    pub incarnation: Incarnation,
    /// What it was told last, leases left out; none: nothing yet.
    pub told: Option<Directive>,
}

impl Session {
    /// Hand over what this session is told.
    pub fn send(&mut self, agent: &AgentId, directive: Directive) -> SeatAction {
        self.told = Some(without_leases(directive.clone()));
        SeatAction::Send { stream: self.stream, agent: agent.clone(), directive }
    }
}

fn without_leases(mut directive: Directive) -> Directive {
    directive.answers = None;
    for group in directive.groups.values_mut() {
        group.lease = None;
    }
    directive
}

impl Seat {
    /// The stream ended, unless another has taken its place.
    pub(super) fn drop_session(&mut self, stream: StreamId, agent: &AgentId) -> bool {
        let current = self.sessions.get(agent).is_some_and(|session| session.stream == stream);
        if current {
            self.sessions.remove(agent);
            self.pending.remove(agent);
            self.unmarked.remove(agent);
            self.view.disconnected(agent);
        }
        current
    }

    /// Tell every agent whose orders changed, without leases.
    pub(super) fn push_news(&mut self, applied: Applied) -> Vec<SeatAction> {
        if std::mem::replace(&mut self.pushed, applied.index) == applied.index {
            return Vec::new();
        }
        let view = &self.view;
        // An agent that was never answered is not pushed to: its first answer tells it all.
        let answered = self.sessions.iter_mut().filter(|(_, session)| session.told.is_some());
        answered
            .filter_map(|(agent, session)| {
                let directive = push(applied.state, view, agent)?;
                let news = session.told.as_ref() != Some(&directive);
                news.then(|| session.send(agent, directive))
            })
            .collect()
    }
}
