//! The driver's contract against BIND: created, switched, adopted, drift seen and said.

use super::bind::{Bind, settings};
use super::relay::Relay;
use super::{activate, creating, naming, open, refused, retry, traffic};
use arbiter::dns_client;
use arbiter::drivers::DriverError;
use arbiter_core::{Goal, RegionId, Terms, Token};

const TXT: &str = "_arbiter.default.example.test";

#[tokio::test]
async fn creates_switches_and_refuses_what_is_older() {
    let bind = Bind::start("");
    let (server, key) = (bind.server(), bind.path("good.key"));
    let driver = open("rfc2136", &settings(&server, &key)).expect("opens");

    let fact = traffic(driver.observe().await.expect("reads"));
    assert_eq!((fact.token, fact.names, fact.drift.as_str()), (None, None, ""));
    let text = refused(activate(&*driver, 1, 3, &naming("eu")).await, "arbiter traffic adopt");
    assert!(text.contains("adopt example.test --group default"), "{text}");
    assert_eq!(bind.dig(TXT, "TXT"), "");

    let fact = traffic(activate(&*driver, 1, 3, &creating("eu")).await.expect("creates"));
    assert_eq!((fact.token, fact.names), (Some(Token::new(1, 3)), Some(RegionId::from("eu"))));
    assert_eq!(bind.dig(TXT, "TXT"), "\"1.3\"");
    assert_eq!(bind.dig("app.example.test", "A"), "192.0.2.1");

    let serial = bind.dig("example.test", "SOA");
    activate(&*driver, 1, 3, &creating("eu")).await.expect("twice is once");
    for goal in [Goal::Standby, Goal::Drained, Goal::Fenced] {
        driver.ensure(goal, Token::new(9, 9), &naming("us")).await.expect("changes nothing");
    }
    assert_eq!(bind.dig("example.test", "SOA"), serial, "nothing was written");

    activate(&*driver, 2, 9, &naming("us")).await.expect("switches");
    assert_eq!(bind.dig(TXT, "TXT"), "\"2.9\"");
    assert_eq!(bind.dig("app.example.test", "A"), "192.0.2.2");
    let seen = Token::new(2, 9);
    for (epoch, revision) in [(1, 3), (2, 8)] {
        let late = Terms { may_create: true, adopt: true, repair: true, ..naming("eu") };
        let result = activate(&*driver, epoch, revision, &late).await;
        assert_eq!(result, Err(DriverError::StaleEpoch { seen }));
    }
    driver.verify(seen).await.expect("is as it should be");
    retry(driver.verify(Token::new(3, 1)).await, "still holds 2.9");
    assert_eq!(driver.verify(Token::new(1, 1)).await, Err(DriverError::StaleEpoch { seen }));
}

