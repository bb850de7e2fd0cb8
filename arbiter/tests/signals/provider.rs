//! A provider's status page, and a server that does not tell.

use super::{look, probe, server, unknown_from};
use arbiter::probes::Lookout;
use arbiter_core::ClusterSpec;
use axum::Router;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::{sleep, timeout};

const SUMMARY: &str =
    include_str!("../../src/probes/provider_status/samples/statuspage-summary.json");
const MATCH: (&str, &str) = ("match", "eu-west");

/// A page that is served `well` times, and then refused; how often it was asked for.
async fn page(text: &'static str, well: usize) -> (String, Arc<AtomicUsize>) {
    arbiter::tls::install();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/page", listener.local_addr().expect("bound"));
    let serve = move || async move {
        let before = count.fetch_add(1, Ordering::SeqCst);
        let status = if before < well { StatusCode::OK } else { StatusCode::TOO_MANY_REQUESTS };
        (status, text).into_response()
    };
    let router = Router::new().route("/page", axum::routing::get(serve));
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, asked)
}

#[tokio::test]
async fn a_page_with_an_incident_of_the_region_says_so() {
    let (url, _) = page(SUMMARY, usize::MAX).await;
    let eu = look(&probe("provider-status", &url, &[MATCH])).await;
    assert_eq!(eu.up, Some(false), "{eu:?}");
    assert!(eu.detail.starts_with("incident: Errors in eu-west (investigating)"), "{eu:?}");
    let us = look(&probe("provider-status", &url, &[("match", "us-east")])).await;
    assert_eq!(us.up, Some(true), "{us:?}");
    assert!(us.detail.ends_with("names no open incident of eu-west"), "{us:?}");
}

#[tokio::test]
async fn a_page_that_cannot_be_read_is_unknown() {
    let server = server().await;
    unknown_from(&server, "provider-status", &[MATCH]).await;
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let gone = look(&probe("provider-status", &format!("http://{closed}/"), &[MATCH])).await;
    assert_eq!(gone.up, None, "{gone:?}");
}

/// A status page is everybody's: it is not asked at every turn, and what it said is told again.
#[tokio::test]
async fn a_page_is_read_seldom_and_what_it_said_is_told_with_its_age() {
    let (url, asked) = page(SUMMARY, 1).await;
    let file = include_str!("../../../cluster-config/examples/three-nodes.toml");
    let file = arbiter::policy_file::parse(file, "three-nodes.toml").expect("whole");
    let mut spec: ClusterSpec = arbiter::policy_file::to_spec(&file);
    let group = spec.groups.get_mut(&"default".into()).expect("there");
    group.instances.clear();
    let provider = probe("provider-status", &url, &[MATCH, ("every", "10s")]);
    group.probes = [("cloud".to_owned(), provider)].into();
    let mut lookout = Lookout::default();
    let mut ages = Vec::new();
    for _ in 0..3 {
        lookout.begin(&spec);
        let round = timeout(Duration::from_secs(20), lookout.found()).await.expect("in time");
        let (_, name, seen) = &round.probes[0];
        assert_eq!((name.as_str(), seen.up), ("cloud", Some(false)), "{seen:?}");
        ages.push(seen.age);
        sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    assert!(ages[0] == Duration::ZERO && ages[1] > ages[0] && ages[2] > ages[1], "{ages:?}");

    // Another word for the region: what was seen before says nothing.
    let group = spec.groups.get_mut(&"default".into()).expect("there");
    let cloud = group.probes.get_mut("cloud").expect("there");
    cloud.settings.insert("match".to_owned(), "us-east".to_owned());
    lookout.begin(&spec);
    let round = timeout(Duration::from_secs(20), lookout.found()).await.expect("in time");
    assert_eq!(round.probes[0].2.up, None, "it is asked anew, and refuses");
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}
