//! What a store stands on. Knows tables, changes and who waits for them; never what they mean.

use crate::raft::types::{Entry, TypeConfig};
use openraft::storage::IOFlushed;
use std::io;
use std::sync::mpsc::SyncSender;
use tokio::sync::oneshot;

/// Vote, positions, identity.
pub const META: &str = "meta";
/// Entries by index.
pub const LOG: &str = "log";
/// The current snapshot.
pub const SNAP: &str = "snap";

/// Keys of the log with what stands under them, in order.
pub type Scan<'a> = Box<dyn Iterator<Item = io::Result<(Box<[u8]>, Box<[u8]>)>> + 'a>;

/// What was written can be read, durable or not.
pub trait Disk: Send + Sync + 'static {
    /// What stands under `key`; none: nothing.
    ///
    /// # Errors
    /// The disk's.
    fn get(&self, family: &'static str, key: &[u8]) -> io::Result<Option<Vec<u8>>>;

    /// The log from entry `from` on, as it is now, whatever is written meanwhile.
    fn scan(&self, from: u64) -> Scan<'_>;
}

/// Takes changes in one queue: their order on disk is the order in which they were asked for, so a
/// vote never overtakes an entry. All that queued up meanwhile is made durable as one.
pub trait Engine: Disk {
    /// Queues `changes`, durable when `waiting` hears so. The number of the job, from 1.
    fn queue(&self, changes: Vec<Change>, waiting: Waiting) -> u64;

    /// Goes along with the next write, after all that is queued before it, or with none if there is
    /// none: for what costs little when it is old. A newer one replaces one that still waits.
    fn along(&self, change: Change);

    /// Number of the last job that can be read.
    fn written(&self) -> u64;
}

/// A change of the tables.
pub enum Change {
    /// An entry of the log; encoded where it is written, not by who asks.
    Entry(Entry),
    /// A framed message.
    Put(&'static str, &'static [u8], Vec<u8>),
    /// Entries from the first (inclusive) to the second (exclusive) are gone.
    Forget(u64, u64),
}

/// Who waits until a change is durable.
pub enum Waiting {
    /// Nobody: the next sync carries it.
    None,
    /// openraft, for entries.
    Append(IOFlushed<TypeConfig>),
    /// A thread.
    #[cfg_attr(not(feature = "rocksdb"), allow(dead_code, reason = "only a start waits so"))]
    Call(SyncSender<io::Result<()>>),
    /// A task.
    Task(oneshot::Sender<io::Result<()>>),
}

impl Waiting {
    /// Says what became of it.
    pub fn done(self, result: io::Result<()>) {
        // A caller that went away needs no answer.
        match self {
            Self::None => {}
            Self::Append(callback) => callback.io_completed(result),
            Self::Call(sender) => drop(sender.send(result)),
            Self::Task(sender) => drop(sender.send(result)),
        }
    }
}

/// Changes on their way.
pub struct Job {
    /// From 1, in the order of the queue.
    pub number: u64,
    /// What changes.
    pub changes: Vec<Change>,
    /// Who waits.
    pub waiting: Waiting,
}

/// Nobody writes any more.
pub fn stopped() -> io::Error {
    io::Error::other("the log writer has stopped")
}
