//! How an old primary, or a standby, comes to follow a new primary, and when it must not.

use super::rig::{Node, eventually, held};
use crate::drivers::DriverError;
use crate::drivers::postgres::files;
use crate::drivers::postgres::sql::quote;
use arbiter_core::Role;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// Every file of a data directory, its size and when it was last written.
fn contents(dir: &Path) -> BTreeMap<String, (u64, SystemTime)> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        let meta = entry.metadata().unwrap();
        let name = entry.path().display().to_string();
        if meta.is_dir() {
            found.extend(contents(&entry.path()));
        } else {
            found.insert(name, (meta.len(), meta.modified().unwrap()));
        }
    }
    found
}

#[tokio::test]
async fn a_diverged_old_primary_is_left_as_it_is_where_policy_says_so() {
    let a = Node::primary("a", &[("rejoin", "refuse")]).await;
    let b = a.standby("b", &[]).await;
    // The stream is cut first, so that what a writes from here on is on a only.
    b.drain(None).await.unwrap();
    a.sql("INSERT INTO t VALUES (1)").await;
    let fenced = a.fence(Duration::from_secs(5)).await.unwrap();
    assert!(fenced.clean, "clean, and diverged all the same");
    let promoted = b.active().await.facts;
    assert!(fenced.end > promoted.fork);
    let before = contents(&a.data_dir);
    let refused = a.follow(&b.address).await;
    let Err(DriverError::Refused(text)) = &refused else { panic!("{refused:?}") };
    assert!(text.contains("diverged at") && text.contains("pg_basebackup"), "{text}");
    assert_eq!(contents(&a.data_dir), before);
    assert_eq!(held(&a.data_dir), Vec::new());
    assert!(!files::is_standby(&a.data_dir));
}

#[tokio::test]
async fn a_killed_old_primary_returns_as_it_is_only_when_it_is_not_beyond_the_fork() {
    let a = Node::primary("a", &[("rejoin", "refuse")]).await;
    let b = a.standby("b", &[]).await;
    a.sql("INSERT INTO t VALUES (1)").await;
    let written = a.look().await.position;
    eventually("received", async || b.look().await.position >= written).await;
    let killed = a.fence(Duration::ZERO).await.unwrap();
    assert!(!killed.clean);
    b.drain(None).await.unwrap();
    let fork = b.active().await.facts.fork;
    let returned = a.follow(&b.address).await;
    if killed.end <= fork {
        assert_eq!(returned.unwrap().facts.role, Role::Replica);
        assert_eq!(a.count().await, 1);
    } else {
        assert!(matches!(returned, Err(DriverError::Refused(_))), "{returned:?}");
    }
}

#[tokio::test]
async fn a_standby_ahead_of_the_fork_is_refused() {
    let a = Node::primary("a", &[]).await;
    let b = a.standby("b", &[]).await;
    let c = a.standby("c", &[("rejoin", "refuse")]).await;
    b.drain(None).await.unwrap();
    a.sql("INSERT INTO t SELECT generate_series(1, 100)").await;
    let written = a.look().await.position;
    eventually("received", async || c.look().await.position >= written).await;
    a.fence(Duration::ZERO).await.unwrap();
    b.active().await;
    // Asked again as the executor would: a busy machine may need a second look.
    eventually("refused", async || match c.follow(&b.address).await {
        Err(DriverError::Refused(text)) => text.contains("diverged at"),
        other => {
            println!("not yet: {other:?}");
            false
        }
    })
    .await;
}

#[tokio::test]
async fn an_old_primary_waits_until_its_upstream_is_promoted() {
    let a = Node::primary("a", &[]).await;
    let b = a.standby("b", &[]).await;
    let end = a.drain(None).await.unwrap().end;
    b.drain(end).await.unwrap();
    let early = a.follow(&b.address).await;
    assert!(matches!(&early, Err(DriverError::Retry(text)) if text.contains("not promoted")));
    b.active().await;
    a.follow(&b.address).await.unwrap();
}

