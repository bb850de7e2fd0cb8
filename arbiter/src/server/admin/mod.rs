//! What operators ask for. Each call becomes one proposal of its own; asked twice it is done once.

mod backup;
mod change;
mod drills;
mod guards;
mod members;
mod membership;
mod notify;
mod plans;
mod policy;

use super::audit::Call;
use super::peers::forwarded;
use super::query::unforwarded;
use super::{Answerer, CHANGE_LIMIT, Face, group_name, refusal};
use crate::wire;
use arbiter_core::{AUDIT_DONE, Command, Epoch, GroupId, InstanceId, PlanId, attest, zone_name};
use arbiter_proto::v1 as pb;
pub(in crate::server) use change::by;
use change::{check_epoch, epoch_or_now, known, outcome};
use pb::admin_client::AdminClient;
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// The service.
pub struct Admin {
    face: Arc<Face>,
}

impl Admin {
    /// Of this face.
    pub fn new(face: Arc<Face>) -> Self {
        Self { face }
    }
}

/// Let the leader answer where this arbiter does not lead.
macro_rules! forward {
    ($self:ident, $request:ident, $call:ident) => {
        if let Answerer::There(channel) = $self.face.answerer(&$request)? {
            let message = forwarded($request.into_inner(), CHANGE_LIMIT);
            return AdminClient::new(channel).$call(message).await.map_err(unforwarded);
        }
        let $request = $request.into_inner();
    };
}

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl pb::admin_server::Admin for Admin {
    async fn switchover(
        &self,
        request: Request<pb::OpenPlanRequest>,
    ) -> Answer<pb::OpenPlanResponse> {
        forward!(self, request, switchover);
        let kind = arbiter_core::PlanKind::Switchover;
        let work = self.face.open_plan(&request, kind);
        if request.dry_run {
            return work.await.map(Response::new);
        }
        let call = of("switchover", &request.group, request.asked.as_ref());
        self.face.audited(&call, work).await.map(Response::new)
    }

    async fn failover(
        &self,
        request: Request<pb::OpenPlanRequest>,
    ) -> Answer<pb::OpenPlanResponse> {
        forward!(self, request, failover);
        let kind = arbiter_core::PlanKind::Failover;
        let work = self.face.open_plan(&request, kind);
        if request.dry_run {
            return work.await.map(Response::new);
        }
        let call = of("failover", &request.group, request.asked.as_ref());
        self.face.audited(&call, work).await.map(Response::new)
    }

    async fn abort_plan(&self, request: Request<pb::PlanRequest>) -> Answer<pb::Outcome> {
        forward!(self, request, abort_plan);
        let call = of("abort-plan", &request.group, request.asked.as_ref());
        self.face.audited(&call, self.face.abort_plan(&request)).await.map(Response::new)
    }

    async fn resume_plan(&self, request: Request<pb::PlanRequest>) -> Answer<pb::Outcome> {
        forward!(self, request, resume_plan);
        let call = of("resume-plan", &request.group, request.asked.as_ref());
        self.face.audited(&call, self.face.resume_plan(&request)).await.map(Response::new)
    }

    async fn run_drill(
        &self,
        request: Request<pb::RunDrillRequest>,
    ) -> Answer<pb::RunDrillResponse> {
        forward!(self, request, run_drill);
        let call = of("run-drill", &request.group, request.asked.as_ref());
        self.face.audited(&call, self.face.run_drill(&request)).await.map(Response::new)
    }

    async fn abort_drill(&self, request: Request<pb::GroupRequest>) -> Answer<pb::Outcome> {
        forward!(self, request, abort_drill);
        let call = of("abort-drill", &request.group, request.asked.as_ref());
        self.face.audited(&call, self.face.abort_drill(&request)).await
    }

    async fn set_mode(&self, request: Request<pb::SetModeRequest>) -> Answer<pb::Outcome> {
        forward!(self, request, set_mode);
        let call = of("set-mode", &request.group, request.asked.as_ref());
        self.face.audited(&call, self.face.set_mode(&request)).await
    }

    async fn maintain(&self, request: Request<pb::MaintainRequest>) -> Answer<pb::Outcome> {
        forward!(self, request, maintain);
        let call = of("maintain", &request.group, request.asked.as_ref());
        self.face.audited(&call, self.face.maintain(&request)).await
    }

    async fn end_maintenance(&self, request: Request<pb::GroupRequest>) -> Answer<pb::Outcome> {
        forward!(self, request, end_maintenance);
        let call = of("end-maintenance", &request.group, request.asked.as_ref());
        self.face.audited(&call, self.face.end_maintenance(&request)).await
    }

    async fn approve(&self, request: Request<pb::ApproveRequest>) -> Answer<pb::Outcome> {
        forward!(self, request, approve);
        let call = of("approve", "", request.asked.as_ref());
        self.face.audited(&call, self.face.approve(&request)).await
    }

    async fn arm(&self, request: Request<pb::GroupRequest>) -> Answer<pb::Outcome> {
        forward!(self, request, arm);
        let call = of("arm", &request.group, request.asked.as_ref());
        self.face.audited(&call, self.face.arm(&request, true)).await
    }

    async fn disarm(&self, request: Request<pb::GroupRequest>) -> Answer<pb::Outcome> {
        forward!(self, request, disarm);
        let call = of("disarm", &request.group, request.asked.as_ref());
        self.face.audited(&call, self.face.arm(&request, false)).await
    }

    async fn attest_fenced(
        &self,
        request: Request<pb::AttestFencedRequest>,
    ) -> Answer<pb::Outcome> {
        forward!(self, request, attest_fenced);
        let call = of("attest-fenced", &request.group, request.asked.as_ref());
        self.face.audited(&call, self.face.attest_fenced(&request)).await
    }

    async fn adopt_traffic(
        &self,
        request: Request<pb::AdoptTrafficRequest>,
    ) -> Answer<pb::Outcome> {
        forward!(self, request, adopt_traffic);
        let call = of("adopt-traffic", &request.group, request.asked.as_ref());
        self.face.audited(&call, self.face.adopt_traffic(&request)).await
    }

    async fn transfer_leadership(
        &self,
        request: Request<pb::TransferLeadershipRequest>,
    ) -> Answer<pb::Outcome> {
        forward!(self, request, transfer_leadership);
        let detail = format!("to {}", request.to);
        let call =
            Call { detail: &detail, ..of("transfer-leadership", "", request.asked.as_ref()) };
        self.face.audited(&call, self.face.transfer(&request, &call)).await.map(Response::new)
    }

    async fn initialize(&self, request: Request<pb::InitializeRequest>) -> Answer<pb::Outcome> {
        // Begun on the arbiter that is asked; only one that is begun already has a leader.
        if self.face.state().cluster_id.is_some() {
            forward!(self, request, initialize);
            let call = of("initialize", "", request.asked.as_ref());
            let before = async { self.face.initialized_before(&request) };
            return self.face.audited(&call, before).await.map(Response::new);
        }
        self.face.initialize(request).await.map(Response::new)
    }

    async fn restore(&self, request: Request<pb::RestoreRequest>) -> Answer<pb::Outcome> {
        if self.face.state().cluster_id.is_some() {
            forward!(self, request, restore);
            let call = of("restore", "", request.asked.as_ref());
            let before = async { self.face.restored_before(&request) };
            return self.face.audited(&call, before).await.map(Response::new);
        }
        self.face.restore(request).await.map(Response::new)
    }

    async fn backup(&self, request: Request<pb::BackupRequest>) -> Answer<pb::BackupResponse> {
        forward!(self, request, backup);
        tracing::info!(by = %request.by, "a backup is taken");
        let asked = pb::Asked { by: request.by.clone(), ..pb::Asked::default() };
        let call = of("backup", "", Some(&asked));
        let done = self.face.audited(&call, self.face.take_backup()).await?;
        self.face.note(&call, AUDIT_DONE).await?;
        Ok(Response::new(done))
    }

    async fn add_node(&self, request: Request<pb::AddNodeRequest>) -> Answer<pb::MemberChange> {
        forward!(self, request, add_node);
        let call = of("add-node", "", request.asked.as_ref());
        self.face.audited(&call, self.face.add_node(&request)).await.map(Response::new)
    }

    async fn remove_node(
        &self,
        request: Request<pb::RemoveNodeRequest>,
    ) -> Answer<pb::MemberChange> {
        forward!(self, request, remove_node);
        let call = of("remove-node", "", request.asked.as_ref());
        self.face.audited(&call, self.face.remove_node(&request)).await.map(Response::new)
    }

    async fn attest_agent(&self, request: Request<pb::AttestAgentRequest>) -> Answer<pb::Outcome> {
        forward!(self, request, attest_agent);
        let call = of("attest-agent", "", request.asked.as_ref());
        self.face.audited(&call, self.face.attest_agent(&request)).await.map(Response::new)
    }

    async fn apply_policy(
        &self,
        request: Request<pb::ApplyPolicyRequest>,
    ) -> Answer<pb::ApplyPolicyResponse> {
        forward!(self, request, apply_policy);
        let work = self.face.apply_policy(&request);
        if request.dry_run {
            return work.await.map(Response::new);
        }
        let call = of("apply-policy", "", request.asked.as_ref());
        self.face.audited(&call, work).await.map(Response::new)
    }

    async fn test_notify(
        &self,
        request: Request<pb::TestNotifyRequest>,
    ) -> Answer<pb::TestNotifyResponse> {
        forward!(self, request, test_notify);
        let asked = pb::Asked { by: request.by.clone(), ..pb::Asked::default() };
        let call = of("test-notify", "", Some(&asked));
        let done = self.face.audited(&call, self.face.test_notify(&request)).await?;
        self.face.note(&call, AUDIT_DONE).await?;
        Ok(Response::new(done))
    }
}

