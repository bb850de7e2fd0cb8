//! External fences that the leader runs itself: each run of a command is asked for only after a
//! quorum round that began when it was wanted. A leader that is cut off does not know that the plan
//! was undone, and that the region serves again.
//!
//! Knows what is wanted and what runs; never what a command does.

use super::{Applied, Seat, SeatAction};
use crate::{GroupId, Instant, RegionId, Token, external_fence_wanted};
use std::time::Duration;

/// Rest after a run whose check did not come back true.
const CUT_REST: Duration = Duration::from_secs(1);

/// A region to cut off, and the fence goal that asks for it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cut {
    /// The group whose policy names the command.
    pub group: GroupId,
    /// What it cuts off.
    pub region: RegionId,
    /// Token of the fence goal.
    pub token: Token,
}

impl Seat {
    fn cuts_wanted(&self, applied: Applied, now: Instant) -> Vec<Cut> {
        let wanted = external_fence_wanted(applied.state, &self.view, now);
        let wanted = wanted.into_iter();
        wanted.map(|(group, region, token)| Cut { group, region, token }).collect()
    }

    /// What wants a quorum round before it is run; none that runs, or rests.
    pub(super) fn cuts_to_ask(&mut self, applied: Applied, now: Instant) -> Vec<Cut> {
        self.cutting.retain(|_, rests| rests.is_none_or(|until| now < until));
        let wanted = self.cuts_wanted(applied, now).into_iter();
        wanted.filter(|cut| !self.cutting.contains_key(cut)).collect()
    }

    /// The round ended well: run what is still wanted.
    pub(super) fn cut(&mut self, applied: Applied, asked: &[Cut], now: Instant) -> Vec<SeatAction> {
        let mut wanted = self.cuts_wanted(applied, now);
        wanted.retain(|cut| asked.contains(cut));
        let term = self.view.term;
        let run = wanted.into_iter().map(|cut| {
            self.cutting.insert(cut.clone(), None);
            SeatAction::Cut { term, cut }
        });
        run.collect()
    }

    /// A run ended; only what the check said counts.
    pub(super) fn cut_ended(&mut self, term: u64, cut: Cut, off: bool, now: Instant) {
        if term != self.view.term {
            return;
        }
        if off {
            self.view.powered_off(&cut.group, &cut.region, cut.token);
        }
        self.cutting.insert(cut, Some(now + CUT_REST));
    }
}
