//! Fences, and the gate that keeps one fenced.

use super::rig::{Node, PATIENCE, eventually, held, instance};
use crate::drivers::postgres::processes;
use crate::drivers::postgres::{Postgres, files};
use crate::drivers::{Driver, DriverError, Holder};
use arbiter_core::agent::GATE_MISSING;
use arbiter_core::{Condition, EvidenceKind, Goal, Terms};
use nix::sys::signal::Signal;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Commits again and again until somebody stops it.
const WRITES: &str = "DO $$ BEGIN LOOP INSERT INTO t VALUES (1); COMMIT; END LOOP; END $$";
/// Runs without ever looking at a signal's flag for long.
const SPINS: &str = "SELECT count(*) FROM generate_series(1, 100000000000)";

fn fenced(node: &Node) {
    assert_eq!(held(&node.data_dir), Vec::new());
    assert!(std::net::TcpStream::connect(&node.address).is_err());
}

#[tokio::test]
async fn a_fence_ends_a_busy_backend() {
    let a = Node::primary("a", &[]).await;
    for (limit, sql) in
        [(Duration::from_secs(1), WRITES), (Duration::from_secs(1), SPINS), (Duration::ZERO, SPINS)]
    {
        let session = a.busy(sql).await;
        eventually("busy", async || {
            let session = a.driver.session().await.unwrap();
            let sql = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active'
                AND pid <> pg_backend_pid()";
            session.row(sql).await.unwrap().get::<_, i64>(0) > 0
        })
        .await;
        let began = crate::clock::now();
        let done = a.fence(limit).await.unwrap();
        println!("fence {limit:?}: {:?}", crate::clock::now().since(began));
        fenced(&a);
        assert_eq!(done.evidence, Some(EvidenceKind::Confirmed));
        assert_eq!(done.clean, !limit.is_zero());
        assert!(done.end.is_some(), "where it ended is known");
        session.abort();
        assert_eq!(a.fence(limit).await.unwrap().end, done.end, "twice is once");
        a.active().await;
    }
}

#[tokio::test]
async fn a_fence_ends_what_a_dead_postmaster_left() {
    let a = Node::primary("a", &[]).await;
    let session = a.busy(WRITES).await;
    eventually("writes", async || a.try_sql("SELECT 1 / count(*) FROM t").await.is_ok()).await;
    a.kill_postmaster().await;
    eventually("orphans", async || {
        let left = held(&a.data_dir);
        processes::postmaster(&left).is_none() && !left.is_empty()
    })
    .await;
    let fact = a.look().await;
    assert_eq!(fact.condition, Condition::Dead);
    assert!(fact.writable, "an orphan goes on committing");
    let done = a.fence(Duration::from_secs(1)).await.unwrap();
    fenced(&a);
    assert_eq!((done.evidence, done.clean), (Some(EvidenceKind::Confirmed), false));
    session.abort();
}

#[tokio::test]
async fn a_fence_takes_a_server_that_is_not_held() {
    // Started by hand: the holder knows nothing of it, the data directory does.
    let a = Node::primary("a", &[]).await;
    a.driver.gate(false).await.unwrap();
    a.host.armed.store(false, Ordering::SeqCst);
    let pids = a.driver.running().await.unwrap();
    assert!(pids.contains(&a.postmaster().pid) && pids.len() > 3, "{pids:?}");
    let began = a.postmaster().started;
    a.driver.gate(true).await.unwrap();
    assert_eq!(a.postmaster().started, began, "adopted without a restart");
    a.fence(Duration::ZERO).await.unwrap();
    fenced(&a);
}

async fn start_by_hand(node: &Node) -> bool {
    let dir = node.data_dir.display().to_string();
    let log = node.root().join("by-hand.log").display().to_string();
    let args = ["start", "-w", "-t", "10", "-D", &dir, "-l", &log];
    let output = node.driver.tool("pg_ctl", &args, &[], PATIENCE).await.unwrap();
    output.code == Some(0)
}

#[tokio::test]
async fn with_the_gate_nobody_but_the_agent_starts_it() {
    let a = Node::primary("a", &[]).await;
    assert!(a.driver.gated());
    // Reloading still works while the gate is held.
    a.sql("ALTER SYSTEM SET work_mem = '5MB'").await;
    a.sql("SELECT pg_reload_conf()").await;
    eventually("reloaded", async || {
        let session = a.driver.session().await.unwrap();
        let row = session
            .row(
                "SELECT current_setting('work_mem'),
            current_setting('restart_after_crash')",
            )
            .await
            .unwrap();
        (row.get::<_, String>(0), row.get::<_, String>(1)) == ("5MB".into(), "off".into())
    })
    .await;

    a.fence(Duration::from_secs(5)).await.unwrap();
    assert!(!a.driver.start_file().exists());
    assert!(!start_by_hand(&a).await, "fenced");
    a.active().await;

    // Crashed within its lease: by hand it would run where no deadman holds it.
    let everything = held(&a.data_dir);
    everything.iter().for_each(|process| processes::send(process, Signal::SIGKILL));
    assert!(processes::wait_gone(&everything, PATIENCE).await);
    assert!(!start_by_hand(&a).await, "crashed");

    // A reboot empties the gate's directory.
    std::fs::remove_dir_all(a.host.gate_dir()).unwrap();
    assert!(!start_by_hand(&a).await, "rebooted");
    assert_eq!(a.look().await.condition, Condition::Stopped);

    a.active().await;
    a.fence(Duration::from_secs(5)).await.unwrap();
    a.driver.gate(false).await.unwrap();
    assert!(start_by_hand(&a).await, "disarmed");
}

