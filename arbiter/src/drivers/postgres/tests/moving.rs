//! Switchovers, promotions and restarts, with the time each took.

use super::rig::{Node, eventually, held};
use crate::clock;
use crate::drivers::postgres::processes;
use crate::drivers::{Driver, DriverError};
use arbiter_core::{Condition, EvidenceKind, Position, Role, Token};
use nix::sys::signal::Signal;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// One planned move; returns how long stop, catch-up, promotion and return took.
async fn switch(from: &Node, to: &Node) -> [Duration; 4] {
    let start = clock::now();
    let source = from.drain(None).await.unwrap();
    let stopped = clock::now();
    assert_eq!((source.evidence, source.clean), (Some(EvidenceKind::Confirmed), true));
    let target = to.drain(source.end).await.unwrap();
    let caught_up = clock::now();
    assert_eq!(target.end, source.end);
    let active = to.active().await;
    to.driver.verify(Token::new(2, 1)).await.unwrap();
    let promoted = clock::now();
    assert_eq!(active.facts.fork, source.end, "the new line begins where the old one ended");
    let back = from.follow(&to.address).await.unwrap();
    assert_eq!(back.facts.role, Role::Replica);
    [
        stopped.since(start),
        caught_up.since(stopped),
        promoted.since(caught_up),
        clock::now().since(promoted),
    ]
}

#[tokio::test]
async fn a_switchover_there_and_back_loses_nothing() {
    let slots = [("slot", "eu"), ("peer_slots", "us")];
    let a = Node::primary("a", &slots).await;
    let b = a.standby("b", &[("slot", "us"), ("peer_slots", "eu")]).await;
    let mut rows = 0;
    for round in 0..3 {
        let (from, to) = if round % 2 == 0 { (&a, &b) } else { (&b, &a) };
        from.sql("INSERT INTO t SELECT generate_series(1, 20000)").await;
        rows += 20000;
        let [stop, catch_up, promote, back] = switch(from, to).await;
        let outage = stop + catch_up + promote;
        println!(
            "round {round}: drain {stop:?}, catch-up {catch_up:?}, promote and verify {promote:?}, \
             outage at most {outage:?}; old source streams again after {back:?}"
        );
        assert_eq!(to.count().await, rows);
        to.sql("INSERT INTO t VALUES (0)").await;
        rows += 1;
        let written = to.look().await.position;
        eventually("followed", async || from.look().await.replayed >= written).await;
        assert_eq!(from.count().await, rows);
        assert_eq!(from.look().await.position.unwrap().timeline, round + 2);
    }
}

#[tokio::test]
async fn an_aborted_switchover_resumes_the_source() {
    let a = Node::primary("a", &[]).await;
    let b = a.standby("b", &[]).await;
    let end = a.drain(None).await.unwrap().end;
    assert_eq!(a.drain(None).await.unwrap().end, end, "twice is once");
    assert_eq!(a.look().await.condition, Condition::Stopped);
    assert_eq!(a.look().await.position, end);
    b.drain(end).await.unwrap();
    let began = clock::now();
    a.active().await;
    println!("resumed after {:?}", clock::now().since(began));
    assert_eq!(a.look().await.position.unwrap().timeline, 1);
    b.follow(&a.address).await.unwrap();
    a.sql("INSERT INTO t VALUES (1)").await;
    let written = a.look().await.position;
    eventually("followed", async || b.look().await.replayed >= written).await;
}

#[tokio::test]
async fn promoted_twice_is_promoted_once() {
    let a = Node::primary("a", &[]).await;
    let b = a.standby("b", &[("synchronous_standby_names", "")]).await;
    // Inherited, it would make every commit of the new primary wait for the lost one.
    b.sql("ALTER SYSTEM SET synchronous_standby_names = 'a'").await;
    b.sql("SELECT pg_reload_conf()").await;
    a.fence(Duration::ZERO).await.unwrap();
    b.drain(None).await.unwrap();
    let first = b.active().await.facts;
    let second = b.active().await.facts;
    assert_eq!(first.position.unwrap().timeline, 2);
    assert_eq!(second.position.unwrap().timeline, 2);
    b.driver.verify(Token::new(2, 1)).await.unwrap();
    eventually("a checkpoint on the new timeline", async || {
        b.look().await.detail.get("rewind_ready").is_some_and(|ready| ready == "true")
    })
    .await;
    assert_eq!(a.look().await.role, Role::Primary);
}