#[tokio::test]
async fn drift_is_seen_and_said_and_repaired_only_where_policy_says_so() {
    let bind = Bind::start("");
    let (server, key) = (bind.server(), bind.path("good.key"));
    let driver = open("rfc2136", &settings(&server, &key)).expect("opens");
    activate(&*driver, 1, 3, &creating("eu")).await.expect("creates");

    bind.by_hand(&[
        "update delete app.example.test. A",
        "update add app.example.test. 5 A 198.51.100.9",
    ]);
    let fact = traffic(driver.observe().await.expect("reads"));
    assert_eq!(fact.names, None);
    assert!(fact.drift.contains("198.51.100.9"), "{}", fact.drift);
    let text = refused(activate(&*driver, 1, 3, &naming("eu")).await, "drift");
    assert!(text.contains("198.51.100.9") && text.contains("192.0.2.1"), "{text}");
    assert_eq!(bind.dig("app.example.test", "A"), "198.51.100.9", "left as it is");
    retry(driver.verify(Token::new(1, 3)).await, "drift");

    let repair = Terms { repair: true, ..naming("eu") };
    let fact = activate(&*driver, 1, 3, &repair).await.expect("repairs");
    assert!(fact.detail["overwrote"].contains("198.51.100.9"), "never in silence");
    assert_eq!(bind.dig("app.example.test", "A"), "192.0.2.1");

    // The other region's value is drift too, also to a driver that wrote nothing yet, and so is
    // another TTL.
    bind.by_hand(&[
        "update delete app.example.test. A",
        "update add app.example.test. 5 A 192.0.2.2",
    ]);
    let fact = traffic(driver.observe().await.expect("reads"));
    assert_eq!(fact.names, Some(RegionId::from("us")));
    assert!(fact.drift.contains("192.0.2.2"), "{}", fact.drift);
    let other = open("rfc2136", &settings(&server, &key)).expect("opens");
    refused(activate(&*other, 1, 3, &naming("eu")).await, "drift");
    assert!(traffic(other.observe().await.expect("reads")).drift.contains("192.0.2.2"));
    bind.by_hand(&[
        "update delete app.example.test. A",
        "update add app.example.test. 99 A 192.0.2.1",
    ]);
    let fact = traffic(driver.observe().await.expect("reads"));
    assert!(fact.drift.contains("ttl 99"), "{}", fact.drift);

    // So is a token that somebody deleted, or set back.
    bind.by_hand(&["update delete _arbiter.default.example.test. TXT"]);
    let fact = traffic(driver.observe().await.expect("reads"));
    assert!(fact.drift.contains("TXT is absent, not 1.3"), "{}", fact.drift);
    bind.by_hand(&["update add _arbiter.default.example.test. 5 TXT \"1.2\""]);
    let fact = traffic(driver.observe().await.expect("reads"));
    assert!(fact.drift.contains("TXT is 1.2, not 1.3"), "{}", fact.drift);

    // A switch goes on over drift, and says what it overwrote.
    bind.by_hand(&["update delete app.example.test. A"]);
    activate(&*driver, 2, 1, &naming("us")).await.expect("switches");
    assert_eq!(bind.dig("app.example.test", "A"), "192.0.2.2");
}

#[tokio::test]
async fn adopt_takes_over_what_stands_there() {
    let bind =
        Bind::start("app 60 IN A 203.0.113.7\n_arbiter.default 60 IN TXT \"hello\" \"x\\\"y\"");
    let (server, key) = (bind.server(), bind.path("good.key"));
    let driver = open("rfc2136", &settings(&server, &key)).expect("opens");
    let fact = traffic(driver.observe().await.expect("reads"));
    assert!(fact.drift.contains("no token"), "{}", fact.drift);
    refused(activate(&*driver, 1, 3, &creating("eu")).await, "arbiter traffic adopt");
    let adopt = Terms { adopt: true, ..naming("eu") };
    activate(&*driver, 1, 3, &adopt).await.expect("adopts");
    assert_eq!(bind.dig(TXT, "TXT"), "\"1.3\"");
    assert_eq!(bind.dig("app.example.test", "A"), "192.0.2.1");
    bind.by_hand(&["update delete _arbiter.default.example.test. TXT"]);
    refused(activate(&*driver, 1, 4, &naming("eu")).await, "is gone");
    activate(&*driver, 1, 4, &adopt).await.expect("adopts");
    assert_eq!(bind.dig(TXT, "TXT"), "\"1.4\"");
}

#[tokio::test]
async fn several_names_and_types_move_in_one_change() {
    let bind = Bind::start("api 60 IN AAAA 2001:db8::77");
    let (server, key) = (bind.server(), bind.path("good.key"));
    let relay = Relay::start(&server, false).await;
    let mut settings = settings(&relay.server, &key);
    settings.retain(|(key, _)| *key != "name" && !key.starts_with("value."));
    settings.extend([
        ("name", "app.example.test, API.example.test."),
        ("record_type", "A, AAAA"),
        ("value.eu", "192.0.2.1, 192.0.2.11, 2001:db8::1"),
        ("value.us", "192.0.2.2"),
    ]);
    let driver = open("rfc2136", &settings).expect("opens");
    activate(&*driver, 1, 3, &creating("eu")).await.expect("creates");
    for name in ["app.example.test", "api.example.test"] {
        assert_eq!(bind.dig(name, "A"), "192.0.2.1 192.0.2.11");
        assert_eq!(bind.dig(name, "AAAA"), "2001:db8::1");
    }
    activate(&*driver, 2, 3, &naming("us")).await.expect("switches");
    for name in ["app.example.test", "api.example.test"] {
        assert_eq!(bind.dig(name, "A"), "192.0.2.2");
        assert_eq!(bind.dig(name, "AAAA"), "", "us has none");
    }
    assert_eq!(relay.updates().len(), 2);
}

