//! The command line against arbiters that answer as told: who is asked, what is sent, how it ends.

use super::connect::{Arbiters, Where, Why};
use super::exit::{Exit, Fail};
use super::notify;
use arbiter_proto::v1 as pb;
use pb::admin_server::{Admin, AdminServer};
use pb::query_server::{Query, QueryServer};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

/// What an arbiter of these tests says.
#[derive(Clone, Default)]
struct Script {
    status: pb::Status,
    /// What became of a test of the receivers.
    tested: pb::TestNotifyResponse,
    /// Answer of a change; none: it commits.
    refuses: Option<Arc<dyn Fn() -> Status + Send + Sync>>,
    /// Requests seen: id and expected epoch.
    seen: Arc<Mutex<Vec<(String, u64)>>>,
}

type Answer<T> = Result<Response<T>, Status>;

fn unasked<T>() -> Answer<T> {
    Err(Status::unimplemented("not asked in these tests"))
}

#[tonic::async_trait]
impl Query for Script {
    type WatchActiveRegionStream =
        Pin<Box<dyn futures::Stream<Item = Result<pb::ActiveRegion, Status>> + Send>>;

    async fn get_active_region(
        &self,
        _: Request<pb::GetActiveRegionRequest>,
    ) -> Answer<pb::ActiveRegion> {
        unasked()
    }
    async fn watch_active_region(
        &self,
        _: Request<pb::GetActiveRegionRequest>,
    ) -> Answer<Self::WatchActiveRegionStream> {
        unasked()
    }
    async fn get_status(&self, _: Request<pb::GetStatusRequest>) -> Answer<pb::Status> {
        Ok(Response::new(self.status.clone()))
    }
    async fn list_plans(&self, _: Request<pb::ListPlansRequest>) -> Answer<pb::ListPlansResponse> {
        unasked()
    }
    async fn get_plan(&self, _: Request<pb::GetPlanRequest>) -> Answer<pb::Plan> {
        unasked()
    }
    async fn list_drills(
        &self,
        _: Request<pb::ListDrillsRequest>,
    ) -> Answer<pb::ListDrillsResponse> {
        unasked()
    }
    async fn explain(&self, _: Request<pb::ExplainRequest>) -> Answer<pb::Explanation> {
        unasked()
    }
    type ListAuditStream =
        Pin<Box<dyn futures::Stream<Item = Result<pb::AuditPage, Status>> + Send>>;
    async fn list_audit(&self, _: Request<pb::ListAuditRequest>) -> Answer<Self::ListAuditStream> {
        unasked()
    }
    async fn list_approvals(
        &self,
        _: Request<pb::ListApprovalsRequest>,
    ) -> Answer<pb::ListApprovalsResponse> {
        unasked()
    }
}

