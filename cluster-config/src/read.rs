//! From text to [`Cluster`], key by key. Knows tables; never what keys must agree on.

use crate::cost::Cost;
use crate::drill::Drill;
use crate::fault::{Book, suggest};
use crate::kinds::{Kind, Registry};
use crate::schema::*;
use crate::section::{Table, join};
use crate::settings;
use crate::tls::Tls;
use std::collections::BTreeMap;
use toml::de::{DeTable, DeValue};

/// The tables of the file.
const TABLES: &[&str] = &[
    "cluster",
    "tls",
    "webhook",
    "alertmanager",
    "audit",
    "cost",
    "regions",
    "arbiters",
    "agents",
    "groups",
];
/// The sub-tables of a group.
const GROUP_TABLES: &[&str] = &["resources", "probes", "external_fence", "drill"];

pub(crate) fn read(text: &str, registry: &Registry, book: &mut Book<'_>) -> Cluster {
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        book.broken = true;
        let line = book.line_at(error.span().map_or(0, |span| span.start));
        let what = format!("not TOML: {}", error.message().replace('\n', ", "));
        book.fault_at(line, "file", what, "correct the line");
    }
    places("", document.get_ref(), book);
    let root = Table { path: String::new(), table: document.get_ref() };
    root.refuse_unknown(TABLES, book);
    cluster(&root, registry, book)
}

/// Note the line of every key, so that each fault can name it.
fn places(path: &str, table: &DeTable<'_>, book: &mut Book<'_>) {
    for (key, value) in table {
        let path = join(path, key.get_ref());
        book.place(&path, key.span().start);
        if let DeValue::Table(inner) = value.get_ref() {
            places(&path, inner, book);
        }
    }
}

/// An empty table stands in for an absent one, so that its required keys are asked for.
fn sub<'a, 'i>(
    root: &Table<'a, 'i>,
    key: &str,
    empty: &'a DeTable<'i>,
    book: &mut Book<'_>,
) -> Table<'a, 'i> {
    root.sub(key, book).unwrap_or(Table { path: join(&root.path, key), table: empty })
}

fn cluster(root: &Table<'_, '_>, registry: &Registry, book: &mut Book<'_>) -> Cluster {
    let empty = DeTable::new();
    let table = sub(root, "cluster", &empty, book);
    table.refuse_unknown(ClusterKeys::NAMES, book);
    let keys = ClusterKeys::read(&table, book);
    let mut timing = keys.profile.timing();
    timing.rtt = keys.rtt.unwrap_or(timing.rtt);
    timing.heartbeat = keys.heartbeat.unwrap_or(timing.heartbeat);
    timing.election_min = keys.election_min.unwrap_or(timing.election_min);
    timing.election_max = keys.election_max.unwrap_or(timing.election_max);
    timing.renewal = keys.renewal.unwrap_or(timing.renewal);
    timing.fence = keys.fence.unwrap_or(timing.fence);
    timing.lease = keys.lease.unwrap_or(timing.lease);
    timing.margin = keys.margin.unwrap_or(timing.margin);
    let webhook = one(root, "webhook", WebhookKeys::NAMES, WebhookKeys::read, book);
    let mut groups = BTreeMap::new();
    for (name, table) in root.named("groups", book) {
        groups.insert(name, group(&table, timing, registry, book));
    }
    let arbiters = all(root, "arbiters", Arbiter::NAMES, Arbiter::read, book);
    Cluster {
        id: keys.id,
        timing,
        insecure_plaintext: keys.insecure_plaintext,
        tls: tls(root, keys.insecure_plaintext, &arbiters, book),
        cgroup_kill: keys.cgroup_kill,
        two_person: keys.two_person,
        webhook: webhook.map(|keys| keys.url),
        alertmanager: one(root, "alertmanager", Alertmanager::NAMES, Alertmanager::read, book),
        audit: one(root, "audit", Audit::NAMES, Audit::read, book),
        cost: one(root, "cost", Cost::NAMES, Cost::read, book),
        regions: all(root, "regions", Region::NAMES, Region::read, book),
        arbiters,
        agents: all(root, "agents", Agent::NAMES, Agent::read, book),
        groups,
    }
}

/// As the file says; by default wherever an arbiter is reached from another host.
fn tls(
    root: &Table<'_, '_>,
    insecure: bool,
    arbiters: &BTreeMap<String, Arbiter>,
    book: &mut Book<'_>,
) -> Option<Tls> {
    if let Some(found) = one(root, "tls", Tls::NAMES, Tls::read, book) {
        return Some(found);
    }
    let empty = DeTable::new();
    let none = Table { path: "tls".to_owned(), table: &empty };
    let reached = arbiters.values().any(crate::check::beyond_loopback);
    (reached && !insecure).then(|| Tls::read(&none, book))
}

