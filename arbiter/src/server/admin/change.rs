//! One change: who asks, whether it was asked before, and its way into the log.

use crate::clock;
use crate::raft::ProposeError;
use crate::server::{Face, refusal};
use crate::tls::caller;
use arbiter_core::{
    By, Command, Epoch, Group, GroupId, Instant, Proposal, Rejected, RequestId, State, View,
};
use arbiter_proto::v1 as pb;
use tonic::{Response, Status};

/// Longest request id and name, in bytes.
pub(super) const NAME_BYTES_MAX: usize = 128;
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
    Ok(Asker {
        request: RequestId(asked.request_id.clone()),
        by: By::Operator(by(&asked.by)),
        reason: asked.reason.clone(),
    })
}

/// Who asks: as the certificate or the kernel says. In plaintext it is what the message claims, and
/// is recorded as no more than that.
pub(in crate::server) fn by(claimed: &str) -> String {
    match caller() {
        Some(caller) if caller.is_verified() => caller.name,
        _ if claimed.is_empty() => "operator (unverified)".to_owned(),
        _ => format!("{claimed} (unverified)"),
    }
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
    ///
    /// What can be proposed is, at once: the log tells whether this arbiter still leads in the term
    /// of the View, and `apply` whether State is as the command expects and whether it was asked
    /// before. A refusal is no entry, so it is given only from a State that a quorum confirmed.
    pub(super) async fn change(
        &self,
        asked: Option<&pb::Asked>,
        build: impl Fn(&State, &View, Instant) -> Result<Command, Status>,
    ) -> Result<u64, Status> {
        let asker = asker(asked)?;
        if let Built::Command(term, command) = self.build(&asker, &build)? {
            return self.propose_in(Some(term), asker, command).await;
        }
        self.confirm().await?;
        match self.build(&asker, &build)? {
            Built::Command(term, command) => self.propose_in(Some(term), asker, command).await,
            Built::Before(Ok(index)) => Ok(index),
            Built::Before(Err(refused)) => Err(refusal::rejected(&refused)),
            Built::Refused(status) => Err(status),
        }
    }

    fn build(
        &self,
        asker: &Asker,
        build: impl Fn(&State, &View, Instant) -> Result<Command, Status>,
    ) -> Result<Built, Status> {
        let built =
            self.leader.look(|state, view, now| match asked_before(state, &asker.request) {
                Some(before) => Built::Before(before),
                None => match build(state, view, now) {
                    Ok(command) => Built::Command(view.term, command),
                    Err(status) => Built::Refused(status),
                },
            });
        built.ok_or_else(refusal::not_leader)
    }

    pub(super) async fn propose(&self, asker: Asker, command: Command) -> Result<u64, Status> {
        self.propose_in(None, asker, command).await
    }

    /// What becomes of a command in the log, a refusal too.
    pub(super) async fn propose_as(
        &self,
        asker: Asker,
        command: Command,
    ) -> Result<Result<u64, Rejected>, Status> {
        let Asker { request, by, reason } = asker;
        let (request, wall) = (Some(request), clock::wall());
        let done = self.raft.propose(&Proposal { request, by, reason, wall, command }).await;
        done.map_err(|error| refusal::unproposed(&error))
    }

    async fn propose_in(
        &self,
        term: Option<u64>,
        asker: Asker,
        command: Command,
    ) -> Result<u64, Status> {
        let proposal = Proposal {
            request: Some(asker.request),
            by: asker.by,
            reason: asker.reason,
            wall: clock::wall(),
            command,
        };
        let done = match term {
            Some(term) => self.raft.propose_in(term, &proposal).await,
            None => self.raft.propose(&proposal).await,
        };
        match done {
            Ok(Ok(index)) => Ok(index),
            Ok(Err(refused)) => Err(refusal::rejected(&refused)),
            // Not taken, and nobody else is known: whether a quorum is missing says the reader.
            Err(ProposeError::NotLeader { leader: None }) => {
                Err(self.confirm().await.err().unwrap_or_else(refusal::not_leader))
            }
            Err(error) => Err(refusal::unproposed(&error)),
        }
    }
}

/// What became of building a command from State and View.
enum Built {
    /// To be proposed, in this term only.
    Command(u64, Command),
    /// It was asked before: what became of it.
    Before(Result<u64, Rejected>),
    /// It cannot be, as State is here.
    Refused(Status),
}
