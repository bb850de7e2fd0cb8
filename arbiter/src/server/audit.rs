//! The audit log at the faces: what was refused before it could be a command on its way into the
//! log, and the log for those who read it. Knows records; judges nothing.

mod notes;

pub use notes::{Call, Notes, carry};

use super::peers::forwarded;
use super::query::unforwarded;
use super::{ASK_LIMIT, Answerer, Face, refusal};
use crate::wire;
use arbiter_core::State;
use arbiter_proto::v1 as pb;
use pb::query_client::QueryClient;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::StreamExt;
use tonic::{Request, Status};

/// A reader that does not read for this long loses its stream.
const SEND_LIMIT: Duration = Duration::from_secs(10);

/// What is kept later than `since`, and what of it is not.
pub fn page(state: &State, since: u64) -> pb::AuditPage {
    let records = state.audit.after(since);
    let first = records.first().map_or(state.audit.seq + 1, |record| record.seq);
    let missing = first > since.saturating_add(1);
    pb::AuditPage {
        records: records.iter().map(wire::audit_to_proto).collect(),
        head_seq: state.audit.seq,
        head_hash: state.audit.head.clone(),
        missing_from: if missing { since + 1 } else { 0 },
        missing_to: if missing { first - 1 } else { 0 },
    }
}

impl Face {
    /// The first page, as a quorum confirms it.
    pub(super) async fn first_page(
        &self,
        request: &Request<pb::ListAuditRequest>,
    ) -> Result<pb::AuditPage, Status> {
        let since = request.get_ref().since;
        match self.answerer(request)? {
            Answerer::Here => {
                self.confirm().await?;
                Ok(page(&self.state(), since))
            }
            Answerer::There(channel) => {
                let message = pb::ListAuditRequest { since, follow: false };
                let mut client = QueryClient::new(channel);
                let asked = client.list_audit(forwarded(message, ASK_LIMIT));
                let mut pages = asked.await.map_err(unforwarded)?.into_inner();
                match pages.next().await {
                    Some(page) => page.map_err(unforwarded),
                    None => Err(refusal::no_leader()),
                }
            }
        }
    }

    /// What waits for a second person.
    pub(super) fn approvals(&self) -> pb::ListApprovalsResponse {
        let state = self.state();
        pb::ListApprovalsResponse {
            approvals: state.approvals.iter().map(wire::approval_to_proto).collect(),
            two_person: state.spec.two_person,
        }
    }
}

/// Send `first`, and with `follow` what is added to it, until the reader goes or stops reading.
pub(super) async fn send(
    face: Arc<Face>,
    first: pb::AuditPage,
    follow: bool,
    sender: mpsc::Sender<Result<pb::AuditPage, Status>>,
) {
    let mut index = face.raft.state().watch_index();
    let mut told = first.head_seq;
    let mut next = Some(first);
    loop {
        if let Some(page) = next.take()
            && !matches!(timeout(SEND_LIMIT, sender.send(Ok(page))).await, Ok(Ok(())))
        {
            return;
        }
        if !follow {
            return;
        }
        tokio::select! {
            () = sender.closed() => return,
            changed = index.changed() => if changed.is_err() { return },
        }
        let state = face.raft.state().get();
        // This arbiter may be behind the leader that answered first.
        if state.audit.seq > told {
            next = Some(page(&state, told));
            told = state.audit.seq;
        }
    }
}
