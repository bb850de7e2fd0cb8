//! Questions: any arbiter answers, none changes anything.

use super::peers::forwarded;
use super::report::report;
use super::status::{Shown, present, status};
use super::{ASK_LIMIT, Answerer, Face, active, audit, drills, group_name, refusal};
use crate::clock;
use crate::wire;
use arbiter_core::{ArbiterId, GroupId, PlanId, State, View, drill_due, explain_group, signals};
use arbiter_proto::v1 as pb;
use futures::Stream;
use pb::query_client::QueryClient;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{interval, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Response, Status};

/// A watched answer is repeated after this long without a change.
const WATCH_REPEAT: Duration = Duration::from_secs(4);
/// A watcher that does not read for this long loses its stream.
const WATCH_SEND_LIMIT: Duration = Duration::from_secs(10);
/// Watchers at one arbiter.
const WATCHERS_MAX: usize = 1024;
/// Answers on their way to one watcher.
const WATCH_QUEUE_MAX: usize = 4;
/// Beyond this age an answer of this arbiter's own is marked stale.
const FRESH_MAX: Duration = Duration::from_secs(5);
/// Plans listed where no number is given, and at most.
const PLANS_DEFAULT: usize = 20;
const PLANS_MAX: usize = 512;

/// The service.
pub struct Query {
    face: Arc<Face>,
    watchers: Arc<Semaphore>,
}

impl Query {
    /// Of this face.
    pub fn new(face: Arc<Face>) -> Self {
        Self { face, watchers: Arc::new(Semaphore::new(WATCHERS_MAX)) }
    }

    fn watcher(&self) -> Result<OwnedSemaphorePermit, Status> {
        self.watchers.clone().try_acquire_owned().map_err(|_| {
            let text = format!("{WATCHERS_MAX} watchers are here already");
            refusal::refusal(Code::ResourceExhausted, "too-many", text, "watch another arbiter")
        })
    }
}

impl Face {
    /// What this arbiter knows by itself.
    fn own_active(&self, group: &str, stale: bool) -> Result<pb::ActiveRegion, Status> {
        let leader = self.raft.leader().borrow().leader.clone();
        let leader = leader.map_or(String::new(), |leader| leader.0);
        self.raft.state().with_applied(|state, at| {
            if state.cluster_id.is_none() {
                return Err(refusal::not_initialized());
            }
            let index = at.map_or(0, |at| at.index);
            active::active_region(state, group, &leader, index, stale)
                .ok_or_else(|| refusal::unknown_group(group))
        })
    }

    /// Confirmed by a quorum, here or at the leader.
    pub(super) async fn active(
        &self,
        request: &Request<pb::GetActiveRegionRequest>,
    ) -> Result<pb::ActiveRegion, Status> {
        let group = group_name(&request.get_ref().group);
        if request.get_ref().stale {
            return self.own_active(&group, true);
        }
        match self.answerer(request)? {
            Answerer::Here => {
                self.confirm().await?;
                self.own_active(&group, false)
            }
            Answerer::There(channel) => {
                let message = pb::GetActiveRegionRequest { group, stale: false };
                let asked = QueryClient::new(channel)
                    .get_active_region(forwarded(message, ASK_LIMIT))
                    .await;
                let answer = asked.map_err(unforwarded)?;
                self.confirmed_now();
                Ok(answer.into_inner())
            }
        }
    }

    /// All that `arbiter status` shows: from the leader, else this arbiter's own view.
    pub(super) async fn whole_status(
        &self,
        request: &Request<pb::GetStatusRequest>,
    ) -> Result<pb::Status, Status> {
        let message = request.get_ref().clone();
        match self.answerer(request) {
            Ok(Answerer::Here) => {
                let stale = self.confirm().await.is_err();
                Ok(self.own_status(&message.group, stale))
            }
            Ok(Answerer::There(channel)) => {
                let asked = QueryClient::new(channel)
                    .get_status(forwarded(message.clone(), ASK_LIMIT))
                    .await
                    .map(Response::into_inner);
                match asked {
                    Ok(answer) if !answer.stale => {
                        self.confirmed_now();
                        Ok(answer)
                    }
                    Err(refused) if refused.code() == Code::NotFound => Err(refused),
                    Ok(_) | Err(_) => Ok(self.own_status(&message.group, true)),
                }
            }
            Err(_) => Ok(self.own_status(&message.group, true)),
        }
    }

