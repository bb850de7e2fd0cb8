//! Checks of traffic: one atomic change a group, an authority that outlives the active region.
//! Knows zones and names; never a record or a server's protocol.

use super::{data_regions, dialled, host_port, region_of};
use crate::fault::{Book, suggest};
use crate::schema::{Cluster, Group, Instance};
use std::collections::{BTreeMap, BTreeSet};

pub(super) fn check(cluster: &Cluster, path: &str, group: &Group, book: &mut Book<'_>) {
    let mut zones: BTreeMap<String, &str> = BTreeMap::new();
    for (name, resource) in &group.resources {
        if resource.kind.layer != "traffic" {
            continue;
        }
        let path = format!("{path}.resources.{name}");
        let mut own: BTreeSet<String> = BTreeSet::new();
        let mut servers: BTreeSet<(&str, Option<&str>)> = BTreeSet::new();
        for (instance_name, instance) in &resource.instances {
            let here = format!("{path}.instances.{instance_name}");
            if let Some(zone) = instance.settings.get("zone") {
                own.insert(canonical(zone));
                name_in_zone(&place(&here, &path, "name", book), instance, zone, book);
            } else if resource.kind.setting("zone").is_none() {
                // A kind without zones is changed alone as well.
                own.insert(name.clone());
            }
            values(cluster, group, &path, instance, book);
            let key = place(&here, &path, "server", book);
            for (server, region) in servers_of(cluster, group, instance) {
                if dialled(&key, server, book).is_some() {
                    servers.insert((server, region));
                }
            }
            known_region(cluster, &place(&here, &path, "server_region", book), instance, book);
        }
        authority(cluster, &path, group, &servers, book);
        if own.len() > 1 {
            let list: Vec<&str> = own.iter().map(String::as_str).collect();
            batches(&path, &list.join(" and "), book);
        }
        for zone in own {
            if let Some(other) = zones.insert(zone.clone(), name) {
                let what = format!("{other} writes the zone {zone} of this group too");
                let remedy = "one change holds a group's token and records: make it one resource";
                book.fault(&place(&path, &path, "zone", book), what, remedy);
            }
        }
    }
    let distinct: BTreeSet<&str> = zones.values().copied().collect();
    if distinct.len() > 1 {
        let list: Vec<&str> = zones.keys().map(String::as_str).collect();
        batches(path, &list.join(" and "), book);
    }
}

fn batches(path: &str, zones: &str, book: &mut Book<'_>) {
    let what = format!("its records are in the zones {zones}: that takes two DNS batches");
    let remedy = "no server changes two zones at once: move them into one zone, or make two groups";
    book.fault(path, what, remedy);
}

/// Where a setting stands: at the instance if it has its own, else at the resource.
pub(super) fn place(instance: &str, resource: &str, key: &str, book: &Book<'_>) -> String {
    let own = format!("{instance}.{key}");
    if book.knows(&own) { own } else { format!("{resource}.{key}") }
}

/// Lower case, with one dot at the end.
fn canonical(name: &str) -> String {
    format!("{}.", name.trim_end_matches('.').to_ascii_lowercase())
}

fn name_in_zone(key: &str, instance: &Instance, zone: &str, book: &mut Book<'_>) {
    let zone = canonical(zone);
    for name in instance.settings.get("name").into_iter().flat_map(|names| names.split(',')) {
        let name = canonical(name.trim());
        if name != zone && !name.ends_with(&format!(".{zone}")) {
            let what = format!("{name} is not in the zone {zone}: that takes a second DNS batch");
            book.fault(
                key,
                what,
                "name a host in the zone, or put the other name in its own group",
            );
        }
    }
}

fn values(cluster: &Cluster, group: &Group, path: &str, instance: &Instance, book: &mut Book<'_>) {
    let known = data_regions(cluster);
    let given: Vec<&str> =
        instance.settings.keys().filter_map(|key| key.strip_prefix("value.")).collect();
    if given.is_empty() {
        return;
    }
    for region in &given {
        if !known.contains(region) {
            let what = format!("no data region {region:?}");
            book.fault(&format!("{path}.value.{region}"), what, suggest(region, &known));
        }
    }
    let used = group.resources.values().flat_map(|resource| resource.instances.values());
    let used: BTreeSet<&str> = used.filter_map(|i| region_of(cluster, &i.agent)).collect();
    for region in used {
        if known.contains(&region) && !given.contains(&region) {
            let what = format!("value.{region} is missing: traffic could not name {region}");
            let remedy = format!("add value.{region} = \"ADDRESS\"");
            book.fault(&format!("{path}.value.{region}"), what, remedy);
        }
    }
}

fn known_region(cluster: &Cluster, key: &str, instance: &Instance, book: &mut Book<'_>) {
    for region in listed(instance, "server_region") {
        if !cluster.regions.contains_key(region) {
            let known: Vec<&str> = cluster.regions.keys().map(String::as_str).collect();
            book.fault(key, format!("no region {region:?}"), suggest(region, &known));
        }
    }
}

/// The parts of a setting that may have several, with commas between.
fn listed<'a>(instance: &'a Instance, key: &str) -> impl Iterator<Item = &'a str> {
    let text = instance.settings.get(key).map(String::as_str).unwrap_or_default();
    text.split(',').map(str::trim).filter(|part| !part.is_empty())
}

/// Each authority with its region: as said, else that of whoever has the same host.
fn servers_of<'a>(
    cluster: &'a Cluster,
    group: &'a Group,
    instance: &'a Instance,
) -> Vec<(&'a str, Option<&'a str>)> {
    let mut said = listed(instance, "server_region");
    let servers = listed(instance, "server");
    servers.map(|server| (server, said.next().or(region_seen(cluster, group, server)))).collect()
}

fn region_seen<'a>(cluster: &'a Cluster, group: &'a Group, server: &str) -> Option<&'a str> {
    let (host, _) = host_port(server)?;
    if super::is_loopback(host) {
        return None;
    }
    let same = |address: &str| host_port(address).is_some_and(|(other, _)| other == host);
    let arbiter = cluster.arbiters.values().find(|arbiter| same(&arbiter.address));
    let mut instances = group.resources.values().flat_map(|resource| resource.instances.values());
    arbiter
        .map(|arbiter| arbiter.region.as_str())
        .or_else(|| instances.find(|i| same(&i.address)).and_then(|i| region_of(cluster, &i.agent)))
}

/// The only authority must not go with the region that is lost.
fn authority(
    cluster: &Cluster,
    path: &str,
    group: &Group,
    servers: &BTreeSet<(&str, Option<&str>)>,
    book: &mut Book<'_>,
) {
    let active = group.policy.initial_active.as_str();
    let lost = |(_, region): &(&str, Option<&str>)| *region == Some(active);
    let may_be_lost = data_regions(cluster).contains(&active);
    if may_be_lost && !servers.is_empty() && servers.iter().all(lost) {
        let what = format!(
            "the only DNS server is in the active region {active}: lost with it, traffic cannot \
             follow"
        );
        let remedy = "put the zone's authority into the witness or outside, and say so with \
                      server_region";
        book.fault(&place(path, path, "server", book), what, remedy);
    }
}
