//! What people are told over the webhook, from what happens to what a receiver takes: at least
//! once, with id, group, reason and the next command.

use super::trio::{FakeAgent, Reporting, Trio, asked, until};
use arbiter_proto::v1 as pb;
use axum::http::StatusCode;
use serde_json::Value;
use std::sync::{Arc, Mutex};

/// A receiver that refuses every second post, so that each event is posted again.
#[derive(Clone, Default)]
struct Receiver {
    posts: Arc<Mutex<(usize, Vec<Value>)>>,
}

impl Receiver {
    async fn start() -> (Self, String) {
        let receiver = Self::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/events", listener.local_addr().expect("bound"));
        let taker = receiver.clone();
        let take = move |axum::Json(body): axum::Json<Value>| async move { taker.take(body) };
        let router = axum::Router::new().route("/events", axum::routing::post(take));
        tokio::spawn(async move { axum::serve(listener, router).await });
        (receiver, format!("[webhook]\nurl = \"{url}\"\n"))
    }

    fn take(&self, body: Value) -> StatusCode {
        let mut posts = self.posts.lock().expect("whole");
        posts.0 += 1;
        if posts.0.is_multiple_of(2) {
            return StatusCode::SERVICE_UNAVAILABLE;
        }
        posts.1.push(body);
        StatusCode::OK
    }

    /// Ids of what was taken of a kind.
    fn ids(&self, kind: &str) -> Vec<String> {
        let posts = self.posts.lock().expect("whole");
        let of_kind = posts.1.iter().filter(|event| event["kind"] == kind);
        of_kind.map(|event| event["id"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// Wait for a kind of event that is not among `known`; every one says what it must.
    async fn told(&self, kind: &str, known: &[String], group: bool) {
        let news = async || self.ids(kind).iter().any(|id| !known.contains(id));
        until(kind, news).await;
        let posts = self.posts.lock().expect("whole");
        for event in posts.1.iter().filter(|event| event["kind"] == kind) {
            let said = |field: &str| event[field].as_str().is_some_and(|text| !text.is_empty());
            assert!(said("id") && said("message") && said("cluster"), "{event}");
            assert!(event["next"].as_str().is_some_and(|n| n.contains("arbiter ")), "{event}");
            assert_eq!(event["group"] == "default", group, "{event}");
        }
    }
}

fn failover() -> pb::OpenPlanRequest {
    pb::OpenPlanRequest {
        asked: asked("failover"),
        target: "us-east".to_owned(),
        accept_loss: true,
        ..Default::default()
    }
}

async fn transfer(trio: &Trio, to: &str) {
    until("another leads", async || {
        let id = format!("to-{to}-{}", trio.leader());
        let request = pb::TransferLeadershipRequest { asked: asked(&id), to: to.to_owned() };
        let _ = trio.admin(to).await.transfer_leadership(request).await;
        trio.leader() == to
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_are_told_at_least_once_and_again_by_the_next_leader() {
    arbiter::tls::install();
    let (receiver, webhook) = Receiver::start().await;
    let (mut trio, eu, _us) = Trio::manual_with(&webhook).await;
    receiver.told("mode-changed", &[], true).await;
    // The source comes back unarmed: the mode counts on it no more.
    drop(eu);
    let eu = Reporting::start(FakeAgent::dial(&trio, trio.followers()[0], "eu").await);
    receiver.told("mode-not-in-effect", &[], true).await;
    // Silent and unarmed: nothing will ever prove its fence.
    drop(eu);
    let mut opened = None;
    until("a failover opens", async || {
        opened = trio.admin("a1").await.failover(failover()).await.ok();
        opened.is_some()
    })
    .await;
    receiver.told("plan-opened", &[], true).await;
    receiver.told("plan-halted", &[], true).await;
    let lost = trio.followers()[0];
    trio.stop_node(lost).await;
    receiver.told("margin-lost", &[], false).await;
    let known = receiver.ids("margin-lost");
    let next = trio.followers()[0];
    transfer(&trio, next).await;
    receiver.told("margin-lost", &known, false).await;
    let plan = opened.and_then(|answer| answer.into_inner().plan).expect("a plan").id;
    let abort = pb::PlanRequest { asked: asked("abort"), plan, ..Default::default() };
    trio.admin(next).await.abort_plan(abort).await.expect("undone");
    receiver.told("plan-ended", &[], true).await;
}
