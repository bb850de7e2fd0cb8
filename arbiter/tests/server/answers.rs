//! Questions: every arbiter answers, confirmed by a quorum or marked stale.

use super::trio::{NAMES, Trio, asked, reason_of, until};
use arbiter_proto::v1 as pb;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn before_it_has_begun_each_arbiter_says_so() {
    let trio = Trio::start().await;
    for name in NAMES {
        let status = trio.query(name).await.get_status(pb::GetStatusRequest::default()).await;
        let status = status.expect("answers").into_inner();
        assert_eq!((status.node.as_str(), status.cluster_id.as_str()), (name, ""));
        assert!(!status.stale);
        let refused = trio.active_region(name, true).await.expect_err("nothing to say");
        assert_eq!(reason_of(&refused), "not-initialized");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_arbiter_says_which_region_is_active() {
    let (trio, mut eu, _us) = Trio::active().await;
    for name in NAMES {
        let answer = trio.active_region(name, false).await.expect("answers");
        assert_eq!((answer.region.as_str(), answer.epoch), ("eu-west", 1), "{name}");
        assert_eq!(answer.phase, "steady");
        assert_eq!(answer.leader, trio.leader());
        assert!(!answer.stale && answer.log_index > 0);
    }
    let stale = trio.active_region(trio.followers()[0], true).await.expect("answers");
    assert!(stale.stale);
    eu.answered().await;
    for name in NAMES {
        let request = pb::GetStatusRequest::default();
        let status = trio.query(name).await.get_status(request).await.expect("answers");
        let status = status.into_inner();
        // A follower has it from the leader: only the leader hears agents.
        assert!(!status.stale, "{name}");
        assert_eq!(status.node, trio.leader(), "{name}");
        assert_eq!(status.groups[0].writer, "eu-west");
        let agents = status.groups[0].regions.iter().flat_map(|region| &region.agents);
        assert!(agents.clone().count() == 2 && agents.into_iter().all(|agent| agent.connected));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watcher_sees_the_first_activation_and_repeats() {
    let trio = Trio::begun().await;
    let follower = trio.followers()[0];
    let request = pb::GetActiveRegionRequest::default();
    let mut watch =
        trio.query(follower).await.watch_active_region(request).await.expect("ok").into_inner();
    let first = watch.message().await.expect("ok").expect("first");
    assert_eq!((first.region.as_str(), first.stale), ("", false));
    let _eu = super::trio::FakeAgent::dial(&trio, "a1", "eu").await;
    let _us = super::trio::FakeAgent::dial(&trio, "a1", "us").await;
    let mut last = first;
    while last.region.is_empty() {
        let next = tokio::time::timeout(super::trio::SOON, watch.message()).await;
        let next = next.expect("in time").expect("ok").expect("goes on");
        assert!(next.log_index >= last.log_index);
        last = next;
    }
    assert_eq!((last.region.as_str(), last.epoch), ("eu-west", 1));
    let repeat = tokio::time::timeout(Duration::from_secs(6), watch.message()).await;
    let repeat = repeat.expect("at least every 5 s").expect("ok").expect("goes on");
    assert_eq!(repeat.region, "eu-west");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_quorum_status_is_stale_and_nothing_is_confirmed() {
    let (mut trio, mut eu, _us) = Trio::active().await;
    eu.answered().await;
    let alone = trio.leader();
    for name in trio.followers() {
        trio.stop_node(name).await;
    }
    until("the leader sees that it is alone", async || {
        trio.active_region(&alone, false).await.is_err()
    })
    .await;
    let refused = trio.active_region(&alone, false).await.expect_err("no quorum");
    assert_eq!(refused.code(), tonic::Code::Unavailable);
    assert!(["no-quorum", "no-leader", "not-leader"].contains(&reason_of(&refused).as_str()));
    let status = trio.query(&alone).await.get_status(pb::GetStatusRequest::default()).await;
    let status = status.expect("answers").into_inner();
    assert!(status.stale && status.age_ms > 0);
    // I9
    assert!(!status.groups[0].mode_in_effect);
    assert_eq!(status.groups[0].active, "eu-west");
    let arm = pb::GroupRequest { asked: asked("arm"), ..Default::default() };
    let refused = trio.admin(&alone).await.arm(arm).await.expect_err("no quorum");
    assert_eq!(refused.code(), tonic::Code::Unavailable);
    let answer = reqwest(&trio.http(&alone, "/v1/groups/default/regions/eu-west/active")).await;
    assert_eq!(answer.0, 503);
    assert_eq!(reqwest(&trio.http(&alone, "/livez")).await.0, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_operations_port_tells_load_balancers() {
    let (trio, _eu, _us) = Trio::active().await;
    for name in NAMES {
        let get = async |path: &str| reqwest(&trio.http(name, path)).await;
        assert_eq!(get("/livez").await.0, 200);
        until("ready", async || reqwest(&trio.http(name, "/readyz")).await.0 == 200).await;
        let (code, text) = get("/v1/active/default").await;
        assert!(code == 200 && text.contains("\"region\":\"eu-west\""), "{text}");
        assert_eq!(get("/v1/groups/default/regions/eu-west/active").await.0, 200);
        let (code, text) = get("/v1/groups/default/regions/us-east/active").await;
        assert!(code == 503 && text.contains("not-active"), "{text}");
        assert_eq!(get("/v1/groups/default/regions/mars/active").await.0, 404);
        assert_eq!(get("/v1/groups/nope/regions/eu-west/active").await.0, 404);
        let (code, text) = get("/metrics").await;
        let line = "arbiter_group_active{group=\"default\",region=\"eu-west\"} 1";
        assert!(code == 200 && text.contains(line), "{text}");
        assert!(text.contains("arbiter_group_lag_mark{group=\"default\"} "), "{text}");
    }
    // What only the leader sees the others do not tell, so that a sum over all is right.
    let blocked = "arbiter_group_automatic_blocked{group=\"default\"} 1";
    let told = async |name: &str| reqwest(&trio.http(name, "/metrics")).await.1.contains(blocked);
    until("the leader alone tells what it sees", async || {
        let mut telling = Vec::new();
        for name in NAMES {
            if told(name).await {
                telling.push(name.to_owned());
            }
        }
        telling == [trio.leader()]
    })
    .await;
}

/// GET: status and body.
async fn reqwest(url: &str) -> (u16, String) {
    arbiter::tls::install();
    match ::reqwest::get(url).await {
        Ok(answer) => {
            let code = answer.status().as_u16();
            (code, answer.text().await.unwrap_or_default())
        }
        Err(error) => (0, error.to_string()),
    }
}
