//! Whether a history is linearizable (Wing and Gong's search, with Lowe's memory of what was
//! tried). Knows order and a model's steps; never what they mean.

use super::Operation;
use std::collections::BTreeSet;
use std::fmt::{self, Debug};

/// Configurations looked at before the search is given up as too hard.
pub const LOOKS_MAX: usize = 2_000_000;

/// What a history is held against: one thing that does one action after the other.
pub trait Model: Clone + Ord {
    /// What can be done, with what was answered.
    type Action: Debug;

    /// What it is after `action`; none: it cannot have answered so.
    fn after(&self, action: &Self::Action) -> Option<Self>;

    /// Whether `action` changes nothing, whenever it is done.
    fn reads(action: &Self::Action) -> bool;
}

/// Why a history is not linearizable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// No order explains it: the calls that none of the longest orders could go on with.
    NoOrder(String),
    /// The search was given up.
    TooHard,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoOrder(stuck) => write!(f, "no order explains the history; {stuck}"),
            Self::TooHard => write!(f, "the history is too hard to check"),
        }
    }
}

struct Frame<M> {
    state: M,
    done: Vec<u64>,
    completed: usize,
    /// Tried from the end.
    candidates: Vec<usize>,
}

/// Checks `history`, which is ordered by beginning, from `initial` on.
///
/// # Errors
/// [`Wrong`].
pub fn check<M: Model + Debug>(initial: M, history: &[Operation<M::Action>]) -> Result<(), Wrong> {
    let wanted = history.iter().filter(|operation| operation.returned.is_some()).count();
    let done = vec![0; history.len().div_ceil(64)];
    let mut tried: BTreeSet<(Vec<u64>, M)> = BTreeSet::new();
    let candidates = candidates(history, &done);
    let mut stack = vec![Frame { state: initial, done, completed: 0, candidates }];
    let mut furthest = (0, String::new());
    while let Some(frame) = stack.last_mut() {
        if frame.completed == wanted {
            return Ok(());
        }
        let Some(at) = frame.candidates.pop() else {
            stack.pop();
            continue;
        };
        let operation = &history[at];
        let Some(state) = frame.state.after(&operation.action) else { continue };
        // A read that may be first can be first in every order that explains the rest. A write that
        // changes nothing here may have to change something later.
        if operation.returned.is_some() && M::reads(&operation.action) {
            frame.candidates.clear();
        }
        let mut done = frame.done.clone();
        done[at / 64] |= 1 << (at % 64);
        let completed = frame.completed + usize::from(operation.returned.is_some());
        if !tried.insert((done.clone(), state.clone())) {
            continue;
        }
        if tried.len() > LOOKS_MAX {
            return Err(Wrong::TooHard);
        }
        let candidates = self::candidates(history, &done);
        if completed > furthest.0 {
            furthest = (completed, stuck(history, &state, &candidates));
        }
        stack.push(Frame { state, done, completed, candidates });
    }
    Err(Wrong::NoOrder(format!("{} of {wanted} calls are explained; {}", furthest.0, furthest.1)))
}

fn is_done(done: &[u64], at: usize) -> bool {
    done[at / 64] & (1 << (at % 64)) != 0
}

/// What may be next: nothing that is left ended before it began. Best last.
fn candidates<A>(history: &[Operation<A>], done: &[u64]) -> Vec<usize> {
    let mut first_end = u64::MAX;
    let mut found = Vec::new();
    for (at, operation) in history.iter().enumerate() {
        if operation.invoked > first_end {
            break;
        }
        if !is_done(done, at) {
            first_end = first_end.min(operation.returned.unwrap_or(u64::MAX));
            found.push(at);
        }
    }
    found.retain(|at| history[*at].invoked <= first_end);
    found.sort_by_key(|at| std::cmp::Reverse(history[*at].returned.unwrap_or(u64::MAX)));
    found
}

fn stuck<M: Debug, A: Debug>(history: &[Operation<A>], state: &M, next: &[usize]) -> String {
    let mut text = format!("in {state:?} none of these fits:");
    for at in next.iter().rev() {
        let Operation { by, invoked, returned, action } = &history[*at];
        text.push_str(&format!("\n  {by} {invoked}..{returned:?} {action:?}"));
    }
    text
}
