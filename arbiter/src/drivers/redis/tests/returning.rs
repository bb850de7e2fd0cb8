//! How an old primary, or a replica, comes to follow a new primary, what is kept before, and which
//! data must not lead.

use super::rig::{APPENDS, Node, SAVES, eventually, free_address, held, write};
use crate::clock;
use crate::drivers::{Done, DriverError};
use arbiter_core::{Condition, Role};
use std::io::{Read, Write as _};
use std::net::TcpListener;
use std::path::PathBuf;
use std::time::Duration;

/// The newest copy that was kept.
async fn kept(node: &Node) -> PathBuf {
    let fact = node.look().await;
    let told = fact.detail.get("quarantined").unwrap_or_else(|| panic!("nothing kept: {fact:?}"));
    told.split_once(" (").unwrap().0.into()
}

/// A server on a copy of kept data.
async fn on_copy(of: &Node, copy: &std::path::Path, conf: &str) -> Node {
    let node = Node::new("copy", conf, &[]);
    for entry in walk(copy) {
        let to = node.data_dir.join(entry.strip_prefix(copy).unwrap());
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        write(&to, std::fs::read(&entry).unwrap());
        if let Some(user) = super::rig::server_user() {
            let dir = to.parent().unwrap();
            nix::unistd::chown(dir, Some(user.uid), Some(user.gid)).unwrap();
        }
    }
    crate::drivers::Driver::start_as_is(&node.driver).await.unwrap_or_else(|error| {
        panic!("{error}: {} {}", of.log(), node.log());
    });
    node
}

fn walk(dir: &std::path::Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() { found.extend(walk(&path)) } else { found.push(path) }
    }
    found
}

#[tokio::test]
async fn what_an_old_primary_alone_has_is_kept_before_it_follows() {
    for (conf, clean) in [(APPENDS, true), (APPENDS, false), (SAVES, true)] {
        let a = Node::primary("a", conf, &[]).await;
        let b = a.standby("b", conf, &[]).await;
        a.followed_by(&b).await;
        // The stream is cut first, so that what a writes from here on is on a only.
        b.drain(None).await.unwrap();
        a.ask(&["SET", "lost", "here"]).await;
        let limit = if clean { Duration::from_secs(5) } else { Duration::ZERO };
        assert_eq!(a.fence(limit).await.unwrap().clean, clean);
        b.active().await;
        b.ask(&["SET", "new", "there"]).await;
        let done = a.come_to_follow(&b.address).await;
        assert_eq!(done.facts.role, Role::Replica);
        assert_eq!(a.ask(&["EXISTS", "lost"]).await, "0", "it has what its upstream has");
        b.followed_by(&a).await;
        assert_eq!(a.ask(&["GET", "new"]).await, "there");
        let copy = kept(&a).await;
        let lost = a.look().await.lost.unwrap();
        assert_eq!((lost.count, lost.kept.as_str()), (None, copy.to_str().unwrap()));
        assert!(!clean || lost.end > lost.from, "from where to where is known: {lost:?}");
        let name = copy.file_name().unwrap().to_str().unwrap().to_owned();
        assert!(name.starts_with("2.7-"), "{name}");
        let old = on_copy(&a, &copy, conf).await;
        assert_eq!(old.ask(&["GET", "lost"]).await, "here");
        assert_eq!(old.ask(&["EXISTS", "new"]).await, "0");
        // Twice is once: nothing more is kept.
        a.follow(&b.address).await.unwrap();
        assert_eq!(kept(&a).await, copy);
    }
}

#[tokio::test]
async fn a_replica_ahead_of_the_fork_is_kept_too() {
    let a = Node::primary("a", APPENDS, &[]).await;
    let b = a.standby("b", APPENDS, &[]).await;
    let c = a.standby("c", APPENDS, &[]).await;
    b.drain(None).await.unwrap();
    a.ask(&["SET", "late", "1"]).await;
    a.followed_by(&c).await;
    a.fence(Duration::ZERO).await.unwrap();
    b.active().await;
    c.come_to_follow(&b.address).await;
    assert_eq!(c.ask(&["EXISTS", "late"]).await, "0");
    let old = on_copy(&c, &kept(&c).await, APPENDS).await;
    assert_eq!(old.ask(&["EXISTS", "late"]).await, "1");
}

