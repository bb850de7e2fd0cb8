//! Streams of agents, and what was last pushed to each. Knows no transport.

use arbiter_core::{Directive, Incarnation};
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::mpsc;

/// Directives on their way to one agent. Bounded: an agent that never reads loses its stream.
pub type Outbox = mpsc::Sender<Directive>;

/// One stream; never reused within a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StreamId(u64);

impl StreamId {
    /// A new one.
    pub fn fresh() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// The stream that speaks for an agent.
pub(super) struct Session {
    pub stream: StreamId,
    pub incarnation: Incarnation,
    pub outbox: Outbox,
    /// What it was told last, leases left out; none: nothing yet.
    pub told: Option<Directive>,
}

impl Session {
    /// Hand over; false when the agent does not read or is gone.
    pub fn send(&mut self, directive: Directive) -> bool {
        self.told = Some(without_leases(directive.clone()));
        self.outbox.try_send(directive).is_ok()
    }

    /// Whether `directive` says anything new, leases aside.
    pub fn is_news(&self, directive: &Directive) -> bool {
        self.told.as_ref() != Some(&without_leases(directive.clone()))
    }
}

fn without_leases(mut directive: Directive) -> Directive {
    directive.answers = None;
    for group in directive.groups.values_mut() {
        group.lease = None;
    }
    directive
}
