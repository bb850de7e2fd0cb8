//! From decisions into the log: each turn of the loop, and what became of a proposal.

use super::Leader;
use super::seat::Wanted;
use crate::clock;
use crate::raft::ProposeError;
use arbiter_core::leader::{Ended, SeatEvent};
use arbiter_core::{Proposal, Rejected};
use std::sync::Arc;
use tokio::task::JoinSet;

impl Leader {
    /// One turn of the loop: decide, push what is new, and set proposals on their way.
    pub(super) fn turn(self: &Arc<Self>, proposals: &mut JoinSet<()>) {
        self.see_quietly(|view, now| view.vantage(&self.me, now));
        self.step(SeatEvent::Turn);
        for wanted in std::mem::take(&mut self.lock().wanted) {
            proposals.spawn(self.clone().carry(wanted));
        }
        for (term, cut) in std::mem::take(&mut self.lock().cuts) {
            tokio::spawn(self.clone().cut(term, cut));
        }
    }

    async fn carry(self: Arc<Self>, wanted: Wanted) {
        let Wanted { term, subject, mut proposal } = wanted;
        proposal.wall = clock::wall();
        let ended = self.propose(term, &proposal).await;
        self.step(SeatEvent::ProposalEnded { term, subject, ended });
        self.decide_wake.notify_one();
    }

    async fn propose(&self, term: u64, proposal: &Proposal) -> Ended {
        let command = &proposal.command;
        match self.raft.propose_in(term, proposal).await {
            Ok(Ok(_)) => Ended::Done,
            Ok(Err(Rejected::Stale(why))) => {
                tracing::debug!(?command, %why, "stale");
                Ended::Stale
            }
            Ok(Err(refused)) => {
                tracing::warn!(?command, %refused, "a decision was refused");
                Ended::Refused
            }
            Err(ProposeError::Unknown(why)) => {
                tracing::info!(?command, %why, "outcome unknown");
                Ended::Unknown
            }
            Err(failed) => {
                tracing::debug!(?command, %failed, "not proposed");
                Ended::NotProposed
            }
        }
    }
}
