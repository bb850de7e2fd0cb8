//! What a stopped node's data directory holds. Knows the store; starts nothing.

use super::identity::Identity;
use super::machine::decode_state;
use super::state::core_log_id;
use super::store::{self, StoreError};
use super::types::Entry;
use arbiter_core::{LogId, State};
use openraft::{EntryPayload, RaftLogReader};
use std::path::Path;
use thiserror::Error;

/// Why nothing can be read from a data directory.
#[derive(Debug, Error)]
pub enum OfflineError {
    /// There is none.
    #[error("{0} is no data directory of an arbiter; name the one of a voter that is stopped")]
    Missing(String),
    /// It cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What is in it cannot be read.
    #[error("{0}")]
    Unreadable(String),
}

/// The State that the log in `dir` leads to, and the last entry in it. The last entries may never
/// have been committed: of a cluster that is gone for good they are the best that is known, and
/// what was acknowledged through this node is among them.
///
/// # Errors
/// [`OfflineError`].
pub async fn read(dir: &Path) -> Result<(State, LogId, Identity), OfflineError> {
    let missing = || OfflineError::Missing(dir.display().to_string());
    if !dir.join("db/CURRENT").exists() {
        return Err(missing());
    }
    let text = std::fs::read(dir.join("identity.json")).map_err(|_| missing())?;
    let known: Identity = serde_json::from_slice(&text)
        .map_err(|error| OfflineError::Unreadable(format!("identity.json: {error}")))?;
    let opened = store::open(dir, &known.cluster_id, known.node_id)?;
    let unreadable = |error: String| OfflineError::Unreadable(error);
    let snapshot = opened.snapshots.current().map_err(|error| unreadable(error.to_string()))?;
    let (mut state, mut last) = (State::default(), None);
    if let Some(snapshot) = snapshot {
        state = decode_state(&snapshot.meta, &snapshot.snapshot)
            .map_err(|error| unreadable(error.to_string()))?;
        last = snapshot.meta.last_log_id;
    }
    let mut log = opened.log;
    let entries = log.try_get_log_entries(last.map_or(0, |at| at.index + 1)..).await;
    for entry in entries.map_err(|error| unreadable(error.to_string()))? {
        last = Some(entry.log_id);
        state = follow(state, entry)?;
    }
    let last = last.map(core_log_id).ok_or_else(|| unreadable("its log is empty".to_owned()))?;
    if state.cluster_id.is_none() {
        return Err(unreadable("its cluster was never initialized".to_owned()));
    }
    Ok((state, last, opened.identity))
}

fn follow(state: State, entry: Entry) -> Result<State, OfflineError> {
    let EntryPayload::Normal(command) = entry.payload else { return Ok(state) };
    let at = core_log_id(entry.log_id);
    let proposal = command.decode().map_err(|error| {
        OfflineError::Unreadable(format!("entry {} is of a newer build: {error}", at.index))
    })?;
    Ok(arbiter_core::settle(&state, &proposal, at).state)
}
