//! The leader's memory of leases it answered. Pure: the caller holds it, with State, in one
//! critical section when it answers and when it decides (design §5).

use crate::{AgentId, GroupId, Incarnation, Instant};
use std::collections::BTreeMap;
use std::time::Duration;

/// When each lease was last answered. Renewals are not logged. A leader elected again starts with
/// an empty book: answers it gave before its latest election are forgotten on purpose.
#[derive(Clone, Debug, Default)]
pub struct LeaseBook {
    elected: Instant,
    answered: BTreeMap<(GroupId, AgentId, Incarnation), Instant>,
}

impl LeaseBook {
    /// An empty book of a leader elected at `elected`.
    pub fn new(elected: Instant) -> Self {
        Self { elected, answered: BTreeMap::new() }
    }

    /// Note that a renewal is handed over at `now`; called before it leaves.
    pub fn answer(&mut self, group: &GroupId, agent: &AgentId, life: Incarnation, now: Instant) {
        self.answered.insert((group.clone(), agent.clone(), life), now);
    }

    /// How long ago the lease may last have been renewed: since the later of this leader's last
    /// answer and its election.
    pub fn silent_for(
        &self,
        group: &GroupId,
        agent: &AgentId,
        life: Incarnation,
        now: Instant,
    ) -> Duration {
        let last = self.answered.get(&(group.clone(), agent.clone(), life));
        now.since(last.copied().unwrap_or(self.elected).max(self.elected))
    }

    /// The same for every lease of `group`: the shortest silence.
    pub fn group_silent_for(&self, group: &GroupId, now: Instant) -> Duration {
        let last =
            self.answered.iter().filter(|((g, _, _), _)| g == group).map(|(_, at)| *at).max();
        now.since(last.unwrap_or(self.elected).max(self.elected))
    }
}
