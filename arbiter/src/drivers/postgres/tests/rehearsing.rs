//! A rehearsal: a copy is promoted aside, and the standby and its primary notice nothing.

use super::rig::{Node, eventually, held, instance};
use crate::drivers::postgres::rehearsal;
use crate::drivers::{Driver, DriverError, Opening};
use arbiter_core::{DRILL_SAID, Goal, Role, Terms, Token};
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;

/// The rehearsal of `node`, with checks that are a shell's.
fn rehearsal(node: &Node, check: &str) -> Box<dyn Driver> {
    let script = node.root().join("check");
    std::fs::write(&script, format!("#!/bin/sh\n{check}\n")).unwrap();
    std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).unwrap();
    let settings = [
        ("data_dir", node.data_dir.display().to_string()),
        ("socket_dir", node.root().display().to_string()),
        ("drill.command", script.display().to_string()),
        ("drill.limit_ms", "20000".to_owned()),
    ];
    let settings: BTreeMap<String, String> =
        settings.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    let spec = instance(&node.address, settings);
    let (group, id) = ("g".into(), "b".into());
    let holder = node.host.clone();
    rehearsal::open(&Opening { group: &group, id: &id, instance: &spec, holder }).unwrap()
}

async fn ensure(driver: &dyn Driver, goal: Goal) -> Result<String, DriverError> {
    let done = driver.ensure(goal, Token::new(1, 9), &Terms::default()).await?;
    Ok(done.facts.detail.get(DRILL_SAID).cloned().unwrap_or_default())
}

fn copy(node: &Node) -> PathBuf {
    node.driver.beside("rehearsal")
}

/// Everybody who receives from `node`, and every slot there.
async fn receivers(node: &Node) -> BTreeMap<String, String> {
    let session = node.driver.session().await.unwrap();
    let sql = "SELECT 'slot ' || slot_name::text, '' FROM pg_replication_slots UNION ALL
        SELECT application_name, '' FROM pg_stat_replication";
    session.pairs(sql).await.unwrap()
}

/// A check that the copy is a primary with the row that was replicated.
const IS_PRIMARY: &str = "host=${ARBITER_ADDRESS%:*} port=${ARBITER_ADDRESS#*:}
    test \"$(psql -X -A -t -h $host -p $port -U postgres -c \
        'SELECT NOT pg_is_in_recovery() AND count(*) = 1 FROM t' postgres)\" = t &&
    test \"$ARBITER_GROUP/$ARBITER_REGION/$ARBITER_EPOCH\" = g/eu-west/1";

#[tokio::test]
async fn a_copy_is_promoted_and_removed_and_its_standby_goes_on() {
    let a = Node::primary("a", &[]).await;
    let b = a.standby("b", &[]).await;
    a.sql("INSERT INTO t VALUES (1)").await;
    let written = a.look().await.position;
    eventually("replayed", async || b.look().await.replayed >= written).await;
    let before = receivers(&a).await;
    let server = b.postmaster();

    let said = ensure(&*rehearsal(&b, IS_PRIMARY), Goal::Active).await.unwrap();
    assert!(said.contains("checks passed, removed"), "{said}");
    assert!(!copy(&b).exists());
    assert_eq!(receivers(&a).await, before, "its primary has heard of nobody else");
    assert_eq!(b.postmaster(), server, "the standby was not restarted");
    let fact = b.look().await;
    assert_eq!(fact.role, Role::Replica);
    assert!(fact.upstream.is_some_and(|upstream| upstream.streaming));
    a.sql("INSERT INTO t VALUES (2)").await;
    eventually("goes on", async || b.count().await == 2).await;
}

#[tokio::test]
async fn checks_that_fail_are_told_and_leave_nothing() {
    let a = Node::primary("a", &[]).await;
    let b = a.standby("b", &[]).await;
    let failed = ensure(&*rehearsal(&b, "echo secret; exit 3"), Goal::Active).await;
    let Err(DriverError::Refused(why)) = failed else { panic!("{failed:?}") };
    assert!(why.contains("exit code 3") && !why.contains("secret"), "{why}");
    assert!(!copy(&b).exists());
}

#[tokio::test]
async fn what_is_broken_off_leaves_no_process_and_its_files_are_removed() {
    let a = Node::primary("a", &[]).await;
    let b = a.standby("b", &[]).await;
    let reached = b.root().join("reached");
    let check = format!("touch {}; sleep 60", reached.display());
    // The check runs as the server's user.
    std::fs::set_permissions(b.root(), PermissionsExt::from_mode(0o777)).unwrap();
    let driver: Arc<dyn Driver> = rehearsal(&b, &check).into();
    let running = {
        let driver = driver.clone();
        tokio::spawn(async move { ensure(&*driver, Goal::Active).await })
    };
    eventually("the check runs", async || reached.exists()).await;
    assert!(!held(&copy(&b)).is_empty());
    running.abort();
    eventually("no process", async || held(&copy(&b)).is_empty()).await;
    ensure(&*driver, Goal::Standby).await.unwrap();
    assert!(!copy(&b).exists());
    assert_eq!(b.look().await.role, Role::Replica);
}

#[tokio::test]
async fn a_primary_is_not_rehearsed() {
    let a = Node::primary("a", &[]).await;
    let tried = ensure(&*rehearsal(&a, "true"), Goal::Active).await;
    assert!(
        matches!(&tried, Err(DriverError::Retry(why)) if why.contains("no standby")),
        "{tried:?}"
    );
}
