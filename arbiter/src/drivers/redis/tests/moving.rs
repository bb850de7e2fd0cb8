//! Switchovers, promotions and restarts, with the time each took.

use super::rig::{APPENDS, Node, SAVES, Writer, eventually, held};
use crate::clock;
use crate::drivers::{Driver, DriverError};
use arbiter_core::{Condition, EvidenceKind, Position, Role, Token};
use std::time::Duration;

/// One planned move under a writer; how many writes were acknowledged.
async fn switch(from: &Node, to: &Node) -> u64 {
    let writer = Writer::start(from).await;
    let start = clock::now();
    let source = from.drain(None).await.unwrap();
    let stopped = clock::now();
    assert_eq!((source.evidence, source.clean), (Some(EvidenceKind::Confirmed), true));
    let target = to.drain(source.end).await.unwrap();
    let caught_up = clock::now();
    assert!(target.end >= source.end, "{target:?} {source:?}");
    assert_eq!(target.facts.history, source.facts.history);
    let active = to.active().await;
    to.driver.verify(Token::new(2, 7)).await.unwrap();
    println!(
        "drain {:?}, catch-up {:?}, promote and verify {:?}; nobody could write for {:?}",
        stopped.since(start),
        caught_up.since(stopped),
        clock::now().since(caught_up),
        clock::now().since(writer.last())
    );
    assert_ne!(active.facts.history, target.facts.history, "a new history begins");
    assert!(target.facts.left(&active.facts), "and the old one is told from it");
    writer.stop().await
}

/// Every write that was acknowledged is there.
async fn has_all(node: &Node, acknowledged: u64) {
    let keys: Vec<String> = (1..=acknowledged).map(|number| format!("w{number}")).collect();
    for some in keys.chunks(1000) {
        let words: Vec<&str> =
            ["EXISTS"].into_iter().chain(some.iter().map(String::as_str)).collect();
        assert_eq!(node.ask(&words).await, some.len().to_string());
    }
}

#[tokio::test]
async fn a_switchover_there_and_back_loses_nothing() {
    for conf in [APPENDS, SAVES] {
        let a = Node::primary("a", conf, &[]).await;
        let b = a.standby("b", conf, &[]).await;
        for (from, to) in [(&a, &b), (&b, &a)] {
            let acknowledged = switch(from, to).await;
            has_all(to, acknowledged).await;
            let back = from.come_to_follow(&to.address).await;
            assert_eq!((back.facts.role, back.facts.writable), (Role::Replica, false));
            to.ask(&["FLUSHALL"]).await;
            to.ask(&["SET", "first", "1"]).await;
            to.followed_by(from).await;
            assert_eq!(from.ask(&["DBSIZE"]).await, "1");
            assert_eq!(from.look().await.history, to.look().await.history);
            assert!(
                !from.look().await.detail.contains_key("quarantined"),
                "nothing was to be saved"
            );
        }
    }
}

/// With saves a return needs no full copy: the save says where it stands.
#[tokio::test]
async fn a_source_that_saves_goes_on_where_it_was() {
    let a = Node::primary("a", SAVES, &[]).await;
    let b = a.standby("b", SAVES, &[]).await;
    switch(&a, &b).await;
    let before = b.ask(&["INFO", "stats"]).await;
    let copies = |stats: &str| {
        let line = stats.lines().find_map(|line| line.strip_prefix("sync_full:"));
        line.map(str::to_owned)
    };
    a.follow(&b.address).await.unwrap();
    assert_eq!(copies(&b.ask(&["INFO", "stats"]).await), copies(&before));
}

#[tokio::test]
async fn an_aborted_switchover_resumes_the_source() {
    for conf in [APPENDS, SAVES] {
        let a = Node::primary("a", conf, &[]).await;
        let b = a.standby("b", conf, &[]).await;
        let end = a.drain(None).await.unwrap().end;
        assert_eq!(a.drain(None).await.unwrap().end, end, "twice is once");
        assert_eq!(a.look().await.condition, Condition::Stopped);
        assert_eq!(a.look().await.position, end);
        b.drain(end).await.unwrap();
        let began = clock::now();
        a.active().await;
        println!("resumed after {:?}", clock::now().since(began));
        b.come_to_follow(&a.address).await;
        a.ask(&["SET", "second", "2"]).await;
        a.followed_by(&b).await;
        assert_eq!(b.ask(&["GET", "second"]).await, "2");
        assert!(!b.look().await.detail.contains_key("quarantined"), "a has all of it");
    }
}

