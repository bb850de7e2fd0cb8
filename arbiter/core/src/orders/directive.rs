//! The Directive: leases and orders for one agent. Knows State and a Report; decides nothing.

use super::grants::{is_bound, lease_of};
use super::{grants, group_orders};
use crate::{
    AgentId, ClusterId, Directive, Goal, GroupDirective, GroupId, OnQuorumLoss, Order, Report,
    State, View,
};
use std::collections::BTreeMap;
use std::time::Duration;

/// The answer to `report`, with leases. See [`View::answer`], which also writes the lease book.
pub fn directive(state: &State, view: &View, report: &Report) -> Directive {
    let leases = grants(state, report);
    build(state, view, report, Some(report.sequence), &leases)
}

/// A Directive without leases, for when State changed and the agent should not wait for its next
/// Report. None when the agent was not heard in this term.
pub fn push(state: &State, view: &View, agent: &AgentId) -> Option<Directive> {
    let report = &view.reports.get(agent)?.report;
    Some(build(state, view, report, None, &BTreeMap::new()))
}

fn build(
    state: &State,
    view: &View,
    report: &Report,
    answers: Option<u64>,
    leases: &BTreeMap<GroupId, Duration>,
) -> Directive {
    let cluster_id = state.cluster_id.clone().unwrap_or_else(|| "".into());
    let ours = report.cluster_id.as_ref().is_none_or(|id| *id == cluster_id);
    let groups = state.spec.groups.iter().filter(|(_, spec)| ours && spec.serves(&report.agent));
    let groups = groups.filter_map(|(id, _)| Some((id.clone(), part(state, report, id, leases)?)));
    Directive {
        term: view.term,
        answers,
        incarnation: report.incarnation,
        groups: groups.collect(),
        succeeds: succeeded(state, report),
        arbiters: state.spec.voters.values().map(|voter| voter.address.clone()).collect(),
        cluster_id,
    }
}

/// The former cluster of this one that the agent still serves.
pub(crate) fn succeeded(state: &State, report: &Report) -> Option<ClusterId> {
    let theirs = report.cluster_id.as_ref()?;
    let restored = state.restored.as_ref()?;
    restored.from.contains(theirs).then(|| theirs.clone())
}

/// What an agent of a former cluster is told: that it may change over, and nothing else.
pub(crate) fn invitation(state: &State, term: u64, report: &Report) -> Option<Directive> {
    Some(Directive {
        succeeds: Some(succeeded(state, report)?),
        term,
        answers: None,
        incarnation: report.incarnation,
        groups: BTreeMap::new(),
        arbiters: state.spec.voters.values().map(|voter| voter.address.clone()).collect(),
        cluster_id: state.cluster_id.clone()?,
    })
}

fn part(
    state: &State,
    report: &Report,
    id: &GroupId,
    leases: &BTreeMap<GroupId, Duration>,
) -> Option<GroupDirective> {
    let (spec, group) = state.group(id)?;
    let mut timing = spec.policy.timing;
    timing.lease = lease_of(state, id)?;
    let mut orders = group_orders(state, &report.agent, id);
    if !is_bound(state, report) {
        // A life that is not bound yet may be told to hold still, never to serve, nor to cut off
        // another region.
        let own = |order: &Order| spec.instances.contains_key(&order.instance);
        orders.retain(|order| order.goal == Goal::Fenced && own(order));
    }
    Some(GroupDirective {
        revision: group.revision,
        timing,
        lease: leases.get(id).copied(),
        arm: group.arming_wanted,
        serves_on: spec.policy.on_quorum_loss == OnQuorumLoss::Hold,
        orders,
    })
}
