//! Fences, and the gate that keeps one fenced.

use super::rig::{APPENDS, Node, SAVES, Writer, eventually, held, session_at};
use crate::drivers::redis::processes;
use crate::drivers::{Driver, DriverError};
use arbiter_core::agent::GATE_MISSING;
use arbiter_core::{Condition, EvidenceKind, Role};
use nix::sys::signal::Signal;
use std::sync::atomic::Ordering;
use std::time::Duration;

fn fenced(node: &Node) {
    assert_eq!(held(&node.data_dir), Vec::new());
    assert!(std::net::TcpStream::connect(&node.address).is_err());
}

#[tokio::test]
async fn a_fence_ends_a_server_under_a_writer() {
    let a = Node::primary("a", APPENDS, &[]).await;
    for limit in [Duration::from_secs(1), Duration::ZERO] {
        let writer = Writer::start(&a).await;
        let began = crate::clock::now();
        let done = a.fence(limit).await.unwrap();
        let took = crate::clock::now().since(began);
        println!("fence {limit:?}: {took:?}");
        fenced(&a);
        assert!(took < Duration::from_secs(1), "{took:?}");
        assert_eq!(done.evidence, Some(EvidenceKind::Confirmed));
        assert_eq!((done.clean, done.end.is_some()), (!limit.is_zero(), !limit.is_zero()));
        let acknowledged = writer.stop().await;
        assert_eq!(a.fence(limit).await.unwrap().end, done.end, "twice is once");
        // Appended: a kill loses nothing that was acknowledged.
        a.active().await;
        let last = a.ask(&["EXISTS", &format!("w{acknowledged}")]).await;
        assert_eq!(last, "1", "after {limit:?}");
    }
}

#[tokio::test]
async fn a_fence_ends_a_server_that_answers_nobody() {
    let a = Node::primary("a", APPENDS, &[]).await;
    let spin = "while true do redis.call('SET', 'k', 1) end";
    let session = session_at(&a.address).await;
    let busy = tokio::spawn(async move { drop(session.ask(&["EVAL", spin, "0"]).await) });
    eventually("busy", async || a.look().await.condition == Condition::Unknown).await;
    let fact = a.look().await;
    assert!(fact.writable && fact.role == Role::Primary, "{fact:?}");
    let began = crate::clock::now();
    let done = a.fence(Duration::from_millis(300)).await.unwrap();
    let took = crate::clock::now().since(began);
    println!("fence of a busy server: {took:?}");
    fenced(&a);
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert_eq!((done.evidence, done.clean, done.end), (Some(EvidenceKind::Confirmed), false, None));
    busy.abort();
}

#[tokio::test]
async fn a_hung_server_is_unknown_and_is_fenced() {
    let a = Node::primary("a", APPENDS, &[]).await;
    processes::send(&a.server(), Signal::SIGSTOP);
    let began = crate::clock::now();
    let fact = a.look().await;
    let took = crate::clock::now().since(began);
    assert_eq!((fact.condition, fact.writable), (Condition::Unknown, true));
    assert!(took < Duration::from_secs(4), "{took:?}");
    a.fence(Duration::ZERO).await.unwrap();
    fenced(&a);
}

#[tokio::test]
async fn with_the_gate_nobody_but_the_agent_starts_it() {
    let a = Node::primary("a", APPENDS, &[]).await;
    assert!(a.driver.gated());
    a.kill().await;
    assert!(!a.start_by_hand().await, "held");
    assert_eq!(a.look().await.condition, Condition::Dead, "nobody asked it to stop");
    a.active().await;
    // What an operator keeps of the running settings leaves the gate in its place.
    a.ask(&["CONFIG", "REWRITE"]).await;
    assert!(a.driver.gated());
    a.fence(Duration::from_secs(1)).await.unwrap();
    assert!(!a.start_by_hand().await, "gone");
    assert_eq!(a.look().await.condition, Condition::Stopped);
    a.driver.gate(false).await.unwrap();
    assert!(a.start_by_hand().await, "disarmed");
}

