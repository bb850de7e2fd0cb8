//! From decisions into the log: each on its way once, refused ones not repeated at once.

use super::Leader;
use crate::clock;
use crate::raft::ProposeError;
use arbiter_core::{Command, Proposal, Rejected};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// A stale decision is taken again at the next tick at the earliest.
const REST_STALE: Duration = Duration::from_millis(20);
/// A refused one after this long.
const REST_REFUSED: Duration = Duration::from_secs(1);
/// One that did not enter the log, as far as is known.
const REST_UNAVAILABLE: Duration = Duration::from_millis(100);

impl Leader {
    /// One turn of the loop: decide, push what is new, and set proposals on their way.
    pub(super) fn turn(self: &Arc<Self>, proposals: &mut JoinSet<()>) {
        let (term, wanted) = {
            let mut seat = self.lock();
            let Some(seat) = seat.as_mut() else { return };
            let now = clock::now();
            seat.view.vantage(&self.me, now);
            let wanted = self.raft.state().with_applied(|state, at| {
                seat.push_news(state, at.map_or(0, |at| at.index));
                seat.decide(state, now)
            });
            (seat.view.term, wanted)
        };
        for (key, proposal) in wanted {
            proposals.spawn(self.clone().carry(term, key, proposal));
        }
    }

    async fn carry(self: Arc<Self>, term: u64, key: String, mut proposal: Proposal) {
        proposal.wall = clock::wall();
        let outcome = self.raft.propose_in(term, &proposal).await;
        let rest = match &outcome {
            Ok(Ok(_)) => None,
            Ok(Err(Rejected::Stale(why))) => {
                tracing::debug!(%key, %why, "stale");
                Some(REST_STALE)
            }
            Ok(Err(refused)) => {
                tracing::warn!(%key, %refused, "a decision was refused");
                Some(REST_REFUSED)
            }
            // It may be applied yet; proposing it again is safe, since it names what it expects.
            Err(ProposeError::Unknown(why)) => {
                tracing::info!(%key, %why, "outcome unknown");
                Some(REST_UNAVAILABLE)
            }
            Err(failed) => {
                tracing::debug!(%key, %failed, "not proposed");
                Some(REST_UNAVAILABLE)
            }
        };
        let unknown = matches!(outcome, Err(ProposeError::Unknown(_)));
        if let Some(seat) = self.lock().as_mut().filter(|seat| seat.view.term == term) {
            let until = rest.map(|rest| clock::now() + rest);
            seat.proposed(&key, &proposal, until, unknown);
        }
        self.decide_wake.notify_one();
    }
}

/// What a decision is about, without what differs each time it is taken. Two with one key are the
/// same decision.
pub(super) fn key(command: &Command) -> String {
    let mut value = serde_json::to_value(command).unwrap_or(Value::Null);
    strip(&mut value);
    value.to_string()
}

/// Measured times, notes and positions; a decision is the same whatever they are.
const VOLATILE: [&str; 9] = [
    "waited",
    "former_dead",
    "took",
    "note",
    "would_have",
    "source_end",
    "target_end",
    "loss",
    "reason",
];

fn strip(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, _| !VOLATILE.contains(&name.as_str()));
            fields.values_mut().for_each(strip);
        }
        Value::Array(items) => items.iter_mut().for_each(strip),
        _ => {}
    }
}
