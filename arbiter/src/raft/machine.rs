//! The state machine: applies entries through the core, keeps and installs snapshots. Knows how
//! State is carried; never what a command means.
//!
//! State lives in memory. Snapshots are durable, and so is the position to which entries are
//! known to be committed: after a restart the entries between the two are applied again, which
//! gives the same State, since `settle` reads nothing else.

use super::codec::{self, Malformed};
use super::frame::{self, FrameError};
use super::state::{Applied, StateCell, core_log_id};
use super::types::{Entry, RaftLogId, Snapshot, SnapshotMeta, StoredMembership, TypeConfig};
use arbiter_core::State;
use arbiter_proto::v1 as pb;
use bytes::Bytes;
use futures::{Stream, StreamExt};
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::{EntryPayload, RaftSnapshotBuilder};
use std::io;
use std::sync::Arc;
use tokio::sync::Mutex;

/// Where the current snapshot is kept. At most one; a newer one replaces it in one durable step.
#[async_trait::async_trait]
pub trait SnapshotStore: Send + Sync + 'static {
    /// Keeps `snapshot` durably, unless a newer one is already kept.
    ///
    /// # Errors
    /// The disk's; the node must stop.
    async fn keep(&self, snapshot: &Snapshot) -> io::Result<()>;

    /// The one kept.
    ///
    /// # Errors
    /// The disk's, or damage.
    fn current(&self) -> io::Result<Option<Snapshot>>;
}

/// Applies entries to a [`StateCell`].
#[derive(Clone)]
pub struct StateMachine {
    cell: StateCell,
    store: Arc<dyn SnapshotStore>,
    // Building and installing must not overtake each other between "is mine newer?" and "keep".
    keeping: Arc<Mutex<()>>,
}

impl StateMachine {
    /// A machine that publishes into `cell`.
    pub fn new(cell: StateCell, store: Arc<dyn SnapshotStore>) -> Self {
        Self { cell, store, keeping: Arc::default() }
    }

    fn apply_one(&self, entry: Entry) -> io::Result<super::types::Response> {
        let at = core_log_id(entry.log_id);
        let log_id = entry.log_id;
        match entry.payload {
            EntryPayload::Blank => self.cell.publish(|current| current.applied = Some(log_id)),
            EntryPayload::Membership(membership) => self.cell.publish(|current| {
                current.applied = Some(log_id);
                current.membership = StoredMembership::new(Some(log_id), membership);
            }),
            EntryPayload::Normal(command) => {
                // Skipping what cannot be read would make this replica differ from the others.
                let proposal = command.decode().map_err(|error| unreadable(log_id, &error))?;
                let before = self.cell.get();
                let settled = arbiter_core::settle(&before, &proposal, at);
                let state = Arc::new(settled.state);
                self.cell.publish(|current| {
                    current.state = state;
                    current.applied = Some(log_id);
                });
                let outcome = settled.outcome;
                let events = Arc::new(settled.events);
                self.cell.tell(Applied { at, events, outcome: outcome.clone() });
                return Ok(outcome);
            }
        }
        let events = Arc::default();
        self.cell.tell(Applied { at, events, outcome: Ok(at.index) });
        Ok(Ok(at.index))
    }
}

