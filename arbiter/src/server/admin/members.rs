//! The beginning of a cluster, by itself or from a backup of another.

use super::change::{asked_before, asker};
use super::policy::spec_of;
use crate::backup::Backup;
use crate::clock;
use crate::raft::{self, InitializeError, ProposeError};
use crate::server::peers::{forwarded, is_forwarded};
use crate::server::query::unforwarded;
use crate::server::{CHANGE_LIMIT, Face, refusal};
use arbiter_core::{
    ClusterId, ClusterSpec, Command, EPOCH_JUMP, GroupId, Proposal, RegionId, Restore,
};
use arbiter_proto::v1 as pb;
use pb::admin_client::AdminClient;
use tonic::{Code, Request, Response, Status};

impl Face {
    /// Once in a cluster's life.
    pub(super) async fn initialize(
        &self,
        request: Request<pb::InitializeRequest>,
    ) -> Result<pb::Outcome, Status> {
        let forwarded_once = is_forwarded(&request);
        let request = request.into_inner();
        let spec = self.spec_to_begin(&request.cluster_id, &request.config_toml)?;
        let cluster_id = ClusterId(self.cluster_id.clone());
        let command = Command::Initialize { cluster_id, spec };
        let proposal = proposal(request.asked.as_ref(), command)?;
        match self.raft.initialize(&proposal).await {
            Ok(Ok(log_index)) => Ok(self.begun(log_index)),
            Ok(Err(refused)) => Err(refusal::rejected(&refused)),
            Err(InitializeError::Propose(ProposeError::NotLeader {
                leader: Some((_, address)),
            })) if !forwarded_once => {
                let mut client = AdminClient::new(self.forwards.channel(&address)?);
                let answer = client.initialize(forwarded(request, CHANGE_LIMIT)).await;
                answer.map(Response::into_inner).map_err(unforwarded)
            }
            Err(error) => Err(not_begun(&error)),
        }
    }

    /// Once in a cluster's life, instead: it goes on from a backup.
    pub(super) async fn restore(
        &self,
        request: Request<pb::RestoreRequest>,
    ) -> Result<pb::Outcome, Status> {
        let forwarded_once = is_forwarded(&request);
        let request = request.into_inner();
        self.allowed(request.asked.as_ref(), "restore").await?;
        let spec = self.spec_to_begin(&request.cluster_id, &request.config_toml)?;
        let proposal = proposal(request.asked.as_ref(), self.restored(&request, spec)?)?;
        match self.raft.initialize(&proposal).await {
            Ok(Ok(log_index)) => Ok(self.begun(log_index)),
            Ok(Err(refused)) => Err(refusal::rejected(&refused)),
            Err(InitializeError::Propose(ProposeError::NotLeader {
                leader: Some((_, address)),
            })) if !forwarded_once => {
                let mut client = AdminClient::new(self.forwards.channel(&address)?);
                let answer = client.restore(forwarded(request, CHANGE_LIMIT)).await;
                answer.map(Response::into_inner).map_err(unforwarded)
            }
            Err(error) => Err(not_begun(&error)),
        }
    }

    /// The same request of a cluster that has begun is answered again.
    pub(super) fn restored_before(
        &self,
        request: &pb::RestoreRequest,
    ) -> Result<pb::Outcome, Status> {
        self.begun_before(request.asked.as_ref())
    }

    /// The command: without what the new cluster forgets anyhow.
    fn restored(&self, request: &pb::RestoreRequest, spec: ClusterSpec) -> Result<Command, Status> {
        let backup = Backup::decode(&request.backup).map_err(|error| {
            refusal::invalid("bad-backup", error.to_string(), "arbiter backup verify FILE")
        })?;
        let mut state = backup.state;
        state.requests.clear();
        state.events.clear();
        state.approvals.clear();
        for group in state.groups.values_mut() {
            group.plans.clear();
            group.drills.clear();
        }
        let active = request.active.iter();
        let active = active.map(|(group, region)| {
            (GroupId::from(group.as_str()), RegionId::from(region.as_str()))
        });
        Ok(Command::Restore(Box::new(Restore {
            cluster_id: ClusterId(self.cluster_id.clone()),
            spec,
            backup: state,
            at: backup.head.applied,
            taken: backup.head.taken,
            active: active.collect(),
            epoch_jump: if request.epoch_jump == 0 { EPOCH_JUMP } else { request.epoch_jump },
        })))
    }

    /// The specification in the file, which must be the one that this arbiter runs with.
    fn spec_to_begin(&self, cluster_id: &str, config_toml: &str) -> Result<ClusterSpec, Status> {
        if !cluster_id.is_empty() && cluster_id != self.cluster_id {
            let text = format!("this arbiter's file is for {}, not {cluster_id}", self.cluster_id);
            return Err(refusal::invalid("wrong-cluster", text, "give every arbiter one file"));
        }
        let spec = spec_of(config_toml, &self.cluster_id)?;
        let mut voters = raft::voters(&spec);
        voters.sort_by_key(|voter| voter.node_id);
        let mut ours = self.voters.clone();
        ours.sort_by_key(|voter| voter.node_id);
        if voters != ours {
            let text = "the file names other arbiters than the one this arbiter was started with";
            return Err(refusal::invalid("voters-changed", text, "give every arbiter one file"));
        }
        self.keeps_timers_of(&spec)?;
        Ok(spec)
    }

    /// Asked of a cluster that has begun: the same request is answered again.
    pub(super) fn initialized_before(
        &self,
        request: &pb::InitializeRequest,
    ) -> Result<pb::Outcome, Status> {
        self.begun_before(request.asked.as_ref())
    }

    fn begun_before(&self, asked: Option<&pb::Asked>) -> Result<pb::Outcome, Status> {
        let asker = asker(asked)?;
        match asked_before(&self.state(), &asker.request) {
            Some(Ok(log_index)) => Ok(self.begun(log_index)),
            Some(Err(refused)) => Err(refusal::rejected(&refused)),
            None => Err(not_begun(&InitializeError::Already)),
        }
    }

    /// Whether what changes who decides may be done, by whom it is asked: before every change of
    /// members, and before a restore.
    pub(super) async fn allowed(
        &self,
        asked: Option<&pb::Asked>,
        action: &str,
    ) -> Result<(), Status> {
        let asker = asker(asked)?;
        tracing::info!(action, by = ?asker.by, reason = %asker.reason, "asked for");
        self.need_approval(asked, action).await
    }

    fn begun(&self, log_index: u64) -> pb::Outcome {
        pb::Outcome {
            log_index,
            message: format!("cluster {} has begun", self.cluster_id),
            next: "arbiter status".to_owned(),
        }
    }
}

fn proposal(asked: Option<&pb::Asked>, command: Command) -> Result<Proposal, Status> {
    let asker = asker(asked)?;
    let (request, wall) = (Some(asker.request), clock::wall());
    Ok(Proposal { request, by: asker.by, reason: asker.reason, wall, command })
}

fn not_begun(error: &InitializeError) -> Status {
    let text = error.to_string();
    match error {
        InitializeError::Already => {
            refusal::precondition("already-initialized", text, "arbiter status")
        }
        InitializeError::Voter { .. } => {
            let next = "start every arbiter, then initialize again";
            refusal::refusal(Code::Unavailable, "voter-missing", text, next)
        }
        InitializeError::Propose(error) => refusal::unproposed(error),
        InitializeError::Refused(_) => {
            refusal::precondition("not-initialized", text, "arbiter members list")
        }
    }
}
