//! The face that a client asks for the mode of a group: a quorum round, then the leader's State and
//! View, as `arbiter/src/server` does. It says "in effect" only of what a quorum confirmed.

use super::clock::{MS, Nanos};
use super::event::Due;
use super::raft::ARBITERS;
use super::world::World;
use arbiter_core::{GroupId, Mode, Topic, explain_group};

/// Between two questions.
const ASKED_EVERY: Nanos = 500 * MS;

/// A mode that was told to be in effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The group.
    pub group: GroupId,
    /// Its mode.
    pub mode: Mode,
    /// When the client asked, in true time.
    pub asked: Nanos,
}

impl World {
    /// A client asks an arbiter. One that does not lead has nothing to say by itself.
    pub(super) fn face(&mut self) {
        self.after(ASKED_EVERY, Due::Face);
        let at = self.rng.index(ARBITERS);
        let voter = &self.raft.voters[at];
        let Some(term) = voter.leads.filter(|_| voter.up && !voter.frozen) else { return };
        let index = self.raft.last();
        let confirmed = self.round(at, term).map(|_| index);
        let delay = 2 * self.net.delay(&mut self.rng);
        self.after(delay, Due::FaceAnswers { leader: at, term, asked: self.now, confirmed });
    }

    /// The round is over, and the client is told what is so.
    pub(super) fn face_answers(
        &mut self,
        leader: usize,
        term: u64,
        asked: Nanos,
        confirmed: Option<u64>,
    ) {
        let again = || Due::FaceAnswers { leader, term, asked, confirmed };
        if !self.awake(leader, again) || !self.leads(leader, term) {
            return;
        }
        let Some(index) = confirmed else {
            self.count("modes that no quorum confirmed", 1);
            return;
        };
        let applied = &mut self.raft.voters[leader].applied;
        *applied = index.max(*applied);
        let state = self.raft.state(leader);
        let now = self.arbiters[leader].clock.at(self.now);
        for (id, group) in &state.groups {
            let Some(view) = self.view(leader) else { return };
            let reasons = explain_group(&state, view, now, id);
            let unarmed =
                |r: &arbiter_core::Reason| r.topic == Topic::Degraded && r.code == "not-armed";
            if reasons.iter().any(unarmed) {
                self.count("modes not in effect for want of arming", 1);
                continue;
            }
            self.count("modes told to be in effect", 1);
            self.watch_told(&Told { group: id.clone(), mode: group.mode, asked }, &state);
        }
    }
}
