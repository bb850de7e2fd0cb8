//! Guard rails for people, over the wire.

use super::trio::{Trio, asked, reason_of, until};
use arbiter_core::{By, Command, Proposal, WallMillis};
use arbiter_proto::v1 as pb;
use tonic::Code;

const HOUR_MS: u64 = 60 * 60 * 1000;

async fn shown(trio: &Trio) -> pb::GroupStatus {
    let request = pb::GetStatusRequest::default();
    let status = trio.query("a1").await.get_status(request).await.expect("a status").into_inner();
    status.groups.into_iter().next().expect("a group")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn modes_and_leases_for_a_time_are_shown_with_their_end() {
    arbiter::tls::install();
    let (trio, _eu, _us) = Trio::manual_with("").await;
    trio.at_version_2().await;
    let mut admin = trio.admin(trio.followers()[0]).await;
    let mode = |for_ms, id: &str| pb::SetModeRequest {
        asked: asked(id),
        mode: "observe".to_owned(),
        expected_epoch: 1,
        for_ms,
        ..Default::default()
    };
    let refused = admin.set_mode(mode(10, "short")).await.expect_err("too short");
    assert_eq!(reason_of(&refused), "bad-time");
    let told = admin.set_mode(mode(2 * HOUR_MS, "long")).await.expect("set").into_inner().message;
    assert!(told.contains("observe until ") && told.contains(", then manual"), "{told}");
    let group = shown(&trio).await;
    let until = &group.mode_until;
    assert!(group.mode == "observe" && until.ends_with("UTC, then manual"), "{until}");
    trio.set_mode("manual").await.expect("an operator's word ends it");
    assert_eq!(shown(&trio).await.mode_until, "");

    let maintain = |lease_ms, epoch, id: &str| pb::MaintainRequest {
        asked: asked(id),
        group: String::new(),
        for_ms: HOUR_MS,
        lease_ms,
        expected_epoch: epoch,
    };
    let refused = admin.maintain(maintain(60_000, 9, "e")).await.expect_err("another epoch");
    assert_eq!(reason_of(&refused), "wrong-epoch");
    let refused = admin.maintain(maintain(1000, 1, "l")).await.expect_err("no longer lease");
    assert_eq!(reason_of(&refused), "bad-lease");
    let told = admin.maintain(maintain(60_000, 1, "m")).await.expect("begun").into_inner();
    assert!(told.message.contains("waits 60.8s instead of 2.7s"), "{}", told.message);
    assert!(shown(&trio).await.maintenance.contains("leases last 60s until "));
    let end = pb::GroupRequest { asked: asked("end"), ..Default::default() };
    admin.end_maintenance(end.clone()).await.expect("ended");
    assert_eq!(shown(&trio).await.maintenance, "");
    let end = pb::GroupRequest { asked: asked("again"), ..end };
    let refused = admin.end_maintenance(end).await.expect_err("none runs");
    assert_eq!(reason_of(&refused), "no-maintenance");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn overrides_name_gates_and_no_fence() {
    arbiter::tls::install();
    let (trio, _eu, us) = Trio::manual_with("").await;
    trio.at_version_2().await;
    let mut admin = trio.admin("a1").await;
    let open = |gates: &[&str], id: &str| pb::OpenPlanRequest {
        asked: asked(id),
        target: "us-east".to_owned(),
        expected_epoch: 1,
        dry_run: true,
        overrides: gates.iter().map(|gate| (*gate).to_owned()).collect(),
        ..Default::default()
    };
    for (gate, code) in [("fence", "never-overridden"), ("rpo-ish", "unknown-gate")] {
        let request = pb::OpenPlanRequest { dry_run: false, ..open(&[gate], gate) };
        let refused = admin.failover(request).await.expect_err("refused");
        assert_eq!((refused.code(), reason_of(&refused)), (Code::FailedPrecondition, code.into()));
        let next = refused.metadata().get("arbiter-next").and_then(|next| next.to_str().ok());
        assert!(next.is_some_and(|next| next.contains("candidate-behind")), "{next:?}");
        let tried = admin.failover(open(&[gate], "")).await.expect("an answer").into_inner();
        assert_eq!(tried.refused_because[0].code, code);
    }
    // What is to be promoted is silent: no name opens that.
    drop(us);
    until("the target is silent", async || {
        let tried = admin.failover(open(&["rpo"], "")).await.expect("an answer").into_inner();
        tried.refused_because.iter().any(|gate| gate.code == "target-silent")
    })
    .await;
    let all = ["rpo", "position-unknown", "candidate-behind", "strict", "obstacle"];
    let tried = admin.failover(open(&all, "")).await.expect("an answer").into_inner();
    assert!(tried.refused_because.iter().any(|gate| gate.code == "target-silent"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_person_approves_and_not_the_first() {
    arbiter::tls::install();
    let (trio, _eu, _us) = Trio::manual_with("").await;
    trio.at_version_2().await;
    let leader = trio.leader();
    let raft = &trio.nodes[leader.as_str()].raft;
    let by = |name: &str| By::Operator(name.to_owned());
    let proposal = Proposal {
        request: Some("ask".into()),
        // As over plaintext: what a message claims is recorded as no more than that.
        by: by("ada (unverified)"),
        reason: "it is broken".to_owned(),
        wall: WallMillis(1),
        command: Command::AskApproval { action: "remove-node a3".to_owned() },
    };
    let id = raft.propose(&proposal).await.expect("taken").expect("asked");
    let mut query = trio.query(trio.followers()[0]).await;
    let found = query.list_approvals(pb::ListApprovalsRequest {}).await.expect("a list");
    let found = found.into_inner().approvals;
    assert_eq!(
        (found[0].id, found[0].by.as_str(), found[0].approved_by.as_str()),
        (id, "ada (unverified)", "")
    );
    let approve = |name: &str, request: &str| pb::ApproveRequest {
        asked: Some(pb::Asked {
            request_id: request.to_owned(),
            reason: "seen it".to_owned(),
            by: name.to_owned(),
        }),
        id,
    };
    let mut admin = trio.admin(trio.followers()[0]).await;
    let refused = admin.approve(approve("ada", "1")).await.expect_err("the same person");
    assert_eq!(reason_of(&refused), "same-person");
    let told = admin.approve(approve("bob", "2")).await.expect("agreed").into_inner().message;
    assert!(told.contains("ada (unverified) may remove-node a3"), "{told}");
    let found = query.list_approvals(pb::ListApprovalsRequest {}).await.expect("a list");
    assert_eq!(found.into_inner().approvals[0].approved_by, "bob (unverified)");
}