#[tokio::test]
async fn a_password_is_used_and_shown_nowhere() {
    let secret = r"it's \ a:secret";
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("password");
    std::fs::write(&file, format!("{secret}\n")).unwrap();
    let file = file.display().to_string();
    let settings = [("replication_user", "repl"), ("password_file", &*file), ("slot", "b")];
    let a = Node::primary("a", &[]).await;
    let role = format!("CREATE ROLE repl REPLICATION LOGIN PASSWORD {}", quote(secret));
    a.sql(&role).await;
    let hba = a.data_dir.join("pg_hba.conf");
    let rules = std::fs::read_to_string(&hba).unwrap();
    let first = "host replication repl 127.0.0.1/32 scram-sha-256\n";
    files::replace(&hba, &format!("{first}{rules}"), &hba).unwrap();
    a.sql("SELECT pg_reload_conf()").await;
    let b = a.standby("b", &settings).await;
    let conf = std::fs::read_to_string(b.data_dir.join(files::AUTO_CONF)).unwrap();
    assert!(conf.contains("passfile") && !conf.contains("secret"), "{conf}");
    std::fs::write(&file, "wrong\n").unwrap();
    let refused = b.driver.identify(&a.address).await;
    assert!(matches!(&refused, Err(DriverError::Retry(text))
        if text.contains("password authentication failed") && !text.contains("wrong")));
}

#[tokio::test]
async fn a_copy_of_other_data_is_refused() {
    let a = Node::primary("a", &[]).await;
    let other = Node::primary("other", &[]).await;
    a.fence(Duration::from_secs(5)).await.unwrap();
    let refused = a.follow(&other.address).await;
    assert!(
        matches!(&refused, Err(DriverError::Refused(text))
        if text.contains("system identifier")),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_primary_waits_for_somebody_to_follow() {
    let a = Node::primary("a", &[]).await;
    a.fence(Duration::from_secs(5)).await.unwrap();
    assert!(matches!(a.follow("").await, Err(DriverError::Retry(_))));
    assert!(matches!(a.follow("127.0.0.1:1").await, Err(DriverError::Retry(_))));
    assert_eq!(held(&a.data_dir), Vec::new(), "it is not started");
    assert!(!files::is_standby(&a.data_dir));
}

#[tokio::test]
async fn a_standby_changes_whom_it_follows_without_a_restart() {
    let a = Node::primary("a", &[]).await;
    let b = a.standby("b", &[]).await;
    let c = a.standby("c", &[]).await;
    let end = a.drain(None).await.unwrap().end;
    b.drain(end).await.unwrap();
    b.active().await;
    let began = c.postmaster().started;
    c.follow(&b.address).await.unwrap();
    assert_eq!(c.postmaster().started, began);
    b.sql("INSERT INTO t VALUES (1)").await;
    let written = b.look().await.position;
    eventually("followed", async || c.look().await.replayed >= written).await;
}

#[tokio::test]
async fn the_end_is_found_where_a_segment_ends() {
    let a = Node::primary("a", &[]).await;
    // More records than one look shows; then the segment ends with a switch, and the server dies
    // before it begins the next.
    a.sql("INSERT INTO t SELECT generate_series(1, 9000)").await;
    a.sql("CHECKPOINT").await;
    a.sql("INSERT INTO t SELECT generate_series(1, 9000)").await;
    let session = a.driver.session().await.unwrap();
    let sql = "SELECT (pg_switch_wal() - '0/0')::int8 AS at";
    let at = session.row(sql).await.unwrap().get::<_, i64>("at") as u64;
    drop(session);
    a.fence(Duration::ZERO).await.unwrap();
    let control = a.driver.control().await.unwrap();
    let segment_end = at.div_ceil(control.segment_bytes) * control.segment_bytes;
    // Whatever of the next segment there was.
    let next = format!("00000001{:016X}", segment_end / control.segment_bytes);
    for entry in std::fs::read_dir(a.data_dir.join("pg_wal")).unwrap().flatten() {
        if entry.file_name().to_str().is_some_and(|name| name.len() == 24 && *name >= *next) {
            std::fs::remove_file(entry.path()).unwrap();
        }
    }
    let end = a.driver.end_of_wal(&control, Duration::from_secs(20)).await;
    assert_eq!(end.unwrap().offset, segment_end);
}
