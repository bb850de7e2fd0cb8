//! A longer L for a time, so that what renews leases can be upgraded. The machinery of `lease_max`
//! does the rest. Knows no clock: waits travel inside the command.

use super::entry::{Entry, Outcome, refuse, stale};
use super::group::expect_epoch;
use super::mode::{may_last, until};
use crate::{Command, Epoch, EventKind, GroupId, Maintenance, Waited};
use std::time::Duration;

/// The longest lease of a maintenance: a failover waits that long.
pub const MAINTENANCE_LEASE_MAX: Duration = Duration::from_secs(10 * 60);
/// The longest maintenance.
pub const MAINTENANCE_MAX: Duration = Duration::from_secs(12 * 60 * 60);

/// One line a command.
pub(super) fn run(entry: &mut Entry) -> Outcome {
    match &entry.proposal.command {
        Command::Maintain { group, lease, lasts, expected_epoch } => {
            begin(entry, group, *lease, *lasts, *expected_epoch)
        }
        Command::EndMaintenance { group, since, waited } => end(entry, group, *since, *waited),
        _ => stale("it is about no maintenance"),
    }
}

fn begin(
    entry: &mut Entry,
    group: &GroupId,
    lease: Duration,
    lasts: Duration,
    expected: Epoch,
) -> Outcome {
    expect_epoch(entry, group, expected)?;
    may_last(lasts, MAINTENANCE_MAX)?;
    let (spec, found) = entry.group(group)?;
    let usual = spec.policy.timing.lease;
    if lease <= usual || lease > MAINTENANCE_LEASE_MAX {
        return refuse(
            "bad-lease",
            format!(
                "{lease:?} is not above the lease of {usual:?} and at most {MAINTENANCE_LEASE_MAX:?}"
            ),
            "give another --lease, such as --lease 60s",
        );
    }
    if let Some(plan) = &found.plan {
        return refuse(
            "plan-open",
            format!(
                "plan {} of group {group} is open, and would wait for the longer lease",
                plan.id
            ),
            format!("arbiter plan show --group {group}; ask again when it ended"),
        );
    }
    let dead_after = spec.policy.timing.dead_after(lease);
    let (since, until) = (entry.at.index, until(entry, lasts));
    let found = entry.group_mut(group)?;
    found.maintenance = Some(Maintenance { lease, since, lasts, until });
    found.lease_changed = since;
    let message = format!(
        "leases of group {group} last {lease:?} for {lasts:?}: a failover without its agents' word \
         waits {dead_after:.1?} meanwhile"
    );
    let next = format!("arbiter maintain --group {group} --end");
    entry.tell(EventKind::MaintenanceChanged, Some(group), message, next);
    Ok(())
}

fn end(entry: &mut Entry, group: &GroupId, since: u64, waited: Option<Waited>) -> Outcome {
    let at = entry.at;
    let (spec, found) = entry.group(group)?;
    let known = found.maintenance.as_ref().filter(|known| known.since == since);
    let Some(known) = known else {
        return stale(format!("no maintenance of group {group} began with {since}"));
    };
    if waited.is_some_and(|waited| waited.term != at.term || waited.elapsed < known.lasts) {
        return stale("its time has not passed in this term");
    }
    let (usual, before) = (spec.policy.timing.lease, known.lease);
    let found = entry.group_mut(group)?;
    found.maintenance = None;
    found.lease_changed = at.index;
    let message = format!(
        "the maintenance of group {group} ended: leases last {usual:?} again once those of \
         {before:?} are dead"
    );
    let next = format!("arbiter status --group {group}");
    entry.tell(EventKind::MaintenanceChanged, Some(group), message, next);
    Ok(())
}
