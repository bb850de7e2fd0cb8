//! A switchover: the source denies writes behind its last canary, the target waits for that.

use super::s3::S3;
use super::{ask, open, reach, retry};
use arbiter::drivers::Driver;
use arbiter_core::{EvidenceKind, Goal};

fn driver(s3: &S3, region: &str) -> Box<dyn Driver> {
    open("object-store", region, s3.settings(region, "agent"))
}

#[tokio::test]
async fn a_target_waits_for_the_last_canary_of_its_source() {
    let s3 = S3::start();
    let (eu, us) = (driver(&s3, "eu"), driver(&s3, "us"));
    reach(&*eu, Goal::Active, (1, 3)).await;
    reach(&*us, Goal::Standby, (1, 3)).await;
    s3.replicate("eu", "us").await;
    let done = reach(&*eu, Goal::Drained, (1, 9)).await;
    assert_eq!((done.clean, done.evidence), (true, Some(EvidenceKind::ProviderAsserted)));
    // A position would be counted as bytes of loss.
    assert_eq!(done.end, None);
    assert!(!s3.writes("eu", "app", "late").await);
    retry(ask(&*us, Goal::Drained, (1, 10)).await, "the last canary of eu has not arrived");
    s3.replicate("eu", "us").await;
    let done = reach(&*us, Goal::Drained, (1, 10)).await;
    assert!(!done.clean && !done.facts.writable);
    assert!(reach(&*eu, Goal::Drained, (1, 9)).await.clean, "twice is once");
    // A life of the agent later it is still known for the source.
    assert!(reach(&*driver(&s3, "eu"), Goal::Drained, (1, 9)).await.clean);
    reach(&*us, Goal::Active, (2, 11)).await;
    reach(&*eu, Goal::Standby, (2, 12)).await;
    // Failback: the same the other way.
    s3.replicate("us", "eu").await;
    assert!(reach(&*us, Goal::Drained, (2, 20)).await.clean);
    s3.replicate("us", "eu").await;
    assert!(!reach(&*eu, Goal::Drained, (2, 21)).await.clean);
    reach(&*eu, Goal::Active, (3, 22)).await;
    assert!(s3.writes("eu", "app", "again").await);
}

#[tokio::test]
async fn an_aborted_drain_resumes_the_source() {
    let s3 = S3::start();
    let (eu, us) = (driver(&s3, "eu"), driver(&s3, "us"));
    reach(&*eu, Goal::Active, (1, 3)).await;
    reach(&*eu, Goal::Drained, (1, 9)).await;
    s3.replicate("eu", "us").await;
    reach(&*eu, Goal::Active, (1, 12)).await;
    assert!(s3.writes("eu", "app", "a").await);
    s3.replicate("eu", "us").await;
    // Its canaries go on: the last one of the aborted drain is none of the next.
    retry(ask(&*us, Goal::Drained, (1, 15)).await, "has not arrived");
}