#[tokio::test]
async fn a_full_disk_stops_the_return_and_not_the_data() {
    let a = Node::primary("a", APPENDS, &[("quarantine_dir", "/proc/none")]).await;
    let b = a.standby("b", APPENDS, &[]).await;
    b.drain(None).await.unwrap();
    a.ask(&["SET", "lost", "here"]).await;
    a.fence(Duration::from_secs(5)).await.unwrap();
    b.active().await;
    let refused = a.follow(&b.address).await;
    assert!(matches!(&refused, Err(DriverError::Retry(why)) if why.contains("cannot be saved")));
    assert_eq!(held(&a.data_dir), Vec::new(), "it is not started");
    a.active().await;
    assert_eq!(a.ask(&["GET", "lost"]).await, "here");
}

/// Restarted empty, it would have its replicas copy nothing.
#[tokio::test]
async fn a_primary_that_lost_its_data_never_empties_its_replicas() {
    for conf in [APPENDS, SAVES, "save \"\"\nrepl-diskless-sync-delay 0\n"] {
        let a = Node::primary("a", conf, &[]).await;
        let b = a.standby("b", conf, &[]).await;
        a.followed_by(&b).await;
        assert!(a.look().await.writable);
        a.kill().await;
        let _ = std::fs::remove_dir_all(a.data_dir.join("appendonlydir"));
        let _ = std::fs::remove_file(a.data_dir.join("dump.rdb"));
        let refused = a.try_active().await;
        let Err(DriverError::Refused(why)) = &refused else { panic!("{refused:?}") };
        assert!(why.contains("empty its replicas") && why.contains("fail over"), "{why}");
        assert_eq!(held(&a.data_dir), Vec::new());
        assert_eq!(a.look().await.condition, Condition::Dead, "so that policy can fail over");
        assert_eq!(b.ask(&["GET", "first"]).await, "1");
        // The disk was replaced, and what was known of the data went with it.
        std::fs::remove_file(a.data_dir.join("arbiter.json")).unwrap();
        assert!(matches!(a.try_active().await, Err(DriverError::Refused(_))));
        assert_eq!(b.ask(&["GET", "first"]).await, "1");
        // Accepted by hand.
        write(&a.data_dir.join("arbiter.json"), r#"{"accepted":true}"#);
        a.active().await;
    }
}

/// As when `appendonly yes` is written into the file of a server that saved: it reads no dump.
#[tokio::test]
async fn a_primary_that_comes_up_empty_is_stopped_before_it_leads() {
    let a = Node::primary("a", SAVES, &[]).await;
    let b = a.standby("b", SAVES, &[]).await;
    a.followed_by(&b).await;
    a.fence(Duration::from_secs(5)).await.unwrap();
    let conf = a.data_dir.join("redis.conf");
    let text = std::fs::read_to_string(&conf).unwrap();
    std::fs::write(&conf, text.replace("appendonly no", "appendonly yes")).unwrap();
    let refused = a.try_active().await;
    assert!(matches!(&refused, Err(DriverError::Refused(why)) if why.contains("data is gone")));
    assert_eq!(held(&a.data_dir), Vec::new());
    assert_eq!(b.ask(&["GET", "first"]).await, "1");
}

#[tokio::test]
async fn a_primary_that_would_come_back_older_than_its_replica_does_not_lead() {
    let a = Node::primary("a", SAVES, &[]).await;
    let b = a.standby("b", SAVES, &[]).await;
    eventually("saved", async || a.try_ask(&["SAVE"]).await.is_ok()).await;
    a.ask(&["SET", "later", "1"]).await;
    a.followed_by(&b).await;
    a.look().await;
    a.kill().await;
    let refused = a.try_active().await;
    let Err(DriverError::Refused(why)) = &refused else { panic!("{refused:?}") };
    assert!(why.contains("comes up with older data"), "{why}");
    assert_eq!(b.ask(&["GET", "later"]).await, "1");
    // Nor does a replica, until it has caught up.
    eventually("saved", async || b.try_ask(&["SAVE"]).await.is_ok()).await;
    write(&a.data_dir.join("arbiter.json"), r#"{"accepted":true}"#);
    a.active().await;
    b.come_to_follow(&a.address).await;
    a.ask(&["SET", "later", "2"]).await;
    a.followed_by(&b).await;
    b.kill().await;
    for refused in [b.try_active().await.map(drop), b.drain(None).await.map(drop)] {
        assert!(matches!(&refused, Err(DriverError::Refused(why)) if why.contains("older data")));
    }
    a.fence(Duration::from_secs(5)).await.unwrap();
    let _ = b.follow(&a.address).await;
    let fact = b.look().await;
    assert!(fact.obstacles.iter().any(|why| why.contains("older data")), "{fact:?}");
    assert!(matches!(b.try_active().await, Err(DriverError::Refused(_))), "running, too");
    assert!(matches!(b.drain(None).await, Err(DriverError::Refused(_))));
    a.active().await;
    b.come_to_follow(&a.address).await;
    assert_eq!(b.look().await.obstacles, Vec::<String>::new());
}

#[tokio::test]
async fn an_old_primary_waits_until_its_upstream_is_promoted() {
    let a = Node::primary("a", APPENDS, &[]).await;
    let b = a.standby("b", APPENDS, &[]).await;
    let end = a.drain(None).await.unwrap().end;
    b.drain(end).await.unwrap();
    let early = a.follow(&b.address).await;
    assert!(matches!(&early, Err(DriverError::Retry(why)) if why.contains("not a primary yet")));
    assert!(matches!(a.follow("").await, Err(DriverError::Retry(_))), "nobody is named");
    assert_eq!(held(&a.data_dir), Vec::new(), "it is not started");
    b.active().await;
    a.come_to_follow(&b.address).await;
}

#[tokio::test]
async fn a_primary_where_a_standby_belongs_is_stopped() {
    let a = Node::primary("a", APPENDS, &[]).await;
    let stopped = a.follow("127.0.0.1:1").await;
    assert!(matches!(&stopped, Err(DriverError::Retry(why)) if why.contains("was stopped")));
    assert_eq!(held(&a.data_dir), Vec::new());
}

/// An address that takes connections and never answers.
fn black_hole() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

#[tokio::test]
async fn an_upstream_that_never_answers_holds_no_call_up() {
    let (_listener, nowhere) = black_hole();
    let a = Node::primary("a", APPENDS, &[]).await;
    let b = a.standby("b", APPENDS, &[]).await;
    a.followed_by(&b).await;
    for upstream in [nowhere, free_address()] {
        let began = clock::now();
        let waiting = b.follow(&upstream).await;
        let took = clock::now().since(began);
        assert!(matches!(waiting, Err(DriverError::Retry(_))), "{waiting:?}");
        assert!(took < Duration::from_secs(4), "{took:?}");
        let began = clock::now();
        let fact = b.look().await;
        assert!(clock::now().since(began) < Duration::from_secs(1));
        assert_eq!((fact.condition, fact.role), (Condition::Healthy, Role::Replica));
    }
    assert!(b.look().await.upstream.unwrap().streaming, "it follows whom it followed");
}

/// A server that begins to send its data, and stops.
fn half_a_copy() -> String {
    let (listener, address) = black_hole();
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut line = [0u8; 512];
            while let Ok(count @ 1..) = stream.read(&mut line) {
                let said = String::from_utf8_lossy(&line[..count]).to_uppercase();
                let answer: String = match () {
                    () if said.contains("\nPSYNC\r") => {
                        format!("+FULLRESYNC {} 0\r\n$1000000\r\nREDIS0010", "a".repeat(40))
                    }
                    () if said.contains("PING") => "+PONG\r\n".into(),
                    () => "+OK\r\n".repeat(said.matches("REPLCONF").count().max(1)),
                };
                let over = answer.starts_with("+FULL");
                let _ = stream.write_all(answer.as_bytes());
                if over {
                    break;
                }
            }
            kept.push(stream);
        }
    });
    address
}

