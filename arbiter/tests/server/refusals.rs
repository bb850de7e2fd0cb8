//! Refusals say why, in words and for machines; what is asked twice is done once.

use super::trio::{FakeAgent, Trio, asked, reason_of};
use arbiter_proto::v1 as pb;
use tonic::Code;

fn open(target: &str, expected_epoch: u64, id: &str) -> pb::OpenPlanRequest {
    pb::OpenPlanRequest {
        asked: asked(id),
        group: "default".to_owned(),
        target: target.to_owned(),
        expected_epoch,
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_wrong_question_has_its_reason() {
    let (trio, _eu, _us) = Trio::active().await;
    // Asked of a follower: it forwards, and the reason arrives.
    let mut admin = trio.admin(trio.followers()[0]).await;
    let cases = [
        (open("us-east", 99, "1"), Code::FailedPrecondition, "wrong-epoch"),
        (open("witness", 1, "2"), Code::InvalidArgument, "witness"),
        (open("eu-west", 1, "3"), Code::InvalidArgument, "already-active"),
        (open("mars", 1, "4"), Code::NotFound, "unknown-region"),
        (
            pb::OpenPlanRequest { group: "nope".into(), ..open("us-east", 1, "5") },
            Code::NotFound,
            "unknown-group",
        ),
        (
            pb::OpenPlanRequest { asked: None, ..open("us-east", 1, "6") },
            Code::InvalidArgument,
            "no-request-id",
        ),
        (open("us-east", 1, &"x".repeat(4000)), Code::InvalidArgument, "too-long"),
    ];
    for (request, code, reason) in cases {
        let what = format!("{request:?}");
        let refused = admin.switchover(request).await.expect_err(&what);
        let said = refused.message().to_owned();
        // Several gates are closed at once: what is wrong with the question names the refusal.
        let told = reason_of(&refused);
        assert_eq!((refused.code(), told.as_str()), (code, reason), "{what}: {said}");
        assert!(!said.is_empty());
        assert!(refused.metadata().contains_key("arbiter-next"), "{what}");
    }
    let mode = |mode: &str, epoch| pb::SetModeRequest {
        asked: asked(&format!("mode-{mode}-{epoch}")),
        mode: mode.to_owned(),
        expected_epoch: epoch,
        ..Default::default()
    };
    let refused = admin.set_mode(mode("warp", 1)).await.expect_err("no such mode");
    assert_eq!(refused.code(), Code::InvalidArgument);
    let refused = admin.set_mode(mode("automatic", 7)).await.expect_err("another epoch");
    assert_eq!(reason_of(&refused), "wrong-epoch");
    let refused = admin.set_mode(mode("automatic", 1)).await.expect_err("unarmed");
    assert_eq!(refused.code(), Code::FailedPrecondition);
    let plan = pb::PlanRequest { asked: asked("abort"), plan: 4711, ..Default::default() };
    let refused = admin.abort_plan(plan).await.expect_err("no such plan");
    assert!([Code::NotFound, Code::FailedPrecondition].contains(&refused.code()));
    let transfer = pb::TransferLeadershipRequest { asked: asked("t"), to: "nobody".into() };
    let refused = admin.transfer_leadership(transfer).await.expect_err("no such arbiter");
    assert_eq!((refused.code(), reason_of(&refused).as_str()), (Code::NotFound, "no-such-voter"));
    let nowhere = pb::GetStatusRequest { group: "nope".into() };
    for name in super::trio::NAMES {
        let refused = trio.query(name).await.get_status(nowhere.clone()).await;
        let refused = refused.expect_err("no such group");
        let told = reason_of(&refused);
        assert_eq!((refused.code(), told.as_str()), (Code::NotFound, "unknown-group"), "{name}");
    }
    let missing = pb::GetPlanRequest { id: 4711 };
    let refused = trio.query("a2").await.get_plan(missing).await.expect_err("no such plan");
    assert_eq!(reason_of(&refused), "no-such-plan");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dry_run_shows_every_row_and_opens_nothing() {
    let (trio, _eu, _us) = Trio::active().await;
    let request = pb::OpenPlanRequest { dry_run: true, asked: None, ..open("us-east", 1, "") };
    let shown = trio.admin("a1").await.switchover(request).await.expect("shown").into_inner();
    let plan = shown.plan.expect("a plan");
    assert_eq!(plan.steps.len(), arbiter_core::STEPS.len());
    assert_eq!(plan.steps.iter().filter(|step| step.point_of_no_return).count(), 1);
    assert!(shown.refused_because.iter().any(|reason| reason.code == "mode"));
    let answer = trio.active_region("a1", false).await.expect("answers");
    assert_eq!(answer.phase, "steady");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_is_compared_checked_and_applied_once() {
    let trio = Trio::begun().await;
    let follower = trio.followers()[0];
    let mut admin = trio.admin(follower).await;
    let apply = |config: String, id: &str, dry_run| pb::ApplyPolicyRequest {
        asked: asked(id),
        config_toml: config,
        dry_run,
    };
    let changed = trio.config.replace("rpo = \"30s\"", "rpo = \"45s\"");
    let shown = admin.apply_policy(apply(changed.clone(), "", true)).await.expect("shown");
    assert!(shown.get_ref().diff.contains("30s → 45s"), "{}", shown.get_ref().diff);
    assert!(shown.into_inner().outcome.is_none());
    let first = admin.apply_policy(apply(changed.clone(), "p1", false)).await.expect("applied");
    let index = first.into_inner().outcome.expect("done").log_index;
    // Asked again, of another arbiter, after yet another change.
    let other = changed.replace("rpo = \"45s\"", "rpo = \"50s\"");
    admin.apply_policy(apply(other.clone(), "p2", false)).await.expect("applied");
    let leader = trio.leader();
    let again = trio.admin(&leader).await.apply_policy(apply(changed, "p1", false)).await;
    assert_eq!(again.expect("answered").into_inner().outcome.expect("done").log_index, index);
    let shown = admin.apply_policy(apply(other, "", true)).await.expect("shown").into_inner();
    assert_eq!(shown.diff, "", "the second change stands");
    // Leases may be others; the timers that Raft runs with may not.
    let longer = trio.config.replace("rpo = \"30s\"", "rpo = \"30s\"\nlease = \"4s\"");
    admin.apply_policy(apply(longer, "", true)).await.expect("only the lease changes");
    let slower = trio.config.replace("metro", "wan");
    for dry_run in [true, false] {
        let refused = admin.apply_policy(apply(slower.clone(), "p4", dry_run)).await;
        let refused = refused.expect_err("voters would still elect as before");
        assert_eq!(
            (refused.code(), reason_of(&refused).as_str()),
            (Code::FailedPrecondition, "raft-timers-changed")
        );
        assert!(refused.message().contains("80ms") && refused.message().contains("5ms"));
    }
    let bad = trio.config.replace("metro", "galaxy");
    let refused = admin.apply_policy(apply(bad, "p3", false)).await.expect_err("a fault");
    assert_eq!(
        (refused.code(), reason_of(&refused).as_str()),
        (Code::InvalidArgument, "bad-config")
    );
    assert!(refused.message().contains("cluster file:3"), "{}", refused.message());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_begins_once() {
    let trio = Trio::begun().await;
    let request = |id: &str| pb::InitializeRequest {
        asked: asked(id),
        cluster_id: "trio".to_owned(),
        config_toml: trio.config.clone(),
    };
    let again = trio.admin("a2").await.initialize(request("begin")).await.expect("asked before");
    assert!(again.into_inner().log_index > 0);
    let refused = trio.admin("a3").await.initialize(request("other")).await.expect_err("begun");
    assert_eq!(reason_of(&refused), "already-initialized");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_of_another_cluster_or_nobody_is_told_why() {
    let trio = Trio::begun().await;
    let mut stranger = FakeAgent::dial(&trio, trio.followers()[0], "mars").await;
    assert_eq!(reason_of(&stranger.ends().await), "unknown-agent");
    let mut other = FakeAgent::dial(&trio, trio.followers()[0], "eu").await;
    other.answered().await;
    let mut report = other.body();
    report.cluster_id = Some("other".into());
    report.sequence += 1;
    let _ = other.reports.send(arbiter::wire::report_to_proto(&report)).await;
    assert_eq!(reason_of(&other.ends().await), "wrong-cluster");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_plan_is_refused_and_observe_says_that_the_group_stays_armed() {
    let (trio, _eu, _us) = Trio::manual_with("").await;
    let observe = trio.set_mode("observe").await.expect("allowed while armed");
    assert!(observe.message.contains("the deadman still fences"), "{}", observe.message);
    assert_eq!(observe.next, "arbiter disarm --group default");
    trio.set_mode("manual").await.expect("it is armed");
    // These agents fence nothing: the plan stays open.
    let mut opened = 0;
    super::trio::until("a failover opens", async || {
        let request = pb::OpenPlanRequest { accept_loss: true, ..open("us-east", 1, "first") };
        let answer = trio.admin("a1").await.failover(request).await;
        opened = answer.ok().and_then(|answer| answer.into_inner().plan).map_or(0, |plan| plan.id);
        opened > 0
    })
    .await;
    for name in super::trio::NAMES {
        let refused = trio.admin(name).await.switchover(open("us-east", 1, name)).await;
        let refused = refused.expect_err("one at a time");
        let told = reason_of(&refused);
        assert_eq!((refused.code(), told.as_str()), (Code::FailedPrecondition, "plan-open"));
        assert!(refused.message().contains(&opened.to_string()), "{}", refused.message());
    }
}