/// A call, as the audit log names it.
fn of<'a>(name: &'a str, group: &'a str, asked: Option<&'a pb::Asked>) -> Call<'a> {
    Call { name, group, asked, detail: "" }
}

/// An attestation is for one fence goal: the one that the operator looked at.
fn check_token(command: &Command, asked: &str) -> Result<(), Status> {
    let Command::Attest { token, .. } = command else { return Ok(()) };
    if asked.is_empty() || wire::token_from_text(asked) == Some(*token) {
        return Ok(());
    }
    let text = format!("the plan's fence goal has token {token}, asked for is {asked}");
    Err(refusal::precondition("wrong-token", text, "arbiter status, then ask again"))
}

impl Face {
    async fn attest_fenced(&self, request: &pb::AttestFencedRequest) -> Answer<pb::Outcome> {
        let group = GroupId::from(group_name(&request.group));
        let instance = InstanceId::from(request.instance.as_str());
        let plan = PlanId(request.plan);
        let done = self
            .change(request.asked.as_ref(), |state, view, now| {
                check_epoch(&group, known(state, &group)?, request.expected_epoch)?;
                let command = attest(state, view, &group, plan, &instance, now)
                    .map_err(|rejected| refusal::rejected(&rejected))?;
                check_token(&command, &request.token)?;
                Ok(command)
            })
            .await?;
        let text = format!("{instance} is attested as fenced for plan {plan}");
        Ok(outcome(done, text, &format!("arbiter report {plan}")))
    }