fn unreadable(at: RaftLogId, error: &serde_json::Error) -> io::Error {
    io::Error::other(format!(
        "entry {} of the log is not known to this build ({error}); install the version that the \
         other arbiters run",
        at.index
    ))
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotData = Bytes;
    type SnapshotBuilder = SnapshotBuilder;

    async fn applied_state(&mut self) -> Result<(Option<RaftLogId>, StoredMembership), io::Error> {
        let current = self.cell.current();
        Ok((current.applied, current.membership))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + Send,
    {
        while let Some(next) = entries.next().await {
            let (entry, responder) = next?;
            let response = self.apply_one(entry)?;
            if let Some(responder) = responder {
                responder.send(response);
            }
        }
        Ok(())
    }

    async fn try_create_snapshot_builder(&mut self, _force: bool) -> Option<SnapshotBuilder> {
        Some(self.get_snapshot_builder().await)
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder {
        // Taken here, in turn with `apply`: data and position belong together whatever is applied
        // while the snapshot is being built.
        SnapshotBuilder { machine: self.clone(), current: self.cell.current() }
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: Bytes,
    ) -> Result<(), io::Error> {
        // Decoded whole before anything changes.
        let state = decode_state(meta, &snapshot).map_err(io::Error::other)?;
        let kept = Snapshot { meta: meta.clone(), snapshot };
        self.keep(&kept).await?;
        self.cell.publish(|current| {
            current.state = Arc::new(state);
            current.applied = meta.last_log_id;
            current.membership = meta.last_membership.clone();
        });
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        self.store.current()
    }
}

impl StateMachine {
    async fn keep(&self, snapshot: &Snapshot) -> io::Result<()> {
        let _turn = self.keeping.lock().await;
        self.store.keep(snapshot).await
    }
}

/// Builds a snapshot of the State it was created with.
pub struct SnapshotBuilder {
    machine: StateMachine,
    current: super::state::Current,
}

impl RaftSnapshotBuilder<TypeConfig> for SnapshotBuilder {
    type SnapshotData = Bytes;

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        let current = self.current.clone();
        let meta = SnapshotMeta {
            last_log_id: current.applied,
            last_membership: current.membership.clone(),
        };
        let stored = pb::StoredState {
            applied: current.applied.as_ref().map(codec::log_id_to),
            membership: Some(codec::stored_membership_to(&current.membership)),
            state: Bytes::from(serde_json::to_vec(&*current.state).map_err(io::Error::other)?),
        };
        let snapshot = Snapshot { meta, snapshot: Bytes::from(frame::seal(&stored)) };
        self.machine.keep(&snapshot).await?;
        Ok(snapshot)
    }
}

/// Why a snapshot cannot be installed.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// Damaged or of another format.
    #[error("snapshot: {0}")]
    Frame(#[from] FrameError),
    /// Contradicts itself.
    #[error("snapshot: {0}")]
    Malformed(#[from] Malformed),
    /// Made by a build with another State.
    #[error(
        "snapshot: this build cannot read the State in it: {0}; install the version that the \
             other arbiters run"
    )]
    State(#[from] serde_json::Error),
}

/// The State in `data`, which must be what `meta` says.
///
/// # Errors
/// [`SnapshotError`].
pub fn decode_state(meta: &SnapshotMeta, data: &[u8]) -> Result<State, SnapshotError> {
    let stored: pb::StoredState = frame::open(data)?;
    if stored.applied.as_ref().map(codec::log_id_from) != meta.last_log_id {
        return Err(Malformed("snapshot: head and data are of different entries").into());
    }
    Ok(serde_json::from_slice(&stored.state)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::types::Command;

    struct Nowhere;

    #[async_trait::async_trait]
    impl SnapshotStore for Nowhere {
        async fn keep(&self, _: &Snapshot) -> io::Result<()> {
            Ok(())
        }

        fn current(&self) -> io::Result<Option<Snapshot>> {
            Ok(None)
        }
    }

    /// A replica that skipped it would differ from those that know it, and go on.
    #[tokio::test]
    async fn a_command_of_a_newer_build_stops_the_replica_and_is_not_skipped() {
        let cell = StateCell::new();
        let mut machine = StateMachine::new(cell.clone(), Arc::new(Nowhere));
        let json = r#"{"request":null,"by":"policy","reason":"","wall":0,
            "command":{"of-a-newer-build":{"field":1}}}"#;
        let log_id = RaftLogId { leader_id: 1.into(), index: 7 };
        let payload = EntryPayload::Normal(Command(Bytes::from(json)));
        let entry = Entry { log_id, payload };
        let entries = futures::stream::iter([Ok((entry, None))]);
        let error = machine.apply(entries).await.expect_err("it is not known here");
        let text = error.to_string();
        assert!(text.contains("entry 7") && text.contains("install the version"), "{text}");
        assert_eq!(cell.applied_index(), 0, "nothing was applied");
    }
}
