//! The fence of a bucket, against a server that obeys bucket policies.

use super::s3::S3;
use super::{Settings, ask, has_fault, open, reach, retry, shows, stale, with};
use arbiter::drivers::Driver;
use arbiter_core::{Condition, EvidenceKind, Goal};
use serde_json::Value;

const USERS: &str = r#"{"Version":"2012-10-17","Statement":[{"Sid":"Mine","Effect":"Allow",
    "Principal":{"AWS":"arn:aws:iam::123456789012:user/app"},"Action":"s3:GetObject",
    "Resource":"arn:aws:s3:::orders-eu/*"}]}"#;

fn driver(settings: Settings) -> Box<dyn Driver> {
    open("object-store", "eu", settings)
}

/// Ids of the statements in a bucket's policy.
async fn sids(s3: &S3) -> Vec<String> {
    let text = s3.command("policy/orders-eu", "").await;
    let policy: Value = serde_json::from_str(&text).unwrap_or_default();
    let statements = policy["Statement"].as_array().cloned().unwrap_or_default();
    statements.iter().map(|found| found["Sid"].as_str().unwrap_or_default().to_owned()).collect()
}

#[tokio::test]
async fn writes_are_denied_at_a_token_and_the_policy_of_others_is_kept() {
    let s3 = S3::start();
    s3.command("policy/orders-eu", USERS).await;
    let driver = driver(s3.settings("eu", "agent"));
    assert!(s3.writes("eu", "app", "before").await);
    let done = reach(&*driver, Goal::Fenced, (2, 9)).await;
    assert_eq!(done.evidence, Some(EvidenceKind::ProviderAsserted));
    assert_eq!((done.facts.writable, done.facts.condition), (false, Condition::Stopped));
    assert!(done.facts.detail["fence"].contains("2.9, a write of ours was refused"));
    assert_eq!(sids(&s3).await, ["Mine", "ArbiterFence-2-9"]);
    for key in ["before", "new"] {
        assert!(!s3.writes("eu", "app", key).await, "{key}");
    }
    assert!(s3.has("eu", "before").await, "reading is not denied");
    // Twice is once.
    let written = s3.command("seen", "").await;
    reach(&*driver, Goal::Fenced, (2, 9)).await;
    assert_eq!(s3.command("seen", "").await, written);
    // What is older loses, whatever it asks.
    stale(ask(&*driver, Goal::Fenced, (2, 8)).await, 2, 9);
    stale(ask(&*driver, Goal::Active, (2, 8)).await, 2, 9);
    assert_eq!(sids(&s3).await, ["Mine", "ArbiterFence-2-9"]);
    let done = reach(&*driver, Goal::Active, (2, 11)).await;
    assert!(done.facts.writable && done.evidence.is_none());
    assert_eq!(sids(&s3).await, ["Mine"]);
    assert!(s3.writes("eu", "app", "after").await);
    // The canary remembers the token when the policy no longer does.
    stale(ask(&*driver, Goal::Fenced, (2, 9)).await, 2, 11);
    assert!(s3.writes("eu", "app", "still").await);
}

#[tokio::test]
async fn a_bucket_without_a_policy_has_none_again() {
    let s3 = S3::start();
    let driver = driver(s3.settings("eu", "agent"));
    reach(&*driver, Goal::Standby, (1, 4)).await;
    assert_eq!(sids(&s3).await, ["ArbiterFence-1-4"]);
    assert!(!s3.writes("eu", "app", "a").await);
    reach(&*driver, Goal::Active, (2, 9)).await;
    assert_eq!(s3.command("policy/orders-eu", "").await, "");
}

#[tokio::test]
async fn a_named_role_may_write_and_nobody_else() {
    let s3 = S3::start();
    let role = "arn:aws:iam::123456789012:role/storage-admin";
    let settings = with(&s3.settings("eu", "agent"), &[("admin_role", role)]);
    reach(&*driver(settings), Goal::Fenced, (2, 9)).await;
    assert!(!s3.writes("eu", "app", "a").await);
    assert!(s3.writes("eu", "admin", "a").await);
    // An agent that is that role cannot see its own write refused, and says so.
    let own = with(&s3.settings("eu", "admin"), &[("admin_role", role)]);
    let done = reach(&*driver(own), Goal::Fenced, (2, 10)).await;
    assert!(done.facts.detail["fence"].contains("leaves alone"), "{:?}", done.facts.detail);
    assert_eq!(done.evidence, Some(EvidenceKind::ProviderAsserted));
}

#[tokio::test]
async fn a_policy_that_is_stored_and_not_obeyed_is_no_fence() {
    let s3 = S3::start();
    let driver = driver(s3.settings("eu", "agent"));
    s3.command("obey/0", "").await;
    retry(ask(&*driver, Goal::Fenced, (2, 9)).await, "a write is still accepted");
    s3.command("obey/1", "").await;
    reach(&*driver, Goal::Fenced, (2, 9)).await;
}

#[tokio::test]
async fn what_is_read_back_late_is_waited_for() {
    let s3 = S3::start();
    let driver = driver(s3.settings("eu", "agent"));
    reach(&*driver, Goal::Fenced, (2, 9)).await;
    s3.command("stale/3", "").await;
    let done = reach(&*driver, Goal::Fenced, (2, 10)).await;
    assert!(done.facts.detail["fence"].contains("2.10"), "{:?}", done.facts.detail);
}

#[tokio::test]
async fn a_fence_that_somebody_took_out_is_seen() {
    let s3 = S3::start();
    let driver = driver(s3.settings("eu", "agent"));
    reach(&*driver, Goal::Fenced, (2, 9)).await;
    let fact = driver.observe().await.expect("looks");
    assert!(!fact.writable && fact.faults.is_empty(), "{:?}", fact.faults);
    s3.command("policy/orders-eu", "none").await;
    let fact = shows(&*driver, "an open bucket", |fact| fact.writable).await;
    assert!(has_fault(&fact, "accepts writes"), "{:?}", fact.faults);
    let turned = r#"{"Version":"2012-10-17","Statement":[{"Sid":"ArbiterFence-2-9","Effect":"Deny",
        "Principal":"*","Action":"s3:DeleteObject*","Resource":"arn:aws:s3:::orders-eu/*"}]}"#;
    s3.command("policy/orders-eu", turned).await;
    let changed = |text: &String| text.contains("changed by somebody");
    let fact =
        shows(&*driver, "a turned fence", |fact| fact.detail.get("fence").is_some_and(changed));
    assert!(fact.await.writable);
    reach(&*driver, Goal::Fenced, (2, 9)).await;
    assert!(!s3.writes("eu", "app", "a").await);
}

#[tokio::test]
async fn a_real_write_verifies_an_active_bucket_only() {
    let s3 = S3::start();
    let driver = driver(s3.settings("eu", "agent"));
    reach(&*driver, Goal::Active, (2, 9)).await;
    let fact = driver.verify(arbiter_core::Token::new(2, 9)).await.expect("writes");
    assert!(fact.writable && fact.detail["canary"].contains("of eu at 2.9"), "{:?}", fact.detail);
    reach(&*driver, Goal::Fenced, (2, 10)).await;
    assert!(driver.verify(arbiter_core::Token::new(2, 10)).await.is_err());
}
