//! The quorum rounds that answers wait for (design §5), one after the other. Knows how one is run;
//! never what it answers.

use super::Leader;
use arbiter_core::leader::{Confirmed, RoundId, SeatEvent};
use std::sync::Arc;

impl Leader {
    pub(super) async fn answer_loop(self: Arc<Self>) {
        loop {
            self.answer_wake.notified().await;
            while let Some(round) = self.next_round() {
                let event = self.run_round(round).await;
                self.step(event);
            }
        }
    }

    fn next_round(&self) -> Option<RoundId> {
        self.lock().round.take()
    }

    /// Raft gives up within an election; the Reports wait for another round.
    async fn run_round(&self, round: RoundId) -> SeatEvent {
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
