//! Signals beside the endpoints: alerts of a real Alertmanager, and a provider's status page from a
//! server that says what a test wants. What cannot be read is unknown, never healthy.

#[path = "../support/alertmanager.rs"]
mod alertmanager;
mod alerts;
mod provider;

use arbiter::clock;
use arbiter::probes::{Memory, Seen, run_once};
use arbiter_core::{ProbeSpec, SignalKind};
use axum::Router;
use axum::body::Body;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use std::time::Duration;
use tokio::time::sleep;

/// Longest wait for what must come.
const SOON: Duration = Duration::from_secs(20);

/// A probe of eu-west.
fn probe(kind: &str, target: &str, settings: &[(&str, &str)]) -> ProbeSpec {
    let signal = match kind {
        "alertmanager" => SignalKind::Alerts,
        _ => SignalKind::Provider,
    };
    let settings = settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    ProbeSpec {
        region: "eu-west".into(),
        kind: kind.to_owned(),
        signal,
        target: target.to_owned(),
        limit: Duration::from_secs(5),
        settings: settings.collect(),
    }
}

/// What a first look sees.
async fn look(probe: &ProbeSpec) -> Seen {
    run_once(probe, &Memory::default()).await
}

/// Look again and again until it sees that.
async fn until(probe: &ProbeSpec, memory: &Memory, up: Option<bool>) -> Seen {
    let limit = clock::now() + SOON;
    loop {
        let seen = run_once(probe, memory).await;
        if seen.up == up {
            return seen;
        }
        assert!(clock::now() < limit, "not {up:?} within {SOON:?}: {seen:?}");
        sleep(Duration::from_millis(50)).await;
    }
}

/// A server whose every path below one of these does as its name says.
async fn server() -> String {
    async fn answer(Path((how, _)): Path<(String, String)>) -> Response {
        match how.as_str() {
            "busy" => (StatusCode::TOO_MANY_REQUESTS, "later").into_response(),
            "ill" => (StatusCode::INTERNAL_SERVER_ERROR, "[]").into_response(),
            "elsewhere" => (StatusCode::FOUND, [("location", "/well/x")]).into_response(),
            "garbage" => "\u{1b}[31m<html>".into_response(),
            "nothing" => StatusCode::OK.into_response(),
            "hangs" => std::future::pending().await,
            "stalls" => {
                let first = futures::stream::iter([Ok::<_, std::io::Error>("[")]);
                let rest = futures::stream::pending();
                Body::from_stream(futures::StreamExt::chain(first, rest)).into_response()
            }
            "endless" => {
                let chunk = || Ok::<_, std::io::Error>(vec![b' '; 1 << 20]);
                Body::from_stream(futures::stream::repeat_with(chunk)).into_response()
            }
            _ => StatusCode::NOT_FOUND.into_response(),
        }
    }
    arbiter::tls::install();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let router = Router::new().route("/{how}/{*rest}", axum::routing::get(answer));
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

/// What a server may do instead of telling, each with a word of what is said of it.
const ILL: [(&str, &str); 9] = [
    ("busy", "answers 429"),
    ("ill", "answers 500"),
    ("elsewhere", "answers 302"),
    ("garbage", ""),
    ("nothing", ""),
    ("hangs", "no answer within"),
    ("stalls", "no answer within"),
    ("endless", "answers with more than"),
    ("missing", "answers 404"),
];

/// Nothing of it makes a look say anything of the region.
async fn unknown_from(server: &str, kind: &str, settings: &[(&str, &str)]) {
    for (how, word) in ILL {
        let mut probe = probe(kind, &format!("{server}/{how}/x"), settings);
        if word == "no answer within" {
            probe.limit = Duration::from_millis(300);
        }
        let seen = look(&probe).await;
        assert_eq!(seen.up, None, "{how}: {seen:?}");
        assert!(seen.detail.contains(word), "{how}: {seen:?}");
        assert!(seen.detail.chars().all(|c| !c.is_control()), "{how}: {seen:?}");
    }
}
