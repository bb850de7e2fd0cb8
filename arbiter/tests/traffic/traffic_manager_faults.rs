//! What goes wrong between the Traffic Manager driver and Azure: named before it matters, tried
//! again when it does, and never with a secret in its words.

use super::azure::{Azure, Odd, Quorum};
use super::{activate, creating, naming, open, refused, retry};
use arbiter::drivers::{Driver, DriverError};
use arbiter_core::Fact;
use std::collections::BTreeMap;

fn driver_of(settings: &BTreeMap<String, String>) -> Box<dyn Driver> {
    let settings: Vec<(&str, &str)> =
        settings.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    open("traffic-manager", &settings).expect("opens")
}

#[track_caller]
fn said(result: Result<Fact, DriverError>, refuses: bool, word: &str) {
    let text = if refuses { refused(result, word) } else { retry(result, word) };
    assert!(!text.contains("hunter2"), "{text}");
}

/// Looked at, and acted on, by drivers that know nothing yet.
async fn named(azure: &Azure, settings: &BTreeMap<String, String>, refuses: bool, word: &str) {
    said(driver_of(settings).observe().await, refuses, word);
    let driver = driver_of(settings);
    said(activate(&*driver, 1, 3, &creating("eu")).await, refuses, word);
    assert!(azure.inner().puts.is_empty(), "{word}");
}

#[tokio::test]
async fn a_fault_of_azure_is_named() {
    for (odd, refuses, word) in [
        (Odd::Error(401, "InvalidAuthenticationToken", None), true, "401 InvalidAuthentication"),
        (Odd::Error(403, "AuthorizationFailed", None), true, "Traffic Manager Contributor"),
        (Odd::Error(404, "ResourceNotFound", None), true, "404 ResourceNotFound"),
        (Odd::Error(404, "SubscriptionNotFound", None), true, "correct subscription_id"),
        (Odd::Error(409, "Conflict", None), false, "409 Conflict"),
        (Odd::Error(429, "TooManyRequests", Some(17)), false, "asks to wait 17 s"),
        (Odd::Error(429, "TooManyRequests", None), false, "429 TooManyRequests"),
        (Odd::Error(500, "InternalServerError", None), false, "500 InternalServerError"),
        (Odd::Error(503, "ServiceUnavailable", Some(9)), false, "asks to wait 9 s"),
        (Odd::Body("<html>hunter2</html>"), false, "what is no JSON"),
        (Odd::Body("[]"), false, "what is no profile"),
        (Odd::Body("{\"properties\":{}}"), false, "has no endpoints"),
        (Odd::Silence, false, "does not answer in time"),
    ] {
        let azure = Azure::start("eu").await;
        azure.inner().always = Some(odd);
        named(&azure, &azure.settings(), refuses, word).await;
        azure.kept_the_contract();
        // It heals: what was said then holds nothing up.
        azure.inner().always = None;
        let driver = driver_of(&azure.settings());
        activate(&*driver, 1, 3, &creating("eu")).await.expect("creates");
    }
}

#[tokio::test]
async fn a_fault_of_the_token_endpoint_is_named() {
    for (odd, refuses, word) in [
        (
            Odd::Error(401, "invalid_client AADSTS7000215", None),
            true,
            "invalid_client AADSTS7000215",
        ),
        (Odd::Error(400, "invalid_request AADSTS90002", None), true, "correct tenant_id"),
        (Odd::Error(429, "throttled AADSTS90055", Some(11)), false, "asks to wait 11 s"),
        (Odd::Error(503, "temporarily_unavailable x", None), false, "temporarily_unavailable"),
        (Odd::Body("hunter2"), false, "what is no token"),
        (Odd::Body("{\"access_token\":\"hunter2\\n\",\"expires_in\":60}"), false, "no header"),
        (Odd::Silence, false, "does not answer in time"),
    ] {
        let azure = Azure::start("eu").await;
        azure.inner().tokens_odd = Some(odd);
        named(&azure, &azure.settings(), refuses, word).await;
        assert!(!azure.inner().asked.contains(&"get"), "nothing is asked without a token");
    }
    let azure = Azure::start("eu").await;
    for (file, text) in [("nothing", None), ("empty", Some(" \n"))] {
        let path = azure.file(file);
        if let Some(text) = text {
            std::fs::write(&path, text).expect("writable");
        }
        let mut settings = azure.settings();
        settings.insert("client_secret_file".to_owned(), path.display().to_string());
        named(&azure, &settings, true, "client_secret_file").await;
    }
    // Another secret than the one that is known.
    std::fs::write(azure.file("secret"), "hunter2-old").expect("writable");
    named(&azure, &azure.settings(), true, "AADSTS7000215").await;
}