#[tokio::test]
async fn a_source_that_nobody_follows_is_not_stopped() {
    let a = Node::primary("a", APPENDS, &[]).await;
    let refused = a.drain(None).await;
    assert!(matches!(&refused, Err(DriverError::Retry(why)) if why.contains("no replica follows")));
    a.ask(&["SET", "still", "writable"]).await;
    assert_eq!(held(&a.data_dir).len(), 1);
}

#[tokio::test]
async fn promoted_twice_is_promoted_once() {
    let a = Node::primary("a", APPENDS, &[]).await;
    // Inherited, it would make the new primary wait for the lost one.
    let b = a.standby("b", &format!("{APPENDS}min-replicas-to-write 1\n"), &[]).await;
    a.followed_by(&b).await;
    a.fence(Duration::ZERO).await.unwrap();
    let drained = b.drain(None).await.unwrap();
    assert!(drained.end.is_some() && drained.facts.role == Role::Replica);
    assert_eq!(b.drain(None).await.unwrap().end, drained.end);
    assert!(b.try_ask(&["SET", "k", "v"]).await.unwrap_err().contains("READONLY"));
    let first = b.active().await.facts;
    let second = b.active().await.facts;
    assert_eq!(first.history, second.history);
    b.driver.verify(Token::new(2, 7)).await.unwrap();
    assert_eq!(b.ask(&["GET", "first"]).await, "1");
}

#[tokio::test]
async fn a_target_receives_no_more_than_it_was_drained_to() {
    let a = Node::primary("a", APPENDS, &[]).await;
    let b = a.standby("b", APPENDS, &[]).await;
    a.followed_by(&b).await;
    let end = b.drain(None).await.unwrap().end;
    a.ask(&["SET", "late", "1"]).await;
    let more = Position { offset: end.unwrap().offset + 1_000_000, ..end.unwrap() };
    let behind = b.drain(Some(more)).await;
    assert!(matches!(&behind, Err(DriverError::Retry(why)) if why.contains("ended at")));
    assert_eq!(b.look().await.position, end, "it heard of nothing after that");
    assert_eq!(b.ask(&["EXISTS", "late"]).await, "0");
    b.come_to_follow(&a.address).await;
    assert_eq!(b.ask(&["EXISTS", "late"]).await, "1");
    // What is still to come is waited for.
    let waiting = tokio::time::timeout(Duration::from_millis(500), b.drain(Some(more))).await;
    assert!(waiting.is_err(), "{waiting:?}");
}

#[tokio::test]
async fn a_crashed_primary_is_restarted_where_it_is() {
    let a = Node::primary("a", APPENDS, &[]).await;
    let b = a.standby("b", APPENDS, &[]).await;
    a.kill().await;
    eventually("dead", async || a.look().await.condition == Condition::Dead).await;
    let fact = a.look().await;
    assert!(fact.position.is_some() && fact.detail.contains_key("position"), "{fact:?}");
    let began = clock::now();
    a.active().await;
    println!("restarted in place after {:?}", clock::now().since(began));
    assert_eq!(a.ask(&["GET", "first"]).await, "1");
    // Its replica finds it again by itself.
    eventually("followed", async || b.look().await.history == a.look().await.history).await;
    assert_eq!(b.ask(&["GET", "first"]).await, "1");
}

#[tokio::test]
async fn a_stopped_target_is_brought_up_for_nobody() {
    let a = Node::primary("a", SAVES, &[]).await;
    let b = a.standby("b", SAVES, &[]).await;
    a.followed_by(&b).await;
    b.fence(Duration::from_secs(2)).await.unwrap();
    let end = a.drain(None).await;
    assert!(matches!(end, Err(DriverError::Retry(_))), "nobody follows");
    let drained = b.drain(None).await.unwrap();
    assert!(drained.end.is_some());
    assert_eq!(b.ask(&["GET", "first"]).await, "1");
    assert!(b.look().await.upstream.is_none_or(|upstream| !upstream.streaming));
}
