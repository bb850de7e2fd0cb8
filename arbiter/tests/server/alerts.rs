//! Events as a real Alertmanager has them: each an alert of its own, which fires for as long as
//! what it tells of lasts.

use super::alertmanager::Alertmanager;
use super::trio::{FakeAgent, Reporting, Trio, asked, until};
use arbiter_proto::v1 as pb;
use serde_json::Value;

fn named(am: &Alertmanager, name: &str) -> Vec<Value> {
    am.firing(&format!("alertname=RegionArbiter{name}"))
}

async fn fires(am: &Alertmanager, name: &str) -> Value {
    until(name, async || !named(am, name).is_empty()).await;
    named(am, name).remove(0)
}

async fn test(trio: &Trio, at: &str) -> pb::TestNotifyResponse {
    let request = pb::TestNotifyRequest { by: "ada".to_owned() };
    trio.admin(at).await.test_notify(request).await.expect("it was tried").into_inner()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_fires_for_as_long_as_what_it_tells_of_lasts() {
    arbiter::tls::install();
    let am = Alertmanager::start();
    let receiver = format!("[alertmanager]\nurl = \"{}\"\n", am.url());
    let (trio, eu, _us) = Trio::manual_with(&receiver).await;
    let mode = fires(&am, "ModeChanged").await;
    assert_eq!(mode["labels"]["cluster"], "trio");
    assert_eq!(mode["labels"]["group"], "default");
    assert_eq!(mode["labels"]["region"], "eu-west");
    // The source comes back unarmed and goes: nothing will ever prove its fence.
    drop(eu);
    let eu = Reporting::start(FakeAgent::dial(&trio, trio.followers()[0], "eu").await);
    fires(&am, "ModeNotInEffect").await;
    drop(eu);
    let failover = pb::OpenPlanRequest {
        asked: asked("failover"),
        target: "us-east".to_owned(),
        accept_loss: true,
        ..Default::default()
    };
    let mut opened = None;
    until("a failover opens", async || {
        opened = trio.admin("a1").await.failover(failover.clone()).await.ok();
        opened.is_some()
    })
    .await;
    let plan = opened.and_then(|answer| answer.into_inner().plan).expect("a plan").id;
    fires(&am, "PlanOpened").await;
    let halted = fires(&am, "PlanHalted").await;
    assert_eq!(halted["labels"]["severity"], "critical");
    assert_eq!(halted["labels"]["region"], "us-east", "the target of the plan");
    assert_eq!(halted["annotations"]["plan"], plan.to_string());
    for annotation in ["reason", "next"] {
        let said = halted["annotations"][annotation].as_str().unwrap_or_default();
        assert!(!said.is_empty(), "{halted}");
    }
    let abort = pb::PlanRequest { asked: asked("abort"), plan, ..Default::default() };
    trio.admin("a2").await.abort_plan(abort).await.expect("undone");
    fires(&am, "PlanEnded").await;
    for name in ["PlanHalted", "PlanOpened"] {
        until(name, async || named(&am, name).is_empty()).await;
    }
    assert!(!named(&am, "ModeChanged").is_empty(), "nothing has ended that");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_test_is_sent_by_the_leader_and_says_who_was_not_told() {
    arbiter::tls::install();
    let mut am = Alertmanager::start();
    let trio = Trio::begun_with(&format!("[alertmanager]\nurl = \"{}\"\n", am.url())).await;
    let answer = test(&trio, trio.followers()[0]).await;
    assert_eq!(answer.sent_by, trio.leader());
    let told = &answer.deliveries[0];
    assert_eq!(
        (told.receiver.as_str(), &told.url, told.delivered),
        ("alertmanager", &am.url(), true)
    );
    let fired = fires(&am, "Test").await;
    let summary = fired["annotations"]["summary"].as_str().unwrap_or_default();
    assert!(summary.contains("ada"), "{fired}");
    am.down();
    let answer = test(&trio, "a1").await;
    let why = &answer.deliveries[0].why;
    assert!(!answer.deliveries[0].delivered && why == "cannot connect", "{answer:?}");
}
