//! Streams of agents as the faces know them. Knows no transport.

use arbiter_core::Directive;
use arbiter_core::leader;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::mpsc;

/// Directives on their way to one agent. Bounded: an agent that never reads loses its stream.
pub type Outbox = mpsc::Sender<Directive>;

/// One stream; never reused within a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StreamId(pub(super) leader::StreamId);

impl StreamId {
    /// A new one.
    pub fn fresh() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(leader::StreamId(NEXT.fetch_add(1, Ordering::Relaxed)))
    }
}
