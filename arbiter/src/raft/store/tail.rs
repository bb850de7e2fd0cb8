//! The newest end of the log, in memory. Knows which entries are there and which the database may
//! not have yet; never the database.

use crate::raft::types::{Entry, RaftLogId, Vote};
use openraft::EntryPayload;
use std::collections::VecDeque;

/// Written entries kept, so that what was just appended is replicated and applied without a read.
const ENTRIES_MAX: usize = 256;
/// And their bytes.
const BYTES_MAX: usize = 1 << 20;
/// What an entry weighs beside its command.
const ENTRY_BYTES: usize = 64;

/// What the log holds, as everybody but the disk sees it.
#[derive(Debug, Default)]
pub struct Tail {
    /// The last vote saved.
    pub vote: Option<Vote>,
    /// The last position known to be committed.
    pub committed: Option<RaftLogId>,
    purged: Option<RaftLogId>,
    last: Option<RaftLogId>,
    // Without a hole up to `last`, each with the number of the job that writes it.
    entries: VecDeque<(Entry, u64)>,
    bytes: usize,
}

impl Tail {
    /// Of a log that the database has whole.
    pub fn new(
        vote: Option<Vote>,
        committed: Option<RaftLogId>,
        purged: Option<RaftLogId>,
        last: Option<RaftLogId>,
    ) -> Self {
        Self { vote, committed, purged, last, ..Self::default() }
    }

    /// The last entry purged.
    pub fn purged(&self) -> Option<RaftLogId> {
        self.purged
    }

    /// The last entry there is, or the last purged.
    pub fn last(&self) -> Option<RaftLogId> {
        self.last.max(self.purged)
    }

    /// `entries` follow; job `number` writes them. Those of jobs up to `written` may go.
    pub fn append(&mut self, entries: Vec<Entry>, number: u64, written: u64) {
        for entry in entries {
            self.last = Some(entry.log_id);
            self.bytes += weight(&entry);
            self.entries.push_back((entry, number));
        }
        while self.entries.len() > ENTRIES_MAX || self.bytes > BYTES_MAX {
            // What the database may not have yet is kept, however much it is.
            if self.entries.front().is_none_or(|(_, number)| *number > written) {
                break;
            }
            self.drop_first();
        }
    }

    /// Entries after `last` are gone.
    pub fn truncate(&mut self, last: Option<RaftLogId>) {
        let keep = last.map_or(0, |at| at.index + 1);
        while self.entries.back().is_some_and(|(entry, _)| entry.log_id.index >= keep) {
            if let Some((entry, _)) = self.entries.pop_back() {
                self.bytes -= weight(&entry);
            }
        }
        if self.last.is_some_and(|at| at.index >= keep) {
            self.last = last;
        }
    }

    /// Entries up to `upto` are gone.
    pub fn purge(&mut self, upto: RaftLogId) {
        while self.entries.front().is_some_and(|(entry, _)| entry.log_id.index <= upto.index) {
            self.drop_first();
        }
        self.purged = self.purged.max(Some(upto));
    }

    /// `start..end` as far as there is something: first what only the database has, then the rest.
    pub fn find(&self, start: u64, end: u64) -> (std::ops::Range<u64>, Vec<Entry>) {
        let start = start.max(self.purged.map_or(0, |at| at.index + 1));
        let end = end.min(self.last().map_or(0, |at| at.index + 1));
        let here = self.entries.front().map_or(end, |(entry, _)| entry.log_id.index);
        let found = self.entries.iter().map(|(entry, _)| entry);
        let found = found
            .skip_while(|entry| entry.log_id.index < start)
            .take_while(|entry| entry.log_id.index < end);
        (start..end.min(here), found.cloned().collect())
    }

    fn drop_first(&mut self) {
        if let Some((entry, _)) = self.entries.pop_front() {
            self.bytes -= weight(&entry);
        }
    }
}

/// Bytes of an entry, roughly.
pub fn weight(entry: &Entry) -> usize {
    ENTRY_BYTES
        + match &entry.payload {
            EntryPayload::Normal(command) => command.0.len(),
            _ => 0,
        }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::types::Command;
    use bytes::Bytes;

    fn entries(term: u64, indexes: std::ops::Range<u64>) -> Vec<Entry> {
        let payload = || EntryPayload::Normal(Command(Bytes::from_static(b"command")));
        indexes
            .map(|index| Entry {
                log_id: RaftLogId { leader_id: term.into(), index },
                payload: payload(),
            })
            .collect()
    }

    fn indexes(found: &[Entry]) -> Vec<u64> {
        found.iter().map(|entry| entry.log_id.index).collect()
    }

    #[test]
    fn what_the_database_may_not_have_stays_in_memory() {
        let mut tail = Tail::default();
        for index in 0..1000 {
            tail.append(entries(1, index..index + 1), index + 1, 10);
        }
        // Jobs 1 to 10 wrote entries 0 to 9.
        let (database, memory) = tail.find(0, u64::MAX);
        assert_eq!((database, indexes(&memory)), (0..10, (10..1000).collect()));
        tail.append(entries(1, 1000..1001), 1001, 1000);
        let (database, memory) = tail.find(0, u64::MAX);
        assert_eq!(database, 0..1001 - ENTRIES_MAX as u64);
        assert_eq!(memory.len(), ENTRIES_MAX);
    }

    #[test]
    fn entries_written_anew_after_a_truncation_are_never_read_from_the_database() {
        let mut tail = Tail::new(None, None, None, entries(1, 9..10).first().map(|e| e.log_id));
        assert_eq!(tail.find(0, 100).0, 0..10);
        tail.truncate(entries(1, 4..5).first().map(|e| e.log_id));
        assert_eq!(tail.find(0, 100), (0..5, Vec::new()));
        // The database still has the old 5 to 9 until job 7 is written.
        tail.append(entries(2, 5..8), 7, 6);
        let (database, memory) = tail.find(3, 100);
        assert_eq!((database, indexes(&memory)), (3..5, vec![5, 6, 7]));
        assert!(memory.iter().all(|entry| entry.log_id.leader_id.term == 2));
    }

    #[test]
    fn what_was_purged_is_not_found_and_a_purge_may_go_beyond_the_end() {
        let mut tail = Tail::default();
        tail.append(entries(1, 0..10), 1, 0);
        let at = |index| entries(1, index..index + 1)[0].log_id;
        tail.purge(at(3));
        assert_eq!(indexes(&tail.find(0, 6).1), vec![4, 5]);
        tail.purge(at(20));
        assert_eq!(tail.find(0, 100).1, Vec::new());
        assert_eq!((tail.purged(), tail.last()), (Some(at(20)), Some(at(20))));
        tail.append(entries(1, 21..22), 2, 0);
        assert_eq!(indexes(&tail.find(0, 100).1), vec![21]);
    }
}
