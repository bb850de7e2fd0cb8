//! The example of Route 53 that pulls, against moto: health checks and failover records as shipped.

use super::moto::Moto;
use aws_sdk_route53::types::{
    Change, ChangeAction, ChangeBatch, HealthCheckConfig, HealthCheckType, ResourceRecord,
    ResourceRecordSet, ResourceRecordSetFailover, RrType,
};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

fn example() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/pull/route53.tf.json");
    let text = std::fs::read_to_string(path).expect("it is there");
    serde_json::from_str::<Value>(&text).expect("it is JSON")["resource"].take()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_else(|| panic!("{key} of {value} is no text"))
}

fn number(value: &Value, key: &str) -> i32 {
    let number = value[key].as_i64().unwrap_or_else(|| panic!("{key} of {value} is no number"));
    i32::try_from(number).expect("a small one")
}

/// The name in `${aws_route53_health_check.NAME.id}`.
fn referred(text: &str) -> &str {
    let name = text.strip_prefix("${aws_route53_health_check.");
    name.and_then(|name| name.strip_suffix(".id}")).expect("it refers to a health check")
}

/// The request that Terraform makes of a health check; `known` are ids of those made before.
fn config(check: &Value, known: &BTreeMap<String, String>) -> HealthCheckConfig {
    let config = HealthCheckConfig::builder().r#type(HealthCheckType::from(text(check, "type")));
    if text(check, "type") == "CALCULATED" {
        let children = check["child_healthchecks"].as_array().expect("children");
        let children = children.iter().map(|child| referred(child.as_str().expect("a text")));
        let config = config.health_threshold(number(check, "child_health_threshold"));
        let ids = children.map(|name| known[name].clone()).collect();
        return config.set_child_health_checks(Some(ids)).build().expect("whole");
    }
    config
        .ip_address(text(check, "ip_address"))
        .port(number(check, "port"))
        .resource_path(text(check, "resource_path"))
        .request_interval(number(check, "request_interval"))
        .failure_threshold(number(check, "failure_threshold"))
        .build()
        .expect("whole")
}

/// The change that Terraform makes of a record. moto's zone is another than the example's.
fn change(record: &Value, role: &str, health_check: &str) -> Change {
    let name = text(record, "name").replace("example.com", "example.test");
    let values = record["records"].as_array().expect("values").iter();
    let values = values.map(|value| {
        let record = ResourceRecord::builder().value(value.as_str().expect("a text"));
        record.build().expect("whole")
    });
    let set = ResourceRecordSet::builder()
        .name(name)
        .r#type(RrType::from(text(record, "type")))
        .ttl(number(record, "ttl").into())
        .set_identifier(text(record, "set_identifier"))
        .failover(ResourceRecordSetFailover::from(role))
        .health_check_id(health_check)
        .set_resource_records(Some(values.collect()))
        .build()
        .expect("whole");
    let change = Change::builder().action(ChangeAction::Create).resource_record_set(set);
    change.build().expect("whole")
}

#[tokio::test]
async fn route_53_takes_the_example() {
    let moto = Moto::start(0).await;
    let client = moto.client();
    let resources = example();
    let checks = resources["aws_route53_health_check"].as_object().expect("checks");
    // Terraform makes what is referred to first.
    let mut ordered: Vec<(&String, &Value)> = checks.iter().collect();
    ordered.sort_by_key(|(_, check)| text(check, "type") == "CALCULATED");
    let mut ids = BTreeMap::new();
    for (name, check) in ordered {
        let wanted = config(check, &ids);
        let call = client.create_health_check().caller_reference(name);
        let made = call.health_check_config(wanted.clone()).send().await;
        let id = made.unwrap_or_else(|error| panic!("{name}: {error:?}")).health_check;
        let id = id.expect("told").id;
        let got = client.get_health_check().health_check_id(&id).send().await.expect("there");
        let got = got.health_check.and_then(|check| check.health_check_config).expect("told");
        assert_eq!(got.resource_path, wanted.resource_path, "{name}");
        assert_eq!(got.health_threshold.unwrap_or(0), wanted.health_threshold.unwrap_or(0));
        ids.insert(name.clone(), id);
    }
    let records = resources["aws_route53_record"].as_object().expect("records");
    let mut roles = Vec::new();
    let mut batch = ChangeBatch::builder();
    for record in records.values() {
        let region = referred(text(record, "health_check_id"));
        assert_eq!(region, text(record, "set_identifier"), "a region's record has its check");
        let role = text(&record["failover_routing_policy"][0], "type");
        roles.push(role);
        batch = batch.changes(change(record, role, &ids[region]));
    }
    roles.sort_unstable();
    assert_eq!(roles, ["PRIMARY", "SECONDARY"]);
    let call = client.change_resource_record_sets().hosted_zone_id(&moto.zone);
    let call = call.change_batch(batch.build().expect("whole"));
    call.send().await.expect("Route 53 takes the records");
    let listed = client.list_resource_record_sets().hosted_zone_id(&moto.zone).send().await;
    let sets = listed.expect("listed").resource_record_sets;
    for region in ["eu-west", "us-east"] {
        let set = sets.iter().find(|set| set.set_identifier.as_deref() == Some(region));
        let set = set.unwrap_or_else(|| panic!("no record of {region} in {sets:?}"));
        assert_eq!(set.health_check_id.as_ref(), Some(&ids[region]));
        assert!(set.failover.is_some(), "{set:?}");
    }
}
