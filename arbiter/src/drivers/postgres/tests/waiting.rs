//! Whom commits wait for, and that they do.

use super::rig::{Node, eventually, held};
use crate::drivers::postgres::processes::{self, Process};
use crate::drivers::{Driver, DriverError};
use arbiter_core::CommitWait;
use arbiter_core::agent::Waiting;
use nix::sys::signal::Signal;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::timeout;

/// A commit that does not wait has ended by then.
const SOON: Duration = Duration::from_secs(2);

fn names(name: &str) -> BTreeSet<String> {
    BTreeSet::from([name.to_owned()])
}

async fn wait(node: &Node, wait: CommitWait) -> Result<Waiting, DriverError> {
    node.driver.commits(&wait).await
}

/// Whether a client is told of its commit.
async fn is_told(node: &Node) -> bool {
    let (host, port) = node.address.split_once(':').unwrap();
    let info = format!("host={host} port={port} user=postgres dbname=postgres");
    let connect = tokio_postgres::connect(&info, tokio_postgres::NoTls);
    let Ok(connected) = timeout(SOON, connect).await else { return false };
    let (client, connection) = connected.unwrap();
    tokio::spawn(connection);
    timeout(SOON, client.batch_execute("INSERT INTO t VALUES (1)")).await.is_ok()
}

/// The process of a server whose title says `what`.
fn part(node: &Node, what: &str) -> Process {
    let titled = |process: &Process| {
        let line = std::fs::read(format!("/proc/{}/cmdline", process.pid)).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(what)
    };
    held(&node.data_dir).into_iter().find(titled).expect("it runs")
}

#[tokio::test]
async fn a_standby_is_waited_for_once_it_has_all() {
    let a = Node::primary("a", &[]).await;
    let b = a.standby("b", &[]).await;
    assert_eq!(a.look().await.waits_for, Some(BTreeSet::new()));
    let sets = CommitWait::Standbys(names("b"));
    assert_eq!(wait(&a, sets.clone()).await, Ok(Waiting::InEffect));
    assert_eq!(a.look().await.waits_for, Some(names("b")));
    assert!(is_told(&a).await);
    processes::send(&part(&b, "walreceiver"), Signal::SIGSTOP);
    assert!(!is_told(&a).await, "what b has not nobody is told of");
    let behind = wait(&a, sets.clone()).await.unwrap_err();
    assert!(behind.to_string().contains("caught up"), "{behind}");
    processes::send(&part(&b, "walreceiver"), Signal::SIGCONT);
    assert_eq!(wait(&a, sets).await, Ok(Waiting::InEffect));
    assert!(is_told(&a).await);
    assert_eq!(wait(&a, CommitWait::Alone).await, Ok(Waiting::InEffect));
    assert_eq!(a.look().await.waits_for, Some(BTreeSet::new()));
    b.fence(Duration::ZERO).await.unwrap();
    eventually("nobody is waited for", async || is_told(&a).await).await;
}

/// A standby is told to be in the set while the flag that makes commits wait is not set yet.
#[tokio::test]
async fn what_a_checkpoint_holds_up_is_not_taken_to_be_in_effect() {
    let a = Node::primary("a", &[]).await;
    let _b = a.standby("b", &[]).await;
    let checkpointer = part(&a, "checkpointer");
    processes::send(&checkpointer, Signal::SIGSTOP);
    let early = wait(&a, CommitWait::Standbys(names("b"))).await.unwrap_err();
    assert!(early.to_string().contains("checkpoint"), "{early}");
    assert_eq!(a.look().await.waits_for, Some(BTreeSet::new()));
    processes::send(&checkpointer, Signal::SIGCONT);
    let sets = wait(&a, CommitWait::Standbys(names("b"))).await;
    assert_eq!(sets, Ok(Waiting::InEffect));
}

#[tokio::test]
async fn blocked_nobody_is_told_and_the_new_primary_is_verified_all_the_same() {
    let a = Node::primary("a", &[]).await;
    assert_eq!(wait(&a, CommitWait::Blocked).await, Ok(Waiting::InEffect));
    assert!(!is_told(&a).await);
    a.driver.verify(arbiter_core::Token::new(2, 1)).await.unwrap();
    assert_eq!(wait(&a, CommitWait::Alone).await, Ok(Waiting::InEffect));
    eventually("commits are told of again", async || is_told(&a).await).await;
}

#[tokio::test]
async fn cut_off_with_its_standby_alive_it_goes_on_and_without_it_waits() {
    let a = Node::primary("a", &[]).await;
    let b = a.standby("b", &[]).await;
    let stall = CommitWait::Isolated(names("b"));
    // Seen to wait for the standby for a moment, or not.
    wait(&a, stall.clone()).await.unwrap();
    assert!(is_told(&a).await);
    processes::send(&part(&b, "walreceiver"), Signal::SIGSTOP);
    eventually("it stalls", async || wait(&a, stall.clone()).await == Ok(Waiting::InEffect)).await;
    assert!(!is_told(&a).await);
    processes::send(&part(&b, "walreceiver"), Signal::SIGCONT);
    eventually("a standby that is back has all", async || is_told(&a).await).await;
    assert_eq!(wait(&a, CommitWait::Configured).await, Ok(Waiting::InEffect));
    assert_eq!(wait(&a, CommitWait::Isolated(names("gone"))).await, Ok(Waiting::InEffect));
    assert!(!is_told(&a).await);
    assert_eq!(wait(&a, CommitWait::Configured).await, Ok(Waiting::InEffect));
    eventually("the renewal ends it", async || is_told(&a).await).await;
}

/// The executor freezes what says so: see the stall's tests in the core.
#[tokio::test]
async fn a_stall_that_a_checkpoint_holds_up_is_said_not_to_be_one() {
    let a = Node::primary("a", &[]).await;
    let checkpointer = part(&a, "checkpointer");
    processes::send(&checkpointer, Signal::SIGSTOP);
    let late = wait(&a, CommitWait::Isolated(names("b"))).await.unwrap_err();
    assert!(late.to_string().contains("checkpoint"), "{late}");
    assert!(is_told(&a).await);
    processes::send(&checkpointer, Signal::SIGCONT);
}

#[tokio::test]
async fn what_an_operator_set_stays_but_in_strict() {
    let a = Node::primary("a", &[]).await;
    a.sql("ALTER SYSTEM SET synchronous_standby_names = 'mine'").await;
    a.sql("SELECT pg_reload_conf()").await;
    let shown = async || a.look().await.detail.get("synchronous_standby_names").cloned();
    eventually("it is read", async || shown().await.as_deref() == Some("mine")).await;
    wait(&a, CommitWait::Configured).await.unwrap();
    assert_eq!(shown().await.as_deref(), Some("mine"));
    wait(&a, CommitWait::Alone).await.unwrap();
    eventually("it is gone", async || shown().await.is_none()).await;
}
