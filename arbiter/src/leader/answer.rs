//! The quorum rounds that answers wait for (design §5), one after the other. Knows how one is run;
//! never what it answers.

use super::Leader;
use super::seat::RoundWork;
use crate::clock;
use arbiter_core::Proposal;
use arbiter_core::leader::{Confirmed, SeatEvent};
use futures::future::join_all;
use std::sync::Arc;

impl Leader {
    pub(super) async fn answer_loop(self: Arc<Self>) {
        loop {
            self.answer_wake.notified().await;
            while let Some(work) = self.next_round() {
                let event = self.run_round(work).await;
                self.step(event);
            }
        }
    }

    fn next_round(&self) -> Option<RoundWork> {
        self.lock().round.take()
    }

    async fn run_round(&self, work: RoundWork) -> SeatEvent {
        match work {
            RoundWork::Mark(round, proposals) => {
                let marks = proposals.into_iter().map(|mark| self.mark(round.term, mark));
                let all = !join_all(marks).await.contains(&false);
                SeatEvent::MarksEnded { round, all }
            }
            // Raft gives up within an election; the Reports wait for another.
            RoundWork::Begin(round) => {
                let confirmed = match self.raft.read_index().await {
                    Ok(seen) => Some(Confirmed { term: seen.term, index: seen.index }),
                    Err(error) => {
                        tracing::debug!(?round, %error, "nobody is answered yet");
                        None
                    }
                };
                SeatEvent::RoundEnded { round, confirmed }
            }
        }
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
