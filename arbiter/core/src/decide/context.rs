//! One group as the leader sees it now: State, View and the clock together. Knows what was heard;
//! judges nothing.

use crate::{
    AgentId, Condition, Control, Fact, Group, GroupId, GroupReport, GroupSpec, Heard, InstanceId,
    InstanceReport, Instant, Position, RegionId, ResourceId, Role, State, Timing, View,
    orders::is_bound,
};
use std::time::Duration;

/// An arbiter, or one of its probes, that was not heard for this long says nothing any more.
pub const VANTAGE_FRESH_MAX: Duration = Duration::from_secs(5);

/// Missed renewals after which a session counts as gone, though its connection may stand.
const RENEWALS_MISSED_MAX: u32 = 3;

/// How long an agent may be silent and still count as live.
pub(crate) fn session_limit(timing: &Timing) -> Duration {
    timing.renewal * RENEWALS_MISSED_MAX + timing.rtt
}

/// State, View and now, for one group.
#[derive(Clone, Copy)]
pub(crate) struct Context<'a> {
    pub state: &'a State,
    pub view: &'a View,
    pub now: Instant,
    pub id: &'a GroupId,
    pub spec: &'a GroupSpec,
    pub group: &'a Group,
}

/// What is known of the end of a resource's stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    /// The furthest position heard of.
    pub position: Position,
    /// How long ago the newest word of it was true.
    pub age: Duration,
}

impl<'a> Context<'a> {
    pub fn new(state: &'a State, view: &'a View, now: Instant, id: &'a GroupId) -> Option<Self> {
        let (spec, group) = state.group(id)?;
        // The key of the map outlives this call, the argument does too.
        Some(Self { state, view, now, id, spec, group })
    }

    /// The last Report of the bound life of `agent`.
    pub fn heard(&self, agent: &AgentId) -> Option<&'a Heard> {
        self.view.reports.get(agent).filter(|heard| is_bound(self.state, &heard.report))
    }

    /// The group's part of it.
    pub fn shown(&self, agent: &AgentId) -> Option<&'a GroupReport> {
        self.heard(agent)?.report.groups.get(self.id)
    }

    /// What the bound life beside `instance` last showed of it.
    pub fn instance(&self, instance: &InstanceId) -> Option<&'a InstanceReport> {
        let agent = &self.spec.instances.get(instance)?.agent;
        self.shown(agent)?.instances.get(instance)
    }

    /// A session of the bound life stands and was heard within the last few renewals.
    pub fn is_live(&self, agent: &AgentId) -> bool {
        self.heard(agent).is_some_and(|heard| {
            let limit = session_limit(&self.spec.policy.timing);
            heard.connected && self.now.since(heard.at) <= limit
        })
    }

    /// The fact about an instance beside a live agent.
    pub fn live_fact(&self, instance: &InstanceId) -> Option<&'a Fact> {
        let agent = &self.spec.instances.get(instance)?.agent;
        if self.is_live(agent) { Some(&self.instance(instance)?.fact) } else { None }
    }

    /// Its condition; `Unknown` where nobody live tells.
    pub fn condition(&self, instance: &InstanceId) -> Condition {
        self.live_fact(instance).map_or(Condition::Unknown, |fact| fact.condition)
    }

    /// How long ago what was last shown of `instance` was true.
    pub fn age(&self, instance: &InstanceId) -> Option<Duration> {
        let agent = &self.spec.instances.get(instance)?.agent;
        let at = self.heard(agent)?.at;
        Some(self.now.since(at) + self.instance(instance)?.age)
    }

    /// The primary of `resource`, as State names it. Of a managed cluster it is the node that a
    /// live agent shows to be: its manager may have chosen another since.
    pub fn primary(&self, resource: &ResourceId) -> Option<&'a InstanceId> {
        let named = self.group.primaries.get(resource)?;
        let region = self.group.active()?;
        let chosen = self.spec.instances.iter().find(|(id, instance)| {
            instance.control == Control::Delegated
                && instance.resource == *resource
                && instance.region == *region
                && self.live_fact(id).is_some_and(|fact| fact.role == Role::Primary)
        });
        Some(chosen.map_or(named, |(id, _)| id))
    }

    /// What is known of the end of the active region's stream, from both sides.
    pub fn source_end(&self, resource: &ResourceId) -> Option<Known> {
        let own = self.primary(resource).and_then(|primary| {
            let position = self.instance(primary)?.fact.position?;
            Some(Known { position, age: self.age(primary)? })
        });
        let active = self.group.active()?;
        let others = self.spec.instances.iter().filter(|(_, i)| i.resource == *resource);
        let heard = others.filter(|(_, i)| i.region != *active).filter_map(|(id, _)| {
            let upstream = self.instance(id)?.fact.upstream?;
            Some(Known { position: upstream.position, age: self.age(id)? + upstream.age })
        });
        own.into_iter().chain(heard).reduce(|one, other| Known {
            position: one.position.max(other.position),
            age: one.age.min(other.age),
        })
    }

    /// What was last shown of `instance` is of another history than what was of the primary. What
    /// lost the active role may be, whatever its numbers, until it was seen as a standby.
    pub fn left_stream(&self, resource: &ResourceId, instance: &InstanceId) -> bool {
        if self.group.returning.contains(instance) {
            return true;
        }
        let shown = self.primary(resource).and_then(|id| self.instance(id));
        let own = self.instance(instance);
        shown.zip(own).is_some_and(|(primary, own)| own.fact.left(&primary.fact))
    }

    /// What was last shown of an instance holds other data than the primary of `resource`.
    pub fn holds_other_data(&self, resource: &ResourceId, fact: &Fact) -> bool {
        let primary = self.primary(resource).and_then(|id| self.instance(id));
        let source = primary.map_or("", |shown| &shown.fact.data_id);
        !source.is_empty() && !fact.data_id.is_empty() && *source != fact.data_id
    }

    /// The instance of `resource` in `region` that has received the most, and its position where it
    /// is on the primary's history; those that a live agent shows to be fit before others.
    pub fn furthest(
        &self,
        resource: &ResourceId,
        region: &RegionId,
    ) -> Option<(&'a InstanceId, Option<Position>)> {
        let instances = self.spec.instances.iter();
        let fitting = instances.filter(|(_, i)| i.resource == *resource && i.region == *region);
        fitting
            .map(|(id, _)| {
                let fact = self.live_fact(id);
                let fit = fact.is_some_and(|f| f.condition == Condition::Healthy);
                let shown = fact.and_then(|f| f.position);
                let position = shown.filter(|_| !self.left_stream(resource, id));
                (fit, position, shown, std::cmp::Reverse(id))
            })
            .max()
            .map(|(_, position, _, id)| (id.0, position))
    }

    /// The agent beside the first required one of `chosen` that does not report.
    pub fn silent_candidate<'i>(
        &self,
        chosen: impl Iterator<Item = &'i InstanceId>,
    ) -> Option<AgentId> {
        let instances = chosen.filter_map(|id| self.spec.instances.get(id));
        let mut required = instances.filter(|instance| instance.needs_evidence());
        required.find(|i| !self.is_live(&i.agent)).map(|i| i.agent.clone())
    }

    /// Whether `instance` has every acknowledged write of `resource`, as State counts (`strict`).
    pub fn is_counted(&self, resource: &ResourceId, instance: &InstanceId) -> bool {
        let set = self.group.synchronous.get(resource);
        set.is_some_and(|set| set.counted.contains(instance))
    }

    /// How long the row whose turn it is has run here.
    pub fn row_ran(&self) -> Duration {
        self.view.row_took(self.id, self.now)
    }
}