#[tonic::async_trait]
impl Admin for Script {
    async fn restore(&self, _: Request<pb::RestoreRequest>) -> Answer<pb::Outcome> {
        unasked()
    }
    async fn backup(&self, _: Request<pb::BackupRequest>) -> Answer<pb::BackupResponse> {
        unasked()
    }
    async fn add_node(&self, _: Request<pb::AddNodeRequest>) -> Answer<pb::MemberChange> {
        unasked()
    }
    async fn remove_node(&self, _: Request<pb::RemoveNodeRequest>) -> Answer<pb::MemberChange> {
        unasked()
    }
    async fn attest_agent(&self, _: Request<pb::AttestAgentRequest>) -> Answer<pb::Outcome> {
        unasked()
    }
    async fn set_mode(&self, request: Request<pb::SetModeRequest>) -> Answer<pb::Outcome> {
        let request = request.into_inner();
        let id = request.asked.unwrap_or_default().request_id;
        self.seen.lock().unwrap().push((id, request.expected_epoch));
        match &self.refuses {
            Some(refusal) => Err(refusal()),
            None => Ok(Response::new(pb::Outcome { log_index: 9, ..Default::default() })),
        }
    }
    async fn maintain(&self, _: Request<pb::MaintainRequest>) -> Answer<pb::Outcome> {
        unasked()
    }
    async fn end_maintenance(&self, _: Request<pb::GroupRequest>) -> Answer<pb::Outcome> {
        unasked()
    }
    async fn approve(&self, _: Request<pb::ApproveRequest>) -> Answer<pb::Outcome> {
        unasked()
    }
    async fn switchover(&self, _: Request<pb::OpenPlanRequest>) -> Answer<pb::OpenPlanResponse> {
        unasked()
    }
    async fn failover(&self, _: Request<pb::OpenPlanRequest>) -> Answer<pb::OpenPlanResponse> {
        unasked()
    }
    async fn abort_plan(&self, _: Request<pb::PlanRequest>) -> Answer<pb::Outcome> {
        unasked()
    }
    async fn resume_plan(&self, _: Request<pb::PlanRequest>) -> Answer<pb::Outcome> {
        unasked()
    }
    async fn run_drill(&self, _: Request<pb::RunDrillRequest>) -> Answer<pb::RunDrillResponse> {
        unasked()
    }
    async fn abort_drill(&self, _: Request<pb::GroupRequest>) -> Answer<pb::Outcome> {
        unasked()
    }
    async fn arm(&self, _: Request<pb::GroupRequest>) -> Answer<pb::Outcome> {
        unasked()
    }
    async fn disarm(&self, _: Request<pb::GroupRequest>) -> Answer<pb::Outcome> {
        unasked()
    }
    async fn attest_fenced(&self, _: Request<pb::AttestFencedRequest>) -> Answer<pb::Outcome> {
        unasked()
    }
    async fn adopt_traffic(&self, _: Request<pb::AdoptTrafficRequest>) -> Answer<pb::Outcome> {
        unasked()
    }
    async fn transfer_leadership(
        &self,
        _: Request<pb::TransferLeadershipRequest>,
    ) -> Answer<pb::Outcome> {
        unasked()
    }
    async fn initialize(&self, _: Request<pb::InitializeRequest>) -> Answer<pb::Outcome> {
        unasked()
    }
    async fn apply_policy(
        &self,
        _: Request<pb::ApplyPolicyRequest>,
    ) -> Answer<pb::ApplyPolicyResponse> {
        unasked()
    }
    async fn test_notify(
        &self,
        _: Request<pb::TestNotifyRequest>,
    ) -> Answer<pb::TestNotifyResponse> {
        Ok(Response::new(self.tested.clone()))
    }
}

/// Start an arbiter on a port of its own; its address.
async fn serve(script: &Script) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let server = tonic::transport::Server::builder()
        .add_service(QueryServer::new(script.clone()))
        .add_service(AdminServer::new(script.clone()));
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    address
}

/// An address where nobody listens.
async fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().to_string()
}

fn script(node: &str, stale: bool, epoch: u64) -> Script {
    let group = pb::GroupStatus { group: "default".into(), epoch, ..Default::default() };
    let (node, cluster_id) = (node.to_owned(), "shop".to_owned());
    let status = pb::Status { node, cluster_id, stale, groups: vec![group], ..Default::default() };
    Script { status, ..Default::default() }
}

fn arbiters(endpoints: Vec<String>) -> Arbiters {
    Arbiters::find(&Where { endpoints, config: None, shows: Default::default() }).unwrap()
}

async fn set_mode(arbiters: &Arbiters) -> Result<pb::Outcome, Fail> {
    let group = arbiters.group("default").await?;
    let why = Why { reason: "test".into(), by: "test".into() };
    let request = pb::SetModeRequest {
        asked: Some(why.asked()?),
        group: "default".into(),
        mode: "manual".into(),
        expected_epoch: group.epoch,
        for_ms: 0,
    };
    let call = |node: super::connect::Node| {
        let request = request.clone();
        async move { node.admin().set_mode(request).await }
    };
    arbiters.change(call).await
}

#[tokio::test]
async fn what_a_quorum_confirms_wins() {
    let (stale, fresh) = (script("a", true, 6), script("b", false, 7));
    let endpoints = vec![serve(&stale).await, serve(&fresh).await, nobody().await];
    let found = arbiters(endpoints).status("").await.unwrap();
    assert_eq!((found.node.as_str(), found.groups[0].epoch), ("b", 7));
}

