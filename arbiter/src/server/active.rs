//! Which region is active, from State alone. Knows no transport.

use crate::wire::plan_phase;
use arbiter_core::{GroupId, State};
use arbiter_proto::v1 as pb;

/// The answer for `group`; none when there is no such group.
pub fn active_region(
    state: &State,
    group: &str,
    leader: &str,
    log_index: u64,
    stale: bool,
) -> Option<pb::ActiveRegion> {
    let (_, found) = state.group(&GroupId::from(group))?;
    Some(pb::ActiveRegion {
        group: group.to_owned(),
        region: found.active().map_or(String::new(), |region| region.0.clone()),
        epoch: found.epoch().0,
        phase: plan_phase(found.plan.as_ref()),
        leader: leader.to_owned(),
        log_index,
        stale,
    })
}
