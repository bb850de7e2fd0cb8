//! Lag, measured with canaries; the direction of replication; late writes.

use super::s3::S3;
use super::{ask, has_fault, open, reach, refused, shows, stale, try_open, with};
use arbiter::drivers::Driver;
use arbiter_core::{Fact, Goal};
use std::time::Duration;

fn driver(s3: &S3, region: &str, more: &[(&str, &str)]) -> Box<dyn Driver> {
    open("object-store", region, with(&s3.settings(region, "agent"), more))
}

fn streams(fact: &Fact) -> bool {
    fact.upstream.is_some_and(|upstream| upstream.streaming)
}

#[tokio::test]
async fn lag_is_the_age_of_the_newest_canary_that_has_arrived() {
    let s3 = S3::start();
    let (eu, us) = (driver(&s3, "eu", &[]), driver(&s3, "us", &[("lag_max", "2s")]));
    let fact = us.observe().await.expect("looks");
    assert!(fact.detail["lag"].contains("not measured") && fact.faults.is_empty());
    reach(&*eu, Goal::Active, (1, 3)).await;
    let fact = reach(&*us, Goal::Standby, (1, 3)).await.facts;
    assert!(fact.upstream.is_none() && fact.detail["lag"].contains("unknown"));
    let fact = shows(&*us, "a missing canary", |fact| has_fault(fact, "no canary")).await;
    assert!(fact.upstream.is_none());
    s3.replicate("eu", "us").await;
    let fact = shows(&*us, "an arrived canary", streams).await;
    let first = fact.upstream.expect("heard");
    assert!(first.age < Duration::from_secs(3), "{first:?}");
    assert!(fact.detail["canary"].contains("of eu at 1.3"), "{:?}", fact.detail);
    // Replication stops; then goes on.
    let fact = shows(&*us, "lag", |fact| has_fault(fact, "lags")).await;
    assert!(!streams(&fact));
    let newer = |fact: &Fact| fact.upstream.is_some_and(|u| u.position > first.position);
    s3.replicate("eu", "us").await;
    shows(&*us, "a newer canary", newer).await;
}

#[tokio::test]
async fn canaries_go_on_while_it_is_active_and_end_with_its_fence() {
    let s3 = S3::start();
    let eu = driver(&s3, "eu", &[]);
    reach(&*eu, Goal::Active, (1, 3)).await;
    let number = |fact: &Fact| {
        let canary = fact.detail.get("canary").cloned().unwrap_or_default();
        canary.split(' ').next().and_then(|number| number.parse::<u64>().ok()).unwrap_or_default()
    };
    shows(&*eu, "a third canary", |fact| number(fact) >= 3).await;
    // What keeps them from being written is a fault.
    let foreign = r#"{"Version":"2012-10-17","Statement":[{"Sid":"Theirs","Effect":"Deny",
        "Principal":"*","Action":"s3:PutObject","Resource":"arn:aws:s3:::orders-eu/*"}]}"#;
    s3.command("policy/orders-eu", foreign).await;
    let fact = shows(&*eu, "a refused canary", |fact| has_fault(fact, "writing a canary")).await;
    assert!(has_fault(&fact, "need s3:"), "{:?}", fact.faults);
    s3.command("policy/orders-eu", "none").await;
    shows(&*eu, "a written canary", |fact| fact.faults.iter().all(|f| !f.contains("canary"))).await;
    reach(&*eu, Goal::Fenced, (1, 9)).await;
    let fact = eu.observe().await.expect("looks");
    assert!(!fact.writable && !has_fault(&fact, "canary"), "{:?}", fact.faults);
}

#[tokio::test]
async fn an_order_from_before_another_region_was_active_is_refused() {
    let s3 = S3::start();
    let (eu, us) = (driver(&s3, "eu", &[]), driver(&s3, "us", &[]));
    reach(&*eu, Goal::Active, (1, 3)).await;
    reach(&*us, Goal::Active, (2, 9)).await;
    s3.replicate("us", "eu").await;
    stale(ask(&*eu, Goal::Active, (1, 8)).await, 2, 9);
    reach(&*eu, Goal::Standby, (2, 10)).await;
    reach(&*eu, Goal::Active, (3, 14)).await;
}

