//! Which evidence can come. Knows what drivers give, sessions, arming and external fences; proves
//! nothing.

use super::context::Context;
use crate::{EvidenceKind, GroupId, Instance, InstanceId, Instant, State, View};

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
    let own = instance.own_word().filter(|_| context.is_live(&instance.agent));
    let external = context.spec.can_be_cut_off(instance).then_some(EvidenceKind::PowerOff);
    own.max(external).max(expiry_counts_as(context, instance))
}

/// What the expiry of the lease beside `instance` counts as, as State knows it.
pub(super) fn expiry_counts_as(context: &Context, instance: &Instance) -> Option<EvidenceKind> {
    let arming = context.state.arming(&instance.agent, context.id)?;
    let kind = arming.expiry_counts_as.min(EvidenceKind::LeaseExpired);
    context.spec.can_give(instance, kind, true).then_some(kind)
}
