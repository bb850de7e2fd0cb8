//! Checks of a group: its regions, timers, instances and probes. Knows nothing of traffic.

use super::{data_region, data_regions, dialled, region_of};
use crate::fault::{Book, suggest};
use crate::kinds::Written;
use crate::scalar::show_duration;
use crate::schema::{Cluster, EvidenceKind, Fence, Group, Instance, Signal};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Data directories, each with its agent and the instance that has it.
pub(super) type DataDirs<'a> = BTreeMap<(&'a str, &'a str), String>;

/// Agent silence, health and alerts.
const SIGNAL_KINDS: u64 = 3;
/// Longest limit of a probe that no decision waits for.
const PROBE_LIMIT_MAX: Duration = Duration::from_secs(30);
/// Longest clean stop of a failover: a source that is not trusted gets no more.
const CLEAN_STOP_MAX: Duration = Duration::from_secs(1);
/// A group moves between this many regions.
const REGIONS_OF_A_GROUP: usize = 2;

pub(super) fn check<'a>(
    cluster: &Cluster,
    path: &str,
    group: &'a Group,
    data_dirs: &mut DataDirs<'a>,
    book: &mut Book<'_>,
) {
    regions(cluster, path, group, book);
    timers(cluster, path, group, book);
    automatic(cluster, path, group, book);
    let mut names: BTreeMap<&str, &str> = BTreeMap::new();
    let mut addresses: BTreeMap<&str, &str> = BTreeMap::new();
    for (resource_name, resource) in &group.resources {
        for (name, instance) in &resource.instances {
            let key = format!("{path}.resources.{resource_name}.instances.{name}");
            if let Some(other) = names.insert(name, resource_name) {
                let what = format!("{name:?} is also an instance of {other}");
                book.fault(&key, what, "instance names are unique within a group");
            }
            agent(cluster, &key, instance, book);
            let at = format!("{key}.address");
            if resource.kind.address && instance.address.is_empty() {
                let what = format!("a {} instance needs an address", resource.kind.name);
                book.fault(&at, what, "add address = \"host:port\" that its peers reach it by");
            }
            dialled(&at, &instance.address, book);
            let address = instance.address.as_str();
            if let Some(other) = addresses.insert(address, name).filter(|_| !address.is_empty()) {
                let what = format!("{address:?} is also the address of {other}");
                book.fault(&at, what, "give each instance its own");
            }
            if let Some(dir) = instance.settings.get("data_dir")
                && let Some(other) = data_dirs.insert((&instance.agent, dir), key.clone())
            {
                let what = format!("{dir:?} is also the data directory of {other}");
                book.fault(&format!("{key}.data_dir"), what, "give each instance its own");
            }
        }
    }
    probes(cluster, path, group, book);
    for region in group.external_fence.keys() {
        let key = format!("{path}.external_fence.{region}");
        data_region(cluster, &key, region, "there is nothing to cut off", book);
    }
}

fn agent(cluster: &Cluster, key: &str, instance: &Instance, book: &mut Book<'_>) {
    if instance.agent.is_empty() {
        return;
    }
    let key = format!("{key}.agent");
    match region_of(cluster, &instance.agent) {
        Some(region) => {
            data_region(cluster, &key, region, "a witness has no resources", book);
        }
        None => {
            let known: Vec<&str> = cluster.agents.keys().map(String::as_str).collect();
            let what = format!("no agent {:?}", instance.agent);
            book.fault(&key, what, suggest(&instance.agent, &known));
        }
    }
}

fn regions(cluster: &Cluster, path: &str, group: &Group, book: &mut Book<'_>) {
    let mut used: BTreeSet<&str> = BTreeSet::new();
    for (name, resource) in &group.resources {
        let found: Vec<Option<&str>> =
            resource.instances.values().map(|i| region_of(cluster, &i.agent)).collect();
        let own: BTreeSet<&str> = found.iter().flatten().copied().collect();
        // An unknown agent is a fault of its own; what it would add to this is not known.
        let known = found.iter().all(Option::is_some);
        if known && own.len() == 1 && resource.fence == Fence::Required {
            let only = own.first().copied().unwrap_or_default();
            let what = format!("{name} has instances in {only:?} only");
            let remedy = "add an instance in the other data region, or nothing can be promoted";
            book.fault(&format!("{path}.resources.{name}.instances"), what, remedy);
        }
        used.extend(own);
    }
    if group.resources.is_empty() {
        book.fault(path, "has no resources", format!("add [{path}.resources.NAME]"));
    }
    if used.len() > REGIONS_OF_A_GROUP {
        let list: Vec<&str> = used.iter().copied().collect();
        let what = format!("spans {} regions: {}", list.len(), list.join(", "));
        book.fault(path, what, "a group has one active and one standby region: make two groups");
    }
    let active = Some(&group.policy.initial_active);
    for (last, region) in
        [("initial_active", active), ("preferred", group.policy.preferred.as_ref())]
    {
        let Some(region) = region else { continue };
        let key = format!("{path}.{last}");
        if data_region(cluster, &key, region, "it can never be active", book)
            && !used.is_empty()
            && !used.contains(region.as_str())
        {
            let what = format!("the group has no instance in {region:?}");
            let here: Vec<&str> =
                data_regions(cluster).into_iter().filter(|r| used.contains(r)).collect();
            book.fault(&key, what, format!("name a region that it has: {}", here.join(", ")));
        }
    }
}