#[tokio::test]
async fn nobody_is_there() {
    let azure = Azure::start("eu").await;
    azure.inner().scope = "http://127.0.0.1:1/.default".to_owned();
    for key in ["management_url", "authority_host"] {
        let mut settings = azure.settings();
        settings.insert(key.to_owned(), "http://127.0.0.1:1".to_owned());
        let driver = driver_of(&settings);
        said(driver.observe().await, false, "does not answer: ");
    }
    azure.kept_the_contract();
}

#[tokio::test]
async fn azure_is_left_alone_as_long_as_it_asks() {
    let azure = Azure::start("eu").await;
    azure.inner().always = Some(Odd::Error(429, "TooManyRequests", Some(240)));
    let driver = driver_of(&azure.settings());
    said(activate(&*driver, 1, 3, &creating("eu")).await, false, "asks to wait 240 s");
    let asked = azure.inner().asked.len();
    azure.inner().always = None;
    for _ in 0..3 {
        said(activate(&*driver, 1, 3, &creating("eu")).await, false, "it is asked again in");
        said(driver.observe().await, false, "it is asked again in");
    }
    assert_eq!(azure.inner().asked.len(), asked);
}

/// A look that failed is not taken again at once: neither Azure nor who gives tokens is hammered.
#[tokio::test]
async fn a_look_that_failed_is_remembered() {
    let azure = Azure::start("eu").await;
    azure.inner().always = Some(Odd::Error(403, "AuthorizationFailed", None));
    let driver = driver_of(&azure.settings());
    for _ in 0..3 {
        said(driver.observe().await, true, "403 AuthorizationFailed");
    }
    assert_eq!(azure.inner().asked, ["token", "get"]);
    azure.inner().always = None;
    activate(&*driver, 1, 3, &creating("eu")).await.expect("an order waits for no look");
    driver.observe().await.expect("and tells what it saw");
}

#[tokio::test]
async fn a_token_is_kept_while_it_lasts_and_replaced_when_taken_back() {
    let azure = Azure::start("eu").await;
    let driver = driver_of(&azure.settings());
    activate(&*driver, 1, 3, &creating("eu")).await.expect("creates");
    assert_eq!(azure.inner().given, 1);
    // Taken back: the next question is asked again with a new one.
    azure.inner().token.clear();
    azure.inner().quorum = Quorum::Says("us", 2);
    activate(&*driver, 2, 9, &naming("us")).await.expect("switches");
    assert_eq!(azure.inner().given, 2);
    // One that ends within two minutes is not kept.
    let azure = Azure::start("eu").await;
    azure.inner().lasts = 100;
    let driver = driver_of(&azure.settings());
    activate(&*driver, 1, 3, &creating("eu")).await.expect("creates");
    let asked = azure.inner().asked.iter().filter(|what| ["get", "put"].contains(what)).count();
    assert_eq!(azure.inner().given as usize, asked);
    azure.kept_the_contract();
}

#[tokio::test]
async fn workload_identity_asks_with_the_token_that_stands_in_the_file_now() {
    let azure = Azure::start("eu").await;
    let mut settings = azure.settings();
    settings.remove("client_secret_file");
    let file = azure.file("federated");
    settings.insert("federated_token_file".to_owned(), file.display().to_string());
    let good = std::fs::read(&file).expect("readable");
    std::fs::write(&file, "hunter2.expired").expect("writable");
    let driver = driver_of(&settings);
    said(activate(&*driver, 1, 3, &creating("eu")).await, true, "what federated_token_file holds");
    azure.inner().wrong.clear();
    std::fs::write(&file, good).expect("writable");
    activate(&*driver, 1, 3, &creating("eu")).await.expect("creates");
    azure.kept_the_contract();
}
