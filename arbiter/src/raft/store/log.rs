//! Vote and log for openraft. Knows order and durability; never what an entry means.

use super::options::{LOG, META};
use super::writer::Writer;
use super::{COMMITTED, PURGED, Store, VOTE, key};
use crate::raft::codec;
use crate::raft::frame;
use crate::raft::types::{Entry, RaftLogId, TypeConfig, Vote};
use arbiter_proto::v1 as pb;
use openraft::storage::{IOFlushed, LogState, RaftLogStorage};
use openraft::{OptionalSend, RaftLogReader};
use rocksdb::{Direction, IteratorMode, WriteBatch};
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

/// Bytes of entries read for one AppendEntries; one entry alone may be larger.
pub const APPEND_BYTES_MAX: usize = 1 << 20;

/// Log and vote; clones share one database.
#[derive(Clone)]
pub struct LogStore {
    store: Arc<Store>,
    writer: Arc<Writer>,
}

impl LogStore {
    pub(super) fn new(store: Arc<Store>, writer: Arc<Writer>) -> Self {
        Self { store, writer }
    }

    /// Entries from `start` (inclusive) to `end` (exclusive), as far as they are there and until
    /// `bytes_max` are read.
    fn read(&self, start: u64, end: u64, bytes_max: usize) -> io::Result<Vec<Entry>> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut bytes = 0;
        let from = key(start);
        let mode = IteratorMode::From(&from, Direction::Forward);
        for item in self.store.db.iterator_cf(self.store.family(LOG), mode) {
            let (at, value) = item.map_err(|error| self.store.error("read", &error))?;
            let entry = super::check::entry(&self.store, &at, &value)?;
            if entry.log_id.index >= end {
                break;
            }
            if let Some(last) = entries.last()
                && last.log_id.index + 1 != entry.log_id.index
            {
                return Err(hole(last.log_id.index, entry.log_id.index));
            }
            bytes += value.len();
            if bytes > bytes_max && !entries.is_empty() {
                break;
            }
            entries.push(entry);
        }
        Ok(entries)
    }

    fn put_meta(&self, key: &[u8], message: &impl prost::Message) -> io::Result<()> {
        let mut batch = WriteBatch::default();
        batch.put_cf(self.store.family(META), key, frame::seal(message));
        self.store.write(batch)
    }
}

/// Entries are missing between two that are there.
pub(super) fn hole(before: u64, after: u64) -> io::Error {
    let text = format!("the log has a hole: entry {before} is followed by {after}");
    io::Error::new(io::ErrorKind::InvalidData, text)
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
        let Some(vote) = self.store.get::<pb::RaftVote>(META, VOTE)? else { return Ok(None) };
        codec::vote_from(Some(&vote)).map(Some).map_err(io::Error::other)
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        let purged = self.store.position(PURGED)?;
        let mut newest = self.store.db.iterator_cf(self.store.family(LOG), IteratorMode::End);
        let last = match newest.next() {
            Some(item) => {
                let (at, value) = item.map_err(|error| self.store.error("read", &error))?;
                Some(super::check::entry(&self.store, &at, &value)?.log_id)
            }
            None => purged,
        };
        Ok(LogState { last_purged_log_id: purged, last_log_id: last })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        self.put_meta(VOTE, &codec::vote_to(vote))?;
        self.writer.synced().await
    }

    async fn save_committed(&mut self, committed: Option<RaftLogId>) -> Result<(), io::Error> {
        // Not synced: the next sync carries it, and an older one only means more to apply again.
        match committed {
            Some(at) => self.put_meta(COMMITTED, &codec::log_id_to(&at)),
            None => Ok(()),
        }
    }

    async fn read_committed(&mut self) -> Result<Option<RaftLogId>, io::Error> {
        self.store.position(COMMITTED)
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
        let mut batch = WriteBatch::default();
        for entry in entries {
            let framed = frame::seal(&codec::entry_to(&entry));
            batch.put_cf(self.store.family(LOG), key(entry.log_id.index), framed);
        }
        // Readable from here on; acknowledged only once synced.
        self.store.write(batch)?;
        self.writer.append(callback);
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<RaftLogId>) -> Result<(), io::Error> {
        let from = last.map_or(0, |at| at.index + 1);
        let mut batch = WriteBatch::default();
        batch.delete_range_cf(self.store.family(LOG), key(from), key(u64::MAX));
        self.store.write(batch)
    }

    async fn purge(&mut self, upto: RaftLogId) -> Result<(), io::Error> {
        let mut batch = WriteBatch::default();
        batch.put_cf(self.store.family(META), PURGED, frame::seal(&codec::log_id_to(&upto)));
        batch.delete_range_cf(self.store.family(LOG), key(0), key(upto.index + 1));
        self.store.write(batch)
    }
}
