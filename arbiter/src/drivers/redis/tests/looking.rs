//! What an observation and a verification show of real servers.

use super::rig::{APPENDS, Node, SAVES, eventually, free_address, server_user};
use crate::drivers::{Driver, DriverError};
use arbiter_core::{Condition, Fencing, Role, Token};
use std::time::Duration;

#[tokio::test]
async fn primary_and_replica_are_told_apart() {
    let a = Node::primary("a", APPENDS, &[]).await;
    let b = a.standby("b", APPENDS, &[]).await;
    a.ask(&["SET", "second", "2"]).await;
    let primary = a.look().await;
    assert_eq!((primary.condition, primary.role), (Condition::Healthy, Role::Primary));
    assert!(primary.writable && primary.obstacles.is_empty(), "{primary:?}");
    assert_eq!(primary.detail["keys"], "3", "two, and whence it comes");
    assert!(primary.detail[arbiter_core::SIZE_BYTES].parse::<u64>().is_ok(), "{primary:?}");
    eventually("all is there", async || b.look().await.replayed >= primary.position).await;
    let replica = b.look().await;
    assert_eq!((replica.condition, replica.role), (Condition::Healthy, Role::Replica));
    assert!(!replica.writable && replica.obstacles.is_empty(), "{replica:?}");
    assert_eq!(replica.history, primary.history);
    assert!(!replica.left(&primary));
    let upstream = replica.upstream.unwrap();
    assert!(upstream.streaming && upstream.age < Duration::from_secs(5), "{upstream:?}");
    assert!(Some(upstream.position) >= primary.position);
    eventually("the lag is told", async || a.look().await.detail.contains_key("lag")).await;
    // What it heard outlives whom it heard it from.
    a.fence(Duration::ZERO).await.unwrap();
    eventually("the stream ends", async || {
        b.look().await.upstream.is_some_and(|upstream| !upstream.streaming)
    })
    .await;
}

#[tokio::test]
async fn a_replica_that_takes_writes_is_told_and_mended() {
    let a = Node::primary("a", APPENDS, &[]).await;
    let b = a.standby("b", APPENDS, &[]).await;
    b.ask(&["CONFIG", "SET", "replica-read-only", "no"]).await;
    let fact = b.look().await;
    assert!(fact.writable && fact.obstacles.iter().any(|why| why.contains("replica-read-only")));
    assert!(!b.follow(&a.address).await.unwrap().facts.writable);
}

#[tokio::test]
async fn a_primary_of_another_history_is_told_from_its_former_replica() {
    let a = Node::primary("a", APPENDS, &[]).await;
    let b = a.standby("b", APPENDS, &[]).await;
    let before = b.drain(None).await.unwrap().facts;
    a.ask(&["SET", "second", "2"]).await;
    a.kill().await;
    a.active().await;
    let again = a.look().await;
    assert!(before.left(&again), "{} {}", before.history, again.history);
}

#[tokio::test]
async fn a_write_proves_the_server_and_an_older_token_is_stale() {
    let checks = [("verify.first", "EXISTS first"), ("verify.big", "GET big")];
    let a = Node::primary("a", APPENDS, &checks).await;
    let missing = a.driver.verify(Token::new(3, 10)).await;
    assert!(matches!(&missing, Err(DriverError::Retry(why)) if why.contains("verify.big is not")));
    a.ask(&["SET", "big", "1"]).await;
    assert!(a.driver.verify(Token::new(3, 10)).await.unwrap().writable);
    assert!(a.driver.verify(Token::new(4, 11)).await.is_ok());
    let stale = a.driver.verify(Token::new(3, 99)).await;
    assert_eq!(stale, Err(DriverError::StaleEpoch { seen: Token::new(4, 11) }));
    let b = a.standby("b", APPENDS, &[]).await;
    a.ask(&["SET", "third", "3"]).await;
    a.followed_by(&b).await;
    let fact = a.driver.verify(Token::new(4, 11)).await.unwrap();
    assert_eq!(fact.detail["acknowledged"], "by 1 replicas");
    let readonly = b.driver.verify(Token::new(5, 1)).await;
    assert!(matches!(&readonly, Err(DriverError::Retry(why)) if why.contains("a write failed")));
}

#[tokio::test]
async fn faults_name_what_a_crash_would_lose() {
    let a = Node::primary("a", SAVES, &[]).await;
    let fact = a.look().await;
    assert!(fact.faults.iter().any(|why| why.contains("appendonly is no")), "{fact:?}");
    a.ask(&["CONFIG", "SET", "appendonly", "yes"]).await;
    assert_eq!(a.look().await.faults, Vec::<String>::new());
}

