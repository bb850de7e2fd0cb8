//! The numbers behind the status, for metrics: of each group as the leader sees it now. Knows
//! durations and counts; no text.

use super::region::{At, lag};
use arbiter_core::{
    FENCE_PROVEN_MS, GroupId, Instance, InstanceId, Instant, Predicted, State, Topic, View,
    explain_group, predicted,
};
use std::collections::BTreeMap;
use std::time::Duration;

/// Of one group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::server) struct Measures {
    /// What a failover would miss, by code.
    pub faults: BTreeMap<String, u32>,
    /// What makes it degraded, by code.
    pub degraded: BTreeMap<String, u32>,
    /// No failover opens by itself now, once the active region is lost.
    pub automatic_blocked: bool,
    /// What one would cost.
    pub predicted: Predicted,
    /// Instances beside agents that were heard.
    pub instances: BTreeMap<InstanceId, Measured>,
}

/// Of one instance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::server) struct Measured {
    /// Since its fence was last proven; none: never, or it has none.
    pub fence_proven: Option<Duration>,
    /// Bytes that a replica lacks, and how old the word of them is; none: unknown, or no replica.
    pub lag: Option<(u64, Duration)>,
}

pub(in crate::server) fn measures(
    state: &State,
    view: &View,
    now: Instant,
) -> BTreeMap<GroupId, Measures> {
    let groups = state.groups.keys();
    groups.filter_map(|id| Some((id.clone(), of_group(state, view, now, id)?))).collect()
}

fn of_group(state: &State, view: &View, now: Instant, id: &GroupId) -> Option<Measures> {
    let (spec, _) = state.group(id)?;
    let mut found = Measures { predicted: predicted(state, view, now, id), ..Measures::default() };
    for reason in explain_group(state, view, now, id).iter().filter(|reason| !reason.open) {
        let counted = match reason.topic {
            Topic::Readiness => &mut found.faults,
            Topic::Degraded => &mut found.degraded,
            Topic::Automatic => {
                found.automatic_blocked = true;
                continue;
            }
            _ => continue,
        };
        *counted.entry(reason.code.clone()).or_default() += 1;
    }
    let at = At { state, view: Some(view), now, id, spec };
    let instances = spec.instances.iter();
    found.instances = instances
        .filter_map(|(id, instance)| Some((id.clone(), one(&at, id, instance)?)))
        .collect();
    Some(found)
}

fn one(at: &At, id: &InstanceId, instance: &Instance) -> Option<Measured> {
    let shown = at.instance(id, instance)?;
    let since = shown.age + at.age(&instance.agent)?;
    let proven = shown.fact.detail.get(FENCE_PROVEN_MS).and_then(|text| text.parse().ok());
    Some(Measured {
        fence_proven: proven.map(|ms| Duration::from_millis(ms).saturating_add(since)),
        lag: lag(at, instance, shown),
    })
}
