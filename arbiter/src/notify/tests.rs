//! Receivers that refuse, hang and are not there.

use super::*;
use arbiter_core::WallMillis;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::Value;
use std::sync::atomic::AtomicUsize;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

/// Longest wait for what must come.
const SOON: Duration = Duration::from_secs(20);

pub(super) fn told(id: &str, kind: EventKind) -> Told {
    let event = Event {
        id: id.into(),
        kind,
        group: Some("default".into()),
        plan: Some(arbiter_core::PlanId(131)),
        message: "the plan halted".into(),
        next: "arbiter plan resume".into(),
        wall: WallMillis(1),
    };
    Told { event, region: Some("us-east".into()) }
}

#[derive(Clone)]
struct Taker {
    refusals: Arc<AtomicUsize>,
    taken: mpsc::UnboundedSender<Value>,
}

async fn take(State(taker): State<Taker>, axum::Json(body): axum::Json<Value>) -> StatusCode {
    let left = taker.refusals.load(Ordering::SeqCst);
    if left > 0 {
        taker.refusals.store(left - 1, Ordering::SeqCst);
        return StatusCode::INTERNAL_SERVER_ERROR;
    }
    taker.taken.send(body).map_or(StatusCode::GONE, |()| StatusCode::OK)
}

/// A receiver that refuses so many posts first: its URL, and what it takes.
async fn receiver(refusals: usize) -> (String, mpsc::UnboundedReceiver<Value>) {
    crate::tls::install();
    let (taken, seen) = mpsc::unbounded_channel();
    let taker = Taker { refusals: Arc::new(AtomicUsize::new(refusals)), taken };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = axum::Router::new()
        .route("/events", axum::routing::post(take))
        .route("/api/v2/alerts", axum::routing::post(take))
        .with_state(taker);
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, seen)
}

fn receivers(webhook: Option<&str>, alertmanager: Option<&str>) -> Receivers {
    let keys = alertmanager.map(|url| cluster_config::Alertmanager {
        url: url.to_owned(),
        bearer_file: None,
        basic_auth_file: None,
    });
    let webhook = webhook.map(|url| format!("{url}/events?key=hunter2"));
    Receivers { webhook, alertmanager: keys }
}

async fn next(seen: &mut mpsc::UnboundedReceiver<Value>) -> Value {
    timeout(SOON, seen.recv()).await.expect("in time").expect("it runs")
}

async fn posted(posted: &AtomicU64, wanted: u64) {
    let limit = clock::now() + SOON;
    while posted.load(Ordering::SeqCst) < wanted && clock::now() < limit {
        sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(posted.load(Ordering::SeqCst), wanted);
}

fn events() -> [Told; 4] {
    [
        told("6.0", EventKind::PlanHalted),
        told("7.0", EventKind::PlanHalted),
        told("8.0", EventKind::StepEnded),
        told("9.0", EventKind::PlanEnded),
    ]
}

#[tokio::test]
async fn a_refused_event_is_posted_again_and_order_is_kept() {
    let (url, mut seen) = receiver(2).await;
    let index = Arc::new(AtomicU64::new(6));
    let notifier = Notifier::start(receivers(Some(&url), None), "demo", index.clone());
    notifier.post(events());
    for wanted in ["7.0", "9.0"] {
        let body = next(&mut seen).await;
        assert_eq!(body["id"], wanted);
        assert_eq!(body["cluster"], "demo");
        assert_eq!(body["next"], "arbiter plan resume");
    }
    posted(&index, 9).await;
}

#[tokio::test]
async fn a_receiver_that_refuses_holds_up_no_other_and_counts_as_not_told() {
    let (hook, mut hooked) = receiver(0).await;
    let (am, mut alerted) = receiver(usize::MAX).await;
    let index = Arc::new(AtomicU64::new(6));
    let both = receivers(Some(&hook), Some(&am));
    let notifier = Notifier::start(both, "demo", index.clone());
    notifier.post(events());
    for wanted in ["7.0", "9.0"] {
        assert_eq!(next(&mut hooked).await["id"], wanted);
    }
    assert_eq!(index.load(Ordering::SeqCst), 6, "the next leader must repeat it");
    assert_eq!(notifier.waiting(), 2);
    assert!(alerted.try_recv().is_err());
}

#[tokio::test]
async fn what_lasts_is_alerted_again_and_then_ended() {
    let (am, mut alerted) = receiver(1).await;
    let notifier = Notifier::start(receivers(None, Some(&am)), "demo", Arc::default());
    let halted = told("7.0", EventKind::PlanHalted);
    notifier.post([halted.clone()]);
    notifier.stand(Source::Log, std::slice::from_ref(&halted));
    let (first, again) = (next(&mut alerted).await, next(&mut alerted).await);
    for body in [&first, &again] {
        assert_eq!(body[0]["labels"]["event"], "7.0");
        assert_eq!(body[0]["labels"]["alertname"], "RegionArbiterPlanHalted");
    }
    notifier.stand(Source::Log, &[]);
    let ended = next(&mut alerted).await;
    assert_eq!(ended[0]["labels"], first[0]["labels"], "the same alert");
    let end = |body: &Value| body[0]["endsAt"].as_str().expect("an end").to_owned();
    assert!(end(&ended) < end(&first), "{ended} {first}");
    notifier.clear();
    assert!(alerted.try_recv().is_err());
}

#[tokio::test]
async fn a_test_says_of_each_receiver_what_became_of_it() {
    let (hook, mut hooked) = receiver(0).await;
    let (am, _alerted) = receiver(1).await;
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let two = format!("{am}, http://{closed}");
    let notifier = Notifier::start(receivers(Some(&hook), Some(&two)), "demo", Arc::default());
    let found = notifier.test("ada").await;
    let said: Vec<(&str, Option<&str>)> =
        found.iter().map(|one| (one.receiver, one.why.as_deref())).collect();
    let expected = [
        ("webhook", None),
        ("alertmanager", Some("status 500")),
        ("alertmanager", Some("cannot connect")),
    ];
    assert_eq!(said, expected);
    assert!(found.iter().all(|one| !one.place.contains("hunter2")), "{found:?}");
    let body = next(&mut hooked).await;
    assert_eq!(body["kind"], "test");
    assert!(body["message"].as_str().unwrap().contains("ada"), "{body}");
    let nobody = Notifier::start(Receivers::default(), "demo", Arc::default());
    assert_eq!(nobody.test("ada").await, []);
}
