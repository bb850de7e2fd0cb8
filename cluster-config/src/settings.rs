//! Settings of a kind of resource or probe, as text. Knows their keys and what looks like a secret;
//! never what a setting means.

use crate::fault::{Book, suggest};
use crate::kinds::{Setting, setting};
use crate::section::{Table, join};
use std::collections::BTreeMap;
use toml::de::DeValue;

/// Settings of a kind: everything that is not ours, flattened to text.
pub(crate) fn read(
    table: &Table<'_, '_>,
    kind: &str,
    settings: &'static [Setting],
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
    known.extend(settings.iter().map(|setting| setting.key));
    found.retain(|key, value| {
        let path = join(&table.path, key);
        if setting(settings, key).is_some() {
            return !inline_secret(&path, value, book);
        }
        if looks_secret(key) {
            let remedy =
                "put it into a file that only the agent's user can read, and name the file";
            book.fault(&path, "a secret does not belong into this file", remedy);
        } else {
            let what = format!("unknown setting of kind {kind}");
            book.fault(&path, what, suggest(key, &known));
        }
        false
    });
    found
}

/// A fault for each setting that must be there and is not among `found`.
pub(crate) fn missing(
    table: &Table<'_, '_>,
    kind: &str,
    settings: &'static [Setting],
    found: &BTreeMap<String, String>,
    place: &str,
    book: &mut Book<'_>,
) {
    for required in settings.iter().filter(|setting| setting.required) {
        let mut keys = found.keys().filter_map(|key| setting(settings, key));
        if keys.all(|known| known.key != required.key) && !book.broken {
            let key = required.key.replace('*', "REGION");
            let what = format!("{key} is missing: a {kind} needs it");
            let remedy = format!("add {key} = {:?}{place}", required.example);
            book.fault(&join(&table.path, &key), what, remedy);
        }
    }
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
