//! `Directive`, from leader to agent.

use super::WireError;
use super::commits::{commits_in, commits_out, wait_in, wait_out};
use super::parts::*;
use arbiter_core::{
    ClusterId, Directive, GroupDirective, GroupId, Incarnation, InstanceId, Order, RegionId, Terms,
    Timing,
};
use arbiter_proto::v1 as pb;
use std::collections::BTreeMap;

/// A Directive as it goes over the wire.
pub fn directive_to_proto(directive: &Directive) -> pb::Directive {
    pb::Directive {
        cluster_id: directive.cluster_id.0.clone(),
        term: directive.term,
        answers: directive.answers,
        incarnation: directive.incarnation.0,
        groups: directive
            .groups
            .iter()
            .map(|(id, group)| (id.0.clone(), group_out(group)))
            .collect(),
        succeeds: directive.succeeds.as_ref().map(|id| id.0.clone()),
        arbiters: directive.arbiters.clone(),
    }
}

/// A Directive as it was received.
///
/// # Errors
/// Which field is missing or holds what it may not.
pub fn directive_from_proto(directive: pb::Directive) -> Result<Directive, WireError> {
    if directive.cluster_id.is_empty() {
        return Err(WireError::Missing("cluster_id"));
    }
    let mut groups = BTreeMap::new();
    for (id, group) in directive.groups {
        groups.insert(GroupId(id), group_in(group)?);
    }
    Ok(Directive {
        cluster_id: ClusterId(directive.cluster_id),
        term: directive.term,
        answers: directive.answers,
        incarnation: Incarnation(directive.incarnation),
        groups,
        succeeds: directive.succeeds.filter(|id| !id.is_empty()).map(ClusterId),
        arbiters: directive.arbiters,
    })
}

fn group_out(group: &GroupDirective) -> pb::GroupDirective {
    pb::GroupDirective {
        revision: group.revision,
        timing: Some(timing_out(&group.timing)),
        lease_ns: group.lease.map(ns),
        arm: group.arm,
        serves_on: group.serves_on,
        orders: group.orders.iter().map(order_out).collect(),
    }
}

fn group_in(group: pb::GroupDirective) -> Result<GroupDirective, WireError> {
    Ok(GroupDirective {
        revision: group.revision,
        timing: timing_in(group.timing.ok_or(WireError::Missing("timing"))?),
        lease: group.lease_ns.map(duration),
        arm: group.arm,
        serves_on: group.serves_on,
        orders: group.orders.into_iter().map(order_in).collect::<Result<_, _>>()?,
    })
}

fn timing_out(timing: &Timing) -> pb::Timers {
    pb::Timers {
        rtt_ns: ns(timing.rtt),
        heartbeat_ns: ns(timing.heartbeat),
        election_min_ns: ns(timing.election_min),
        election_max_ns: ns(timing.election_max),
        renewal_ns: ns(timing.renewal),
        fence_ns: ns(timing.fence),
        lease_ns: ns(timing.lease),
        margin_ns: ns(timing.margin),
    }
}

fn timing_in(timers: pb::Timers) -> Timing {
    Timing {
        rtt: duration(timers.rtt_ns),
        heartbeat: duration(timers.heartbeat_ns),
        election_min: duration(timers.election_min_ns),
        election_max: duration(timers.election_max_ns),
        renewal: duration(timers.renewal_ns),
        fence: duration(timers.fence_ns),
        lease: duration(timers.lease_ns),
        margin: duration(timers.margin_ns),
    }
}

fn order_out(order: &Order) -> pb::Order {
    pb::Order {
        group: order.group.0.clone(),
        instance: order.instance.0.clone(),
        layer: layer(order.layer),
        goal: goal(order.goal),
        token: Some(token(order.token)),
        verify: order.verify,
        terms: Some(terms_out(&order.terms)),
        commits: order.commits.as_ref().map(commits_out),
    }
}

fn order_in(order: pb::Order) -> Result<Order, WireError> {
    Ok(Order {
        group: GroupId(order.group),
        instance: InstanceId(order.instance),
        layer: layer_back(order.layer)?,
        goal: goal_back(order.goal)?,
        token: token_back(order.token.ok_or(WireError::Missing("order.token"))?),
        verify: order.verify,
        terms: terms_in(order.terms.ok_or(WireError::Missing("order.terms"))?)?,
        commits: order.commits.map(commits_in).transpose()?,
    })
}

fn terms_out(terms: &Terms) -> pb::Terms {
    pb::Terms {
        clean_stop_ns: terms.clean_stop.map(ns),
        upstream: terms.upstream.clone(),
        until: terms.until.map(position),
        names: terms.names.as_ref().map(|region| region.0.clone()),
        may_create: terms.may_create,
        adopt: terms.adopt,
        repair: terms.repair,
        promoted: Some(wait_out(&terms.promoted)),
    }
}

fn terms_in(terms: pb::Terms) -> Result<Terms, WireError> {
    Ok(Terms {
        clean_stop: terms.clean_stop_ns.map(duration),
        upstream: terms.upstream,
        until: terms.until.map(position_back),
        names: terms.names.map(RegionId),
        may_create: terms.may_create,
        adopt: terms.adopt,
        repair: terms.repair,
        promoted: terms.promoted.map(wait_in).transpose()?.unwrap_or_default(),
    })
}
