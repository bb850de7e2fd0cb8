//! The audit log: every call that would change something, done or refused, at every arbiter, and
//! the same chain in each copy.

use super::trio::{NAMES, Trio, asked, reason_of, until};
use arbiter::audit_file;
use arbiter_proto::v1 as pb;
use std::collections::BTreeSet;
use tonic::Status;

const FILE: &str = "[audit]\nfile = \"audit.jsonl\"\n";

async fn kept(trio: &Trio, at: &str) -> pb::AuditPage {
    // While leadership moves nobody can say that what it has is all.
    let mut page = None;
    until("a page", async || {
        let request = pb::ListAuditRequest::default();
        let pages = trio.query(at).await.list_audit(request).await;
        let Ok(pages) = pages else { return false };
        page = pages.into_inner().message().await.ok().flatten();
        page.is_some()
    })
    .await;
    page.expect("a page")
}

async fn has(trio: &Trio, what: &str, result: &str) {
    until(&format!("{what} is recorded as {result}"), async || {
        let found = kept(trio, "a2").await.records;
        found.iter().any(|record| record.what == what && record.result == result)
    })
    .await;
}

fn no_group() -> pb::GroupRequest {
    pb::GroupRequest { asked: asked("g"), group: "nope".to_owned(), ..Default::default() }
}

/// Each call once, in a way that is refused before it can be a command.
async fn refused_calls(trio: &Trio, at: &str) -> Vec<(&'static str, Status)> {
    let mut admin = trio.admin(at).await;
    let group = || "nope".to_owned();
    let open = || pb::OpenPlanRequest { asked: asked("o"), group: group(), ..Default::default() };
    let plan = || pb::PlanRequest { asked: asked("p"), group: group(), ..Default::default() };
    let mode = pb::SetModeRequest { asked: asked("m"), mode: "warp".into(), ..Default::default() };
    let maintain = pb::MaintainRequest { asked: asked("t"), group: group(), ..Default::default() };
    let drill = pb::RunDrillRequest { asked: asked("d"), kind: "x".into(), ..Default::default() };
    let attest =
        pb::AttestFencedRequest { asked: asked("a"), group: group(), ..Default::default() };
    let adopt = pb::AdoptTrafficRequest { asked: asked("z"), group: group(), ..Default::default() };
    let transfer = pb::TransferLeadershipRequest { asked: None, to: "a1".to_owned() };
    let begin = pb::InitializeRequest { asked: asked("i"), ..Default::default() };
    let apply =
        pb::ApplyPolicyRequest { asked: asked("y"), config_toml: "[".into(), dry_run: false };
    let approve = pb::ApproveRequest { asked: None, id: 7 };
    let notify = pb::TestNotifyRequest { by: "x".repeat(500) };
    vec![
        ("switchover", admin.switchover(open()).await.expect_err("refused")),
        ("failover", admin.failover(open()).await.expect_err("refused")),
        ("abort-plan", admin.abort_plan(plan()).await.expect_err("refused")),
        ("resume-plan", admin.resume_plan(plan()).await.expect_err("refused")),
        ("run-drill", admin.run_drill(drill).await.expect_err("refused")),
        ("abort-drill", admin.abort_drill(no_group()).await.expect_err("refused")),
        ("set-mode", admin.set_mode(mode).await.expect_err("refused")),
        ("maintain", admin.maintain(maintain).await.expect_err("refused")),
        ("end-maintenance", admin.end_maintenance(no_group()).await.expect_err("refused")),
        ("arm", admin.arm(no_group()).await.expect_err("refused")),
        ("disarm", admin.disarm(no_group()).await.expect_err("refused")),
        ("attest-fenced", admin.attest_fenced(attest).await.expect_err("refused")),
        ("adopt-traffic", admin.adopt_traffic(adopt).await.expect_err("refused")),
        ("transfer-leadership", admin.transfer_leadership(transfer).await.expect_err("refused")),
        ("initialize", admin.initialize(begin).await.expect_err("refused")),
        ("apply-policy", admin.apply_policy(apply).await.expect_err("refused")),
        ("approve", admin.approve(approve).await.expect_err("refused")),
        ("test-notify", admin.test_notify(notify).await.expect_err("refused")),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_call_is_recorded_and_every_copy_is_whole() {
    arbiter::tls::install();
    let (mut trio, _eu, _us) = Trio::manual_with(FILE).await;
    trio.at_version_2().await;
    // Not the one that the changes below are asked of.
    let follower = trio.followers().into_iter().find(|name| *name != "a1").expect("two");
    let calls = refused_calls(&trio, follower).await;
    for (call, status) in &calls {
        has(&trio, call, &reason_of(status)).await;
    }
    // Refused by the outer layers, on an arbiter that does not lead.
    trio.nodes[follower].face().refused("mallory", "set-mode", "permission-denied");
    has(&trio, "set-mode", "permission-denied").await;
    let notify = pb::TestNotifyRequest { by: "ada".to_owned() };
    trio.admin(follower).await.test_notify(notify).await.expect("no receiver is no fault");
    has(&trio, "test-notify", "done").await;
    let transfer = pb::TransferLeadershipRequest { asked: asked("t"), to: follower.to_owned() };
    trio.admin(follower).await.transfer_leadership(transfer).await.expect("it leads");
    has(&trio, "transfer-leadership", "begun").await;
    trio.led().await;
    trio.set_mode("observe").await.expect("done");

    let page = kept(&trio, "a1").await;
    let whats: BTreeSet<&str> = page.records.iter().map(|record| record.what.as_str()).collect();
    assert!(whats.is_superset(&BTreeSet::from(["initialize", "arm", "set-mode"])), "{whats:?}");
    let done =
        page.records.iter().find(|r| r.what == "set-mode" && r.result == "done").expect("set");
    assert_eq!((done.who.as_str(), done.reason.as_str()), ("tester (unverified)", "test"));

    let mut copies = BTreeSet::new();
    for name in NAMES {
        let path = trio.data_dir(name).join("audit.jsonl");
        until("the copy has caught up", async || {
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            audit_file::check(&text).is_ok_and(|good| good.last == page.head_seq)
        })
        .await;
        let text = std::fs::read_to_string(&path).expect("a copy");
        let good = audit_file::check(&text).expect("whole");
        assert_eq!((good.first, good.hash.as_str()), (1, page.head_hash.as_str()));
        copies.insert(text);
    }
    assert_eq!(copies.len(), 1, "each arbiter has the same chain");

    // A restarted arbiter goes on where its copy ends.
    trio.stop_node(follower).await;
    trio.led().await;
    trio.set_mode("manual").await.expect("done");
    trio.start_node(follower).await;
    let path = trio.data_dir(follower).join("audit.jsonl");
    until("the copy goes on", async || {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let good = audit_file::check(&text).expect("whole at every moment");
        assert!(good.gaps.is_empty());
        good.last > page.head_seq
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_follows_is_told_of_each_record() {
    arbiter::tls::install();
    let (trio, _eu, _us) = Trio::manual_with("").await;
    trio.at_version_2().await;
    let since = kept(&trio, "a1").await.head_seq;
    let request = pb::ListAuditRequest { since, follow: true };
    let mut pages = trio.query("a3").await.list_audit(request).await.expect("pages").into_inner();
    let first = pages.message().await.expect("a page").expect("a page");
    assert_eq!((first.records.len(), first.head_seq), (0, since));
    trio.set_mode("observe").await.expect("done");
    let next = pages.message().await.expect("a page").expect("a page");
    assert_eq!(next.records[0].what, "set-mode");
    assert_eq!((next.records[0].seq, next.missing_to), (since + 1, 0));
}
