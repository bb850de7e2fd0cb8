//! Members, backup and restore, as they are asked for over the wire.

use super::trio::{FakeAgent, Trio, asked, reason_of, until};
use arbiter::backup::Backup;
use arbiter_core::EPOCH_JUMP;
use arbiter_proto::v1 as pb;

async fn status(trio: &Trio) -> pb::Status {
    let request = pb::GetStatusRequest::default();
    trio.query("a1").await.get_status(request).await.expect("it answers").into_inner()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_members_that_may_not_be_is_refused_by_name() {
    let trio = Trio::begun().await;
    trio.at_version_2().await;
    let shown = status(&trio).await;
    assert_eq!((shown.state_version_held_by.as_str(), shown.members_drift.as_str()), ("", ""));
    let mut admin = trio.admin(trio.followers()[0]).await;
    let leader = trio.leader();
    let add = |id: &str, node_id: u64, address: &str, replaces: &str| pb::AddNodeRequest {
        asked: asked(id),
        name: "a4".to_owned(),
        node_id,
        region: "witness".to_owned(),
        address: address.to_owned(),
        replaces: replaces.to_owned(),
    };
    let nowhere = "127.0.0.1:9";
    for (request, reason) in [
        (add("1", 0, nowhere, ""), "incomplete"),
        (add("2", 4, "", ""), "incomplete"),
        (add("3", 2, nowhere, ""), "node-id-used"),
        (add("4", 4, nowhere, "a9"), "no-such-voter"),
        (add("5", 4, nowhere, &leader), "leads"),
        (
            pb::AddNodeRequest { region: "mars".into(), ..add("6", 4, nowhere, "") },
            "unknown-region",
        ),
        // Its id is taken from here on, though nobody answers there.
        (add("7", 4, nowhere, ""), "newcomer"),
        (pb::AddNodeRequest { name: "a5".into(), ..add("8", 4, nowhere, "") }, "node-id-used"),
    ] {
        let what = format!("{request:?}");
        let refused = admin.add_node(request).await.expect_err(&what);
        assert_eq!(reason_of(&refused), reason, "{what}: {refused}");
        assert!(refused.metadata().contains_key("arbiter-next"), "{what}");
    }
    let remove = |id: &str, name: &str| pb::RemoveNodeRequest {
        asked: asked(id),
        name: name.to_owned(),
        accept_fewer: false,
    };
    let other = trio.followers()[0];
    for (request, reason) in [
        (remove("10", "a9"), "no-such-voter"),
        (remove("11", &leader), "leads"),
        (remove("12", other), "too-few"),
    ] {
        let refused = admin.remove_node(request).await.expect_err(reason);
        assert_eq!(reason_of(&refused), reason, "{refused}");
    }
    let joining = |shown: &pb::Status| shown.voters.iter().any(|voter| voter.role == "joining");
    assert!(joining(&status(&trio).await));
    let gone = admin.remove_node(remove("13", "a4")).await.expect("it never came").into_inner();
    assert!(gone.done && !joining(&status(&trio).await));
    let fewer = pb::RemoveNodeRequest { accept_fewer: true, ..remove("14", other) };
    assert!(admin.remove_node(fewer).await.expect("it is named").into_inner().done);
    until("two are left", async || status(&trio).await.voters.len() == 2).await;
    assert!(status(&trio).await.members_drift.contains(other));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_goes_on_from_a_backup_of_another() {
    let (former, _eu, _us) = Trio::active().await;
    former.at_version_2().await;
    let mut asked_of = former.admin(former.followers()[0]).await;
    let answer = asked_of.backup(pb::BackupRequest::default()).await;
    let bytes = answer.expect("it is taken").into_inner().backup;
    let backup = Backup::decode(&bytes).expect("whole");
    assert_eq!((backup.head.cluster_id.as_str(), backup.head.state_version), ("trio", 2));
    let trio = Trio::start_as("second").await;
    let restore = |id: &str| pb::RestoreRequest {
        asked: asked(id),
        cluster_id: "second".to_owned(),
        config_toml: trio.config.clone(),
        backup: bytes.clone(),
        ..Default::default()
    };
    let mut admin = trio.admin("a2").await;
    let damaged = pb::RestoreRequest { backup: bytes.slice(1..), ..restore("1") };
    let refused = admin.restore(damaged).await.expect_err("cut");
    assert_eq!(reason_of(&refused), "bad-backup");
    let other = pb::RestoreRequest { cluster_id: "trio".to_owned(), ..restore("2") };
    assert_eq!(reason_of(&admin.restore(other).await.expect_err("not it")), "wrong-cluster");
    admin.restore(restore("3")).await.expect("it begins");
    trio.led().await;
    admin.restore(restore("3")).await.expect("asked twice is done once");
    let again = admin.restore(restore("4")).await.expect_err("it has begun");
    assert_eq!(reason_of(&again), "already-initialized");
    let shown = status(&trio).await;
    assert_eq!((shown.cluster_id.as_str(), shown.restored_from.as_str()), ("second", "trio"));
    assert_eq!(
        (shown.groups[0].epoch, shown.groups[0].active.as_str()),
        (1 + EPOCH_JUMP, "eu-west")
    );
    assert!(shown.groups[0].degraded_because.iter().any(|why| why.contains("changed over")));
    // An agent of the former cluster is invited, and told nothing else.
    let mut agent = FakeAgent::dial(&trio, "a3", "eu").await;
    agent.serve("trio");
    let told = agent.invited().await;
    assert_eq!((told.cluster_id.as_str(), told.succeeds.as_deref()), ("second", Some("trio")));
    assert!(told.groups.is_empty() && told.arbiters.len() == 3);
    let word = pb::AttestAgentRequest { asked: asked("5"), agent: "agent-mars".to_owned() };
    let refused = trio.admin("a1").await.attest_agent(word).await.expect_err("no such agent");
    assert_eq!(reason_of(&refused), "unknown-agent");
}
