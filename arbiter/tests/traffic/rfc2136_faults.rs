//! What a driver says when the server is down, silent, strange, or does not let it in.

use super::bind::{Bind, SECRET, free_port, settings};
use super::relay::Relay;
use super::{activate, creating, naming, open, refused, retry};
use arbiter::clock;
use arbiter_core::Token;
use std::path::Path;
use std::time::Duration;
use tokio::net::TcpListener;

/// One connection and one answer that does not come, and time for a busy machine.
const LIMIT: Duration = Duration::from_secs(5);

#[tokio::test]
async fn a_server_that_is_down_or_silent_is_tried_again_within_a_limit() {
    let mut bind = Bind::start("");
    let (server, key) = (bind.server(), bind.path("good.key"));
    let driver = open("rfc2136", &settings(&server, &key)).expect("opens");
    activate(&*driver, 1, 3, &creating("eu")).await.expect("creates");
    bind.down();
    let began = clock::now();
    retry(activate(&*driver, 2, 3, &naming("us")).await, &server);
    retry(driver.observe().await, &server);
    assert!(clock::now().since(began) < LIMIT);
    bind.up();
    activate(&*driver, 2, 3, &naming("us")).await.expect("follows when it returns");

    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let silent = (silent.local_addr().expect("an address").to_string(), silent);
    let driver = open("rfc2136", &settings(&silent.0, &key)).expect("opens");
    let began = clock::now();
    retry(driver.observe().await, "no answer within");
    assert!(clock::now().since(began) < LIMIT);

    // The first that answers will do.
    let servers = format!("127.0.0.1:{}, {}, {server}", free_port(), silent.0);
    let driver = open("rfc2136", &settings(&servers, &key)).expect("opens");
    driver.verify(Token::new(2, 3)).await.expect("reads");
}

#[tokio::test]
async fn a_lost_answer_is_read_back() {
    let bind = Bind::start("");
    let (server, key) = (bind.server(), bind.path("good.key"));
    let relay = Relay::start(&server, false).await;
    relay.lose_answers(true);
    let driver = open("rfc2136", &settings(&relay.server, &key)).expect("opens");
    activate(&*driver, 1, 3, &creating("eu")).await.expect("was done, and is seen");
    assert_eq!(relay.updates().len(), 1);
}

#[tokio::test]
async fn a_wrong_key_is_refused_in_clear_words() {
    let bind = Bind::start("");
    let server = bind.server();
    bind.key("unknown.key", "nobody", SECRET);
    let wrong = SECRET.replace("MDEy", "ODEy");
    bind.key("wrong.key", "good", &wrong);
    for (file, word) in [("unknown.key", "BADKEY"), ("wrong.key", "BADSIG")] {
        let key = bind.path(file);
        let driver = open("rfc2136", &settings(&server, &key)).expect("opens");
        let text = refused(activate(&*driver, 1, 3, &creating("eu")).await, word);
        assert!(text.contains("tsig_key_file") && !text.contains(&wrong), "{text}");
        refused(driver.observe().await, word);
    }
    let key = bind.path("other.key");
    let driver = open("rfc2136", &settings(&server, &key)).expect("opens");
    refused(activate(&*driver, 1, 3, &creating("eu")).await, "update-policy");
    let missing = Path::new("/nowhere/arbiter.key");
    let driver = open("rfc2136", &settings(&server, missing)).expect("opens");
    refused(driver.observe().await, "/nowhere/arbiter.key");
}

#[tokio::test]
async fn a_zone_that_is_not_there_or_does_not_load_is_said() {
    let bind = Bind::start("");
    let (server, key) = (bind.server(), bind.path("good.key"));
    for (zone, name, word) in [("elsewhere.test", "app.elsewhere.test", "refuses questions")] {
        let mut settings = settings(&server, &key);
        settings[0].1 = zone;
        settings[1].1 = name;
        let driver = open("rfc2136", &settings).expect("opens");
        refused(driver.observe().await, word);
    }
    let mut broken = settings(&server, &key);
    broken[0].1 = "broken.test";
    broken[1].1 = "app.broken.test";
    let driver = open("rfc2136", &broken).expect("opens");
    retry(driver.observe().await, "Server Failure");
    let mut below = settings(&server, &key);
    below[0].1 = "sub.example.test";
    below[1].1 = "app.sub.example.test";
    let driver = open("rfc2136", &below).expect("opens");
    refused(activate(&*driver, 1, 1, &creating("eu")).await, "no zone");
}

#[tokio::test]
async fn a_bad_setting_is_named_with_its_remedy() {
    let key = Path::new("/k");
    let good = settings("127.0.0.1:53", key);
    let with = |name: &'static str, value: &'static str| {
        let mut settings = good.clone();
        settings.retain(|(key, _)| *key != name);
        settings.push((name, value));
        settings
    };
    for (settings, word) in [
        (with("zone", ""), "zone is missing"),
        (with("name", "app.other.test"), "not in zone"),
        (with("name", "a..example.test"), "no domain name"),
        (with("record_type", "MX"), "record_type"),
        (with("record_type", "A, CNAME"), "CNAME alone"),
        (with("ttl", "soon"), "seconds"),
        (with("server", "10.0.0.1"), "host:port"),
        (with("server", ""), "server is missing"),
        (with("tsig_key_file", ""), "tsig_key_file is missing"),
        (with("token_name", "x.other.test"), "token_name"),
        (with("value.eu", "fe80::1"), "no value of a record of type A"),
        (with("value.eu", ""), "value.eu"),
        (with("value.eu", "192.0.2.2"), "equals value."),
        (with("guard", "none"), "soa or txt"),
        (with("tsig_keyfile", "/k"), "tsig_key_file"),
    ] {
        let text = refused(open("rfc2136", &settings).map(|_| ()), word);
        assert!(text.contains("dns-eu"), "{text}");
    }
}
