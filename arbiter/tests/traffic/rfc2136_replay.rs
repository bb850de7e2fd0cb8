//! I7: no recorded request, sent again byte for byte, changes anything; the *server* refuses it.

use super::bind::{Bind, settings};
use super::relay::{Relay, refused_for_prerequisites, replay};
use super::{activate, creating, naming, open, refused};
use arbiter::drivers::DriverError;
use arbiter_core::{Fact, Terms, Token};

/// Every kind of request is recorded while a group goes forth and back; then each is replayed in
/// each situation. `records`: what stands in the zone before the first.
async fn nothing_recorded_is_obeyed(records: &str, guard: &str, zone_options: &str) {
    let bind = Bind::with(records, zone_options);
    let (server, key) = (bind.server(), bind.path("good.key"));
    let relay = Relay::start(&server, false).await;
    let mut settings = settings(&relay.server, &key);
    settings.push(("guard", guard));
    let driver = open("rfc2136", &settings).expect("opens");
    let adopt = |region| Terms { adopt: true, ..naming(region) };
    let repair = Terms { repair: true, ..naming("eu") };
    let delete_txt = || bind.by_hand(&["update delete _arbiter.default.example.test. TXT"]);

    activate(&*driver, 1, 3, &creating("eu")).await.expect("creates");
    all_refused(&bind, &relay, "at once").await;
    activate(&*driver, 2, 9, &naming("us")).await.expect("switches");
    all_refused(&bind, &relay, "after the switch").await;
    delete_txt();
    all_refused(&bind, &relay, "after the TXT was deleted").await;
    activate(&*driver, 2, 9, &adopt("us")).await.expect("adopts");
    delete_txt();
    all_refused(&bind, &relay, "after the adopted TXT was deleted").await;
    activate(&*driver, 2, 9, &adopt("us")).await.expect("adopts again");
    activate(&*driver, 3, 4, &naming("eu")).await.expect("switches back");
    bind.by_hand(&["update delete app.example.test. A"]);
    activate(&*driver, 3, 4, &repair).await.expect("repairs");
    bind.by_hand(&["update delete app.example.test. A"]);
    all_refused(&bind, &relay, "after the repaired records were deleted again").await;
    activate(&*driver, 3, 4, &repair).await.expect("repairs again");
    delete_txt();
    // The records are as they were before the very first request.
    all_refused(&bind, &relay, "after forth and back, and the TXT deleted").await;
    assert_eq!(relay.updates().len(), 7);
}

async fn all_refused(bind: &Bind, relay: &Relay, when: &str) {
    let before = bind.dig("example.test", "SOA");
    for (number, update) in relay.updates().iter().enumerate() {
        let what = format!("request {number} {when}");
        refused_for_prerequisites(&bind.server(), update, &what).await;
    }
    assert_eq!(bind.dig("example.test", "SOA"), before, "{when}: the zone is as it was");
}

#[tokio::test]
async fn over_an_empty_zone() {
    nothing_recorded_is_obeyed("", "soa", "").await;
    nothing_recorded_is_obeyed("", "txt", "").await;
}

/// The usual case: the name already leads to the region that becomes active first, so that the
/// creating request leaves the records as it found them.
#[tokio::test]
async fn over_records_that_already_name_the_region() {
    nothing_recorded_is_obeyed("app 5 IN A 192.0.2.1", "soa", "").await;
    nothing_recorded_is_obeyed("app 5 IN A 192.0.2.1", "txt", "").await;
}

/// Without this the tests above would prove nothing: what is recorded is obeyed where its
/// prerequisites hold, so it is signed well and within the fudge.
#[tokio::test]
async fn a_recorded_request_is_whole() {
    let bind = Bind::start("");
    let (server, key) = (bind.server(), bind.path("good.key"));
    let relay = Relay::start(&server, true).await;
    let driver = open("rfc2136", &settings(&relay.server, &key)).expect("opens");
    // The relay holds the update back; the driver gives up.
    activate(&*driver, 1, 3, &creating("eu")).await.expect_err("its update is held");
    let updates = relay.updates();
    assert_eq!(bind.dig("app.example.test", "A"), "");
    let codes = replay(&server, &updates[0]).await;
    assert_eq!(codes[0], 0, "obeyed");
    assert_ne!(codes[1], 0, "and refused the second time");
    assert_eq!(bind.dig("app.example.test", "A"), "192.0.2.1");
}

