//! `explain`: each gate of `decide` in words. Shares its predicates; decides nothing.

use crate::{GroupId, Health, Instant, Reason, RegionId, State, View};

/// Every gate of every group.
pub fn explain(state: &State, view: &View, now: Instant) -> Vec<(GroupId, Reason)> {
    state
        .groups
        .keys()
        .flat_map(|group| {
            explain_group(state, view, now, group).into_iter().map(|r| (group.clone(), r))
        })
        .collect()
}

/// Every gate of one group.
pub fn explain_group(state: &State, view: &View, now: Instant, group: &GroupId) -> Vec<Reason> {
    let _ = (state, view, now, group);
    Vec::new()
}

/// Health of `region` as far as `group` is concerned.
pub fn region_health(
    state: &State,
    view: &View,
    now: Instant,
    group: &GroupId,
    region: &RegionId,
) -> Health {
    let _ = (state, view, now, group, region);
    Health::Healthy
}
