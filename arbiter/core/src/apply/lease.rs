//! `lease_max`: the longest lease that may be outstanding (design §5). Knows no clock: waits
//! travel inside the command.

use super::entry::{Entry, Outcome, refuse, stale};
use crate::{Command, GroupId, Waited};
use std::time::Duration;

/// One line a command.
pub(super) fn run(entry: &mut Entry) -> Outcome {
    match &entry.proposal.command {
        Command::RaiseLease { group, lease } => raise(entry, group, *lease),
        Command::LowerLease { group, lease, since, waited } => {
            lower(entry, group, *lease, *since, *waited)
        }
        _ => Ok(()),
    }
}

fn raise(entry: &mut Entry, group: &GroupId, lease: Duration) -> Outcome {
    let (spec, found) = entry.group(group)?;
    if lease <= found.lease_max || lease != found.lease_wanted(spec) {
        return stale(format!("the longest lease of {group} is {:?}", found.lease_max));
    }
    entry.group_mut(group)?.lease_max = lease;
    Ok(())
}

/// Lowered only after the old, longer wait has passed in this term (I4).
fn lower(
    entry: &mut Entry,
    group: &GroupId,
    lease: Duration,
    since: u64,
    waited: Waited,
) -> Outcome {
    let (spec, found) = entry.group(group)?;
    let timing = spec.policy.timing;
    if lease >= found.lease_max || lease != found.lease_wanted(spec) || since != found.lease_changed
    {
        return stale(format!("the longest lease of {group} is {:?}", found.lease_max));
    }
    if waited.term != entry.at.term {
        return stale("the wait passed in another term");
    }
    let required = timing.dead_after(found.lease_max);
    if waited.elapsed < required && !crate::planted!(LoweredTooEarly) {
        return refuse(
            "lease-alive",
            format!("a lease of {:?} may be outstanding for {required:?}", found.lease_max),
            "wait: the leader lowers it by itself",
        );
    }
    entry.group_mut(group)?.lease_max = lease;
    Ok(())
}