#[tokio::test]
async fn an_alias_is_switched_and_followed() {
    let bind = Bind::start("eu 60 IN A 192.0.2.1\nus 60 IN A 192.0.2.2\nus 60 IN AAAA 2001:db8::2");
    let (server, key) = (bind.server(), bind.path("good.key"));
    let mut settings = settings(&server, &key);
    settings.retain(|(key, _)| !key.starts_with("value."));
    settings.extend([
        ("record_type", "CNAME"),
        ("value.eu", "eu.example.test"),
        ("value.us", "us.example.test."),
    ]);
    let driver = open("rfc2136", &settings).expect("opens");
    activate(&*driver, 1, 3, &creating("eu")).await.expect("creates");
    activate(&*driver, 2, 3, &naming("us")).await.expect("switches");
    let servers = dns_client::Servers::new(vec![server.clone()]);
    let found = dns_client::follow("app.example.test", &servers).await.expect("leads somewhere");
    assert_eq!(
        found.addresses,
        ["192.0.2.2".parse::<std::net::IpAddr>().unwrap(), "2001:db8::2".parse().unwrap()]
    );
    let token = dns_client::token_at("_arbiter.default.example.test.", &servers).await;
    assert_eq!(token, Ok(Some(Token::new(2, 3))));
    assert_eq!(
        dns_client::follow("none.example.test", &servers).await,
        Ok(dns_client::Led::default())
    );
    dns_client::follow("elsewhere.test", &servers).await.expect_err("no authority");
}

/// A server drops an addition beside a CNAME in silence: only the token would move.
#[tokio::test]
async fn a_record_of_another_type_in_the_way_is_said() {
    let bind = Bind::start("app 60 IN CNAME ns");
    let (server, key) = (bind.server(), bind.path("good.key"));
    let driver = open("rfc2136", &settings(&server, &key)).expect("opens");
    refused(activate(&*driver, 1, 3, &creating("eu")).await, "CNAME");
    assert!(!driver.observe().await.expect("reads").obstacles.is_empty());
    assert_eq!(bind.dig(TXT, "TXT"), "");
    bind.by_hand(&[
        "update delete app.example.test. CNAME",
        "update add app.example.test. 5 A 192.0.2.1",
    ]);
    let mut settings = settings(&server, &key);
    settings.retain(|(key, _)| !key.starts_with("value."));
    settings.extend([("record_type", "CNAME"), ("value.eu", "ns.example.test")]);
    let driver = open("rfc2136", &settings).expect("opens");
    refused(activate(&*driver, 1, 3, &creating("eu")).await, "A record");
}

/// A secondary is read as well as its primary is, and refuses every update.
#[tokio::test]
async fn a_server_that_takes_no_update_is_passed_over() {
    let primary = Bind::with("", "allow-transfer { any; };");
    let secondary = Bind::secondary(&primary);
    let servers = format!("{}, {}", secondary.server(), primary.server());
    let key = primary.path("good.key");
    let driver = open("rfc2136", &settings(&servers, &key)).expect("opens");
    activate(&*driver, 1, 3, &creating("eu")).await.expect("the next one takes it");
    assert_eq!(primary.dig(TXT, "TXT"), "\"1.3\"");
    let refusals = secondary.log().matches("denied").count();
    assert!(refusals > 0, "the first was asked first");
    // Remembered: the next switch asks the one that took it at once.
    activate(&*driver, 2, 9, &naming("us")).await.expect("switches");
    assert_eq!(primary.dig("app.example.test", "A"), "192.0.2.2");
    assert_eq!(secondary.log().matches("denied").count(), refusals);
}
