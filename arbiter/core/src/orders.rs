//! What an agent must make true, and the Directive that tells it. Reads State; the lease part also
//! reads what the leader heard. Never decides a plan.

use crate::{AgentId, Directive, GroupId, Instant, Order, Report, State, View};
use std::collections::BTreeMap;
use std::time::Duration;

/// What `agent` must make true: a goal for each of its instances. Empty for a group whose mode is
/// `observe` and which is unarmed, or which was never activated.
pub fn orders(state: &State, agent: &AgentId) -> Vec<Order> {
    let _ = (state, agent);
    Vec::new()
}

/// Which leases an answer to `report` renews, and for how long. The caller holds the critical
/// section of design §5 and writes every one into the lease book before it hands over the answer.
pub fn grants(state: &State, view: &View, report: &Report) -> BTreeMap<GroupId, Duration> {
    let _ = (state, view, report);
    BTreeMap::new()
}

/// The answer to `report`, with leases. See [`View::answer`], which also writes the lease book.
pub fn directive(state: &State, view: &View, report: &Report, now: Instant) -> Directive {
    let _ = now;
    Directive {
        cluster_id: state.cluster_id.clone().unwrap_or_else(|| "".into()),
        term: view.term,
        answers: Some(report.sequence),
        incarnation: report.incarnation,
        groups: BTreeMap::new(),
    }
}

/// A Directive without leases, for when State changed and the agent should not wait for its next
/// Report. None when the agent was not heard in this term.
pub fn push(state: &State, view: &View, agent: &AgentId) -> Option<Directive> {
    let report = &view.reports.get(agent)?.report;
    let mut pushed = directive(state, view, report, Instant::default());
    pushed.answers = None;
    Some(pushed)
}