#[tokio::test]
async fn a_target_waits_for_the_end_and_refuses_more_than_the_end() {
    let a = Node::primary("a", &[]).await;
    let b = a.standby("b", &[]).await;
    let written = a.look().await.position.unwrap();
    eventually("received", async || b.look().await.position >= Some(written)).await;
    let less = Position { offset: written.offset - 8, ..written };
    let foreign = b.drain(Some(less)).await;
    assert!(matches!(&foreign, Err(DriverError::Refused(text)) if text.contains("beyond")));
    let more = Position { offset: written.offset + (1 << 24), ..written };
    b.follow(&a.address).await.unwrap();
    let pending = tokio::time::timeout(Duration::from_millis(300), b.drain(Some(more))).await;
    assert!(pending.is_err(), "it waits for what is still to come");
}

#[tokio::test]
async fn a_crashed_primary_is_restarted_where_it_is() {
    let a = Node::primary("a", &[]).await;
    a.sql("INSERT INTO t VALUES (1)").await;
    let session = a.busy("SELECT count(*) FROM generate_series(1, 100000000000)").await;
    a.kill_postmaster().await;
    let began = clock::now();
    a.active().await;
    println!("restarted in place after {:?}", clock::now().since(began));
    session.abort();
    assert_eq!(a.count().await, 1);
    assert_eq!(a.look().await.position.unwrap().timeline, 1);
}

#[tokio::test]
async fn started_as_its_data_says_while_unarmed() {
    let a = Node::primary("a", &[]).await;
    let b = a.standby("b", &[]).await;
    for node in [&a, &b] {
        node.fence(Duration::from_secs(5)).await.unwrap();
        node.driver.gate(false).await.unwrap();
        node.host.armed.store(false, Ordering::SeqCst);
        node.driver.start_as_is().await.unwrap();
    }
    assert_eq!(a.look().await.role, Role::Primary);
    assert_eq!(b.look().await.role, Role::Replica);
    assert!(!a.driver.gated() && !b.driver.gated());
}

/// A source that dies while it sends a record leaves a part of it, which is never replayed.
#[tokio::test]
async fn a_target_with_a_torn_tail_has_all_that_it_can_have() {
    let a = Node::primary("a", &[]).await;
    let b = a.standby("b", &[]).await;
    let before = a.look().await.position.unwrap();
    // One record of 200 MB: it is sent segment by segment.
    let record = "SELECT pg_logical_emit_message(false, 'torn', repeat('x', 200000000))";
    let session = a.busy(record).await;
    eventually("a part of it is received", async || {
        b.look().await.position.is_some_and(|now| now.offset > before.offset + (16 << 20))
    })
    .await;
    let everything = held(&a.data_dir);
    everything.iter().for_each(|process| processes::send(process, Signal::SIGKILL));
    session.abort();
    eventually("the stream ends", async || {
        b.look().await.upstream.is_some_and(|upstream| !upstream.streaming)
    })
    .await;
    let seen = b.look().await;
    assert!(seen.replayed < seen.position, "the record came whole: {seen:?}");
    let began = clock::now();
    let done = b.drain(None).await.unwrap();
    println!("a torn tail is told after {:?}", clock::now().since(began));
    assert_eq!(done.end, seen.replayed);
    assert_eq!(done.facts.position, done.end);
    // A known end is not to be had, and is waited for.
    let strict = tokio::time::timeout(Duration::from_secs(2), b.drain(seen.position)).await;
    assert!(strict.is_err(), "{strict:?}");
    assert_eq!(b.active().await.facts.fork, done.end, "the new line begins there");
}
