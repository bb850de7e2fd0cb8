//! What an observation shows of real servers.

use super::rig::{Node, eventually};
use crate::drivers::postgres::processes;
use crate::drivers::{Driver, DriverError};
use arbiter_core::{Condition, PARITY, Role, Token};
use nix::sys::signal::Signal;
use std::collections::BTreeMap;
use std::time::Duration;

#[tokio::test]
async fn primary_and_standby_are_told_apart() {
    let a = Node::primary("a", &[]).await;
    let b = a.standby("b", &[]).await;
    a.sql("INSERT INTO t SELECT generate_series(1, 100)").await;

    let primary = a.look().await;
    assert_eq!((primary.condition, primary.role), (Condition::Healthy, Role::Primary));
    assert!(primary.writable && primary.obstacles.is_empty(), "{primary:?}");
    assert_eq!(primary.fork, None);
    let written = primary.position.unwrap();
    assert_eq!(written.timeline, 1);

    eventually("the standby has all", async || b.look().await.replayed >= Some(written)).await;
    let replica = b.look().await;
    assert_eq!((replica.condition, replica.role), (Condition::Healthy, Role::Replica));
    assert!(!replica.writable && replica.obstacles.is_empty(), "{replica:?}");
    assert_eq!(replica.data_id, primary.data_id);
    let upstream = replica.upstream.unwrap();
    assert!(upstream.streaming && upstream.age < Duration::from_secs(15), "{upstream:?}");
    assert!(upstream.position >= written, "{upstream:?} < {written}");
}

#[tokio::test]
async fn what_would_stall_a_promotion_is_an_obstacle() {
    let a = Node::primary("a", &[]).await;
    let b = a.standby("b", &[]).await;
    b.sql("SELECT pg_wal_replay_pause()").await;
    let paused = b.look().await.obstacles;
    assert!(paused.iter().any(|text| text.contains("paused")), "{paused:?}");
    // Received and not replayed is not lost: the promotion resumes the replay.
    a.sql("INSERT INTO t SELECT generate_series(1, 1000)").await;
    let written = a.look().await.position;
    eventually("received", async || b.look().await.position >= written).await;
    a.fence(Duration::ZERO).await.unwrap();
    b.active().await;
    assert_eq!(b.count().await, 1000);
}

#[tokio::test]
async fn a_hung_server_is_unknown_and_not_a_hang() {
    let a = Node::primary("a", &[]).await;
    processes::send(&a.postmaster(), Signal::SIGSTOP);
    let began = crate::clock::now();
    let fact = a.look().await;
    let took = crate::clock::now().since(began);
    assert_eq!(fact.condition, Condition::Unknown);
    assert!(fact.writable, "its open sessions go on writing");
    assert!(took < Duration::from_secs(3), "{took:?}");
    // And it can be fenced: a stopped process obeys SIGKILL.
    a.fence(Duration::from_millis(200)).await.unwrap();
}

#[tokio::test]
async fn stopped_and_dead_are_told_by_who_asked() {
    let a = Node::primary("a", &[]).await;
    a.kill_postmaster().await;
    eventually("dead", async || a.look().await.condition == Condition::Dead).await;
    a.active().await;
    a.fence(Duration::from_secs(5)).await.unwrap();
    assert_eq!(a.look().await.condition, Condition::Stopped);
}

#[tokio::test]
async fn a_write_proves_the_server_and_an_older_token_is_stale() {
    let a = Node::primary("a", &[]).await;
    assert!(a.driver.verify(Token::new(3, 10)).await.unwrap().writable);
    assert!(a.driver.verify(Token::new(3, 10)).await.is_ok());
    assert!(a.driver.verify(Token::new(4, 11)).await.is_ok());
    let stale = a.driver.verify(Token::new(3, 99)).await;
    assert_eq!(stale, Err(DriverError::StaleEpoch { seen: Token::new(4, 11) }));
}

#[tokio::test]
async fn settings_that_would_hurt_are_obstacles() {
    let a = Node::primary("a", &[]).await;
    let b = a.standby("b", &[]).await;
    assert_eq!(a.look().await.detail["max_slot_wal_keep_size"], "-1");
    a.sql("ALTER SYSTEM SET restart_after_crash = on").await;
    a.sql("SELECT pg_reload_conf()").await;
    let has = async |node: &Node, what: &str| {
        node.look().await.obstacles.iter().any(|text| text.contains(what))
    };
    eventually("it restarts itself", async || has(&a, "restart_after_crash").await).await;
    b.sql("ALTER SYSTEM SET recovery_target_timeline = 'current'").await;
    b.fence(Duration::from_secs(5)).await.unwrap();
    b.follow(&a.address).await.unwrap();
    assert!(has(&b, "recovery_target_timeline is current").await);
}

#[tokio::test]
async fn both_sides_tell_what_must_be_alike() {
    let a = Node::primary("a", &[]).await;
    let b = a.standby("b", &[]).await;
    let told = async |node: &Node| -> BTreeMap<String, String> {
        let detail = node.look().await.detail;
        detail.into_iter().filter(|(key, _)| key.starts_with(PARITY)).collect()
    };
    let (here, there) = (told(&a).await, told(&b).await);
    assert_eq!(here, there);
    for known in ["server version", "work_mem", "extension plpgsql"] {
        assert!(here.contains_key(&format!("{PARITY}{known}")), "{known} is not in {here:?}");
    }
    assert!(here.keys().any(|key| key.contains("collation of database postgres")), "{here:?}");
}