#[tokio::test]
async fn a_replica_with_half_a_copy_is_not_promoted() {
    let a = Node::primary("a", APPENDS, &[]).await;
    let b = a.standby("b", APPENDS, &[]).await;
    let upstream = half_a_copy();
    let (host, port) = upstream.split_once(':').unwrap();
    b.ask(&["REPLICAOF", host, port]).await;
    eventually("copies", async || b.look().await.condition == Condition::Recovering).await;
    let fact = b.look().await;
    assert_eq!(fact.position, None);
    assert!(fact.obstacles.iter().any(|why| why.contains("only a part")), "{fact:?}");
    let refused = b.try_active().await;
    assert!(matches!(&refused, Err(DriverError::Retry(why)) if why.contains("only a part")));
    // The copy is given up before anything of its own was thrown away.
    let drained = b.drain(None).await.unwrap();
    assert!(drained.end.is_some());
    b.active().await;
    assert_eq!(b.ask(&["GET", "first"]).await, "1");
}

#[tokio::test]
async fn what_is_not_known_to_be_whole_is_started_anew_before_it_leads() {
    let a = Node::primary("a", APPENDS, &[]).await;
    let mut b = a.standby("b", APPENDS, &[]).await;
    a.followed_by(&b).await;
    appended(&b).await;
    b.kill().await;
    // Changes that were appended do not say where they end.
    assert_eq!(b.drain(None).await.unwrap().end, None);
    let began = b.server().started;
    b.reopen();
    let anew = b.try_active().await;
    assert!(matches!(&anew, Err(DriverError::Retry(why)) if why.contains("started anew")));
    a.fence(Duration::ZERO).await.unwrap();
    b.active().await;
    assert_ne!(b.server().started, began);
    assert_eq!(b.ask(&["GET", "first"]).await, "1");
}