    /// What this arbiter would answer by itself.
    pub fn own_status(&self, group: &str, stale: bool) -> pb::Status {
        let raft = self.raft.status();
        // Before a cluster has begun there is nothing that a quorum could confirm.
        let stale = stale && (raft.initialized || raft.refused.is_some());
        let leadership = self.raft.leader().borrow().clone();
        let shown = Shown {
            node: self.raft.name(),
            leadership: &leadership,
            raft: &raft,
            voters: &self.voters,
            insecure: self.insecure,
            stale,
            wall: clock::wall(),
            age: if stale { self.confirmed_age() } else { Duration::ZERO },
            group,
        };
        let seen = self.leader.look(|state, view, now| status(&shown, state, Some(view), now));
        let mut status = seen.unwrap_or_else(|| {
            self.raft.state().with(|state| status(&shown, state, None, clock::now()))
        });
        for fault in self.certificate_faults() {
            let groups = status.groups.iter_mut();
            groups.for_each(|group| group.readiness.push(fault.text.clone()));
        }
        status
    }
}

/// A forwarded call failed: what the leader said, or that it was not reached.
pub(super) fn unforwarded(status: Status) -> Status {
    if status.metadata().contains_key(refusal::REASON) {
        return status;
    }
    match status.code() {
        Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Unknown => {
            let text = format!("the leader cannot be reached: {}", status.message());
            refusal::refusal(Code::Unavailable, "no-leader", text, "arbiter status")
        }
        _ => status,
    }
}

#[tonic::async_trait]
impl pb::query_server::Query for Query {
    async fn get_active_region(
        &self,
        request: Request<pb::GetActiveRegionRequest>,
    ) -> Result<Response<pb::ActiveRegion>, Status> {
        self.face.active(&request).await.map(Response::new)
    }

    type WatchActiveRegionStream =
        Pin<Box<dyn Stream<Item = Result<pb::ActiveRegion, Status>> + Send>>;