#[tokio::test]
async fn a_password_is_used_and_shown_nowhere() {
    let secret = r#"it's \ a "secret"#;
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("password");
    std::fs::write(&file, format!("{secret}\n")).unwrap();
    let file = file.display().to_string();
    let settings = [("acl_user", "arbiter"), ("password_file", &*file)];
    let a = Node::primary("a", APPENDS, &[]).await;
    let set_up = async |node: &Node| {
        let admin = super::rig::session_at(&node.address).await;
        let rule = format!(">{secret}");
        let user = ["ACL", "SETUSER", "arbiter", "on", &rule, "~*", "&*", "+@all"];
        admin.ask(&user).await.unwrap();
        admin.ask(&["ACL", "SETUSER", "default", "off"]).await.unwrap();
    };
    set_up(&a).await;
    let Err(denied) = a.try_ask(&["PING"]).await else { panic!("no password was needed") };
    assert!(denied.contains("NOAUTH") && denied.contains("password file"), "{denied}");
    assert_eq!(a.look().await.condition, Condition::Unknown);

    // Its login is given to the server while it runs, and no file has it but the ACL's own.
    let users = format!("user arbiter on #{} ~* &* +@all\n", sha256(secret));
    let b = Node::new("b", &format!("{APPENDS}{users}user default off\n"), &settings);
    b.arm().await;
    b.follow(&a.address).await.unwrap_or_else(|error| panic!("{error}\n{}", b.log()));
    assert_eq!(b.ask(&["GET", "first"]).await, "1");
    let shown = format!("{:?} {}", b.look().await, b.log());
    assert!(!shown.contains("secret"), "{shown}");
    let command = std::fs::read(format!("/proc/{}/cmdline", b.server().pid)).unwrap();
    assert!(!String::from_utf8_lossy(&command).contains("secret"));
    // The wrong one is told of, and not what it is.
    std::fs::write(place.path().join("password"), "wrong-one\n").unwrap();
    let why = b.try_ask(&["PING"]).await.unwrap_err();
    assert!(why.contains("refuses the login") && !why.contains("wrong-one"), "{why}");
    // A server that does not know a command repeats its words.
    std::fs::write(place.path().join("password"), format!("{secret}\n")).unwrap();
    let why = b.try_ask(&["CONFIGURE", "masterauth", secret]).await.unwrap_err();
    assert!(why.contains("unknown command") && !why.contains("secret"), "{why}");
}

/// As `printf %s TEXT | sha256sum` has it.
fn sha256(text: &str) -> String {
    use std::io::Write;
    let mut child = std::process::Command::new("sha256sum")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    String::from_utf8(output.stdout).unwrap().split(' ').next().unwrap().to_owned()
}

/// A Sentinel beside a server, ended with it.
fn sentinel(of: &Node) -> tokio::process::Child {
    let (host, port) = of.address.split_once(':').unwrap();
    let (_, own) =
        free_address().split_once(':').map(|(h, p)| (h.to_owned(), p.to_owned())).unwrap();
    let dir = of.root().display();
    let path = of.root().join("sentinel.conf");
    let conf = format!(
        "port {own}\nbind 127.0.0.1\ndir {dir}\nsentinel monitor shop {host} {port} 2\n\
         sentinel down-after-milliseconds shop 600000\n"
    );
    super::rig::write(&path, conf);
    let mut command = std::process::Command::new("redis-server");
    command.arg(&path).arg("--sentinel");
    command.stdout(std::process::Stdio::null()).stdin(std::process::Stdio::null());
    if let Some(user) = server_user() {
        use std::os::unix::process::CommandExt;
        command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
    }
    tokio::process::Command::from(command).kill_on_drop(true).spawn().unwrap()
}

#[tokio::test]
async fn beside_a_sentinel_it_only_looks_and_fences() {
    let a = Node::primary("a", APPENDS, &[]).await;
    let _sentinel = sentinel(&a);
    let monitored =
        async || a.look().await.obstacles.iter().any(|why| why.contains("SENTINEL REMOVE"));
    eventually("the Sentinel is seen", monitored).await;
    assert_eq!(a.look().await.condition, Condition::Healthy);
    for refused in [
        a.try_active().await.map(drop),
        a.follow("127.0.0.1:1").await.map(drop),
        a.drain(None).await.map(drop),
        a.driver.gate(true).await,
    ] {
        let Err(DriverError::Refused(why)) = &refused else { panic!("{refused:?}") };
        assert!(why.contains("a Sentinel monitors"), "{why}");
    }
    a.ask(&["SET", "still", "writable"]).await;
    a.fence(Duration::from_secs(1)).await.unwrap();
    // The Sentinel finds a server again only after a while: until then it is not forgotten.
    assert!(matches!(a.try_active().await, Err(DriverError::Refused(_))));
}

#[tokio::test]
async fn a_server_of_a_cluster_is_left_alone() {
    let a = Node::new("a", &format!("{APPENDS}cluster-enabled yes\n"), &[]);
    let started = a.driver.start_as_is().await;
    assert!(started.is_err(), "{started:?}");
}

/// A cache comes up empty where its data is gone, and keeps nothing before it follows.
#[tokio::test]
async fn a_cache_is_moved_without_ado() {
    let (conf, role) = ("save \"\"\nrepl-diskless-sync-delay 0\n", [("role", "cache")]);
    let a = Node::of("a", conf, &role, Fencing::BestEffort);
    a.driver.start_as_is().await.unwrap();
    a.arm().await;
    assert!(!a.driver.gated(), "no plan waits for it, so nobody is kept from starting it");
    a.ask(&["SET", "k", "1"]).await;
    a.look().await;
    a.kill().await;
    a.active().await;
    assert_eq!(a.ask(&["DBSIZE"]).await, "0");
    assert_eq!(a.look().await.faults, Vec::<String>::new());
    a.ask(&["SET", "own", "1"]).await;
    let b = Node::of("b", conf, &role, Fencing::BestEffort);
    b.driver.start_as_is().await.unwrap();
    a.fence(Duration::from_secs(1)).await.unwrap();
    let done = a.come_to_follow(&b.address).await;
    assert!(!done.facts.detail.contains_key("quarantined"), "{done:?}");
}
