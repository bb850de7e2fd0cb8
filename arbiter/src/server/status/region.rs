//! A region of a group: its agents and their instances.

use super::ms;
use crate::calendar;
use crate::wire::{layer_word, spelled};
use arbiter_core::{
    AgentId, GroupId, GroupReport, GroupSpec, Health, Heard, Instance, InstanceId, InstanceReport,
    Instant, Layer, OnQuorumLoss, RegionId, RegionKind, Role, State, VANTAGE_FRESH_MAX, View,
    region_health,
};
use arbiter_proto::v1 as pb;
use std::time::Duration;

/// What every part of it reads.
pub(super) struct At<'a> {
    pub state: &'a State,
    pub view: Option<&'a View>,
    pub now: Instant,
    pub id: &'a GroupId,
    pub spec: &'a GroupSpec,
}

impl At<'_> {
    pub fn heard(&self, agent: &AgentId) -> Option<&Heard> {
        self.view?.reports.get(agent)
    }

    fn shown(&self, agent: &AgentId) -> Option<&GroupReport> {
        self.heard(agent)?.report.groups.get(self.id)
    }

    pub fn instance(&self, id: &InstanceId, instance: &Instance) -> Option<&InstanceReport> {
        self.shown(&instance.agent)?.instances.get(id)
    }

    pub fn age(&self, agent: &AgentId) -> Option<Duration> {
        self.heard(agent).map(|heard| self.now.since(heard.at))
    }

    /// What is left of an agent's lease, as it last showed it.
    pub fn lease_left(&self, agent: &AgentId) -> Option<Duration> {
        let remaining = self.shown(agent)?.remaining?;
        Some(remaining.saturating_sub(self.age(agent)?))
    }
}

pub(super) fn region(at: &At, id: &RegionId, kind: RegionKind) -> pb::RegionStatus {
    let agents: Vec<&AgentId> = at.spec.agents_in(id).into_iter().collect();
    let newest = match kind {
        RegionKind::Data => agents.iter().filter_map(|agent| at.age(agent)).min(),
        RegionKind::Witness => arbiter_age(at, id),
    };
    let goal = at.state.groups.get(at.id).and_then(|group| group.goal(id, Layer::Data));
    pb::RegionStatus {
        region: id.0.clone(),
        kind: spelled(&kind),
        health: health(at, id, kind),
        goal: goal.map_or(String::new(), |set| set.goal.to_string()),
        reported_ms: newest.map_or(0, ms),
        heard: newest.is_some(),
        agents: agents.into_iter().map(|agent| agent_status(at, agent)).collect(),
    }
}

/// Since an arbiter of the region was last heard.
fn arbiter_age(at: &At, region: &RegionId) -> Option<Duration> {
    let voters = at.state.spec.voters.iter().filter(|(_, voter)| voter.region == *region);
    voters.filter_map(|(id, _)| Some(at.now.since(*at.view?.vantages.get(id)?))).min()
}

fn health(at: &At, id: &RegionId, kind: RegionKind) -> String {
    let Some(view) = at.view else { return String::new() };
    let health = match kind {
        RegionKind::Data => region_health(at.state, view, at.now, at.id, id),
        RegionKind::Witness => match arbiter_age(at, id) {
            Some(age) if age <= VANTAGE_FRESH_MAX => Health::Healthy,
            Some(_) | None => Health::Unreachable,
        },
    };
    spelled(&health)
}

fn agent_status(at: &At, id: &AgentId) -> pb::AgentStatus {
    let (heard, shown) = (at.heard(id), at.shown(id));
    let wanted = at.state.groups.get(at.id).is_some_and(|group| group.arming_wanted);
    let holds = shown.is_some_and(|shown| shown.arming.is_some())
        && at.spec.policy.on_quorum_loss == OnQuorumLoss::Hold;
    let arming = match (at.state.arming(id, at.id), wanted) {
        (Some(_), _) => "armed",
        (None, true) if holds => "holding",
        (None, true) => "arming",
        (None, false) => "unarmed",
    };
    let bound = at.state.bindings.get(id).map_or(0, |binding| binding.incarnation.0);
    pb::AgentStatus {
        agent: id.0.clone(),
        incarnation: heard.map_or(bound, |heard| heard.report.incarnation.0),
        arming: arming.to_owned(),
        lapsed: shown.is_some_and(|shown| shown.lapsed),
        lease_left_ms: at.lease_left(id).map_or(0, ms),
        reported_ms: at.age(id).map_or(0, ms),
        connected: heard.is_some_and(|heard| heard.connected),
        would_have_killed: shown.map_or(0, |shown| shown.would_have_killed),
        instances: at.spec.beside(id).map(|(id, i)| instance_status(at, id, i)).collect(),
        watchdog: heard.and_then(|heard| heard.report.watchdog),
    }
}

pub(super) fn instance_status(at: &At, id: &InstanceId, instance: &Instance) -> pb::InstanceStatus {
    let group = at.state.groups.get(at.id);
    let shown = at.instance(id, instance);
    let fact = shown.map(|shown| &shown.fact);
    let goal = group.and_then(|group| group.goal(&instance.region, instance.layer));
    let lag = shown.and_then(|shown| lag(at, instance, shown));
    let unfenced = group.and_then(|group| group.unfenced.get(id));
    pb::InstanceStatus {
        instance: id.0.clone(),
        resource: instance.resource.0.clone(),
        kind: instance.kind.clone(),
        layer: layer_word(instance.layer).to_owned(),
        goal: goal.map_or(String::new(), |set| set.goal.to_string()),
        condition: fact.map_or("unknown".to_owned(), |fact| spelled(&fact.condition)),
        role: fact.map_or(String::new(), |fact| match fact.role {
            Role::None => String::new(),
            role => spelled(&role),
        }),
        position: fact
            .and_then(|fact| fact.position)
            .map_or(String::new(), |position| position.to_string()),
        lag_bytes: lag.map_or(0, |(bytes, _)| bytes),
        lag_known: lag.is_some(),
        lag_age_ms: lag.map_or(0, |(_, old)| ms(old)),
        error: shown
            .and_then(|shown| shown.error.as_ref())
            .map_or(String::new(), |error| error.message.clone()),
        token: shown.map_or(String::new(), |shown| shown.token.to_string()),
        unfenced_since: unfenced.map_or(String::new(), |wall| calendar::utc(wall.0)),
        detail: fact.map_or_else(Default::default, |fact| fact.detail.clone()),
    }
}

/// Bytes that a replica lacks of its primary's stream, and how old the word of that stream is.
pub(super) fn lag(at: &At, instance: &Instance, shown: &InstanceReport) -> Option<(u64, Duration)> {
    if shown.fact.role != Role::Replica {
        return None;
    }
    let have = shown.fact.position?;
    let own = at.age(&instance.agent).unwrap_or_default();
    let upstream = shown.fact.upstream.map(|up| (up.position, up.age + shown.age + own));
    let primary = at.state.groups.get(at.id)?.primaries.get(&instance.resource);
    let primary = primary.and_then(|id| {
        let beside = at.spec.instances.get(id)?;
        let report = at.instance(id, beside)?;
        Some((report.fact.position?, report.age + at.age(&beside.agent)?))
    });
    // The furthest word of the stream, whoever told it.
    let (end, age) = match (upstream, primary) {
        (Some(one), Some(other)) => std::cmp::max_by_key(one, other, |(position, _)| *position),
        (one, other) => one.or(other)?,
    };
    (end.timeline == have.timeline || end <= have)
        .then(|| (end.offset.saturating_sub(have.offset), age))
}
