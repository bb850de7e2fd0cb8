//! Commands about traffic: what State knows of a zone.

use super::entry::{Entry, Outcome, refusal, refuse, stale};
use super::group::expect_epoch;
use crate::{EventKind, Goal, GroupId, GroupSpec, InstanceId, Layer};

/// The commands of this family.
pub(super) fn run(entry: &mut Entry) -> Outcome {
    use crate::Command::{AdoptTraffic, RecordDrift, RecordZone};
    match &entry.proposal.command {
        RecordZone { group, zone } => record_zone(entry, group, zone),
        RecordDrift { group, instance, drift } => record_drift(entry, group, instance, drift),
        AdoptTraffic { group, zone, expected_epoch } => adopt(entry, group, zone, *expected_epoch),
        _ => stale("no command about traffic"),
    }
}

fn record_zone(entry: &mut Entry, group: &GroupId, zone: &str) -> Outcome {
    known_zone(entry, group, zone)?;
    let state = entry.group_mut(group)?.zones.entry(zone.to_owned()).or_default();
    if state.initialised && state.adopt.is_none() {
        return stale(format!("zone {zone} is known"));
    }
    state.initialised = true;
    state.adopt = None;
    Ok(())
}

/// Seen and said, once for each change. // I7
fn record_drift(entry: &mut Entry, group: &GroupId, instance: &InstanceId, drift: &str) -> Outcome {
    let (spec, found) = entry.group(group)?;
    let known = found.drift.get(instance).map_or("", String::as_str);
    let Some(zone) = spec.instances.get(instance).filter(|_| known != drift) else {
        return stale(format!("what {instance} shows is known"));
    };
    let zone = GroupSpec::zone(zone);
    let found = entry.group_mut(group)?;
    let (message, next) = if drift.is_empty() {
        found.drift.remove(instance);
        (format!("{instance}: the records are as the arbiter wrote them"), String::new())
    } else {
        found.drift.insert(instance.clone(), drift.to_owned());
        (format!("{instance}: {drift}"), format!("arbiter traffic adopt {zone} --group {group}"))
    };
    entry.tell(EventKind::Drift, Some(group), message, next);
    Ok(())
}

/// A new token for the traffic goal, which alone may take over what stands in the zone.
fn adopt(entry: &mut Entry, group: &GroupId, zone: &str, epoch: crate::Epoch) -> Outcome {
    known_zone(entry, group, zone)?;
    expect_epoch(entry, group, epoch)?;
    let at = entry.at;
    let found = entry.group_mut(group)?;
    let active = found.active().cloned().ok_or_else(|| {
        refusal(
            "not-activated",
            format!("group {group} has no active region"),
            format!("arbiter explain --group {group}"),
        )
    })?;
    if found.goal(&active, Layer::Traffic).is_none_or(|set| set.goal != Goal::Active) {
        return refuse(
            "plan-open",
            format!("traffic of group {group} is not ordered to {active} now"),
            format!("arbiter plan show --group {group}"),
        );
    }
    let token = found.set_goal(&active, Layer::Traffic, Goal::Active, at);
    found.zones.entry(zone.to_owned()).or_default().adopt = Some(token);
    let message = format!("the write at {token} may take over zone {zone}");
    entry.tell(
        EventKind::Drift,
        Some(group),
        message,
        format!("arbiter traffic show --group {group}"),
    );
    Ok(())
}

fn known_zone(entry: &Entry, group: &GroupId, zone: &str) -> Outcome {
    let (spec, _) = entry.group(group)?;
    let mut traffic = spec.instances.values().filter(|i| i.layer == Layer::Traffic);
    if traffic.any(|i| GroupSpec::zone(i) == zone) {
        return Ok(());
    }
    refuse(
        "unknown-zone",
        format!("group {group} has no zone {zone}"),
        format!("arbiter traffic show --group {group}"),
    )
}
