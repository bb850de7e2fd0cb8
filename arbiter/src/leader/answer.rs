//! Answering Reports: one quorum round for all that wait (design §5). Renewals are not logged.

use super::Leader;
use crate::clock;
use arbiter_core::Proposal;
use futures::future::join_all;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;

/// Wait after a failed round, so that a lost quorum does not make a busy loop.
const ROUND_RETRY: Duration = Duration::from_millis(50);

impl Leader {
    pub(super) async fn answer_loop(self: Arc<Self>) {
        loop {
            self.answer_wake.notified().await;
            if !self.answer_round().await {
                sleep(ROUND_RETRY).await;
            }
        }
    }

    /// Answer every Report that has arrived; false when there was no quorum.
    async fn answer_round(&self) -> bool {
        let (term, batch, marks) = {
            let mut seat = self.lock();
            let Some(seat) = seat.as_mut() else { return true };
            let (batch, marks) =
                self.raft.state().with(|state| seat.take_pending(state, clock::now()));
            (seat.view.term, batch, marks)
        };
        if batch.is_empty() {
            return true;
        }
        // The crossing is in State before the Report that shows it is answered: a new leader that
        // never saw that Report decides by the mark.
        let marked = join_all(marks.into_iter().map(|mark| self.mark(term, mark))).await;
        if marked.contains(&false) {
            return false;
        }
        // Every Report of the batch has arrived, so the round begins after each of them. Raft
        // gives up within an election; the agents ask anew.
        let Ok(confirmed) = self.raft.read_index().await else { return false };
        let mut seat = self.lock();
        let Some(seat) = seat.as_mut().filter(|seat| seat.view.term == term) else { return true };
        if confirmed.term != term {
            return false;
        }
        self.raft.state().with(|state| {
            for pending in &batch {
                seat.answer(state, pending, clock::now());
            }
        });
        true
    }

    async fn mark(&self, term: u64, mut mark: Proposal) -> bool {
        mark.wall = clock::wall();
        match self.raft.propose_in(term, &mark).await {
            Ok(Ok(_)) => true,
            // Stale: it was marked meanwhile; State says what holds now.
            Ok(Err(refused)) => {
                tracing::debug!(%refused, "lag mark refused");
                true
            }
            Err(_) => false,
        }
    }
}
