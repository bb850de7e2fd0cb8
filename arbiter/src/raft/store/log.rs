//! Vote and log for openraft. Knows order and durability; never what an entry means.

use super::engine::{Change, Engine, META, Waiting, stopped};
use super::tail::{Tail, weight};
use super::{COMMITTED, PURGED, VOTE};
use crate::raft::codec;
use crate::raft::frame;
use crate::raft::types::{Entry, RaftLogId, TypeConfig, Vote};
use openraft::storage::{IOFlushed, LogState, RaftLogStorage};
use openraft::{OptionalSend, RaftLogReader};
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

/// Bytes of entries read for one AppendEntries; one entry alone may be larger.
pub const APPEND_BYTES_MAX: usize = 1 << 20;

/// Log and vote; clones share one database.
#[derive(Clone)]
pub struct LogStore {
    engine: Arc<dyn Engine>,
    tail: Arc<Mutex<Tail>>,
}

impl LogStore {
    pub(super) fn new(engine: Arc<dyn Engine>, tail: Tail) -> Self {
        Self { engine, tail: Arc::new(Mutex::new(tail)) }
    }

    fn tail(&self) -> MutexGuard<'_, Tail> {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Entries from `start` (inclusive) to `end` (exclusive), as far as they are there and until
    /// `bytes_max` are read.
    fn read(&self, start: u64, end: u64, bytes_max: usize) -> io::Result<Vec<Entry>> {
        let (older, newer) = {
            let tail = self.tail();
            let (range, newer) = tail.find(start, end);
            // It sees the database as it is now, under the lock: a truncation that follows cannot
            // come between the older entries and the newer.
            let older = (!range.is_empty()).then(|| (self.engine.scan(range.start), range.end));
            (older, newer)
        };
        let mut gathered = Gathered { entries: Vec::new(), bytes: 0, bytes_max };
        if let Some((older, end)) = older {
            for item in older {
                let (at, value) = item?;
                let entry = super::check::entry(&at, &value)?;
                if entry.log_id.index >= end {
                    break;
                }
                if !gathered.take(entry)? {
                    return Ok(gathered.entries);
                }
            }
        }
        for entry in newer {
            if !gathered.take(entry)? {
                break;
            }
        }
        Ok(gathered.entries)
    }
}

struct Gathered {
    entries: Vec<Entry>,
    bytes: usize,
    bytes_max: usize,
}

impl Gathered {
    /// False: there is no room for this one.
    fn take(&mut self, entry: Entry) -> io::Result<bool> {
        if let Some(last) = self.entries.last()
            && last.log_id.index + 1 != entry.log_id.index
        {
            return Err(hole(last.log_id.index, entry.log_id.index));
        }
        self.bytes += weight(&entry);
        if self.bytes > self.bytes_max && !self.entries.is_empty() {
            return Ok(false);
        }
        self.entries.push(entry);
        Ok(true)
    }
}

/// Entries are missing between two that are there.
pub(super) fn hole(before: u64, after: u64) -> io::Error {
    let text = format!("the log has a hole: entry {before} is followed by {after}");
    io::Error::new(io::ErrorKind::InvalidData, text)
}

fn position(key: &'static [u8], at: RaftLogId) -> Change {
    Change::Put(META, key, frame::seal(&codec::log_id_to(&at)))
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, io::Error> {
        let start = match range.start_bound() {
            Bound::Included(index) => *index,
            Bound::Excluded(index) => index + 1,
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(index) => index + 1,
            Bound::Excluded(index) => *index,
            Bound::Unbounded => u64::MAX,
        };
        self.read(start, end, usize::MAX)
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<Entry>, io::Error> {
        self.read(start, end, APPEND_BYTES_MAX)
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.tail().vote)
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        let tail = self.tail();
        Ok(LogState { last_purged_log_id: tail.purged(), last_log_id: tail.last() })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        self.tail().vote = Some(*vote);
        let framed = frame::seal(&codec::vote_to(vote));
        let (sender, receiver) = oneshot::channel();
        self.engine.queue(vec![Change::Put(META, VOTE, framed)], Waiting::Task(sender));
        receiver.await.unwrap_or_else(|_| Err(stopped()))
    }

    async fn save_committed(&mut self, committed: Option<RaftLogId>) -> Result<(), io::Error> {
        // Not waited for: the next write carries it, and an older one only means more to apply
        // again.
        if let Some(at) = committed {
            self.tail().committed = committed;
            self.engine.along(position(COMMITTED, at));
        }
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<RaftLogId>, io::Error> {
        Ok(self.tail().committed)
    }

    async fn append<I>(
        &mut self,
        entries: I,
        callback: IOFlushed<TypeConfig>,
    ) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        // Readable from here on; acknowledged only once durable.
        let mut tail = self.tail();
        let changes = entries.iter().cloned().map(Change::Entry).collect();
        let number = self.engine.queue(changes, Waiting::Append(callback));
        tail.append(entries, number, self.engine.written());
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<RaftLogId>) -> Result<(), io::Error> {
        self.tail().truncate(last);
        let from = last.map_or(0, |at| at.index + 1);
        self.engine.queue(vec![Change::Forget(from, u64::MAX)], Waiting::None);
        Ok(())
    }

    async fn purge(&mut self, upto: RaftLogId) -> Result<(), io::Error> {
        self.tail().purge(upto);
        let changes = vec![position(PURGED, upto), Change::Forget(0, upto.index + 1)];
        self.engine.queue(changes, Waiting::None);
        Ok(())
    }
}