#[tokio::test]
async fn a_disarmed_replica_comes_back_as_one() {
    let a = Node::primary("a", APPENDS, &[]).await;
    let b = a.standby("b", APPENDS, &[]).await;
    b.fence(Duration::from_secs(1)).await.unwrap();
    b.driver.gate(false).await.unwrap();
    b.host.armed.store(false, Ordering::SeqCst);
    let conf = std::fs::read_to_string(b.data_dir.join("redis.conf")).unwrap();
    let (host, port) = a.address.split_once(':').unwrap();
    assert!(conf.contains(&format!("\nreplicaof {host} {port}\n")), "{conf}");
    b.driver.start_as_is().await.unwrap();
    eventually("follows", async || {
        b.look().await.upstream.is_some_and(|upstream| upstream.streaming)
    })
    .await;
    assert_eq!(b.ask(&["GET", "first"]).await, "1");
}

#[tokio::test]
async fn a_gate_that_was_taken_away_is_missed_and_put_back_by_a_fence() {
    let a = Node::primary("a", APPENDS, &[]).await;
    let conf = a.data_dir.join("redis.conf");
    let text = std::fs::read_to_string(&conf).unwrap();
    std::fs::write(&conf, text.replace("include", "# include")).unwrap();
    assert!(a.look().await.detail.contains_key(GATE_MISSING));
    a.fence(Duration::from_secs(1)).await.unwrap();
    assert!(a.driver.gated() && !a.start_by_hand().await);
}

#[tokio::test]
async fn a_gate_in_a_file_that_is_not_read_is_refused() {
    let conf = format!("{APPENDS}\n");
    let other = tempfile::NamedTempFile::new().unwrap();
    let path = other.path().display().to_string();
    let a = Node::new("a", &conf, &[("config_file", &path)]);
    // Somebody started it with the file beside its data.
    let port = a.address.rsplit_once(':').unwrap().1.to_owned();
    let own = a.data_dir.join("redis.conf");
    let text = std::fs::read_to_string(&own).unwrap();
    std::fs::write(&own, format!("{text}port {port}\n")).unwrap();
    let dir = a.data_dir.display().to_string();
    let server = tokio::process::Command::new("redis-server")
        .arg(&own)
        .args(["--dir", &dir])
        .stdout(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn();
    let _server = server.unwrap();
    eventually("up", async || a.look().await.condition == Condition::Healthy).await;
    assert_eq!(a.driver.running().await.unwrap().len(), 1);
    let refused = a.driver.gate(true).await;
    let Err(DriverError::Refused(why)) = &refused else { panic!("{refused:?}") };
    assert!(why.contains("config_file"), "{why}");
    assert_eq!(std::fs::read_to_string(other.path()).unwrap(), "");
}

/// I4: the deadman could not kill it.
#[tokio::test]
async fn an_armed_server_that_is_not_held_is_not_made_active() {
    let a = Node::primary("a", APPENDS, &[]).await;
    a.host.holds_nothing.store(true, Ordering::SeqCst);
    let refused = a.try_active().await;
    assert!(matches!(&refused, Err(DriverError::Refused(why)) if why.contains("does not hold")));
    a.host.armed.store(false, Ordering::SeqCst);
    a.active().await;
}

/// A save that outlives its server replaces the saved data when it ends.
#[tokio::test]
async fn a_fence_ends_what_a_dead_server_left_saving() {
    let conf = format!("{SAVES}rdb-key-save-delay 20000\n");
    let a = Node::primary("a", &conf, &[]).await;
    for number in 0..500 {
        a.ask(&["SET", &format!("k{number}"), "x"]).await;
    }
    a.ask(&["BGSAVE"]).await;
    eventually("saves", async || held(&a.data_dir).len() == 2).await;
    a.kill().await;
    let left = held(&a.data_dir);
    assert_eq!((left.len(), processes::server(&left)), (1, None));
    assert_eq!(a.look().await.condition, Condition::Dead);
    // Asked again as the executor would: a busy machine may need a second look.
    eventually("fenced", async || a.fence(Duration::from_secs(1)).await.is_ok()).await;
    fenced(&a);
}