/// All that it has is in its appended file.
async fn appended(node: &Node) {
    eventually("appended", async || {
        node.look().await;
        node.driver.standing().is_some_and(|standing| standing.appended)
    })
    .await;
}

/// After a copy of everything the appended file is written anew; until then the disk has what was
/// there before.
#[tokio::test]
async fn a_replica_that_was_killed_before_its_copy_was_on_disk_does_not_lead() {
    let slow = format!("{APPENDS}rdb-key-save-delay 10000000\n");
    let a = Node::primary("a", APPENDS, &[]).await;
    let b = a.standby("b", &slow, &[]).await;
    a.followed_by(&b).await;
    b.look().await;
    b.kill().await;
    let refused = |done: Result<Done, DriverError>| matches!(done, Err(DriverError::Refused(why)) if why.contains("killed before everything"));
    eventually("refused", async || refused(b.drain(None).await)).await;
    assert!(refused(b.try_active().await));
}

/// A host with a new disk: what it comes up with is nothing, until it has followed somebody.
#[tokio::test]
async fn a_replica_without_data_does_not_lead() {
    let a = Node::primary("a", APPENDS, &[]).await;
    let b = Node::new("b", APPENDS, &[]);
    b.arm().await;
    let (_listener, nowhere) = black_hole();
    let waiting = tokio::time::timeout(Duration::from_millis(500), b.follow(&nowhere)).await;
    assert!(waiting.is_err(), "{waiting:?}");
    assert!(!b.look().await.obstacles.is_empty());
    let refused = |done: Result<Done, DriverError>| matches!(done, Err(DriverError::Refused(why)) if why.contains("is gone"));
    eventually("refused", async || refused(b.drain(None).await)).await;
    eventually("refused", async || refused(b.try_active().await)).await;
    b.follow(&a.address).await.unwrap();
    a.fence(Duration::ZERO).await.unwrap();
    b.active().await;
    assert_eq!(b.ask(&["GET", "first"]).await, "1");
}