#[tokio::test]
async fn replication_is_turned_to_the_other_region() {
    let s3 = S3::start();
    let role = ("replication_role", "arn:aws:iam::123456789012:role/replicate");
    let eu = driver(&s3, "eu", &[role, ("peer_bucket", "orders-us")]);
    let us = driver(&s3, "us", &[role, ("peer_bucket", "arn:aws:s3:::orders-eu")]);
    let fact = reach(&*eu, Goal::Active, (1, 3)).await.facts;
    assert!(fact.faults.is_empty(), "{:?}", fact.faults);
    assert!(fact.detail["replication"].contains("orders-us"));
    let rules = s3.command("replication/orders-eu", "").await;
    assert!(rules.contains("ArbiterReplicate-1-3") && rules.contains("arn:aws:s3:::orders-us"));
    let written = s3.command("seen", "").await;
    reach(&*eu, Goal::Active, (1, 3)).await;
    assert_eq!(s3.command("seen", "").await, written, "twice is once");
    reach(&*eu, Goal::Standby, (2, 10)).await;
    assert!(!s3.command("replication/orders-eu", "").await.contains("ArbiterReplicate"));
    reach(&*us, Goal::Active, (2, 11)).await;
    assert!(s3.command("replication/orders-us", "").await.contains("ArbiterReplicate-2-11"));
}

#[tokio::test]
async fn what_only_people_can_turn_is_said() {
    let s3 = S3::start();
    let eu = driver(&s3, "eu", &[]);
    let fact = reach(&*eu, Goal::Active, (1, 3)).await.facts;
    assert!(has_fault(&fact, "turn the direction"), "{:?}", fact.faults);
    let none = driver(&s3, "us", &[("replication", "none")]);
    let fact = reach(&*none, Goal::Active, (1, 3)).await.facts;
    assert!(fact.faults.is_empty(), "{:?}", fact.faults);
    let half = with(&s3.settings("eu", "agent"), &[("peer_bucket", "orders-us")]);
    refused(try_open("object-store", "eu", half), "give both");
}

#[tokio::test]
async fn late_writes_are_listed_and_replicas_are_not() {
    let s3 = S3::start();
    let (eu, us) = (driver(&s3, "eu", &[]), driver(&s3, "us", &[]));
    reach(&*eu, Goal::Active, (1, 3)).await;
    // Told in whole seconds: what was written before must be another second.
    assert!(s3.writes("eu", "app", "orders/early").await);
    tokio::time::sleep(Duration::from_millis(1100)).await;
    // The region is lost, another takes its place, and the lost one's bucket still takes writes.
    reach(&*us, Goal::Active, (2, 9)).await;
    assert!(s3.writes("us", "app", "orders/true").await);
    assert!(s3.writes("eu", "app", "orders/late ~1").await);
    s3.replicate("us", "eu").await;
    assert!(s3.has("eu", "orders/true").await);
    reach(&*eu, Goal::Fenced, (2, 10)).await;
    let listed = |fact: &Fact| fact.detail.contains_key("late-writes");
    let fact = shows(&*eu, "late writes", listed).await;
    assert_eq!(fact.detail["late-writes"], "1: orders/late %7E1");
    let lost = fact.lost.expect("for the report");
    let late = lost.late.expect("of a bucket");
    assert_eq!((lost.count, late.epoch.0, late.unknown, late.whole), (Some(1), 2, 0, true));
    assert_eq!((late.listed.len(), late.listed[0].key.as_str()), (1, "orders/late %7E1"));
    assert!(late.listed[0].at.0 + 1000 > late.since.0, "{late:?}");
    assert_eq!(late.read, "aws s3 cp s3://orders-eu/KEY -");
    assert!(!us.observe().await.expect("looks").detail.contains_key("late-writes"));
}
