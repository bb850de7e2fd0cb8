//! Checks of regions, arbiters, agents and the timers of the Raft group. Knows no group.

use super::{data_region, dialled, host_port};
use crate::fault::{Book, suggest};
use crate::schema::{Cluster, RegionKind};
use std::collections::BTreeMap;

/// A quorum of fewer survives the loss of no region.
const VOTERS_MIN: usize = 3;

pub(super) fn check(cluster: &Cluster, book: &mut Book<'_>) {
    regions(cluster, book);
    voters(cluster, book);
    addresses(cluster, book);
    for (name, agent) in &cluster.agents {
        let key = format!("agents.{name}.region");
        data_region(cluster, &key, &agent.region, "an agent stands beside resources", book);
    }
    for broken in cluster.timing.broken_raft(cluster.arbiters.len() as u32) {
        book.fault(&format!("cluster.{}", broken.key), broken.what, broken.remedy);
    }
    if let Some(url) = &cluster.webhook
        && !url.is_empty()
        && !["http://", "https://"].iter().any(|scheme| url.starts_with(scheme))
    {
        book.fault(
            "webhook.url",
            format!("{url:?} is no URL"),
            "begin it with http:// or https://",
        );
    }
    if cluster.groups.is_empty() {
        book.fault("groups", "there is no failover group", "add [groups.default]");
    }
}

fn regions(cluster: &Cluster, book: &mut Book<'_>) {
    let data = super::data_regions(cluster).len();
    if data < 2 {
        let what = format!("{data} data region{}", if data == 1 { "" } else { "s" });
        book.fault("regions", what, "define two regions of kind \"data\" and one \"witness\"");
    }
}

fn voters(cluster: &Cluster, book: &mut Book<'_>) {
    let count = cluster.arbiters.len();
    if count < VOTERS_MIN || count.is_multiple_of(2) {
        let what = format!("{count} arbiters");
        let remedy = "define an odd number, 3 or more: one in each data region, one in a witness";
        book.fault("arbiters", what, remedy);
    }
    let mut ids: BTreeMap<u64, &str> = BTreeMap::new();
    let mut domains: BTreeMap<&str, &str> = BTreeMap::new();
    let known: Vec<&str> = cluster.regions.keys().map(String::as_str).collect();
    for (name, arbiter) in &cluster.arbiters {
        let key = |last: &str| format!("arbiters.{name}.{last}");
        if let Some(other) = ids.insert(arbiter.node_id, name)
            && arbiter.node_id != 0
        {
            let what = format!("{} is the node id of {other} too", arbiter.node_id);
            book.fault(&key("node_id"), what, "give each arbiter its own, never used before");
        }
        if arbiter.node_id == 0 {
            book.fault(&key("node_id"), "is 0 or missing", "number arbiters from 1");
        }
        if arbiter.region.is_empty() {
            continue;
        }
        let Some(region) = cluster.regions.get(&arbiter.region) else {
            let what = format!("no region {:?}", arbiter.region);
            book.fault(&key("region"), what, suggest(&arbiter.region, &known));
            continue;
        };
        let domain = region.failure_domain.as_deref().unwrap_or(&arbiter.region);
        if let Some(other) = domains.insert(domain, name) {
            let what =
                format!("two voters in one failure domain: {other} and {name} in {domain:?}");
            book.fault(&key("region"), what, "put each voter into a failure domain of its own");
        }
    }
    for (name, region) in &cluster.regions {
        let voted = cluster.arbiters.values().any(|arbiter| &arbiter.region == name);
        if region.kind == RegionKind::Witness && !voted {
            let what = format!("the witness {name:?} has no arbiter");
            book.fault(&format!("regions.{name}"), what, "put an arbiter there, or remove it");
        }
    }
}

fn addresses(cluster: &Cluster, book: &mut Book<'_>) {
    let mut taken: BTreeMap<&str, String> = BTreeMap::new();
    for (name, arbiter) in &cluster.arbiters {
        let (listen, http) = (arbiter.listen.as_deref(), arbiter.http.as_deref());
        if let Some(listen) = listen.filter(|listen| host_port(listen).is_none()) {
            let what = format!("{listen:?} is not host:port");
            book.fault(&format!("arbiters.{name}.listen"), what, "write such as \"0.0.0.0:7400\"");
        }
        for (key, address) in [("address", Some(&*arbiter.address)), ("http", http)] {
            let Some(address) = address else { continue };
            let key = format!("arbiters.{name}.{key}");
            // The operations port is only listened on here; the other is dialled by name.
            let listened = key.ends_with("http") && host_port(address).is_some();
            if !listened && dialled(&key, address, book).is_none() {
                continue;
            }
            if let Some(other) = taken.insert(address, key.clone()) {
                let what = format!("{address:?} is also {other}");
                book.fault(&key, what, "give each its own");
            }
        }
    }
}