#[tokio::test]
async fn it_is_not_started_writable_without_leave() {
    let a = Node::primary("a", &[]).await;
    a.fence(Duration::from_secs(5)).await.unwrap();
    a.host.may_write.store(false, Ordering::SeqCst);
    assert!(a.ensure(Goal::Active, &Terms::default()).await.is_err());
    fenced(&a);
    assert!(!start_by_hand(&a).await, "the start that was refused left the gate open");
}

/// I4: what keeps the gate from being shut keeps nothing alive, and is not proven.
#[tokio::test]
async fn a_gate_that_cannot_be_shut_delays_no_kill() {
    let a = Node::primary("a", &[]).await;
    let file = a.driver.start_file();
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    let unproven = a.fence(Duration::ZERO).await;
    assert!(matches!(&unproven, Err(DriverError::Retry(why)) if why.contains("cannot remove")));
    fenced(&a);
    std::fs::remove_dir(&file).unwrap();
    let done = a.fence(Duration::ZERO).await.unwrap();
    assert_eq!(done.evidence, Some(EvidenceKind::Confirmed));
}

/// Render the configuration anew, as a tool would: without the gate's line.
fn rendered_anew(node: &Node) -> String {
    let conf = node.data_dir.join("postgresql.conf");
    let text = std::fs::read_to_string(&conf).unwrap();
    let kept = text.lines().filter(|line| !line.contains("start gate"));
    let kept: String = kept.map(|line| format!("{line}\n")).collect();
    files::replace(&conf, &kept, &conf).unwrap();
    kept
}

/// I4: a reboot would start it ungated.
#[tokio::test]
async fn a_lost_gate_is_seen_and_nothing_is_confirmed_without_it() {
    let a = Node::primary("a", &[]).await;
    assert!(!a.look().await.detail.contains_key(GATE_MISSING));
    rendered_anew(&a);
    assert!(a.look().await.detail.contains_key(GATE_MISSING));
    a.driver.gate(true).await.unwrap();
    assert!(a.driver.gated() && !a.look().await.detail.contains_key(GATE_MISSING));

    let text = rendered_anew(&a);
    let conf = a.data_dir.join("postgresql.conf");
    std::fs::remove_file(&conf).unwrap();
    let unproven = a.fence(Duration::ZERO).await;
    assert!(matches!(&unproven, Err(DriverError::Retry(why)) if why.contains("start gate")));
    fenced(&a);
    files::replace(&conf, &text, &a.data_dir.join("PG_VERSION")).unwrap();
    let done = a.fence(Duration::ZERO).await.unwrap();
    assert_eq!(done.evidence, Some(EvidenceKind::Confirmed));
    assert!(a.driver.gated() && !start_by_hand(&a).await);
}

#[tokio::test]
async fn a_gate_goes_only_into_the_file_that_the_server_reads() {
    let a = Node::primary("a", &[]).await;
    let other = a.root().join("other.conf");
    std::fs::write(&other, "").unwrap();
    let settings = [("data_dir", &a.data_dir), ("config_file", &other)];
    let settings = settings.map(|(key, path)| (key.to_owned(), path.display().to_string()));
    let mut settings: std::collections::BTreeMap<_, _> = settings.into();
    settings.insert("socket_dir".into(), a.root().display().to_string());
    let spec = instance(&a.address, settings);
    let wrong = Postgres::open(&"a".into(), &spec, a.host.clone()).unwrap();
    let refused = wrong.gate(true).await;
    let Err(DriverError::Refused(why)) = &refused else { panic!("{refused:?}") };
    assert!(why.contains("config_file"), "{why}");
    assert_eq!(std::fs::read_to_string(&other).unwrap(), "");
}

/// I4: the deadman could not kill it.
#[tokio::test]
async fn an_armed_server_that_is_not_held_is_not_made_active() {
    let a = Node::primary("a", &[]).await;
    a.host.holds_nothing.store(true, Ordering::SeqCst);
    let refused = a.ensure(Goal::Active, &Terms::default()).await;
    assert!(matches!(&refused, Err(DriverError::Refused(why)) if why.contains("does not hold")));
    let refused = a.follow("").await;
    assert!(matches!(&refused, Err(DriverError::Refused(why)) if why.contains("does not hold")));
    a.host.armed.store(false, Ordering::SeqCst);
    a.active().await;
}

#[tokio::test]
async fn a_fence_is_proven_on_a_running_server_and_stops_nothing() {
    let a = Node::primary("a", &[]).await;
    a.driver.gate(true).await.unwrap();
    let server = a.postmaster();
    assert_eq!(a.driver.rehearse_fence().await, Ok(true));
    a.sql("INSERT INTO t VALUES (1)").await;
    assert_eq!(a.postmaster(), server);

    let says = |result, word: &str| match result {
        Err(DriverError::Retry(why)) => assert!(why.contains(word), "{why}"),
        other => panic!("{other:?}"),
    };
    a.host.holds_nothing.store(true, Ordering::SeqCst);
    says(a.driver.rehearse_fence().await, "is not held");
    a.host.holds_nothing.store(false, Ordering::SeqCst);
    std::fs::remove_file(a.driver.start_file()).unwrap();
    says(a.driver.rehearse_fence().await, "start.conf");
    a.host.armed.store(false, Ordering::SeqCst);
    assert_eq!(a.driver.rehearse_fence().await, Ok(false), "unarmed, nothing is fenced");
}
