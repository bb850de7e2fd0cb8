//! What is asked of a new primary beside the write: the user's checks, its archive, its slots. And
//! what a server that hangs cannot hold up.

use super::rig::{Node, eventually, instance};
use crate::drivers::postgres::Postgres;
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
async fn a_server_that_lets_no_client_write_does_not_serve() {
    let a = Node::primary("a", &[]).await;
    let set = async |how: &str| {
        a.sql(&format!("ALTER SYSTEM SET default_transaction_read_only = {how}")).await;
        a.sql("SELECT pg_reload_conf()").await;
    };
    set("on").await;
    let why = verify(&a).await.unwrap_err();
    assert!(why.contains("a write failed") && why.contains("read-only"), "{why}");
    set("off").await;
    verify(&a).await.unwrap();
    // What a role is set to by default is its own affair.
    a.sql("ALTER ROLE CURRENT_USER SET default_transaction_read_only = on").await;
    verify(&a).await.unwrap();
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

/// A checksum of rows, until a time that is the same wherever it is asked.
const ROWS: &str = "SELECT '2026-11-29 13:00', md5(string_agg(t::text, '' ORDER BY id)) FROM t";

#[tokio::test]
async fn rows_that_are_named_are_summed_on_both_sides() {
    let a = Node::primary("a", &[]).await;
    a.sql("INSERT INTO t SELECT generate_series(1, 100)").await;
    let b = a.standby("b", &[("checksum.rows", ROWS)]).await;
    let settings = [
        ("data_dir", a.data_dir.display().to_string()),
        ("socket_dir", a.root().display().to_string()),
        ("checksum.rows", ROWS.to_owned()),
    ];
    let settings = settings.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    let spec = instance(&a.address, settings);
    let asks = Postgres::open(&"a".into(), &spec, a.host.clone()).unwrap();
    let mut found = Vec::new();
    for driver in [&asks, &b.driver] {
        let sum = async || driver.observe().await.unwrap().detail.get("checksum.rows").cloned();
        eventually("summed", async || sum().await.is_some()).await;
        found.push(sum().await.unwrap());
    }
    assert_eq!(found[0], found[1]);
    assert!(found[0].starts_with("2026-11-29_13:00 ") && !found[0].ends_with("null"), "{found:?}");
}

#[tokio::test]
async fn a_checksum_that_cannot_be_made_is_a_fault_with_its_name() {
    let a = Node::primary("a", &[("checksum.rows", "SELECT 1, nonsense")]).await;
    eventually("told", async || {
        let faults = a.look().await.faults;
        faults.iter().any(|fault| fault.contains("checksum.rows") && fault.contains("nonsense"))
    })
    .await;
}
