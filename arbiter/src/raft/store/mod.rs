//! The durable store: one RocksDB with one write-ahead log for vote, log and snapshot, so that
//! their order on disk is the order in which they were written. Knows bytes and positions; never
//! what a command means.

mod check;
mod log;
mod options;
mod tail;
mod watermark;
mod writer;

use super::codec;
use super::frame::{self, FrameError};
use super::identity::{Identity, IdentityError, IdentityFile};
use super::machine::SnapshotStore;
use super::types::{RaftLogId, Snapshot};
use arbiter_proto::v1 as pb;
use bytes::Bytes;
pub use log::LogStore;
use nix::sys::statvfs::statvfs;
use options::{META, SNAP};
use prost::Message;
use rocksdb::properties::BACKGROUND_ERRORS;
use rocksdb::{ColumnFamily, DB};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use thiserror::Error;
use watermark::Watermark;
use writer::{Change, Writer};

/// Keys of `meta`.
const VOTE: &[u8] = b"vote";
const COMMITTED: &[u8] = b"committed";
const PURGED: &[u8] = b"purged";
const IDENTITY: &[u8] = b"identity";
/// Key of `snap`.
const CURRENT: &[u8] = b"current";

/// A disk with less than this is called full: a memtable would not fit.
const FREE_BYTES_MIN: u64 = 2 << 20;

/// Why the store cannot be opened. Every case ends the start.
#[derive(Debug, Error)]
pub enum StoreError {
    /// Not the disk it should be.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// Another process has it open.
    #[error("{0} is in use by another process: is this node already running?")]
    InUse(PathBuf),
    /// What was stored is not what is there.
    #[error(
        "{dir} is damaged: {what}. The node does not start, since what it acknowledged may be \
         lost. Replace it: remove this node and add an empty one under a new id; do not repair"
    )]
    Damaged {
        /// The data directory.
        dir: PathBuf,
        /// What is wrong, and where.
        what: String,
    },
    /// The file system refused; trying again may help once the cause is gone.
    #[error("{0}")]
    Io(io::Error),
}

/// The open database.
pub struct Store {
    db: DB,
    dir: PathBuf,
}

/// What [`open`] found and made.
pub struct Opened {
    /// For openraft.
    pub log: LogStore,
    /// For the state machine.
    pub snapshots: Arc<dyn SnapshotStore>,
    /// Whose disk this is.
    pub identity: Identity,
}

/// Opens the store in `dir`, or makes one there, and verifies all of it.
///
/// # Errors
/// [`StoreError`].
pub fn open(dir: &Path, cluster_id: &str, node_id: u64) -> Result<Opened, StoreError> {
    std::fs::create_dir_all(dir).map_err(|error| refused(dir, &error.to_string()))?;
    let path = dir.join("db");
    let there = path.join("CURRENT").exists();
    let mut file = IdentityFile::open(dir, cluster_id, node_id, there)?;
    let db = DB::open_cf_descriptors(&options::database(), &path, options::families())
        .map_err(|error| open_error(dir, &error))?;
    let store = Arc::new(Store { db, dir: dir.to_owned() });
    // First, so that a log that lost its beginning is not taken for a lost database.
    let watermark = Watermark::open(dir, &store)?;
    let found = check::identity(&store)?;
    file.agree(found.as_ref())?;
    let tail = check::all(&store)?;
    let writer = Arc::new(Writer::start(store.clone(), watermark).map_err(StoreError::Io)?);
    if found.is_none() {
        writer.now(vec![identity_change(file.identity())]).map_err(StoreError::Io)?;
    }
    file.settle()?;
    let identity = file.identity().clone();
    let snapshots = Arc::new(Snapshots { store: store.clone(), writer: writer.clone() });
    Ok(Opened { log: LogStore::new(store, writer, tail), snapshots, identity })
}

impl Store {
    fn family(&self, name: &str) -> &ColumnFamily {
        self.db.cf_handle(name).expect("every family is named when the database is opened")
    }

    /// The framed message under `key`; none: never written.
    fn get<M: Message + Default>(&self, family: &str, key: &[u8]) -> io::Result<Option<M>> {
        let bytes = self
            .db
            .get_pinned_cf(self.family(family), key)
            .map_err(|error| self.error("read", &error))?;
        match bytes {
            Some(bytes) => Ok(Some(frame::open(&bytes).map_err(|error| self.bad(key, &error))?)),
            None => Ok(None),
        }
    }