    async fn watch_active_region(
        &self,
        request: Request<pb::GetActiveRegionRequest>,
    ) -> Result<Response<Self::WatchActiveRegionStream>, Status> {
        let permit = self.watcher()?;
        let first = self.face.active(&request).await?;
        let (sender, receiver) = mpsc::channel(WATCH_QUEUE_MAX);
        let face = self.face.clone();
        tokio::spawn(async move {
            watch(&face, first, sender).await;
            drop(permit);
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn get_status(
        &self,
        request: Request<pb::GetStatusRequest>,
    ) -> Result<Response<pb::Status>, Status> {
        let status = self.face.whole_status(&request).await?;
        let group = &request.get_ref().group;
        let begun = !status.cluster_id.is_empty();
        if begun && !group.is_empty() && status.groups.is_empty() {
            return Err(refusal::unknown_group(group));
        }
        Ok(Response::new(status))
    }

    async fn list_plans(
        &self,
        request: Request<pb::ListPlansRequest>,
    ) -> Result<Response<pb::ListPlansResponse>, Status> {
        if let Ok(Answerer::There(channel)) = self.face.answerer(&request) {
            let message = forwarded(request.get_ref().clone(), ASK_LIMIT);
            if let Ok(answer) = QueryClient::new(channel).list_plans(message).await {
                return Ok(answer);
            }
        }
        Ok(Response::new(list_plans(&self.face, request.get_ref())?))
    }

    async fn get_plan(
        &self,
        request: Request<pb::GetPlanRequest>,
    ) -> Result<Response<pb::Plan>, Status> {
        if let Ok(Answerer::There(channel)) = self.face.answerer(&request) {
            let message = forwarded(*request.get_ref(), ASK_LIMIT);
            if let Ok(answer) = QueryClient::new(channel).get_plan(message).await {
                return Ok(answer);
            }
        }
        let id = PlanId(request.get_ref().id);
        let state = self.face.state();
        let plan = state.plan(id).map(|(group, plan)| {
            let present =
                |now: &State, view: &View, at| present(now, view, at, group, &plan.target);
            let present = self.face.leader.look(present).unwrap_or_default();
            pb::Plan { present, ..report(&state, group, plan) }
        });
        plan.map(Response::new).ok_or_else(|| {
            let text = format!("no plan {id} is open or kept");
            refusal::precondition("no-such-plan", text, "arbiter history")
        })
    }

    async fn list_drills(
        &self,
        request: Request<pb::ListDrillsRequest>,
    ) -> Result<Response<pb::ListDrillsResponse>, Status> {
        if let Ok(Answerer::There(channel)) = self.face.answerer(&request) {
            let message = forwarded(request.get_ref().clone(), ASK_LIMIT);
            if let Ok(answer) = QueryClient::new(channel).list_drills(message).await {
                return Ok(answer);
            }
        }
        drills::list(&self.face, request.get_ref()).map(Response::new)
    }

    type ListAuditStream = Pin<Box<dyn Stream<Item = Result<pb::AuditPage, Status>> + Send>>;

    async fn list_audit(
        &self,
        request: Request<pb::ListAuditRequest>,
    ) -> Result<Response<Self::ListAuditStream>, Status> {
        let permit = self.watcher()?;
        let first = self.face.first_page(&request).await?;
        let follow = request.get_ref().follow;
        let (sender, receiver) = mpsc::channel(WATCH_QUEUE_MAX);
        let face = self.face.clone();
        tokio::spawn(async move {
            audit::send(face, first, follow, sender).await;
            drop(permit);
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn list_approvals(
        &self,
        request: Request<pb::ListApprovalsRequest>,
    ) -> Result<Response<pb::ListApprovalsResponse>, Status> {
        match self.face.answerer(&request)? {
            Answerer::There(channel) => {
                let message = forwarded(*request.get_ref(), ASK_LIMIT);
                QueryClient::new(channel).list_approvals(message).await.map_err(unforwarded)
            }
            Answerer::Here => {
                self.face.confirm().await?;
                Ok(Response::new(self.face.approvals()))
            }
        }
    }

    async fn explain(
        &self,
        request: Request<pb::ExplainRequest>,
    ) -> Result<Response<pb::Explanation>, Status> {
        let group = group_name(&request.get_ref().group);
        match self.face.answerer(&request)? {
            Answerer::There(channel) => {
                let message = forwarded(pb::ExplainRequest { group }, ASK_LIMIT);
                QueryClient::new(channel).explain(message).await.map_err(unforwarded)
            }
            Answerer::Here => {
                self.face.confirm().await?;
                let id = GroupId::from(group.as_str());
                let me = ArbiterId::from(self.face.raft.name());
                let explained = self.face.leader.look(|state, view, now| {
                    state.group(&id).map(|_| {
                        let seen = signals(state, view, now, &id, &me);
                        let mut reasons = explain_group(state, view, now, &id);
                        reasons.extend(drill_due(state, &id, clock::wall()));
                        (reasons, seen)
                    })
                });
                let (reasons, seen) = explained
                    .ok_or_else(refusal::not_leader)?
                    .ok_or_else(|| refusal::unknown_group(&group))?;
                let reasons = reasons.iter().map(wire::reason_to_proto);
                let reasons = reasons.chain(self.face.certificate_faults()).collect();
                let signals = seen.iter().map(wire::signal_to_proto).collect();
                Ok(Response::new(pb::Explanation { group, reasons, signals }))
            }
        }
    }
}

/// Newest first.
fn list_plans(
    face: &Face,
    request: &pb::ListPlansRequest,
) -> Result<pb::ListPlansResponse, Status> {
    let limit = match request.limit {
        0 => PLANS_DEFAULT,
        limit => usize::try_from(limit).unwrap_or(PLANS_MAX).min(PLANS_MAX),
    };
    let state = face.state();
    let wanted = |id: &GroupId| request.group.is_empty() || id.0 == request.group;
    if !request.group.is_empty() && !state.groups.keys().any(wanted) {
        return Err(refusal::unknown_group(&request.group));
    }
    let groups = state.groups.iter().filter(|(id, _)| wanted(id));
    let mut plans: Vec<_> = groups
        .flat_map(|(id, group)| group.plan.iter().chain(&group.plans).map(move |plan| (id, plan)))
        .collect();
    plans.sort_by_key(|(_, plan)| std::cmp::Reverse(plan.id));
    let events = state.events.iter().rev();
    let events = events.filter(|event| event.group.as_ref().is_none_or(wanted));
    Ok(pb::ListPlansResponse {
        plans: plans.iter().take(limit).map(|(id, plan)| report(&state, id, plan)).collect(),
        events: events.take(limit).map(wire::event_to_proto).collect(),
    })
}

/// Send what changes from `first` on, until the watcher goes or stops reading.
async fn watch(
    face: &Face,
    first: pb::ActiveRegion,
    sender: mpsc::Sender<Result<pb::ActiveRegion, Status>>,
) {
    let mut index = face.raft.state().watch_index();
    let mut route = face.leader.route();
    let mut repeat = interval(WATCH_REPEAT);
    repeat.tick().await;
    let mut last = first.clone();
    let mut next = Some(first);
    loop {
        if let Some(answer) = next.take() {
            last = answer.clone();
            if !matches!(timeout(WATCH_SEND_LIMIT, sender.send(Ok(answer))).await, Ok(Ok(()))) {
                return;
            }
        }
        let due = tokio::select! {
            () = sender.closed() => return,
            changed = index.changed() => if changed.is_err() { return } else { false },
            changed = route.changed() => if changed.is_err() { return } else { false },
            _ = repeat.tick() => true,
        };
        let fresh = face.confirmed_age() <= FRESH_MAX;
        let Ok(now) = face.own_active(&last.group, !fresh) else { continue };
        // This arbiter may be behind the leader that answered first: never back.
        if now.log_index >= last.log_index && (due || news(&last, &now)) {
            next = Some(now);
        }
    }
}

fn news(last: &pb::ActiveRegion, now: &pb::ActiveRegion) -> bool {
    (&last.region, last.epoch, &last.phase, &last.leader)
        != (&now.region, now.epoch, &now.phase, &now.leader)
}
