//! `Report`, from agent to leader.

use super::WireError;
use super::commits::{names_in, names_out, wait_in, wait_out};
use super::parts::*;
use arbiter_core::{
    AgentId, Arming, ClusterId, DoneReport, Epoch, ErrorReport, Fact, GroupId, GroupReport,
    Incarnation, InstanceId, InstanceReport, LateObject, LateObjects, Loss, LostTransaction,
    RENEWAL_GAP_DAYS, RegionId, Report, TrafficFact, Upstream, WallMillis,
};
use arbiter_proto::v1 as pb;
use std::collections::BTreeMap;

/// A Report as it goes over the wire.
pub fn report_to_proto(report: &Report) -> pb::Report {
    pb::Report {
        cluster_id: report.cluster_id.as_ref().map(|id| id.0.clone()),
        agent: report.agent.0.clone(),
        incarnation: report.incarnation.0,
        boot_id: report.boot_id.clone(),
        sequence: report.sequence,
        groups: report.groups.iter().map(|(id, group)| (id.0.clone(), group_out(group))).collect(),
        watchdog: report.watchdog,
        gap_ns: report.gaps.iter().map(|gap| ns(*gap)).collect(),
    }
}

/// A Report as it was received.
///
/// # Errors
/// Which field is missing or holds what it may not.
pub fn report_from_proto(report: pb::Report) -> Result<Report, WireError> {
    if report.agent.is_empty() {
        return Err(WireError::Missing("agent"));
    }
    let mut groups = BTreeMap::new();
    for (id, group) in report.groups {
        groups.insert(GroupId(id), group_in(group)?);
    }
    Ok(Report {
        cluster_id: report.cluster_id.map(ClusterId),
        agent: AgentId(report.agent),
        incarnation: Incarnation(report.incarnation),
        boot_id: report.boot_id,
        sequence: report.sequence,
        groups,
        watchdog: report.watchdog,
        gaps: report.gap_ns.into_iter().take(RENEWAL_GAP_DAYS).map(duration).collect(),
    })
}

fn group_out(group: &GroupReport) -> pb::GroupReport {
    pb::GroupReport {
        armed_counting_as: evidence(group.arming.map(|arming| arming.expiry_counts_as)),
        deadline_running: group.deadline_running,
        lapsed: group.lapsed,
        remaining_ns: group.remaining.map(ns),
        would_have_killed: group.would_have_killed,
        obeyed: group.obeyed,
        instances: group
            .instances
            .iter()
            .map(|(id, instance)| (id.0.clone(), instance_out(instance)))
            .collect(),
    }
}

fn group_in(group: pb::GroupReport) -> Result<GroupReport, WireError> {
    let mut instances = BTreeMap::new();
    for (id, instance) in group.instances {
        instances.insert(InstanceId(id), instance_in(instance)?);
    }
    Ok(GroupReport {
        arming: evidence_back(group.armed_counting_as)?
            .map(|expiry_counts_as| Arming { expiry_counts_as }),
        deadline_running: group.deadline_running,
        lapsed: group.lapsed,
        remaining: group.remaining_ns.map(duration),
        would_have_killed: group.would_have_killed,
        obeyed: group.obeyed,
        instances,
    })
}

fn instance_out(instance: &InstanceReport) -> pb::InstanceReport {
    pb::InstanceReport {
        fact: Some(fact_out(&instance.fact)),
        age_ns: ns(instance.age),
        token: Some(token(instance.token)),
        done: instance.done.as_ref().map(done_out),
        verified: instance.verified.map(token),
        error: instance.error.as_ref().map(error_out),
        commits: instance.commits.as_ref().map(wait_out),
    }
}

fn instance_in(instance: pb::InstanceReport) -> Result<InstanceReport, WireError> {
    Ok(InstanceReport {
        fact: fact_in(instance.fact.ok_or(WireError::Missing("fact"))?)?,
        age: duration(instance.age_ns),
        token: token_back(instance.token.ok_or(WireError::Missing("token"))?),
        done: instance.done.map(done_in).transpose()?,
        verified: instance.verified.map(token_back),
        error: instance.error.map(error_in).transpose()?,
        commits: instance.commits.map(wait_in).transpose()?,
    })
}

fn done_out(done: &DoneReport) -> pb::DoneReport {
    pb::DoneReport {
        goal: goal(done.goal),
        token: Some(token(done.token)),
        evidence: evidence(done.evidence),
        end: done.end.map(position),
        clean: done.clean,
    }
}

fn done_in(done: pb::DoneReport) -> Result<DoneReport, WireError> {
    Ok(DoneReport {
        goal: goal_back(done.goal)?,
        token: token_back(done.token.ok_or(WireError::Missing("done.token"))?),
        evidence: evidence_back(done.evidence)?,
        end: done.end.map(position_back),
        clean: done.clean,
    })
}

