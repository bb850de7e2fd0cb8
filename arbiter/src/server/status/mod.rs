//! What `arbiter status` shows, computed here so that the command line computes nothing. Pure:
//! State, View and the clock are arguments. It asks the core what it thinks; it judges nothing.

mod group;
mod guards;
mod measures;
mod region;
#[cfg(test)]
mod tests;
mod voters;

#[cfg(test)]
pub(super) use measures::Measured;
pub(super) use measures::{Measures, measures};

use crate::raft::{Leadership, RaftStatus, VoterAt};
use arbiter_core::{GroupId, Instant, Layer, RegionId, State, View, WallMillis};
use arbiter_proto::v1 as pb;
use std::time::Duration;

/// What is shown, and by whom.
pub struct Shown<'a> {
    /// Who answers.
    pub node: &'a str,
    /// Who leads, as it knows.
    pub leadership: &'a Leadership,
    /// What it knows of Raft.
    pub raft: &'a RaftStatus,
    /// The voters of its file, before State has them.
    pub voters: &'a [VoterAt],
    /// Plaintext off loopback.
    pub insecure: bool,
    /// Not confirmed by a quorum.
    pub stale: bool,
    /// Since it last was.
    pub age: Duration,
    /// The wall clock, for people.
    pub wall: WallMillis,
    /// One group, or all where empty.
    pub group: &'a str,
}

/// The whole of it. `view`: of the leader only.
pub fn status(shown: &Shown, state: &State, view: Option<&View>, now: Instant) -> pb::Status {
    let wanted = |id: &&GroupId| shown.group.is_empty() || id.0 == shown.group;
    let voters = voters::voters(shown, state, view, now);
    let groups = state.groups.keys().filter(wanted);
    let groups = groups.filter_map(|id| group::group(shown, state, view, now, id, &voters));
    let restored = state.restored.as_ref().and_then(|restored| restored.from.last());
    pb::Status {
        state_version_held_by: voters::holds_version_down(state, &voters),
        members_drift: voters::drift(shown, state),
        restored_from: restored.map_or(String::new(), |id| id.0.clone()),
        node: shown.node.to_owned(),
        cluster_id: state.cluster_id.as_ref().map_or(String::new(), |id| id.0.clone()),
        leader: shown.leadership.leader.as_ref().map_or(String::new(), |leader| leader.0.clone()),
        term: shown.leadership.term,
        applied_index: shown.raft.applied.unwrap_or(0),
        stale: shown.stale,
        age_ms: ms(shown.age),
        insecure: shown.insecure,
        groups: groups.collect(),
        voters,
        state_version: state.version,
    }
}

/// Instances of `group` as the leader sees them now: those that are only watched, and the workloads
/// of `region`.
pub(super) fn present(
    state: &State,
    view: &View,
    now: Instant,
    group: &GroupId,
    region: &RegionId,
) -> Vec<pb::InstanceStatus> {
    let Some(spec) = state.spec.groups.get(group) else { return Vec::new() };
    let at = region::At { state, view: Some(view), now, id: group, spec };
    let shown = spec.instances.iter().filter(|(_, instance)| match instance.layer {
        Layer::Watched => true,
        Layer::Workload => instance.region == *region,
        Layer::Data | Layer::Traffic | Layer::Pooler => false,
    });
    shown.map(|(id, instance)| region::instance_status(&at, id, instance)).collect()
}

pub(super) fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
