//! Asked twice is done once: outcomes of requests, kept in State. Knows no command.

use super::entry::Entry;
use crate::{LogId, Proposal, REQUESTS_KEPT_MAX, Rejected, RequestOutcome, State};

/// The outcome of the request, if it was asked before.
pub(super) fn outcome(state: &State, proposal: &Proposal) -> Option<Result<u64, Rejected>> {
    let known = state.requests.get(proposal.request.as_ref()?)?;
    Some(match &known.refused {
        None => Ok(known.index),
        Some(refused) => Err(refused.clone()),
    })
}

/// Keep that the request of this entry was done.
pub(super) fn remember(entry: &mut Entry) {
    keep(&mut entry.next, entry.proposal, entry.at, None);
}

/// State as it was, with the refusal of a request kept.
pub(super) fn with_refusal(
    state: &State,
    proposal: &Proposal,
    at: LogId,
    refused: &Rejected,
) -> State {
    let mut next = state.clone();
    keep(&mut next, proposal, at, Some(refused.clone()));
    next
}

fn keep(state: &mut State, proposal: &Proposal, at: LogId, refused: Option<Rejected>) {
    let Some(request) = &proposal.request else { return };
    state.requests.insert(request.clone(), RequestOutcome { index: at.index, refused });
    while state.requests.len() > REQUESTS_KEPT_MAX {
        let oldest = state.requests.iter().min_by_key(|(_, kept)| kept.index);
        let Some(oldest) = oldest.map(|(id, _)| id.clone()) else { return };
        state.requests.remove(&oldest);
    }
}
