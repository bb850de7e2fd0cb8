//! Which evidence can come. Knows sessions, arming and external fences; proves nothing.

use super::context::Context;
use crate::{EvidenceKind, GroupId, InstanceId, Instant, State, View};

/// The strongest evidence that can come for every instance of the active region that needs some:
/// the weakest link. None: for some instance none can.
pub fn strongest_evidence(
    state: &State,
    view: &View,
    now: Instant,
    group: &GroupId,
) -> Option<EvidenceKind> {
    strongest_available(&Context::new(state, view, now, group)?)
}

pub(super) fn strongest_available(context: &Context) -> Option<EvidenceKind> {
    let active = context.group.active()?;
    let needing = context.spec.needing_evidence(active);
    let mut weakest = Some(EvidenceKind::Confirmed);
    for (id, _) in needing {
        weakest = weakest.zip(can_come(context, id)).map(|(one, other)| one.min(other));
    }
    weakest
}

/// The strongest evidence that can come for one instance.
pub(super) fn can_come(context: &Context, id: &InstanceId) -> Option<EvidenceKind> {
    let instance = context.spec.instances.get(id)?;
    let confirmed = context.is_live(&instance.agent).then_some(EvidenceKind::Confirmed);
    let external = context.spec.policy.external_fence.contains_key(&instance.region);
    let expiry = context
        .state
        .arming(&instance.agent, context.id)
        .map(|arming| arming.expiry_counts_as.min(EvidenceKind::LeaseExpired));
    confirmed.max(external.then_some(EvidenceKind::PowerOff)).max(expiry)
}
