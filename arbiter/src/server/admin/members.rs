//! The beginning of a cluster.

use super::change::{asked_before, asker};
use super::policy::spec_of;
use crate::clock;
use crate::raft::{self, InitializeError, ProposeError};
use crate::server::peers::{forwarded, is_forwarded};
use crate::server::query::unforwarded;
use crate::server::{CHANGE_LIMIT, Face, refusal};
use arbiter_core::{ClusterId, Command, Proposal};
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
        let asker = asker(request.asked.as_ref())?;
        if !request.cluster_id.is_empty() && request.cluster_id != self.cluster_id {
            let text = format!(
                "this arbiter's file is for {}, not {}",
                self.cluster_id, request.cluster_id
            );
            return Err(refusal::invalid("wrong-cluster", text, "give every arbiter one file"));
        }
        let spec = spec_of(&request.config_toml, &self.cluster_id)?;
        let mut voters = raft::voters(&spec);
        voters.sort_by_key(|voter| voter.node_id);
        let mut ours = self.voters.clone();
        ours.sort_by_key(|voter| voter.node_id);
        if voters != ours {
            let text = "the file names other arbiters than the one this arbiter was started with";
            return Err(refusal::invalid("voters-changed", text, "give every arbiter one file"));
        }
        self.keeps_timers_of(&spec)?;
        let proposal = Proposal {
            request: Some(asker.request),
            by: asker.by,
            reason: asker.reason,
            wall: clock::wall(),
            command: Command::Initialize { cluster_id: ClusterId(self.cluster_id.clone()), spec },
        };
        match self.raft.initialize(&proposal).await {
            Ok(Ok(log_index)) => Ok(self.begun(log_index)),
            Ok(Err(refused)) => Err(refusal::rejected(&refused)),
            Err(InitializeError::Propose(ProposeError::NotLeader {
                leader: Some((_, address)),
            })) if !forwarded_once => {
                let mut client = AdminClient::new(self.peers.channel(&address)?);
                let answer = client.initialize(forwarded(request, CHANGE_LIMIT)).await;
                answer.map(Response::into_inner).map_err(unforwarded)
            }
            Err(error) => Err(not_begun(&error)),
        }
    }

    /// Asked of a cluster that has begun: the same request is answered again.
    pub(super) fn initialized_before(
        &self,
        request: &pb::InitializeRequest,
    ) -> Result<pb::Outcome, Status> {
        let asker = asker(request.asked.as_ref())?;
        match asked_before(&self.state(), &asker.request) {
            Some(Ok(log_index)) => Ok(self.begun(log_index)),
            Some(Err(refused)) => Err(refusal::rejected(&refused)),
            None => Err(not_begun(&InitializeError::Already)),
        }
    }

    fn begun(&self, log_index: u64) -> pb::Outcome {
        pb::Outcome {
            log_index,
            message: format!("cluster {} has begun", self.cluster_id),
            next: "arbiter status".to_owned(),
        }
    }
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