#[tokio::test]
async fn every_endpoint_s_failure_is_named() {
    let endpoints = vec![nobody().await, nobody().await];
    let Err(Fail::Error { what, .. }) = arbiters(endpoints.clone()).status("").await else {
        panic!("nobody listens")
    };
    for endpoint in endpoints {
        assert!(what.contains(&format!("{endpoint}: ")), "{what}");
    }
    assert!(what.contains("refused"), "{what}");
}

#[tokio::test]
async fn a_change_carries_the_epoch_and_one_id_to_every_arbiter() {
    let mut cut = script("a", false, 7);
    cut.refuses = Some(Arc::new(|| Status::unavailable("no quorum")));
    let good = Script { refuses: None, ..cut.clone() };
    let endpoints = vec![serve(&cut).await, serve(&good).await];
    let outcome = set_mode(&arbiters(endpoints)).await.unwrap();
    assert_eq!(outcome.log_index, 9);
    let seen = cut.seen.lock().unwrap().clone();
    assert!(seen.iter().all(|(id, epoch)| *epoch == 7 && *id == seen[0].0 && id.len() == 32));
    assert!((1..=2).contains(&seen.len()), "{seen:?}");
}

#[tokio::test]
async fn a_refusal_is_final() {
    let mut refusing = script("a", false, 7);
    refusing.refuses = Some(Arc::new(|| {
        let mut status = Status::failed_precondition("the epoch is 8, not 7");
        status.metadata_mut().insert("arbiter-reason", "wrong-epoch".parse().unwrap());
        status.metadata_mut().insert("arbiter-next", "arbiter status".parse().unwrap());
        status
    }));
    let endpoints = vec![serve(&refusing).await, serve(&refusing).await];
    let Err(Fail::Refused { why, reason, next }) = set_mode(&arbiters(endpoints)).await else {
        panic!("it is refused")
    };
    assert_eq!(why, "the epoch is 8, not 7");
    assert_eq!((reason.as_str(), next.as_str()), ("wrong-epoch", "arbiter status"));
    assert_eq!(refusing.seen.lock().unwrap().len(), 1, "nobody else is asked");
}

#[tokio::test]
async fn a_test_of_the_receivers_is_a_yes_when_each_took_it() {
    let delivery = |delivered: bool| pb::Delivery { delivered, ..Default::default() };
    for (deliveries, exit) in [
        (vec![delivery(true), delivery(true)], Exit::Yes),
        (vec![delivery(true), delivery(false)], Exit::No),
    ] {
        let mut known = script("a", false, 7);
        known.tested.deliveries = deliveries;
        let ended = notify::test(&arbiters(vec![serve(&known).await]), "ada", true).await;
        assert_eq!(ended, Ok(exit));
    }
    let none = script("a", false, 7);
    let ended = notify::test(&arbiters(vec![serve(&none).await]), "ada", true).await;
    let Err(Fail::Refused { reason, .. }) = ended else { panic!("there is no receiver") };
    assert_eq!(reason, "no-receiver");
}

#[tokio::test]
async fn an_unknown_group_names_those_there_are() {
    let known = script("a", false, 7);
    let found = arbiters(vec![serve(&known).await]).group("orders").await;
    let Err(Fail::Refused { why, reason, .. }) = found else { panic!("there is no such group") };
    assert_eq!(reason, "unknown-group");
    assert!(why.contains("default"), "{why}");
}

/// Every option and text of every command, as clap checks them.
#[test]
fn the_command_line_is_well_formed() {
    use clap::CommandFactory;
    super::Cli::command().debug_assert();
}

#[test]
fn every_command_and_option_says_what_it_is() {
    fn look(command: &clap::Command, path: &str) {
        let path = format!("{path} {}", command.get_name());
        assert!(command.get_about().is_some() || command.is_hide_set(), "{path}");
        for option in command.get_arguments().filter(|option| !option.is_hide_set()) {
            assert!(option.get_help().is_some(), "{path}: {}", option.get_id());
        }
        command.get_subcommands().for_each(|below| look(below, &path));
    }
    use clap::CommandFactory;
    look(&super::Cli::command(), "");
}
