//! Who somebody is: what is recorded of a change, whose Report is taken, and root on the host.

use super::secure::{CLUSTER, YEAR, raw_channel};
use super::trio::{FakeAgent, Trio, asked, reason_of, until};
use arbiter::tls::{Dialer, Role};
use arbiter_proto::v1 as pb;
use pb::admin_client::AdminClient;
use pb::agent_client::AgentClient;
use tonic::Status;
use tonic::transport::Channel;

async fn secured() -> Trio {
    let mut trio = Trio::secured(YEAR, "");
    trio.start_all().await;
    trio.begin().await;
    trio
}

async fn open_failover(channel: Channel, id: &str) -> Result<pb::OpenPlanResponse, Status> {
    let request = pb::OpenPlanRequest {
        asked: asked(id),
        target: "us-east".to_owned(),
        accept_loss: true,
        ..Default::default()
    };
    AdminClient::new(channel).failover(request).await.map(tonic::Response::into_inner)
}

async fn opened_by(trio: &Trio, plan: u64) -> String {
    let request = pb::GetPlanRequest { id: plan };
    let plan = trio.query("a1").await.get_plan(request).await.expect("a plan").into_inner();
    plan.opened_by
}

/// A failover of a group that is ready for one, as soon as it is.
async fn failover_over(trio: &Trio, channel: &Channel) -> u64 {
    let mut plan = 0;
    until("a plan is open", async || {
        match open_failover(channel.clone(), "fail over").await {
            Ok(opened) => plan = opened.plan.expect("a plan").id,
            Err(_) => return false,
        }
        true
    })
    .await;
    assert!(!trio.leader().is_empty());
    plan
}

/// The message claims to be of `tester`, and goes through an arbiter that does not lead.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_is_recorded_by_the_name_in_the_certificate_also_when_it_is_forwarded() {
    let (trio, _eu, _us) = secured().await.manual().await;
    trio.secure.as_ref().unwrap().issue(CLUSTER, Role::Operator, "alice@example.com", YEAR);
    let follower = trio.followers()[0];
    let channel = trio.channel_as(follower, "alice@example.com").await;
    let plan = failover_over(&trio, &channel).await;
    assert_eq!(opened_by(&trio, plan).await, "alice@example.com");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn root_on_an_arbiters_host_is_an_operator_there_and_no_admin() {
    let (trio, _eu, _us) = secured().await.manual().await;
    let leader = trio.leader();
    let socket = trio.data_dir(&leader).join("arbiter.sock");
    let address = format!("unix:{}", socket.display());
    let endpoint = Dialer::endpoint(&address).unwrap();
    let channel = Dialer::default().lazy(&address, &endpoint, None);
    let mut admin = AdminClient::new(channel.clone());
    let refused = admin.initialize(pb::InitializeRequest::default()).await;
    let refused = refused.expect_err("membership is an admin's");
    if !nix::unistd::geteuid().is_root() {
        assert_eq!(reason_of(&refused), "not-root");
        return;
    }
    assert_eq!(reason_of(&refused), "role-not-allowed");
    let plan = failover_over(&trio, &channel).await;
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let name = format!("root@{} (local)", host.trim());
    assert_eq!(opened_by(&trio, plan).await, name);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_plaintext_the_claimed_name_is_recorded_as_no_more_than_that() {
    let (trio, _eu, _us) = Trio::manual_with("").await;
    let channel = trio.channel(trio.followers()[0]).await;
    let plan = failover_over(&trio, &channel).await;
    assert_eq!(opened_by(&trio, plan).await, "tester (unverified)");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_reports_for_itself_alone_here_and_over_a_relay() {
    let trio = secured().await;
    let leader = trio.leader();
    for arbiter in [leader.as_str(), trio.followers()[0]] {
        // The certificate of the other region's agent, and what it says of this one's.
        let channel = trio.channel_as(arbiter, "agent-us").await;
        let mut liar = FakeAgent::dial_over(channel, "eu", 7).await;
        let ended = liar.ends().await;
        assert_eq!(reason_of(&ended), "not-this-agent", "at {arbiter}: {ended}");
        assert!(ended.message().contains("agent-us"), "{ended}");
        let mut honest = FakeAgent::dial(&trio, arbiter, "eu").await;
        honest.answered().await;
    }
    let secure = trio.secure.as_ref().unwrap();
    secure.issue("other", Role::Agent, "agent-other", YEAR);
    let channel = raw_channel(trio.port("a1"), secure.pair("agent-other")).await;
    let mut client = AgentClient::new(channel);
    let session = client.session(tokio_stream::empty::<pb::Report>()).await;
    assert_eq!(reason_of(&session.expect_err("another cluster's")), "wrong-cluster");
}

/// A node id is the arbiter that the file or the log gives it to: another arbiter's certificate
/// votes for nobody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_arbiter_votes_for_itself_alone() {
    let trio = secured().await;
    let ask = |from, to| pb::RaftVoteRequest {
        peers: Some(pb::Peers {
            cluster_id: CLUSTER.to_owned(),
            from,
            to,
            from_incarnation: 0,
            to_incarnation: 0,
        }),
        ..Default::default()
    };
    let channel = trio.channel_as("a1", "a2").await;
    let mut client = pb::raft_client::RaftClient::new(channel);
    let refused = client.pre_vote(ask(3, 1)).await.expect_err("a2 is not node 3");
    assert_eq!(refused.code(), tonic::Code::PermissionDenied);
    assert!(refused.message().contains("its certificate is of a2"), "{refused}");
    let other = client.pre_vote(ask(2, 1)).await.expect_err("no disk is named");
    assert!(!other.message().contains("its certificate"), "{other}");
}
