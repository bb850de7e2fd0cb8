//! One change: who asks, whether it was asked before, and its way into the log.

use crate::clock;
use crate::server::{Face, refusal};
use arbiter_core::{
    By, Command, Epoch, Group, GroupId, Instant, Proposal, Rejected, RequestId, State, View,
};
use arbiter_proto::v1 as pb;
use tonic::{Response, Status};

/// Longest request id and name, in bytes.
const NAME_BYTES_MAX: usize = 128;
/// Longest reason, in bytes.
const REASON_BYTES_MAX: usize = 4096;

/// Who asks, checked.
pub(super) struct Asker {
    pub request: RequestId,
    pub by: By,
    pub reason: String,
}

/// Who asks for a change, and its request id.
pub(super) fn asker(asked: Option<&pb::Asked>) -> Result<Asker, Status> {
    let missing = || {
        let text = "a change needs a request_id of its own, so that asking twice is safe";
        refusal::invalid("no-request-id", text, "set asked.request_id to something random")
    };
    let asked = asked.filter(|asked| !asked.request_id.is_empty()).ok_or_else(missing)?;
    let fields = [
        ("request_id", &asked.request_id, NAME_BYTES_MAX),
        ("by", &asked.by, NAME_BYTES_MAX),
        ("reason", &asked.reason, REASON_BYTES_MAX),
    ];
    for (name, value, bytes_max) in fields {
        if value.len() > bytes_max {
            let text = format!("{name} has {} bytes, more than {bytes_max}", value.len());
            return Err(refusal::invalid("too-long", text, "shorten it"));
        }
    }
    let by = if asked.by.is_empty() { "operator" } else { &asked.by };
    Ok(Asker {
        request: RequestId(asked.request_id.clone()),
        by: By::Operator(by.to_owned()),
        reason: asked.reason.clone(),
    })
}

/// The group, or that there is none.
pub(super) fn known<'a>(state: &'a State, group: &GroupId) -> Result<&'a Group, Status> {
    if state.cluster_id.is_none() {
        return Err(refusal::not_initialized());
    }
    let found = state.group(group).map(|(_, found)| found);
    found.ok_or_else(|| refusal::unknown_group(group.as_str()))
}

/// The epoch that the asker believes in; 0: whatever it is.
pub(super) fn expected(epoch: u64) -> Option<Epoch> {
    (epoch > 0).then_some(Epoch(epoch))
}

pub(super) fn epoch_or_now(group: &Group, epoch: u64) -> Epoch {
    expected(epoch).unwrap_or(group.epoch())
}

/// For commands that do not carry the expected epoch themselves.
pub(super) fn check_epoch(id: &GroupId, group: &Group, epoch: u64) -> Result<(), Status> {
    let now = group.epoch();
    match expected(epoch) {
        Some(expected) if expected != now => {
            let text = format!("{id} is at epoch {now}, asked for is {expected}");
            let next = format!("arbiter status --group {id}, then ask again");
            Err(refusal::precondition("wrong-epoch", text, &next))
        }
        _ => Ok(()),
    }
}

/// Done: what is so now, and what to run next.
pub(super) fn outcome(log_index: u64, message: String, next: &str) -> Response<pb::Outcome> {
    Response::new(pb::Outcome { log_index, message, next: next.to_owned() })
}

/// What became of a request that was asked before.
pub(super) fn asked_before(state: &State, request: &RequestId) -> Option<Result<u64, Rejected>> {
    state.requests.get(request).map(|known| match &known.refused {
        None => Ok(known.index),
        Some(refused) => Err(refused.clone()),
    })
}

impl Face {
    /// One change: what `build` makes of State and View, in the log. The index it was done at; for
    /// a request asked before, of that time.
    pub(super) async fn change(
        &self,
        asked: Option<&pb::Asked>,
        build: impl FnOnce(&State, &View, Instant) -> Result<Command, Status>,
    ) -> Result<u64, Status> {
        let asker = asker(asked)?;
        // What was asked before must be seen, so State must be the newest.
        self.confirm().await?;
        let built =
            self.leader.look(|state, view, now| match asked_before(state, &asker.request) {
                Some(before) => Err(before.map_err(|refused| refusal::rejected(&refused))),
                None => build(state, view, now).map_err(Err),
            });
        match built.ok_or_else(refusal::not_leader)? {
            Ok(command) => self.propose(asker, command).await,
            Err(before) => before,
        }
    }

    pub(super) async fn propose(&self, asker: Asker, command: Command) -> Result<u64, Status> {
        let proposal = Proposal {
            request: Some(asker.request),
            by: asker.by,
            reason: asker.reason,
            wall: clock::wall(),
            command,
        };
        match self.raft.propose(&proposal).await {
            Ok(Ok(index)) => Ok(index),
            Ok(Err(refused)) => Err(refusal::rejected(&refused)),
            Err(error) => Err(refusal::unproposed(&error)),
        }
    }
}