#[tokio::test]
async fn of_two_that_read_the_same_the_older_loses() {
    let bind = Bind::start("app 5 IN A 192.0.2.1");
    let (server, key) = (bind.server(), bind.path("good.key"));
    let held = Relay::start(&server, true).await;
    let old = open("rfc2136", &settings(&held.server, &key)).expect("opens");
    let new = open("rfc2136", &settings(&server, &key)).expect("opens");
    activate(&*new, 1, 3, &creating("eu")).await.expect("creates");

    let terms = naming("eu");
    let late = activate(&*old, 1, 8, &terms);
    let switch = async {
        // The older one has read, and its update is under way.
        while held.updates().is_empty() {
            tokio::task::yield_now().await;
        }
        activate(&*new, 2, 9, &naming("us")).await.expect("switches");
        held.release();
    };
    let (late, ()) = tokio::join!(late, switch);
    assert_eq!(late, Err(DriverError::StaleEpoch { seen: Token::new(2, 9) }));
    assert_eq!(bind.dig("app.example.test", "A"), "192.0.2.2");
    assert_eq!(bind.dig("_arbiter.default.example.test", "TXT"), "\"2.9\"");
}

/// What stands there is changed by somebody else between the driver's read and its update.
async fn changed_meanwhile(first: &[&str]) -> (Bind, Result<Fact, DriverError>) {
    let bind = Bind::start("");
    let (server, key) = (bind.server(), bind.path("good.key"));
    let held = Relay::start(&server, true).await;
    let driver = open("rfc2136", &settings(&held.server, &key)).expect("opens");
    let terms = creating("eu");
    let create = activate(&*driver, 1, 3, &terms);
    let meddle = async {
        while held.updates().is_empty() {
            tokio::task::yield_now().await;
        }
        bind.by_hand(first);
        held.release();
        held.release();
    };
    let (result, ()) = tokio::join!(create, meddle);
    (bind, result)
}

#[tokio::test]
async fn what_changed_meanwhile_is_judged_anew() {
    let (bind, result) =
        changed_meanwhile(&["update add app.example.test. 5 A 198.51.100.9"]).await;
    let overwrote = result.expect("creates").detail.remove("overwrote").unwrap_or_default();
    assert!(overwrote.contains("198.51.100.9"), "{overwrote:?}");
    assert_eq!(bind.dig("app.example.test", "A"), "192.0.2.1");

    let (bind, result) = changed_meanwhile(&["update add app.example.test. 5 CNAME ns.x."]).await;
    refused(result, "CNAME");
    assert_eq!(bind.dig("_arbiter.default.example.test", "TXT"), "", "nothing was half done");

    let txt = ["update add _arbiter.default.example.test. 5 TXT \"1.9\""];
    let (_bind, result) = changed_meanwhile(&txt).await;
    assert_eq!(result, Err(DriverError::StaleEpoch { seen: Token::new(1, 9) }));
}

/// A zone signed inline is checked against another SOA than it serves: `guard = "txt"` is for it.
#[tokio::test]
async fn a_zone_signed_inline_has_its_own_guard() {
    let options = "dnssec-policy default; inline-signing yes;";
    let bind = Bind::with("app 5 IN A 192.0.2.1", options);
    let (server, key) = (bind.server(), bind.path("good.key"));
    let relay = Relay::start(&server, false).await;
    let mut settings = settings(&relay.server, &key);
    settings.push(("guard", "txt"));
    let driver = open("rfc2136", &settings).expect("opens");
    activate(&*driver, 1, 3, &creating("eu")).await.expect("creates");
    activate(&*driver, 2, 3, &naming("us")).await.expect("switches");
    bind.by_hand(&["update delete _arbiter.default.example.test. TXT"]);
    for update in relay.updates() {
        refused_for_prerequisites(&server, &update, "inline").await;
    }
}
