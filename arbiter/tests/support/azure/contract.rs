//! What the definitions `Profile`, `ProfileProperties`, `DnsConfig`, `MonitorConfig`, `Endpoint`
//! and `EndpointProperties` of the contract allow. Knows JSON; never who sends it.

use serde_json::{Value, json};

const PROFILE: &[&str] = &["id", "name", "type", "tags", "location", "properties"];
const PROPERTIES: &[&str] = &[
    "profileStatus",
    "trafficRoutingMethod",
    "dnsConfig",
    "monitorConfig",
    "endpoints",
    "trafficViewEnrollmentStatus",
    "allowedEndpointRecordTypes",
    "maxReturn",
];
/// `fqdn` is read-only.
const DNS: &[&str] = &["relativeName", "ttl"];
const MONITOR: &[&str] = &[
    "protocol",
    "port",
    "path",
    "intervalInSeconds",
    "timeoutInSeconds",
    "toleratedNumberOfFailures",
    "customHeaders",
    "expectedStatusCodeRanges",
];
const ENDPOINT: &[&str] = &["id", "name", "type", "properties"];
const ENDPOINT_PROPERTIES: &[&str] = &[
    "targetResourceId",
    "target",
    "endpointStatus",
    "weight",
    "priority",
    "endpointLocation",
    "minChildEndpoints",
    "minChildEndpointsIPv4",
    "minChildEndpointsIPv6",
    "geoMapping",
    "subnets",
    "customHeaders",
    "alwaysServe",
];

/// What of `sent` is not in the contract, or is not the whole profile that stood there.
pub fn faults(before: &Value, sent: &Value) -> Vec<String> {
    let mut found = Vec::new();
    known("profile", sent, PROFILE, &mut found);
    let properties = &sent["properties"];
    known("properties", properties, PROPERTIES, &mut found);
    known("dnsConfig", &properties["dnsConfig"], DNS, &mut found);
    known("monitorConfig", &properties["monitorConfig"], MONITOR, &mut found);
    for endpoint in properties["endpoints"].as_array().into_iter().flatten() {
        known("endpoint", endpoint, ENDPOINT, &mut found);
        known("endpoint", &endpoint["properties"], ENDPOINT_PROPERTIES, &mut found);
        let status = &endpoint["properties"]["endpointStatus"];
        if status != "Enabled" && status != "Disabled" {
            found.push(format!("endpointStatus {status}"));
        }
    }
    let tags = sent["tags"].as_object();
    if !tags.is_some_and(|tags| tags.values().all(Value::is_string)) {
        found.push("tags are texts".to_owned());
    }
    if !properties["dnsConfig"]["ttl"].is_u64() {
        found.push("ttl is a number".to_owned());
    }
    if left_alone(before) != left_alone(sent) {
        found.push("it is not the whole profile that stood there".to_owned());
    }
    found
}

fn known(what: &str, value: &Value, keys: &[&str], found: &mut Vec<String>) {
    let Some(object) = value.as_object() else {
        found.push(format!("{what} is no object"));
        return;
    };
    let unknown = object.keys().filter(|key| !keys.contains(&key.as_str()));
    found.extend(unknown.map(|key| format!("{what} has {key}")));
}

/// A profile without what a switch changes and what the service fills in.
fn left_alone(profile: &Value) -> Value {
    let mut left = profile.clone();
    let fields: [(&str, &[&str]); 3] = [
        ("/tags", &["arbiter-token-default"]),
        ("/properties/dnsConfig", &["fqdn", "ttl"]),
        ("/properties/monitorConfig", &["profileMonitorStatus"]),
    ];
    for (place, names) in fields {
        if let Some(object) = left.pointer_mut(place).and_then(Value::as_object_mut) {
            object.retain(|key, _| !names.iter().any(|name| name.eq_ignore_ascii_case(key)));
        }
    }
    let endpoints = left.pointer_mut("/properties/endpoints").and_then(Value::as_array_mut);
    for endpoint in endpoints.into_iter().flatten() {
        if let Some(object) = endpoint["properties"].as_object_mut() {
            let changed = ["endpointStatus", "endpointMonitorStatus"];
            object.retain(|key, _| !changed.contains(&key.as_str()));
        }
    }
    left
}

/// What the service makes of it.
pub fn filled_in(mut profile: Value) -> Value {
    profile["properties"]["dnsConfig"]["fqdn"] = json!("shop.trafficmanager.test");
    profile["properties"]["monitorConfig"]["profileMonitorStatus"] = json!("CheckingEndpoints");
    let endpoints = profile["properties"]["endpoints"].as_array_mut();
    for endpoint in endpoints.into_iter().flatten() {
        let on = endpoint["properties"]["endpointStatus"] == "Enabled";
        let status = if on { "CheckingEndpoint" } else { "Disabled" };
        endpoint["properties"]["endpointMonitorStatus"] = json!(status);
    }
    profile
}
