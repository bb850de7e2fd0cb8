//! Alerts put into a real Alertmanager by its own tool, and silenced by it.

use super::alertmanager::{Alertmanager, USER};
use super::{look, probe, server, unknown_from, until};
use arbiter::clock;
use arbiter::probes::Memory;
use std::time::Duration;

/// It counts at once: how long an alert has fired is a test of its own.
const AT_ONCE: (&str, &str) = ("firing_for", "0s");

#[tokio::test]
async fn enough_services_that_are_alerted_of_are_a_sign_until_somebody_silences_one() {
    arbiter::tls::install();
    let am = Alertmanager::start();
    let (eu, memory) = (probe("alertmanager", &am.url(), &[AT_ONCE]), Memory::default());
    let quiet = until(&eu, &memory, Some(true)).await;
    assert_eq!(quiet.detail, "no service of eu-west has ServiceDown, 2 needed");

    am.alert("ServiceDown", "cart", "eu-west");
    am.alert("ServiceDown", "login", "us-east");
    am.alert("Slow", "login", "eu-west");
    let one = until(&eu, &memory, Some(true)).await;
    assert!(one.detail.starts_with("1 services of eu-west have ServiceDown"), "{one:?}");

    am.alert("ServiceDown", "login", "eu-west");
    let two = until(&eu, &memory, Some(false)).await;
    assert!(two.detail.contains("2 needed: cart, login; oldest since 20"), "{two:?}");
    let other = probe("alertmanager", &am.url(), &[AT_ONCE, ("region_value", "us-east")]);
    assert_eq!(look(&other).await.up, Some(true));
    let three = probe("alertmanager", &am.url(), &[AT_ONCE, ("services_min", "3")]);
    assert_eq!(look(&three).await.up, Some(true));

    let silence = am.amtool(&["silence", "add", "--comment=known", "service=cart"]);
    let silenced = until(&eu, &memory, Some(true)).await;
    assert!(silenced.detail.starts_with("1 services"), "{silenced:?}");
    am.amtool(&["silence", "expire", &silence]);
    until(&eu, &memory, Some(false)).await;

    am.alert("RegionGone", "none", "eu-west");
    let inhibited = until(&eu, &memory, Some(true)).await;
    assert!(inhibited.detail.starts_with("no service"), "{inhibited:?}");
}

#[tokio::test]
async fn an_alert_counts_once_it_has_fired_for_as_long_as_asked_seen_from_here() {
    arbiter::tls::install();
    let am = Alertmanager::start();
    for service in ["cart", "login"] {
        am.alert("ServiceDown", service, "eu-west");
    }
    let eu = probe("alertmanager", &am.url(), &[("firing_for", "700ms")]);
    let memory = Memory::default();
    let mut begun = clock::now();
    // Alertmanager itself takes a moment to show what was put in.
    while !until(&eu, &memory, Some(true)).await.detail.starts_with("2 services") {
        begun = clock::now();
    }
    until(&eu, &memory, Some(false)).await;
    assert!(clock::now().since(begun) >= Duration::from_millis(700));
    let anew = look(&eu).await;
    assert_eq!(anew.up, Some(true), "another arbiter has not seen it so long: {anew:?}");
    assert!(anew.detail.contains("2 services of eu-west have ServiceDown, 0 for"), "{anew:?}");
}

#[tokio::test]
async fn labels_and_the_name_of_the_alert_are_as_they_are_set() {
    arbiter::tls::install();
    let am = Alertmanager::start();
    for job in ["a", "b"] {
        let job = format!("job={job}");
        am.amtool(&["alert", "add", "alertname=Down", &job, "dc=eu \\\"1\\\"", "service=same"]);
    }
    let settings = [
        AT_ONCE,
        ("alert", "Down"),
        ("service_label", "job"),
        ("region_label", "dc"),
        ("region_value", "eu \"1\""),
    ];
    until(&probe("alertmanager", &am.url(), &settings), &Memory::default(), Some(false)).await;
    let by_service = probe("alertmanager", &am.url(), &[&settings[..2], &settings[3..]].concat());
    assert_eq!(look(&by_service).await.up, Some(true), "one service");
}

#[tokio::test]
async fn an_alertmanager_that_does_not_tell_is_unknown() {
    let server = server().await;
    // Its API lies below whatever path it is given.
    unknown_from(&server, "alertmanager", &[]).await;
    let mut am = Alertmanager::start();
    let eu = probe("alertmanager", &am.url(), &[]);
    assert_eq!(look(&eu).await.up, Some(true));
    am.down();
    let gone = look(&eu).await;
    assert_eq!(gone.up, None, "{gone:?}");
    assert!(gone.detail.contains("cannot connect"), "{gone:?}");
}

#[tokio::test]
async fn a_password_comes_from_its_file_and_is_never_shown() {
    arbiter::tls::install();
    let am = Alertmanager::guarded();
    let file = am.path("auth");
    let name = file.display().to_string();
    let eu = probe("alertmanager", &am.url(), &[("basic_auth_file", &name)]);
    let missing = look(&eu).await;
    assert_eq!(missing.up, None);
    assert!(missing.detail.contains("auth cannot be read"), "{missing:?}");
    std::fs::write(&file, "arbiter:hunter2\n").expect("writable");
    let wrong = look(&eu).await;
    assert_eq!(wrong.up, None);
    assert!(wrong.detail.ends_with("answers 401"), "{wrong:?}");
    std::fs::write(&file, format!("{}:{}\n", USER.0, USER.1)).expect("writable");
    let right = look(&eu).await;
    assert_eq!(right.up, Some(true), "{right:?}");
    let bearer = probe("alertmanager", &am.url(), &[("bearer_file", &name)]);
    assert_eq!(look(&bearer).await.up, None, "it knows no tokens");
}
