//! What is asked of a new primary beside the write: the user's checks, its archive, its slots. And
//! what a server that hangs cannot hold up.

use super::rig::{Node, eventually};
use crate::drivers::{Driver, DriverError};
use arbiter_core::{ARCHIVE_FAILS, Token};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::sync::atomic::Ordering;
use std::time::Duration;

async fn verify(node: &Node) -> Result<(), String> {
    match node.driver.verify(Token::new(2, 1)).await {
        Ok(_) => Ok(()),
        Err(DriverError::Retry(why)) => Err(why),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_users_checks_must_hold() {
    let checks = [
        ("verify.has-rows", "SELECT count(*) > 0 FROM t"),
        ("verify.a-list", "SELECT id >= 0, false FROM t"),
        ("verify.not-a-truth", "SELECT 'f'"),
        ("verify.writes", "INSERT INTO t VALUES (7)"),
    ];
    let a = Node::primary("a", &checks).await;
    let why = verify(&a).await.unwrap_err();
    assert!(why.contains("verify.has-rows is not so"), "{why}");
    a.sql("INSERT INTO t VALUES (1)").await;
    verify(&a).await.unwrap();
    assert_eq!(a.count().await, 2, "a statement without rows is a check too");
    // A truth that is not known is none, wherever it stands.
    a.sql("INSERT INTO t VALUES (NULL)").await;
    let why = verify(&a).await.unwrap_err();
    assert!(why.contains("verify.a-list is not so"), "{why}");
    a.sql("DROP TABLE t").await;
    let why = verify(&a).await.unwrap_err();
    assert!(why.contains("verify.a-list failed") && why.contains("\"t\""), "{why}");
}

#[tokio::test]
async fn a_check_that_hangs_is_given_up() {
    let a = Node::primary("a", &[("verify.slow", "SELECT pg_sleep(60)")]).await;
    let why = verify(&a).await.unwrap_err();
    assert!(why.contains("verify.slow failed"), "{why}");
    let left = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60)%'
        AND pid <> pg_backend_pid() AND state = 'active'";
    let left = async || -> i64 {
        let session = a.driver.session().await.unwrap();
        session.row(left).await.unwrap().get(0)
    };
    eventually("the server gives it up too", async || left().await == 0).await;
}

#[tokio::test]
async fn an_archive_that_is_not_reached_is_said_and_fails_no_step() {
    let a = Node::primary("a", &[]).await;
    let said = async || a.look().await.detail.contains_key(ARCHIVE_FAILS);
    a.sql("ALTER SYSTEM SET archive_mode = on").await;
    a.sql("ALTER SYSTEM SET archive_command = 'false'").await;
    a.fence(Duration::from_secs(5)).await.unwrap();
    a.active().await;
    a.sql("INSERT INTO t VALUES (1)").await;
    a.sql("SELECT pg_switch_wal()").await;
    eventually("it fails", said).await;
    verify(&a).await.unwrap();
    a.sql("ALTER SYSTEM SET archive_command = 'true'").await;
    a.sql("SELECT pg_reload_conf()").await;
    a.sql("SELECT pg_switch_wal()").await;
    eventually("it is reached", async || !said().await).await;
}

#[tokio::test]
async fn what_was_not_settled_at_the_promotion_is_at_the_verification() {
    let a = Node::primary("a", &[("peer_slots", "us")]).await;
    let slots = async || -> i64 {
        let session = a.driver.session().await.unwrap();
        session.row("SELECT count(*) FROM pg_replication_slots").await.unwrap().get(0)
    };
    assert_eq!(slots().await, 1);
    a.sql("SELECT pg_drop_replication_slot('us')").await;
    verify(&a).await.unwrap();
    assert_eq!(slots().await, 1);
}

/// The checkpoint before a stop is a courtesy: a disk that is too slow for it keeps no plan.
#[tokio::test]
async fn a_checkpoint_that_does_not_end_does_not_keep_the_stop_from_beginning() {
    let a = Node::primary("a", &[]).await;
    let session = a.driver.session().await.unwrap();
    let sql = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'";
    let checkpointer = Pid::from_raw(session.row(sql).await.unwrap().get(0));
    drop(session);
    kill(checkpointer, Signal::SIGSTOP).unwrap();
    let stopping = async {
        let asked = || a.driver.asked_to_stop.load(Ordering::SeqCst);
        eventually("it is told to stop", async || asked()).await;
        // Its last checkpoint needs the checkpointer.
        kill(checkpointer, Signal::SIGCONT).unwrap();
    };
    let (drained, ()) = tokio::join!(a.drain(None), stopping);
    assert!(drained.unwrap().clean);
}
