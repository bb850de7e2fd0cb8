//! From text to [`Cluster`], key by key. Knows tables; never what keys must agree on.

use crate::fault::{Book, suggest};
use crate::kinds::{Kind, Registry};
use crate::schema::*;
use crate::section::{Table, join};
use std::collections::BTreeMap;
use toml::de::{DeTable, DeValue};

/// The tables of the file.
const TABLES: &[&str] = &["cluster", "webhook", "regions", "arbiters", "agents", "groups"];
/// The sub-tables of a group.
const GROUP_TABLES: &[&str] = &["resources", "probes", "external_fence"];

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
    let webhook = root.sub("webhook", book).map(|table| {
        table.refuse_unknown(WebhookKeys::NAMES, book);
        WebhookKeys::read(&table, book).url
    });
    let mut groups = BTreeMap::new();
    for (name, table) in root.named("groups", book) {
        groups.insert(name, group(&table, timing, registry, book));
    }
    Cluster {
        id: keys.id,
        timing,
        insecure_plaintext: keys.insecure_plaintext,
        cgroup_kill: keys.cgroup_kill,
        webhook,
        regions: all(root, "regions", Region::NAMES, Region::read, book),
        arbiters: all(root, "arbiters", Arbiter::NAMES, Arbiter::read, book),
        agents: all(root, "agents", Agent::NAMES, Agent::read, book),
        groups,
    }
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
        probes: all(table, "probes", Probe::NAMES, Probe::read, book),
        external_fence: all(
            table,
            "external_fence",
            ExternalFence::NAMES,
            ExternalFence::read,
            book,
        ),
    }
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
    let shared = settings(table, kind, &known, book);
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
    all.extend(settings(table, kind, InstanceKeys::NAMES, book));
    for setting in kind.settings.iter().filter(|setting| setting.required) {
        let here = all.keys().any(|key| kind.setting(key).is_some_and(|s| s.key == setting.key));
        if !here && !book.broken {
            let key = setting.key.replace('*', "REGION");
            let what = format!("{key} is missing: a {} needs it", kind.name);
            let remedy = format!("add {key} = {:?} here or at the resource", setting.example);
            book.fault(&join(&table.path, &key), what, remedy);
        }
    }
    Instance { agent: keys.agent, address: keys.address.unwrap_or_default(), settings: all }
}

/// Settings of a driver: everything that is not ours, flattened to text.
fn settings(
    table: &Table<'_, '_>,
    kind: &'static Kind,
    ours: &[&'static str],
    book: &mut Book<'_>,
) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for (key, value) in table.table {
        if !ours.contains(&key.get_ref().as_ref()) {
            flatten(&table.path, key.get_ref(), value.get_ref(), &mut found, book);
        }
    }
    let mut known: Vec<&str> = ours.to_vec();
    known.extend(kind.settings.iter().map(|setting| setting.key));
    found.retain(|key, value| {
        let path = join(&table.path, key);
        if kind.setting(key).is_some() {
            return !inline_secret(&path, value, book);
        }
        if looks_secret(key) {
            let remedy =
                "put it into a file that only the agent's user can read, and name the file";
            book.fault(&path, "a secret does not belong into this file", remedy);
        } else {
            let what = format!("unknown setting of kind {}", kind.name);
            book.fault(&path, what, suggest(key, &known));
        }
        false
    });
    found
}

fn flatten(
    path: &str,
    key: &str,
    value: &DeValue<'_>,
    found: &mut BTreeMap<String, String>,
    book: &mut Book<'_>,
) {
    let text = match value {
        DeValue::String(text) => text.to_string(),
        DeValue::Integer(number) => number.as_str().replace('_', ""),
        DeValue::Boolean(yes) => yes.to_string(),
        DeValue::Table(table) => {
            for (inner, value) in table {
                flatten(path, &join(key, inner.get_ref()), value.get_ref(), found, book);
            }
            return;
        }
        other => {
            let what = format!("is a {}", other.type_str());
            book.fault(&join(path, key), what, "write text, a whole number, true or false");
            return;
        }
    };
    found.insert(key.to_owned(), text);
}

/// Whether a key asks for a secret itself, not for a file that holds it.
fn looks_secret(key: &str) -> bool {
    let secret = ["password", "secret", "token", "tsig_key", "access_key", "private_key"];
    !key.ends_with("_file") && !key.ends_with("_name") && secret.iter().any(|s| key.contains(s))
}

/// A known setting may still carry a secret in a connection string.
fn inline_secret(path: &str, value: &str, book: &mut Book<'_>) -> bool {
    let inline = value.contains("password=")
        || value.split_once("://").is_some_and(|(_, rest)| {
            rest.split('/').next().is_some_and(|host| host.contains('@') && host.contains(':'))
        });
    if inline {
        let remedy = "put it into a file that only the agent's user can read, and name the file";
        book.fault(path, "holds a password", remedy);
    }
    inline
}