    async fn adopt_traffic(&self, request: &pb::AdoptTrafficRequest) -> Answer<pb::Outcome> {
        let group = GroupId::from(group_name(&request.group));
        let zone = zone_name(&request.zone);
        let done = self
            .change(request.asked.as_ref(), |state, _, _| {
                let found = known(state, &group)?;
                let expected_epoch: Epoch = epoch_or_now(found, request.expected_epoch);
                Ok(Command::AdoptTraffic {
                    group: group.clone(),
                    zone: zone.clone(),
                    expected_epoch,
                })
            })
            .await?;
        let text = format!("the next write may take over what stands in {}", request.zone);
        Ok(outcome(done, text, &format!("arbiter traffic show --group {group}")))
    }

    async fn arm(&self, request: &pb::GroupRequest, armed: bool) -> Answer<pb::Outcome> {
        let group = GroupId::from(group_name(&request.group));
        let done = self
            .change(request.asked.as_ref(), |state, _, _| {
                check_epoch(&group, known(state, &group)?, request.expected_epoch)?;
                Ok(Command::Arm { group: group.clone(), armed })
            })
            .await?;
        let text = if armed {
            format!("the agents of {group} are asked to arm")
        } else {
            format!("{group} is disarmed")
        };
        Ok(outcome(done, text, &format!("arbiter status --group {group}")))
    }
}