    fn position(&self, key: &[u8]) -> io::Result<Option<RaftLogId>> {
        Ok(self.get::<pb::LogPosition>(META, key)?.as_ref().map(codec::log_id_from))
    }

    fn snapshot(&self) -> io::Result<Option<Snapshot>> {
        let Some(stored) = self.get::<pb::StoredSnapshot>(SNAP, CURRENT)? else {
            return Ok(None);
        };
        let meta = codec::meta_from(stored.meta.as_ref()).map_err(io::Error::other)?;
        Ok(Some(Snapshot { meta, snapshot: stored.data }))
    }

    /// In words that say what to do.
    fn error(&self, doing: &str, error: &rocksdb::Error) -> io::Error {
        say(&self.dir, doing, error.as_ref())
    }

    /// What RocksDB's own work, flushing and compacting, failed at. It tries again by itself only
    /// where the disk was full, and says nothing meanwhile.
    fn background_failure(&self) -> Option<io::Error> {
        let count = self.db.property_int_value(BACKGROUND_ERRORS).ok().flatten().unwrap_or(0);
        let full = statvfs(&self.dir)
            .is_ok_and(|disk| disk.blocks_available() * disk.fragment_size() < FREE_BYTES_MIN);
        let why = if full { "No space left on device" } else { "see the file LOG beside it" };
        (count > 0).then(|| say(&self.dir, "flush", &format!("failed {count} times: {why}")))
    }

    fn bad(&self, key: &[u8], error: &FrameError) -> io::Error {
        let key = match <[u8; 8]>::try_from(key) {
            Ok(index) => format!("log entry {}", u64::from_be_bytes(index)),
            Err(_) => format!("`{}`", String::from_utf8_lossy(key)),
        };
        io::Error::new(io::ErrorKind::InvalidData, format!("{key}: {error}"))
    }
}

fn identity_change(identity: &Identity) -> Change {
    let stored = pb::StoredIdentity {
        node_id: identity.node_id,
        cluster_id: identity.cluster_id.clone(),
        incarnation: identity.incarnation,
        format: super::identity::DISK_FORMAT,
    };
    Change::Put(META, IDENTITY, frame::seal(&stored))
}

fn say(dir: &Path, doing: &str, error: &str) -> io::Error {
    let dir = dir.display();
    if error.contains("No space left") || error.contains("Disk quota") {
        let text = format!(
            "no space left on the disk that holds {dir}: nothing acknowledged is lost; free some \
             space and start this node again ({doing}: {error})"
        );
        return io::Error::new(io::ErrorKind::StorageFull, text);
    }
    io::Error::other(format!("{dir}: {doing}: {error}"))
}

fn refused(dir: &Path, error: &str) -> StoreError {
    StoreError::Io(say(dir, "open", error))
}

fn open_error(dir: &Path, error: &rocksdb::Error) -> StoreError {
    let text = error.to_string();
    match error.kind() {
        rocksdb::ErrorKind::Corruption | rocksdb::ErrorKind::NotFound => {
            StoreError::Damaged { dir: dir.to_owned(), what: text }
        }
        _ if text.contains("lock") => StoreError::InUse(dir.to_owned()),
        _ => refused(dir, &text),
    }
}

struct Snapshots {
    store: Arc<Store>,
    writer: Arc<Writer>,
}

impl SnapshotStore for Snapshots {
    fn keep(&self, snapshot: &Snapshot) -> io::Result<()> {
        let kept = self.store.get::<pb::StoredSnapshot>(SNAP, CURRENT)?;
        let kept = kept.and_then(|kept| kept.meta).and_then(|meta| meta.last);
        if kept.as_ref().map(codec::log_id_from) > snapshot.meta.last_log_id {
            return Ok(());
        }
        let stored = pb::StoredSnapshot {
            meta: Some(codec::meta_to(&snapshot.meta)),
            data: Bytes::clone(&snapshot.snapshot),
        };
        self.writer.now(vec![Change::Put(SNAP, CURRENT, frame::seal(&stored))])
    }

    fn current(&self) -> io::Result<Option<Snapshot>> {
        self.store.snapshot()
    }
}

/// The key of entry `index`: big endian, so that the order of keys is the order of entries.
fn key(index: u64) -> [u8; 8] {
    index.to_be_bytes()
}
