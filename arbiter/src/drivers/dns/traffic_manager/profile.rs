//! A profile as the published contract writes it, 2022-04-01: what is read from it, and the whole
//! of it with another region's endpoint enabled. Pure; what it does not know it leaves as it was.

use crate::drivers::dns::cas::{Change, RrSet, Seen};
use crate::drivers::dns::settings::{RecordKind, Settings};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// What the service fills in by itself, by the object that holds it.
const COMPUTED: [(&str, &str); 2] =
    [("/properties/dnsConfig", "fqdn"), ("/properties/monitorConfig", "profileMonitorStatus")];
/// Routing methods that lead some clients nowhere when one endpoint alone is enabled.
const PARTIAL: [&str; 2] = ["Geographic", "Subnet"];

/// What traffic is by this profile: its enabled endpoints, and the token among its tags.
///
/// # Errors
/// What is no profile, in words.
pub fn seen(settings: &Settings, profile: &Value) -> Result<Seen, &'static str> {
    let properties = profile.get("properties").filter(|properties| properties.is_object());
    let properties = properties.ok_or("answers with what is no profile")?;
    let endpoints = properties.get("endpoints").and_then(Value::as_array);
    let endpoints = endpoints.ok_or("answers with a profile that has no endpoints")?;
    let ttl = properties.pointer("/dnsConfig/ttl").and_then(Value::as_u64);
    let ttl = ttl.and_then(|ttl| u32::try_from(ttl).ok()).unwrap_or_default();
    let mut seen = Seen { in_the_way: in_the_way(settings, properties), ..Seen::default() };
    let enabled = endpoints.iter().filter(|e| is(e.pointer("/properties/endpointStatus"), ENABLED));
    let values: BTreeSet<String> = enabled.filter_map(target).collect();
    for slot in settings.slots() {
        let set = (!values.is_empty()).then(|| RrSet { ttl, values: values.clone() });
        seen.records.insert(slot, set);
    }
    let (_, text) = tag(settings, profile).unzip();
    // A tag holds the token bare; what stands there is compared as a TXT record's text is.
    seen.token = text.map(|text| RrSet::one(settings.ttl, format!("\"{text}\"")));
    Ok(seen)
}

const ENABLED: &str = "Enabled";
const DISABLED: &str = "Disabled";

/// What no change of ours can mend, a sentence each.
fn in_the_way(settings: &Settings, properties: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let endpoints = properties.get("endpoints").and_then(Value::as_array);
    let endpoints = endpoints.map(Vec::as_slice).unwrap_or_default();
    for nested in endpoints.iter().filter(|endpoint| target(endpoint).is_none()) {
        let name = nested.get("name").and_then(Value::as_str).unwrap_or_default();
        found.push(format!(
            "the endpoint {name:?} of the profile has no target, so that nobody can tell whose it \
             is: take it out, or give the profile's name to another resource"
        ));
    }
    let all: BTreeSet<String> = endpoints.iter().filter_map(target).collect();
    for region in settings.regions() {
        let records = settings.records(region).unwrap_or_default();
        let wanted = records.into_values().flatten().flat_map(|set| set.values);
        for missing in wanted.filter(|value| !all.contains(value)) {
            found.push(format!(
                "the profile has no endpoint with the target {missing}, which is value.{region}: \
                 add it, disabled, or correct the setting"
            ));
        }
    }
    if !is(properties.get("profileStatus"), ENABLED) {
        found.push("the profile is disabled: enable it".to_owned());
    }
    let method = properties.get("trafficRoutingMethod");
    if let Some(method) = PARTIAL.iter().find(|word| is(method, word)) {
        found.push(format!(
            "the profile routes by {method}: with one endpoint enabled some clients are led \
             nowhere; set trafficRoutingMethod to Priority"
        ));
    }
    found
}

/// The whole profile after `change`, without what the service fills in.
pub fn after(settings: &Settings, profile: &Value, change: &Change) -> Value {
    let mut next = profile.clone();
    let sets = change.records.values().flatten();
    let targets: BTreeSet<&String> = sets.flat_map(|set| &set.values).collect();
    let endpoints = next.pointer_mut("/properties/endpoints").and_then(Value::as_array_mut);
    for endpoint in endpoints.into_iter().flatten() {
        let here = target(endpoint).is_some_and(|target| targets.contains(&target));
        if let Some(properties) = endpoint.get_mut("properties").and_then(Value::as_object_mut) {
            let status = if here { ENABLED } else { DISABLED };
            properties.insert("endpointStatus".to_owned(), json!(status));
            properties.remove("endpointMonitorStatus");
        }
    }
    for (place, name) in COMPUTED {
        if let Some(object) = next.pointer_mut(place).and_then(Value::as_object_mut) {
            object.remove(name);
        }
    }
    if let Some(dns) = next.pointer_mut("/properties/dnsConfig").and_then(Value::as_object_mut) {
        dns.insert("ttl".to_owned(), json!(settings.ttl));
    }
    let token = change.token.values.first().map(|text| text.trim_matches('"'));
    let name = tag(settings, profile).map_or(settings.token_name.clone(), |(name, _)| name);
    if let Some(object) = next.as_object_mut() {
        let tags = object.entry("tags").or_insert_with(|| json!({}));
        if !tags.is_object() {
            *tags = json!({});
        }
        tags[name] = json!(token);
    }
    next
}

/// The tag that holds the token: its name as it is written there, and what it holds. Azure tells
/// names of tags apart without regard to case.
fn tag(settings: &Settings, profile: &Value) -> Option<(String, String)> {
    let tags = profile.get("tags")?.as_object()?;
    let own = tags.iter().find(|(name, _)| name.eq_ignore_ascii_case(&settings.token_name));
    let (name, text) = own?;
    Some((name.clone(), text.as_str().unwrap_or_default().to_owned()))
}

/// Whom an endpoint leads to; none for a nested profile.
fn target(endpoint: &Value) -> Option<String> {
    let text = endpoint.pointer("/properties/target")?.as_str()?;
    (!text.is_empty()).then(|| RecordKind::Cname.canonical(text))
}

/// Azure compares such words without regard to case.
fn is(value: Option<&Value>, word: &str) -> bool {
    value.and_then(Value::as_str).is_some_and(|text| text.eq_ignore_ascii_case(word))
}
