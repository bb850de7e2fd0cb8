//! Incidents in JSON: a Statuspage summary (API v2 of Atlassian Statuspage, `summary.json`), or a
//! list at a JSON pointer (RFC 6901). Knows their keys; never a region.

use super::Reading;
use super::words::over;
use serde_json::Value;

/// Keys of an element whose value ends it, in the lists of several providers.
const ENDS: [&str; 4] = ["end", "ended_at", "resolved_at", "end_time"];
/// Keys of its state.
const STATES: [&str; 2] = ["status", "state"];
/// Keys of its title, the first that is there.
const TITLES: [&str; 6] = ["name", "title", "external_desc", "summary", "description", "event"];

/// Titles of the open incidents that name the region.
pub(super) fn incidents(page: &[u8], reading: &Reading) -> Result<Vec<String>, &'static str> {
    let page: Value = serde_json::from_slice(page).map_err(|_| "it is not JSON")?;
    match &reading.pointer {
        Some(pointer) => listed(&page, pointer, reading),
        None => summary(&page, reading),
    }
}

/// Incidents that are open, and components that are not operational.
fn summary(page: &Value, reading: &Reading) -> Result<Vec<String>, &'static str> {
    let list = |key: &str| page.get(key).and_then(Value::as_array);
    let Some(incidents) = page.get("page").and(list("incidents")) else {
        return Err("it is no Statuspage summary; the setting pointer names another list");
    };
    let components = list("components").map(Vec::as_slice).unwrap_or_default();
    let ill = components.iter().filter(|component| state(component) != "operational");
    let named = |one: &&Value| reading.words.name(&texts(one));
    let open = incidents.iter().filter(|incident| !over(state(incident)));
    let open = open.filter(named).chain(ill.filter(|one| reading.words.name(title(one))));
    Ok(open.map(|one| format!("{} ({})", title(one), state(one))).collect())
}

fn listed(page: &Value, pointer: &str, reading: &Reading) -> Result<Vec<String>, &'static str> {
    let Some(list) = page.pointer(pointer).and_then(Value::as_array) else {
        return Err("there is no list at the setting pointer");
    };
    let ended = |one: &Value| ENDS.iter().any(|key| one.get(key).is_some_and(|v| !v.is_null()));
    let open = list.iter().filter(|one| !ended(one) && !over(state(one)));
    Ok(open.filter(|one| reading.words.name(&texts(one))).map(|o| title(o).to_owned()).collect())
}

fn first<'a>(one: &'a Value, keys: &[&str]) -> &'a str {
    keys.iter().find_map(|key| one.get(key)?.as_str()).unwrap_or_default()
}

fn state(one: &Value) -> &str {
    first(one, &STATES)
}

fn title(one: &Value) -> &str {
    match first(one, &TITLES) {
        "" => "an incident without a title",
        title => title,
    }
}

/// Every text in it, however deep.
fn texts(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(list) => list.iter().map(texts).collect::<Vec<_>>().join("\n"),
        Value::Object(fields) => fields.values().map(texts).collect::<Vec<_>>().join("\n"),
        Value::Null | Value::Bool(_) | Value::Number(_) => String::new(),
    }
}
