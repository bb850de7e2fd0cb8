//! Streams of agents: relayed, kept over a change of leader, answered only by a quorum.

use super::trio::{FakeAgent, Trio, asked, reason_of, until};
use arbiter_proto::v1 as pb;
use std::time::Duration;
use tokio::time::timeout;

async fn transfer(trio: &Trio, to: &str) {
    let request =
        pb::TransferLeadershipRequest { asked: asked(&format!("to-{to}")), to: to.to_owned() };
    trio.admin(to).await.transfer_leadership(request).await.expect("transferred");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_relays_and_a_change_of_leader_keeps_the_stream() {
    let (trio, mut eu, mut us) = Trio::active().await;
    let directive = eu.answered().await;
    assert_eq!(directive.cluster_id, "trio");
    let term = directive.term;
    // Leadership goes round: each agent is once beside the leader and twice relayed.
    for _ in 0..3 {
        let to = trio.followers()[0];
        transfer(&trio, to).await;
        until("it leads", async || trio.leader() == to).await;
        let directive = eu.answered().await;
        assert!(directive.term > term);
        us.answered().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_leader_costs_the_stream_of_a_follower_nothing() {
    let (mut trio, _eu, _us) = Trio::active().await;
    let follower = trio.followers()[0];
    let mut eu = FakeAgent::dial(&trio, follower, "eu").await;
    eu.answered().await;
    let leader = trio.leader();
    trio.stop_node(&leader).await;
    let directive = eu.answered().await;
    assert!(directive.answers.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_quorum_no_report_is_answered() {
    let (mut trio, mut eu, _us) = Trio::active().await;
    eu.answered().await;
    let leader = trio.leader();
    let mut beside = FakeAgent::dial(&trio, &leader, "eu").await;
    beside.answered().await;
    for name in trio.followers() {
        trio.stop_node(name).await;
    }
    // Whatever was on its way before the quorum went is taken first.
    until("the quorum is gone", async || trio.active_region(&leader, false).await.is_err()).await;
    while timeout(Duration::from_millis(300), beside.directives.message()).await.is_ok() {}
    let asked = beside.report().await;
    let late = timeout(Duration::from_secs(3), async {
        loop {
            match beside.directives.message().await {
                Ok(Some(directive)) if directive.answers >= Some(asked) => return,
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => std::future::pending().await,
            }
        }
    });
    assert!(late.await.is_err(), "answered without a quorum");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_identity_has_one_live_session() {
    let (trio, mut eu, _us) = Trio::active().await;
    eu.answered().await;
    // Another life, while the bound one reports: told to stay away.
    let mut twin = FakeAgent::dial_as(&trio, "a1", "eu", 8).await;
    eu.report().await;
    let ended = twin.ends().await;
    assert_eq!(reason_of(&ended), "identity-in-use", "{ended}");
    eu.answered().await;
    // The same life on a new stream: the older one ends.
    let mut again = FakeAgent::dial(&trio, "a2", "eu").await;
    again.answered().await;
    assert_eq!(reason_of(&eu.ends().await), "taken-over");
    again.answered().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_order_is_pushed_at_once_and_renews_nothing() {
    let (trio, mut eu, mut us) = Trio::active().await;
    eu.answered().await;
    us.answered().await;
    let arm = pb::GroupRequest { asked: asked("arm"), expected_epoch: 1, ..Default::default() };
    trio.admin("a2").await.arm(arm).await.expect("asked");
    let pushed = timeout(super::trio::SOON, async {
        loop {
            let directive = eu.directives.message().await.expect("ok").expect("goes on");
            if directive.groups.get("default").is_some_and(|group| group.arm) {
                return directive;
            }
        }
    });
    let pushed = pushed.await.expect("pushed without a report");
    assert_eq!(pushed.answers, None);
    assert_eq!(pushed.groups["default"].lease_ns, None);
}
