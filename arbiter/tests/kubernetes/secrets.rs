//! Named Secrets: told by a sum that says nothing of what stands in them.

use super::cluster::Cluster;
use super::{open, seen};
use arbiter_core::{Condition, PARITY};
use serde_json::json;

fn secret(cluster: &Cluster, name: &str, password: &str) {
    cluster.put("v1", "secrets", name, json!({ "metadata": {}, "data": { "password": password } }));
}

#[tokio::test]
async fn two_regions_tell_the_same_of_the_same_secret_and_nothing_of_what_it_is() {
    let (eu, us) = (Cluster::start().await, Cluster::start().await);
    secret(&eu, "db", "aHVudGVyMg==");
    secret(&us, "db", "aHVudGVyMg==");
    secret(&eu, "tls", "b25l");
    secret(&us, "tls", "dHdv");
    let named = [("secrets", "db, tls")];
    let (here, there) = (
        seen(&*open("kubernetes-secrets", &eu, &named)).await,
        seen(&*open("kubernetes-secrets", &us, &named)).await,
    );
    let told = |name: &str| format!("{PARITY}Secret {name}");
    assert_eq!(here.detail[&told("db")], there.detail[&told("db")]);
    assert_ne!(here.detail[&told("tls")], there.detail[&told("tls")]);
    assert_eq!((here.faults.len(), here.condition), (0, Condition::Healthy));
    let shown = format!("{here:?}");
    assert!(!shown.contains("hunter2") && !shown.contains("aHVudGVyMg"), "{shown}");
}

#[tokio::test]
async fn a_secret_that_is_not_there_is_told_by_its_name() {
    let cluster = Cluster::start().await;
    secret(&cluster, "db", "b25l");
    let fact = seen(&*open("kubernetes-secrets", &cluster, &[("secrets", "db, gone")])).await;
    assert_eq!(fact.faults.len(), 1, "{fact:?}");
    assert!(fact.faults[0].contains("no Secret gone in shop"), "{}", fact.faults[0]);
    assert!(fact.detail.contains_key(&format!("{PARITY}Secret db")));
}
