//! Objects that both sides must have alike: counted and summed, once they have rested.

use super::s3::S3;
use super::{has_fault, open, reach, refused, shows, try_open, with};
use arbiter::drivers::Driver;
use arbiter_core::{Fact, Goal};

/// A sum has rested after four seconds.
const OFTEN: [(&str, &str); 2] = [("checksum_every", "1s"), ("lag_max", "2s")];

fn driver(s3: &S3, region: &str, more: &[(&str, &str)]) -> Box<dyn Driver> {
    let settings = with(&s3.settings(region, "agent"), &OFTEN);
    open("object-store", region, with(&settings, more))
}

fn settled(fact: &Fact) -> Option<&String> {
    fact.detail.get("checksum.orders")
}

/// What it says once that says `said`.
async fn sum(driver: &dyn Driver, said: &str) -> String {
    let fits = |fact: &Fact| settled(fact).is_some_and(|sum| sum.contains(said));
    let fact = shows(driver, said, fits).await;
    settled(&fact).expect("settled").clone()
}

#[tokio::test]
async fn both_sides_tell_the_same_of_the_same_objects_and_another_of_others() {
    let s3 = S3::start();
    let orders = [("checksum.orders", "orders/2025/")];
    let (eu, us) = (driver(&s3, "eu", &orders), driver(&s3, "us", &orders));
    reach(&*eu, Goal::Active, (1, 3)).await;
    for key in ["orders/2025/a", "orders/2025/b ~1", "orders/2026/c", "orders/2025b"] {
        assert!(s3.writes("eu", "app", key).await);
    }
    s3.replicate("eu", "us").await;
    reach(&*us, Goal::Standby, (1, 3)).await;
    let (there, here) = (sum(&*eu, "settled").await, sum(&*us, "settled").await);
    assert_eq!(there, here);
    assert!(there.starts_with("settled 2 objects, 8 bytes, list "), "{there}");
    // One that was never replicated, and one that only its size tells apart.
    assert!(s3.writes("eu", "app", "orders/2025/lost").await);
    let there = sum(&*eu, "3 objects").await;
    assert_ne!(there, sum(&*us, "2 objects").await);
    s3.put("eu", "orders/2025/lost", b"longer".to_vec()).await;
    assert_ne!(sum(&*eu, "3 objects, 14 bytes").await, there);
}

#[tokio::test]
async fn the_whole_bucket_rests_though_canaries_are_written_and_a_bound_is_said() {
    let s3 = S3::start();
    let all = [("checksum.orders", "/"), ("checksum_objects", "2")];
    let eu = driver(&s3, "eu", &all);
    reach(&*eu, Goal::Active, (1, 3)).await;
    for key in ["a", "b"] {
        assert!(s3.writes("eu", "app", key).await);
    }
    assert!(sum(&*eu, "settled").await.starts_with("settled 2 objects, 8 bytes"));
    assert!(s3.writes("eu", "app", "c").await);
    assert!(sum(&*eu, "first").await.starts_with("settled the first 2 objects, 8 bytes"));
}

#[tokio::test]
async fn what_is_written_all_the_time_is_not_compared() {
    let s3 = S3::start();
    let eu = driver(&s3, "eu", &[("checksum.orders", "orders")]);
    reach(&*eu, Goal::Active, (1, 3)).await;
    for number in 0..6 {
        assert!(s3.writes("eu", "app", &format!("orders/{number}")).await);
        let said = format!("{} objects", number + 1);
        let listed = |fact: &Fact| {
            assert_eq!(settled(fact), None);
            fact.detail.get("objects.orders").is_some_and(|told| told.starts_with(&said))
        };
        shows(&*eu, &said, listed).await;
    }
    sum(&*eu, "settled 6 objects").await;
}

#[tokio::test]
async fn what_cannot_be_listed_is_a_fault_with_its_name() {
    let s3 = S3::start();
    let settings = with(&s3.settings("eu", "nobody"), &[("checksum.orders", "orders")]);
    let eu = open("object-store", "eu", settings);
    let fact = shows(&*eu, "a fault", |fact| has_fault(fact, "checksum.orders")).await;
    let fault = fact.faults.iter().find(|fault| fault.contains("checksum.orders"));
    assert!(fault.is_some_and(|fault| fault.contains("need s3:ListBucket")), "{:?}", fact.faults);
    assert!(settled(&fact).is_none());
}

#[tokio::test]
async fn bad_settings_are_refused_by_name() {
    let s3 = S3::start();
    for (key, value) in [("checksum.orders", "a//b"), ("checksum_objects", "0")] {
        let settings = with(&s3.settings("eu", "agent"), &[(key, value)]);
        refused(try_open("object-store", "eu", settings), key);
    }
}
