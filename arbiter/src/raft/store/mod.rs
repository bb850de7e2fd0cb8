//! The durable store: one engine with one write-ahead log for vote, log and snapshot, so that their
//! order on disk is the order in which they were written. Knows bytes and positions; never what a
//! command means.
//!
//! # Layout
//! - `engine`: what a store stands on; `rocks` with `options`, `writer` and `watermark`: RocksDB;
//!   `memory`: a disk in memory that loses what was not synced
//! - `log`, `tail`: vote and log for openraft, whatever they stand on
//! - `check`: what must hold when a store is opened

mod check;
mod engine;
mod log;
#[cfg(feature = "simulated")]
pub mod memory;
#[cfg(feature = "rocksdb")]
mod options;
#[cfg(feature = "rocksdb")]
mod rocks;
mod tail;
#[cfg(feature = "rocksdb")]
mod watermark;
#[cfg(feature = "rocksdb")]
mod writer;

use super::codec;
use super::frame;
use super::identity::Identity;
use super::machine::SnapshotStore;
use super::types::{RaftLogId, Snapshot};
use arbiter_proto::v1 as pb;
use bytes::Bytes;
use engine::{Change, Engine, SNAP, Waiting};
pub use log::LogStore;
#[cfg(feature = "rocksdb")]
pub use rocks::{StoreError, open};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::oneshot;

/// Keys of `meta`.
const VOTE: &[u8] = b"vote";
const COMMITTED: &[u8] = b"committed";
const PURGED: &[u8] = b"purged";
const IDENTITY: &[u8] = b"identity";
/// Key of `snap`.
const CURRENT: &[u8] = b"current";

/// What opening a store found and made.
pub struct Opened {
    /// For openraft.
    pub log: LogStore,
    /// For the state machine.
    pub snapshots: Arc<dyn SnapshotStore>,
    /// Whose disk this is.
    pub identity: Identity,
}

fn identity_stored(identity: &Identity) -> Vec<u8> {
    frame::seal(&pb::StoredIdentity {
        node_id: identity.node_id,
        cluster_id: identity.cluster_id.clone(),
        incarnation: identity.incarnation,
        format: super::identity::DISK_FORMAT,
    })
}

struct Snapshots {
    engine: Arc<dyn Engine>,
    /// Where the newest one ends that is kept, or is on its way to the disk.
    kept: Mutex<Option<RaftLogId>>,
}

impl Snapshots {
    fn new(engine: Arc<dyn Engine>, kept: Option<RaftLogId>) -> Self {
        Self { engine, kept: Mutex::new(kept) }
    }
}

#[async_trait::async_trait]
impl SnapshotStore for Snapshots {
    async fn keep(&self, snapshot: &Snapshot) -> io::Result<()> {
        {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            if *kept > snapshot.meta.last_log_id {
                return Ok(());
            }
            *kept = snapshot.meta.last_log_id;
        }
        let stored = pb::StoredSnapshot {
            meta: Some(codec::meta_to(&snapshot.meta)),
            data: Bytes::clone(&snapshot.snapshot),
        };
        let (sender, receiver) = oneshot::channel();
        let change = Change::Put(SNAP, CURRENT, frame::seal(&stored));
        self.engine.queue(vec![change], Waiting::Task(sender));
        receiver.await.unwrap_or_else(|_| Err(engine::stopped()))
    }

    fn current(&self) -> io::Result<Option<Snapshot>> {
        check::snapshot(&*self.engine)
    }
}

/// The key of entry `index`: big endian, so that the order of keys is the order of entries.
fn key(index: u64) -> [u8; 8] {
    index.to_be_bytes()
}
