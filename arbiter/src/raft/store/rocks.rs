//! The store on RocksDB: one database with one write-ahead log for vote, log and snapshot. Knows
//! the data directory and the database; never what a command means.

use super::engine::{Change, Disk, Engine, META, Scan, Waiting};
use super::watermark::Watermark;
use super::writer::Writer;
use super::{IDENTITY, LogStore, Opened, Snapshots, check, identity_stored, key, options};
use crate::raft::identity::{IdentityError, IdentityFile};
use nix::sys::statvfs::statvfs;
use rocksdb::properties::BACKGROUND_ERRORS;
use rocksdb::{ColumnFamily, DB, Direction, IteratorMode};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use thiserror::Error;

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
    pub(super) db: DB,
    pub(super) dir: PathBuf,
}

/// The database with the thread that writes into it.
struct Rocks {
    store: Arc<Store>,
    writer: Writer,
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
    let damaged =
        |error: io::Error| StoreError::Damaged { dir: dir.to_owned(), what: error.to_string() };
    let found = check::identity(&*store).map_err(damaged)?;
    file.agree(found.as_ref())?;
    let (tail, snapshot) = check::all(&*store).map_err(damaged)?;
    let writer = Writer::start(store.clone(), watermark).map_err(StoreError::Io)?;
    if found.is_none() {
        let stored = Change::Put(META, IDENTITY, identity_stored(file.identity()));
        writer.now(vec![stored]).map_err(StoreError::Io)?;
    }
    file.settle()?;
    let identity = file.identity().clone();
    let engine: Arc<dyn Engine> = Arc::new(Rocks { store, writer });
    let snapshots = Arc::new(Snapshots::new(engine.clone(), snapshot));
    Ok(Opened { log: LogStore::new(engine, tail), snapshots, identity })
}

impl Disk for Store {
    fn get(&self, family: &'static str, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        self.db.get_cf(self.family(family), key).map_err(|error| self.error("read", &error))
    }

    fn scan(&self, from: u64) -> Scan<'_> {
        let from = key(from);
        let mode = IteratorMode::From(&from, Direction::Forward);
        let entries = self.db.iterator_cf(self.family(super::engine::LOG), mode);
        Box::new(entries.map(|item| item.map_err(|error| self.error("read", &error))))
    }
}

impl Disk for Rocks {
    fn get(&self, family: &'static str, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        self.store.get(family, key)
    }

    fn scan(&self, from: u64) -> Scan<'_> {
        self.store.scan(from)
    }
}

impl Engine for Rocks {
    fn queue(&self, changes: Vec<Change>, waiting: Waiting) -> u64 {
        self.writer.queue(changes, waiting)
    }

    fn along(&self, change: Change) {
        self.writer.along(change);
    }

    fn written(&self) -> u64 {
        self.writer.written()
    }
}

impl Store {
    pub(super) fn family(&self, name: &str) -> &ColumnFamily {
        self.db.cf_handle(name).expect("every family is named when the database is opened")
    }

    /// In words that say what to do.
    pub(super) fn error(&self, doing: &str, error: &rocksdb::Error) -> io::Error {
        say(&self.dir, doing, error.as_ref())
    }

    /// What RocksDB's own work, flushing and compacting, failed at. It tries again by itself only
    /// where the disk was full, and says nothing meanwhile.
    pub(super) fn background_failure(&self) -> Option<io::Error> {
        let count = self.db.property_int_value(BACKGROUND_ERRORS).ok().flatten().unwrap_or(0);
        let full = statvfs(&self.dir)
            .is_ok_and(|disk| disk.blocks_available() * disk.fragment_size() < FREE_BYTES_MIN);
        let why = if full { "No space left on device" } else { "see the file LOG beside it" };
        (count > 0).then(|| say(&self.dir, "flush", &format!("failed {count} times: {why}")))
    }
}

pub(super) fn say(dir: &Path, doing: &str, error: &str) -> io::Error {
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

pub(super) fn refused(dir: &Path, error: &str) -> StoreError {
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
