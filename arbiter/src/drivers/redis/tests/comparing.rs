//! A replica compares what it has with its primary, while that is written.

use super::rig::{APPENDS, Node, Writer, eventually};
use arbiter_core::{COMPARED, DIFFERS, Fact};
use std::os::unix::fs::MetadataExt;

const ALL: &[(&str, &str)] = &[("checksum.all", "*")];

fn said(fact: &Fact) -> String {
    fact.detail.get(&format!("{COMPARED}all")).cloned().unwrap_or_default()
}

/// What it says once it was compared anew.
async fn compared(node: &Node, fits: impl Fn(&str) -> bool) -> String {
    eventually("compared", async || {
        node.driver.comparisons.hurry();
        fits(&said(&node.look().await))
    })
    .await;
    said(&node.look().await)
}

/// Keys of every type, and large enough that servers hold sets and hashes in an order of their own.
async fn fill(node: &Node) {
    let numbers: Vec<String> = (0..300).map(|number| format!("element-{number}")).collect();
    let numbers: Vec<&str> = numbers.iter().map(String::as_str).collect();
    node.ask(&[&["SADD", "set"], numbers.as_slice()].concat()).await;
    node.ask(&[&["HSET", "hash"], numbers.as_slice()].concat()).await;
    node.ask(&[&["RPUSH", "list"], numbers.as_slice()].concat()).await;
    for words in [
        &["ZADD", "scores", "0.1", "tenth", "inf", "end", "-3", "before"][..],
        &["XADD", "stream", "7-1", "field", "value"],
        &["SET", "number", "7", "EX", "100000"],
        // What it was once makes it held otherwise than a copy is.
        &["SADD", "shrunk", "1", "2", "word"],
        &["SREM", "shrunk", "word"],
    ] {
        node.ask(words).await;
    }
    let other = super::rig::session_at(&node.address).await;
    for words in [["SELECT", "3"].as_slice(), &["SET", "elsewhere", "1"]] {
        other.ask(words).await.unwrap();
    }
}

/// Write on the replica itself, as somebody's mistake would.
async fn behind_its_back(replica: &Node, commands: &[&[&str]]) {
    replica.ask(&["CONFIG", "SET", "replica-read-only", "no"]).await;
    for words in commands {
        replica.ask(words).await;
    }
    replica.ask(&["CONFIG", "SET", "replica-read-only", "yes"]).await;
}

#[tokio::test]
async fn keys_of_every_type_are_alike() {
    let a = Node::primary("a", APPENDS, ALL).await;
    fill(&a).await;
    let b = a.standby("b", APPENDS, ALL).await;
    let keys = b.look().await.detail["keys"].clone();
    let said = compared(&b, |said| !said.is_empty()).await;
    assert_eq!(said, format!("{keys} keys are as on {}", a.address));
    assert_eq!(b.look().await.faults, a.look().await.faults);
    assert_eq!(self::said(&a.look().await), "", "a primary has nobody to compare with");
}

#[tokio::test]
async fn a_primary_that_is_written_all_the_time_differs_in_nothing() {
    let a = Node::primary("a", APPENDS, &[]).await;
    let writer = Writer::start(&a).await;
    let counting = super::rig::session_at(&a.address).await;
    let busy = tokio::spawn(async move { while counting.ask(&["INCR", "busy"]).await.is_ok() {} });
    let b = a.standby("b", APPENDS, ALL).await;
    let said = compared(&b, |said| !said.is_empty()).await;
    busy.abort();
    let written = writer.stop().await;
    let alike: u64 = said.split(' ').next().unwrap().parse().unwrap();
    assert!(written > 100 && alike > 90, "{written}: {said}");
    assert!(!said.contains(DIFFERS), "{said}");
}

#[tokio::test]
async fn keys_that_differ_are_counted_and_named_in_a_file_of_the_servers_owner() {
    let a = Node::primary("a", APPENDS, ALL).await;
    fill(&a).await;
    let b = a.standby("b", APPENDS, ALL).await;
    let mistakes: &[&[&str]] = &[
        &["HSET", "hash", "element-0", "another"],
        &["DEL", "scores"],
        &["SET", "secret-of-a-session", "1"],
        &["PERSIST", "number"],
    ];
    behind_its_back(&b, mistakes).await;
    let said = compared(&b, |said| said.starts_with("differs: 4 keys are not as on")).await;
    assert!(!said.contains("secret"), "{said}");
    let list = b.data_dir.join("arbiter-differs.txt");
    let named = std::fs::read_to_string(&list).unwrap();
    let named: Vec<&str> = named.lines().collect();
    let wanted = ["all 0 hash", "all 0 number", "all 0 scores", "all 0 secret-of-a-session"];
    assert_eq!(named, wanted);
    assert_eq!(std::fs::metadata(&list).unwrap().mode() & 0o777, 0o600);
    // Whoever puts it right is told so.
    behind_its_back(&b, &[&["DEL", "secret-of-a-session"]]).await;
    a.ask(&["DEL", "scores", "hash", "number"]).await;
    compared(&b, |said| !said.starts_with(DIFFERS)).await;
    assert!(!list.exists());
}

#[tokio::test]
async fn what_differs_is_found_though_only_a_part_is_compared_at_a_time() {
    let part = [("checksum.all", "w*"), ("checksum_keys", "1")];
    let a = Node::primary("a", APPENDS, &part).await;
    let writer = Writer::start(&a).await;
    eventually("many keys", async || writer.count() > 3000).await;
    writer.stop().await;
    let b = a.standby("b", APPENDS, &part).await;
    behind_its_back(&b, &[&["DEL", "w2000"]]).await;
    eventually("found", async || {
        b.driver.comparisons.hurry();
        said(&b.look().await).starts_with("differs: 1 keys")
    })
    .await;
    // It is looked at again each time, wherever the walk is.
    let before = said(&b.look().await);
    compared(&b, |said| said != before && said.starts_with("differs: 1 keys")).await;
}

#[tokio::test]
async fn what_is_too_large_is_not_compared_and_said() {
    let a = Node::primary("a", APPENDS, &[]).await;
    a.ask(&["SET", "large", &"x".repeat(1 << 21)]).await;
    a.ask(&["SET", "passing", "1", "EX", "30"]).await;
    let b = a.standby("b", APPENDS, ALL).await;
    let said = compared(&b, |said| !said.is_empty()).await;
    assert!(said.contains("; 2 changed meanwhile, are about to expire or too large"), "{said}");
}

#[tokio::test]
async fn a_comparison_that_is_not_allowed_is_a_fault_with_its_remedy() {
    let a = Node::primary("a", APPENDS, &[]).await;
    let b = a.standby("b", APPENDS, ALL).await;
    a.ask(&["ACL", "SETUSER", "default", "-eval_ro"]).await;
    b.driver.comparisons.hurry();
    eventually("told", async || {
        let faults = b.look().await.faults;
        faults.iter().any(|fault| fault.contains("not compared") && fault.contains("eval_ro"))
    })
    .await;
}
