//! Plans by command: open, try, abort, resume.

use super::change::{asked_before, asker, epoch_or_now, expected, known};
use crate::server::audit::Call;
use crate::server::report::report;
use crate::server::{Face, group_name, refusal};
use crate::wire;
use arbiter_core::{
    Command, GroupId, Instant, OpenRequest, PlanId, PlanKind, Reason, RegionId, State, View,
    check_overrides, of_loss, preflight, supersede,
};
use arbiter_proto::v1 as pb;
use tonic::Status;

impl Face {
    /// Open a plan, or say what it would be.
    pub(super) async fn open_plan(
        &self,
        request: &pb::OpenPlanRequest,
        kind: PlanKind,
    ) -> Result<pb::OpenPlanResponse, Status> {
        let group = GroupId::from(group_name(&request.group));
        let open = OpenRequest {
            group: group.clone(),
            kind,
            target: (!request.target.is_empty()).then(|| RegionId::from(request.target.as_str())),
            expected_epoch: expected(request.expected_epoch),
            immediate: request.immediate,
            accept_loss: request.accept_loss,
            overrides: request.overrides.iter().cloned().collect(),
            by_policy: false,
            by_drill: false,
        };
        if request.dry_run {
            return self.try_plan(&group, &open).await;
        }
        let index = self
            .change(request.asked.as_ref(), |state, view, now| {
                known(state, &group)?;
                command(state, view, now, &open).map_err(|reasons| refusal::closed(&reasons))
            })
            .await?;
        // A plan's id is the index of the entry that opened it.
        let state = self.state();
        let plan = state.plan(PlanId(index)).map(|(id, plan)| report(&state, id, plan));
        Ok(pb::OpenPlanResponse { plan, refused_because: Vec::new() })
    }

    async fn try_plan(
        &self,
        group: &GroupId,
        open: &OpenRequest,
    ) -> Result<pb::OpenPlanResponse, Status> {
        self.confirm().await?;
        let tried = self.leader.look(|state, view, now| {
            let found = known(state, group)?;
            let tried = command(state, view, now, open);
            Ok::<_, Status>((found.active().cloned(), found.epoch(), tried))
        });
        let (source, epoch, tried) = tried.ok_or_else(refusal::not_leader)??;
        let (target, reasons) = match tried {
            Ok(Command::OpenPlan(opened) | Command::Supersede { open: opened, .. }) => {
                (Some(opened.target), Vec::new())
            }
            Ok(_) => (open.target.clone(), Vec::new()),
            Err(reasons) => (open.target.clone(), reasons),
        };
        let text = |region: Option<RegionId>| region.map_or(String::new(), |region| region.0);
        let plan = pb::Plan {
            group: group.0.clone(),
            kind: wire::spelled(&open.kind),
            source: text(source),
            target: text(target),
            epoch: epoch.0,
            immediate: open.immediate,
            accept_loss: open.accept_loss,
            state: "dry-run".to_owned(),
            steps: wire::rows_to_proto(open.kind),
            ..pb::Plan::default()
        };
        let refused_because = reasons.iter().map(wire::reason_to_proto).collect();
        Ok(pb::OpenPlanResponse { plan: Some(plan), refused_because })
    }

    pub(super) async fn abort_plan(
        &self,
        request: &pb::PlanRequest,
    ) -> Result<pb::Outcome, Status> {
        let group = GroupId::from(group_name(&request.group));
        let plan = PlanId(request.plan);
        let log_index = self
            .change(request.asked.as_ref(), |state, view, now| {
                let found = known(state, &group)?;
                Ok(Command::AbortPlan {
                    group: group.clone(),
                    plan,
                    expected_epoch: epoch_or_now(found, request.expected_epoch),
                    took: view.row_took(&group, now),
                })
            })
            .await?;
        Ok(pb::Outcome {
            log_index,
            message: format!("plan {plan} is aborted; the source is resumed"),
            next: format!("arbiter status --group {group}"),
        })
    }

    pub(super) async fn resume_plan(
        &self,
        request: &pb::PlanRequest,
    ) -> Result<pb::Outcome, Status> {
        let group = GroupId::from(group_name(&request.group));
        let plan = PlanId(request.plan);
        let accept_loss = request.accept_loss || accepts_loss(&request.overrides)?;
        let log_index = self
            .change(request.asked.as_ref(), |state, _, _| {
                let found = known(state, &group)?;
                Ok(Command::ResumePlan {
                    group: group.clone(),
                    plan,
                    expected_epoch: epoch_or_now(found, request.expected_epoch),
                    accept_loss,
                })
            })
            .await?;
        Ok(pb::Outcome {
            log_index,
            message: format!("plan {plan} goes on"),
            next: format!("arbiter report {plan}"),
        })
    }

    /// Leadership to another arbiter. Asked twice it is there already.
    pub(super) async fn transfer(
        &self,
        request: &pb::TransferLeadershipRequest,
        call: &Call<'_>,
    ) -> Result<pb::Outcome, Status> {
        let asker = asker(request.asked.as_ref())?;
        self.confirm().await?;
        if let Some(Err(refused)) = asked_before(&self.state(), &asker.request) {
            return Err(refusal::rejected(&refused));
        }
        // Afterwards this arbiter leads no more: what is begun is recorded first.
        self.note(call, "begun").await?;
        tracing::info!(to = %request.to, by = ?asker.by, reason = %asker.reason, "transfer asked");
        self.raft.transfer_leader(&request.to).await.map_err(|error| transfer_refused(&error))?;
        Ok(pb::Outcome {
            log_index: self.raft.state().applied_index(),
            message: format!("{} leads", request.to),
            next: "arbiter members list".to_owned(),
        })
    }
}

/// What a plan that was opened can still be let through: its loss.
fn accepts_loss(overrides: &[String]) -> Result<bool, Status> {
    check_overrides(overrides.iter().map(String::as_str))
        .map_err(|refused| refusal::rejected(&refused))?;
    match overrides.iter().find(|gate| !of_loss(gate)) {
        None => Ok(!overrides.is_empty()),
        Some(gate) => {
            let text = format!("{gate} is a gate of opening a plan, and this one is open");
            Err(refusal::precondition("unknown-gate", text, "arbiter plan resume --override rpo"))
        }
    }
}

/// An operator's failover past the point of no return of an open plan supersedes it.
fn command(
    state: &State,
    view: &View,
    now: Instant,
    open: &OpenRequest,
) -> Result<Command, Vec<Reason>> {
    match open.kind {
        PlanKind::Failover => supersede(state, view, now, open),
        PlanKind::Switchover => preflight(state, view, now, open).map(Command::OpenPlan),
    }
}

fn transfer_refused(error: &crate::raft::TransferError) -> Status {
    use crate::raft::TransferError::{NoSuchVoter, NotLeader, NotTaken, Stopped};
    let text = error.to_string();
    match error {
        NotLeader(_) => refusal::not_leader(),
        NoSuchVoter(_) => refusal::precondition("no-such-voter", text, "arbiter members list"),
        NotTaken(..) => refusal::precondition("not-taken", text, "arbiter members list"),
        Stopped(_) => {
            refusal::refusal(tonic::Code::Unavailable, "stopping", text, "ask another arbiter")
        }
    }
}