/// The table `key`, where the file has it.
fn one<T>(
    root: &Table<'_, '_>,
    key: &str,
    names: &[&'static str],
    read: fn(&Table<'_, '_>, &mut Book<'_>) -> T,
    book: &mut Book<'_>,
) -> Option<T> {
    let table = root.sub(key, book)?;
    table.refuse_unknown(names, book);
    Some(read(&table, book))
}

/// Every named table under `key`, by one reader.
fn all<T>(
    root: &Table<'_, '_>,
    key: &str,
    names: &[&'static str],
    read: fn(&Table<'_, '_>, &mut Book<'_>) -> T,
    book: &mut Book<'_>,
) -> BTreeMap<String, T> {
    let mut found = BTreeMap::new();
    for (name, table) in root.named(key, book) {
        table.refuse_unknown(names, book);
        found.insert(name, read(&table, book));
    }
    found
}

fn group(
    table: &Table<'_, '_>,
    cluster: crate::Timing,
    registry: &Registry,
    book: &mut Book<'_>,
) -> Group {
    let known: Vec<&'static str> = Policy::NAMES.iter().chain(GROUP_TABLES).copied().collect();
    table.refuse_unknown(&known, book);
    let policy = Policy::read(table, book);
    let own = policy.profile.map_or(cluster, Profile::timing);
    let timing = crate::Timing {
        renewal: policy.renewal.unwrap_or(own.renewal),
        fence: policy.fence.unwrap_or(own.fence),
        lease: policy.lease.unwrap_or(own.lease),
        margin: policy.margin.unwrap_or(own.margin),
        ..cluster
    };
    let mut resources = BTreeMap::new();
    for (name, table) in table.named("resources", book) {
        if let Some(found) = resource(&table, registry, book) {
            resources.insert(name, found);
        }
    }
    Group {
        policy,
        timing,
        resources,
        probes: probes(table, registry, book),
        external_fence: all(
            table,
            "external_fence",
            ExternalFence::NAMES,
            ExternalFence::read,
            book,
        ),
        drill: drill(table, book),
    }
}

/// Its defaults where the file has no such table.
fn drill(group: &Table<'_, '_>, book: &mut Book<'_>) -> Drill {
    let empty = DeTable::new();
    let none = Table { path: join(&group.path, "drill"), table: &empty };
    one(group, "drill", Drill::NAMES, Drill::read, book).unwrap_or_else(|| Drill::read(&none, book))
}

/// None when its kind is not known: nothing else of it can be judged then.
fn resource(table: &Table<'_, '_>, registry: &Registry, book: &mut Book<'_>) -> Option<Resource> {
    let keys = ResourceKeys::read(table, book);
    let Some(kind) = registry.resource(&keys.kind) else {
        if !keys.kind.is_empty() {
            let names: Vec<&str> = registry.resources.iter().map(|kind| kind.name).collect();
            let what = format!("no driver of kind {:?}", keys.kind);
            book.fault(&join(&table.path, "kind"), what, suggest(&keys.kind, &names));
        }
        return None;
    };
    let mut known: Vec<&'static str> = ResourceKeys::NAMES.to_vec();
    known.push("instances");
    let shared = settings::read(table, kind.name, kind.settings, &known, book);
    let mut instances = BTreeMap::new();
    for (name, table) in table.named("instances", book) {
        instances.insert(name, instance(&table, kind, &shared, book));
    }
    if instances.is_empty() && !book.broken {
        let example = format!("[{}.instances.NAME]", table.path);
        book.fault(&table.path, "has no instances", format!("add {example} with its agent"));
    }
    Some(Resource { kind, fence: keys.fence.unwrap_or(kind.fence), instances })
}

fn instance(
    table: &Table<'_, '_>,
    kind: &'static Kind,
    shared: &BTreeMap<String, String>,
    book: &mut Book<'_>,
) -> Instance {
    let keys = InstanceKeys::read(table, book);
    let mut all = shared.clone();
    all.extend(settings::read(table, kind.name, kind.settings, InstanceKeys::NAMES, book));
    settings::missing(table, kind.name, kind.settings, &all, " here or at the resource", book);
    Instance { agent: keys.agent, address: keys.address.unwrap_or_default(), settings: all }
}

/// Those whose kind is known: nothing else of the others can be judged.
fn probes(
    group: &Table<'_, '_>,
    registry: &Registry,
    book: &mut Book<'_>,
) -> BTreeMap<String, Probe> {
    let named = group.named("probes", book).into_iter();
    named.filter_map(|(name, table)| Some((name, probe(&table, registry, book)?))).collect()
}

fn probe(table: &Table<'_, '_>, registry: &Registry, book: &mut Book<'_>) -> Option<Probe> {
    let ProbeKeys { region, kind, target, limit } = ProbeKeys::read(table, book);
    let Some(known) = registry.probe(&kind) else {
        if !kind.is_empty() {
            let names: Vec<&str> = registry.probes.iter().map(|kind| kind.name).collect();
            let what = format!("no probe of kind {kind:?}");
            book.fault(&join(&table.path, "kind"), what, suggest(&kind, &names));
        }
        return None;
    };
    let settings = settings::read(table, known.name, known.settings, ProbeKeys::NAMES, book);
    settings::missing(table, known.name, known.settings, &settings, "", book);
    Some(Probe { region, kind: known, target, limit, settings })
}