fn error_out(error: &ErrorReport) -> pb::ErrorReport {
    pb::ErrorReport {
        token: Some(token(error.token)),
        refused: error.refused,
        stale: error.stale.map(token),
        message: error.message.clone(),
    }
}

fn error_in(error: pb::ErrorReport) -> Result<ErrorReport, WireError> {
    Ok(ErrorReport {
        token: token_back(error.token.ok_or(WireError::Missing("error.token"))?),
        refused: error.refused,
        stale: error.stale.map(token_back),
        message: error.message,
    })
}

fn fact_out(fact: &Fact) -> pb::Fact {
    pb::Fact {
        condition: condition(fact.condition),
        role: role(fact.role),
        writable: fact.writable,
        position: fact.position.map(position),
        replayed: fact.replayed.map(position),
        upstream: fact.upstream.map(|upstream| pb::UpstreamFact {
            position: Some(position(upstream.position)),
            age_ns: ns(upstream.age),
            streaming: upstream.streaming,
        }),
        traffic: fact.traffic.as_ref().map(|traffic| pb::TrafficFact {
            token: traffic.token.map(token),
            names: traffic.names.as_ref().map(|region| region.0.clone()),
            drift: traffic.drift.clone(),
        }),
        data_id: fact.data_id.clone(),
        fork: fact.fork.map(position),
        history: fact.history.clone(),
        obstacles: fact.obstacles.clone(),
        faults: fact.faults.clone(),
        waits_for: fact.waits_for.as_ref().map(names_out),
        lost: fact.lost.as_deref().map(loss_to_proto),
        detail: fact.detail.clone().into_iter().collect(),
    }
}

/// What a divergence cost, as it goes over the wire.
pub fn loss_to_proto(loss: &Loss) -> pb::Loss {
    let listed = loss.listed.iter().map(|one| pb::LostTransaction {
        id: one.id,
        lsn: one.lsn.clone(),
        at: one.at.clone(),
    });
    pb::Loss {
        from: Some(position(loss.from)),
        end: Some(position(loss.end)),
        count: loss.count,
        first: loss.first.clone(),
        last: loss.last.clone(),
        listed: listed.collect(),
        kept: loss.kept.clone(),
        found_wall_ms: loss.found.0,
        late: loss.late.as_deref().map(late_out),
    }
}

fn late_out(late: &LateObjects) -> pb::LateObjects {
    let one = |one: &LateObject| pb::LateObject { key: one.key.clone(), at_wall_ms: one.at.0 };
    pb::LateObjects {
        epoch: late.epoch.0,
        since_wall_ms: late.since.0,
        listed: late.listed.iter().map(one).collect(),
        unknown: late.unknown,
        whole: late.whole,
        read: late.read.clone(),
    }
}

fn late_in(late: pb::LateObjects) -> LateObjects {
    let one = |one: pb::LateObject| LateObject { key: one.key, at: WallMillis(one.at_wall_ms) };
    LateObjects {
        epoch: Epoch(late.epoch),
        since: WallMillis(late.since_wall_ms),
        listed: late.listed.into_iter().map(one).collect(),
        unknown: late.unknown,
        whole: late.whole,
        read: late.read,
    }
}

fn loss_in(loss: pb::Loss) -> Result<Loss, WireError> {
    let listed = loss.listed.into_iter();
    let listed = listed.map(|one| LostTransaction { id: one.id, lsn: one.lsn, at: one.at });
    Ok(Loss {
        from: position_back(loss.from.ok_or(WireError::Missing("lost.from"))?),
        end: position_back(loss.end.ok_or(WireError::Missing("lost.end"))?),
        count: loss.count,
        first: loss.first,
        last: loss.last,
        listed: listed.collect(),
        kept: loss.kept,
        found: WallMillis(loss.found_wall_ms),
        late: loss.late.map(|late| Box::new(late_in(late))),
    })
}

fn fact_in(fact: pb::Fact) -> Result<Fact, WireError> {
    let upstream = match fact.upstream {
        None => None,
        Some(upstream) => Some(Upstream {
            position: position_back(
                upstream.position.ok_or(WireError::Missing("upstream.position"))?,
            ),
            age: duration(upstream.age_ns),
            streaming: upstream.streaming,
        }),
    };
    Ok(Fact {
        condition: condition_back(fact.condition)?,
        role: role_back(fact.role)?,
        writable: fact.writable,
        position: fact.position.map(position_back),
        replayed: fact.replayed.map(position_back),
        upstream,
        traffic: fact.traffic.map(|traffic| TrafficFact {
            token: traffic.token.map(token_back),
            names: traffic.names.map(RegionId),
            drift: traffic.drift,
        }),
        data_id: fact.data_id,
        fork: fact.fork.map(position_back),
        history: fact.history,
        obstacles: fact.obstacles,
        faults: fact.faults,
        waits_for: fact.waits_for.map(names_in),
        lost: fact.lost.map(loss_in).transpose()?.map(Box::new),
        detail: fact.detail.into_iter().collect(),
    })
}
