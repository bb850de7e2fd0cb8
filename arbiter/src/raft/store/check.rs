//! What must hold of a store when it is opened. Knows how the parts depend on each other; changes
//! none of them.

use super::log::hole;
use super::options::{LOG, META};
use super::tail::Tail;
use super::{COMMITTED, IDENTITY, PURGED, Store, StoreError, VOTE};
use crate::raft::codec;
use crate::raft::frame;
use crate::raft::identity::Identity;
use crate::raft::machine::decode_state;
use crate::raft::types::{Entry, RaftLogId};
use arbiter_proto::v1 as pb;
use rocksdb::IteratorMode;
use std::io;

/// Whose database this is; none: it is new.
pub fn identity(store: &Store) -> Result<Option<Identity>, StoreError> {
    let found = store.get::<pb::StoredIdentity>(META, IDENTITY).map_err(damaged(store))?;
    Ok(found.map(|found| Identity {
        node_id: found.node_id,
        cluster_id: found.cluster_id,
        incarnation: found.incarnation,
    }))
}

/// Reads everything once: each checksum, each key, no hole, nothing missing that another part
/// says was there. What the log holds.
pub fn all(store: &Store) -> Result<Tail, StoreError> {
    everything(store).map_err(damaged(store))
}

fn damaged(store: &Store) -> impl Fn(io::Error) -> StoreError {
    let dir = store.dir.clone();
    move |error| StoreError::Damaged { dir: dir.clone(), what: error.to_string() }
}

fn everything(store: &Store) -> io::Result<Tail> {
    let vote = store.get::<pb::RaftVote>(META, VOTE)?;
    let vote = vote.map(|vote| codec::vote_from(Some(&vote))).transpose();
    let vote = vote.map_err(io::Error::other)?;
    let purged = store.position(PURGED)?;
    let committed = store.position(COMMITTED)?;
    let snapshot = store.snapshot()?;
    if let Some(snapshot) = &snapshot {
        decode_state(&snapshot.meta, &snapshot.snapshot).map_err(io::Error::other)?;
    }
    let in_snapshot = snapshot.and_then(|snapshot| snapshot.meta.last_log_id);
    if purged > in_snapshot {
        return Err(missing("entries were purged that no snapshot has", purged, in_snapshot));
    }
    let last = log(store, purged)?;
    if committed > last.max(in_snapshot) {
        return Err(missing("the log ends before what was committed", committed, last));
    }
    Ok(Tail::new(vote, committed, purged, last))
}

/// The last entry; the log must be whole from `purged` on.
fn log(store: &Store, purged: Option<RaftLogId>) -> io::Result<Option<RaftLogId>> {
    let mut last = purged;
    for item in store.db.iterator_cf(store.family(LOG), IteratorMode::Start) {
        let (key, value) = item.map_err(|error| store.error("read", &error))?;
        let found = entry(store, &key, &value)?.log_id;
        let expected = last.map_or(0, |last| last.index + 1);
        if found.index != expected {
            return Err(hole(expected.saturating_sub(1), found.index));
        }
        if last.is_some_and(|last| last.leader_id > found.leader_id) {
            return Err(missing("terms go backwards in the log", last, Some(found)));
        }
        last = Some(found);
    }
    Ok(last)
}

fn missing(what: &str, wanted: Option<RaftLogId>, found: Option<RaftLogId>) -> io::Error {
    let show = |at: Option<RaftLogId>| match at {
        Some(at) => format!("entry {} of term {}", at.index, at.leader_id.term),
        None => "none".to_owned(),
    };
    let text = format!("{what} ({}, and {})", show(wanted), show(found));
    io::Error::new(io::ErrorKind::InvalidData, text)
}

/// The entry under `key`, which must be its index.
pub fn entry(store: &Store, key: &[u8], value: &[u8]) -> io::Result<Entry> {
    let stored: pb::LogEntry = frame::open(value).map_err(|error| store.bad(key, &error))?;
    let entry = codec::entry_from(stored).map_err(io::Error::other)?;
    if key != entry.log_id.index.to_be_bytes() {
        let text = format!("log entry {} stands under another key", entry.log_id.index);
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    Ok(entry)
}
