//! What was set for a time and until when, and what an armed region does without a quorum. Knows
//! the leader's clock where it has it; else the wall clock of the entry.

use super::Shown;
use crate::calendar::utc;
use crate::wire::mode_word;
use arbiter_core::{Group, GroupId, GroupSpec, Instant, OnQuorumLoss, View, WallMillis};
use std::time::Duration;

/// When it ends. A leader counts from when it first knew of it; others know what the entry said.
fn until(
    shown: &Shown,
    since: Option<(u64, Instant)>,
    entry: u64,
    now: Instant,
    lasts: Duration,
    said: WallMillis,
) -> String {
    let seen = since.filter(|(set_by, _)| *set_by == entry);
    let ends = seen.map_or(said.0, |(_, since)| {
        let left = lasts.saturating_sub(now.since(since));
        shown.wall.0.saturating_add(u64::try_from(left.as_millis()).unwrap_or(u64::MAX))
    });
    utc(ends)
}

/// Until when the mode is set, and what follows; empty: for good.
pub(super) fn mode_until(
    shown: &Shown,
    view: Option<&View>,
    now: Instant,
    id: &GroupId,
    group: &Group,
) -> String {
    let Some(timed) = &group.timed_mode else { return String::new() };
    let then = mode_word(timed.then);
    if let Some(why) = &timed.stays_because {
        return format!("it stays, and did not go back to {then}: {why}");
    }
    let since = view.and_then(|view| view.mode_since.get(id).copied());
    let until = until(shown, since, timed.since, now, timed.lasts, timed.until);
    format!("until {until}, then {then}")
}

/// The longer lease, until when, and what it costs; empty: none.
pub(super) fn maintenance(
    shown: &Shown,
    view: Option<&View>,
    now: Instant,
    id: &GroupId,
    group: &Group,
) -> String {
    let Some(known) = &group.maintenance else { return String::new() };
    let since = view.and_then(|view| view.maintained_since.get(id).copied());
    let until = until(shown, since, known.since, now, known.lasts, known.until);
    let lease = known.lease;
    format!("leases last {lease:?} until {until}; a failover waits as long: arbiter maintain --end")
}

/// What is out of the ordinary about it; empty: it fences.
pub(super) fn on_quorum_loss(spec: &GroupSpec) -> String {
    match spec.policy.on_quorum_loss {
        OnQuorumLoss::Fence => String::new(),
        OnQuorumLoss::Hold => "holds: it writes on without a quorum, and its silence proves \
                               nothing; only an external fence or an operator proves a fence"
            .to_owned(),
    }
}
