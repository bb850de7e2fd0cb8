//! From one cluster to the one that goes on from it (decision 0032): only fenced, and on disk
//! before anything else. Knows what its groups hold; never why a cluster ended.

use super::{AgentAction, AgentMachine};
use crate::{ClusterId, Directive, Instant};
use std::time::Duration;

/// A cluster's name that could not be written is tried again after this.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// How far the change is.
#[derive(Clone, Debug, Default)]
pub(super) struct Change {
    /// The name that goes to disk, and since when.
    under_way: Option<(Option<ClusterId>, Instant)>,
    /// What was told last.
    said: Option<(ClusterId, String)>,
}

impl Change {
    pub(super) fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }
}

impl AgentMachine {
    /// Another cluster spoke. Only one that goes on from ours is heard.
    pub(super) fn invited(&mut self, told: &Directive, now: Instant, out: &mut Vec<AgentAction>) {
        if told.succeeds.is_none() || told.succeeds != self.cluster_id {
            return;
        }
        match self.holds(false, now) {
            None => self.begin(Some(told.cluster_id.clone()), now, out),
            Some(why) => self.stay(told.cluster_id.clone(), why, out),
        }
    }

    /// An operator said that ours is gone.
    pub(super) fn leave_cluster(&mut self, now: Instant, out: &mut Vec<AgentAction>) {
        if let Some((name, since)) = &self.change.under_way {
            if now.since(*since) >= AGAIN_AFTER {
                let name = name.clone();
                self.begin(name, now, out);
            }
            return;
        }
        let Some(cluster) = self.leaves.clone().filter(|id| Some(id) == self.cluster_id.as_ref())
        else {
            return;
        };
        match self.holds(true, now) {
            None => self.begin(None, now, out),
            Some(why) => self.stay(cluster, why, out),
        }
    }

    /// Why the agent may not change over now. What it holds could be leased by one cluster and
    /// fenced by another. // I1
    fn holds(&self, by_word: bool, now: Instant) -> Option<String> {
        if !self.deadman_known {
            return Some("what the deadman holds is not known yet".to_owned());
        }
        let mut groups = self.groups.iter();
        groups.find_map(|(id, group)| Some(format!("group {id}: {}", group.holds(by_word, now)?)))
    }

    fn begin(&mut self, name: Option<ClusterId>, now: Instant, out: &mut Vec<AgentAction>) {
        self.change.under_way = Some((name.clone(), now));
        out.push(AgentAction::PersistCluster(name));
    }

    fn stay(&mut self, cluster: ClusterId, why: String, out: &mut Vec<AgentAction>) {
        let said = Some((cluster.clone(), why.clone()));
        if self.change.said != said {
            self.change.said = said;
            out.push(AgentAction::StaysWith { cluster, why });
        }
    }

    /// The name is on disk: the former cluster has no say any more, nor what it said.
    pub(super) fn changed_over(&mut self, name: Option<ClusterId>, ok: bool) {
        let Some((wanted, _)) = &self.change.under_way else { return };
        if *wanted != name || !ok {
            return;
        }
        self.change = Change::default();
        self.cluster_id = name;
        self.term = 0;
        self.sent.clear();
        self.groups.values_mut().for_each(super::GroupMachine::changed_over);
        self.report_wanted = true;
    }

    /// Where arbiters are, as a quorum says.
    pub(super) fn learn(&mut self, arbiters: &[String], out: &mut Vec<AgentAction>) {
        if !arbiters.is_empty() && self.arbiters != arbiters {
            self.arbiters = arbiters.to_vec();
            out.push(AgentAction::LearnArbiters(self.arbiters.clone()));
        }
    }
}
