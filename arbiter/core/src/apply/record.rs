//! Facts about a region that lost the active role, as Reports showed them later.

use super::entry::{Entry, Outcome, stale};
use crate::{EventKind, GroupId, InstanceId};

/// A best-effort instance without evidence was fenced after all.
pub(super) fn fenced(entry: &mut Entry, group: &GroupId, instance: &InstanceId) -> Outcome {
    if entry.group_mut(group)?.unfenced.remove(instance).is_none() {
        return stale(format!("{instance} is not listed as unfenced"));
    }
    let message = format!("{instance} of group {group} is fenced now");
    entry.tell(EventKind::EvidenceRecorded, Some(group), message, String::new());
    Ok(())
}

/// An instance follows the active region again, so that it may be disarmed.
pub(super) fn standby(entry: &mut Entry, group: &GroupId, instance: &InstanceId) -> Outcome {
    let found = entry.group_mut(group)?;
    if found.plan.is_some() || !found.returning.remove(instance) {
        return stale(format!("{instance} is not on its way back"));
    }
    Ok(())
}