fn timers(cluster: &Cluster, path: &str, group: &Group, book: &mut Book<'_>) {
    let policy = &group.policy;
    for broken in group.timing.broken_lease(cluster.cgroup_kill) {
        book.fault(&format!("{path}.{}", broken.key), broken.what, broken.remedy);
    }
    let zeroes = [
        ("detect_after", group.detect_after()),
        ("renewal", group.timing.renewal),
        ("fence", group.timing.fence),
        ("margin", group.timing.margin),
        ("start_limit", policy.start_limit),
        ("drain_limit", policy.drain_limit),
        ("step_limit", policy.step_limit),
    ];
    for (key, duration) in zeroes {
        if duration == Duration::ZERO {
            book.fault(&format!("{path}.{key}"), "is 0", "write a longer duration");
        }
    }
    for (key, number, max) in [
        ("signal_kinds_min", policy.signal_kinds_min, SIGNAL_KINDS),
        ("step_attempts_max", policy.step_attempts_max, 1000),
    ] {
        if number == 0 || number > max {
            let remedy = format!("write a number from 1 to {max}");
            book.fault(&format!("{path}.{key}"), format!("is {number}"), remedy);
        }
    }
    if policy.clean_stop_limit > CLEAN_STOP_MAX {
        let what = format!("is {}", show_duration(policy.clean_stop_limit));
        let remedy = "write at most 1s: a source that is not trusted is killed then";
        book.fault(&format!("{path}.clean_stop_limit"), what, remedy);
    }
}

/// A position older than the RPO is unknown, so an RPO below what detection takes blocks for ever.
fn automatic(cluster: &Cluster, path: &str, group: &Group, book: &mut Book<'_>) {
    let policy = &group.policy;
    if !policy.allow_automatic {
        return;
    }
    signals(cluster, path, group, book);
    let (detect, r) = (group.detect_after(), group.timing.renewal);
    let least = detect + 2 * r;
    if policy.rpo < least {
        let what = format!(
            "automatic needs rpo ≥ detect_after + 2·renewal: {} < {} + 2·{} = {}",
            show_duration(policy.rpo),
            show_duration(detect),
            show_duration(r),
            show_duration(least)
        );
        let remedy = format!(
            "raise rpo to {}, lower detect_after, or set allow_automatic = false",
            show_duration(least)
        );
        book.fault(&format!("{path}.rpo"), what, remedy);
    }
    if policy.evidence_min == EvidenceKind::Attested {
        let what = "automatic mode asks no operator, so \"attested\" never comes";
        let remedy = "write \"lease-expired\", or set allow_automatic = false";
        book.fault(&format!("{path}.evidence_min"), what, remedy);
    }
}

/// A region that too few kinds of signal can tell of is never judged lost.
fn signals(cluster: &Cluster, path: &str, group: &Group, book: &mut Book<'_>) {
    let instances = group.resources.values().flat_map(|resource| resource.instances.values());
    let used: BTreeSet<&str> = instances.filter_map(|i| region_of(cluster, &i.agent)).collect();
    let wanted = group.policy.signal_kinds_min;
    for region in data_regions(cluster).into_iter().filter(|region| used.contains(region)) {
        let probes = group.probes.values().filter(|probe| probe.region == region);
        let kinds: BTreeSet<Signal> =
            probes.map(|probe| probe.kind.signal).filter(|signal| counts(*signal)).collect();
        if wanted <= SIGNAL_KINDS && wanted > 1 + kinds.len() as u64 {
            let kinds = kinds.iter().map(|signal| format!(" and {signal}"));
            let had = format!("agent silence{}", kinds.collect::<String>());
            let what =
                format!("automatic needs {wanted} kinds of signal, and {region:?} has {had} only");
            let remedy = format!(
                "add [{path}.probes.NAME] of another kind with region = {region:?}, lower \
                 signal_kinds_min, or set allow_automatic = false"
            );
            book.fault(&format!("{path}.probes"), what, remedy);
        }
    }
}

/// Whether a kind of signal can count among those that must agree.
fn counts(signal: Signal) -> bool {
    signal != Signal::Provider
}

fn probes(cluster: &Cluster, path: &str, group: &Group, book: &mut Book<'_>) {
    for (name, probe) in &group.probes {
        let key = |last: &str| format!("{path}.probes.{name}.{last}");
        let why = "only a data region's health is judged";
        data_region(cluster, &key("region"), &probe.region, why, book);
        if !probe.target.is_empty() {
            let written = Written { target: &probe.target, settings: &probe.settings };
            for wrong in (probe.kind.check)(&written) {
                book.fault(&key(wrong.key), wrong.what, wrong.remedy);
            }
        }
        let (most, what_for) = if counts(probe.kind.signal) {
            (group.detect_after(), "detect_after: a probe that hangs must be told in time")
        } else {
            (PROBE_LIMIT_MAX, "30s")
        };
        if probe.limit == Duration::ZERO || probe.limit > most {
            let (limit, most) = (show_duration(probe.limit), show_duration(most));
            let what = format!("limit is {limit}, at most {most}");
            let remedy = format!("write more than 0 and at most {what_for}");
            book.fault(&key("limit"), what, remedy);
        }
    }
}
