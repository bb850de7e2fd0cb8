//! What must hold of a store when it is opened. Knows how the parts depend on each other; changes
//! none of them.

use super::engine::{Disk, META, SNAP};
use super::log::hole;
use super::tail::Tail;
use super::{COMMITTED, CURRENT, IDENTITY, PURGED, VOTE};
use crate::raft::codec;
use crate::raft::frame::{self, FrameError};
use crate::raft::identity::Identity;
use crate::raft::machine::decode_state;
use crate::raft::types::{Entry, RaftLogId, Snapshot};
use arbiter_proto::v1 as pb;
use prost::Message;
use std::io;

/// Whose database this is; none: it is new.
pub fn identity(disk: &dyn Disk) -> io::Result<Option<Identity>> {
    let found = message::<pb::StoredIdentity>(disk, META, IDENTITY)?;
    Ok(found.map(|found| Identity {
        node_id: found.node_id,
        cluster_id: found.cluster_id,
        incarnation: found.incarnation,
    }))
}

/// Reads everything once: each checksum, each key, no hole, nothing missing that another part
/// says was there. What the log holds, and where the snapshot ends.
pub fn all(disk: &dyn Disk) -> io::Result<(Tail, Option<RaftLogId>)> {
    let vote = message::<pb::RaftVote>(disk, META, VOTE)?;
    let vote = vote.map(|vote| codec::vote_from(Some(&vote))).transpose();
    let vote = vote.map_err(io::Error::other)?;
    let purged = position(disk, PURGED)?;
    let committed = position(disk, COMMITTED)?;
    let snapshot = snapshot(disk)?;
    if let Some(snapshot) = &snapshot {
        decode_state(&snapshot.meta, &snapshot.snapshot).map_err(io::Error::other)?;
    }
    let in_snapshot = snapshot.and_then(|snapshot| snapshot.meta.last_log_id);
    if purged > in_snapshot {
        return Err(missing("entries were purged that no snapshot has", purged, in_snapshot));
    }
    let last = log(disk, purged)?;
    if committed > last.max(in_snapshot) {
        return Err(missing("the log ends before what was committed", committed, last));
    }
    Ok((Tail::new(vote, committed, purged, last), in_snapshot))
}

/// The last entry; the log must be whole from `purged` on.
fn log(disk: &dyn Disk, purged: Option<RaftLogId>) -> io::Result<Option<RaftLogId>> {
    let mut last = purged;
    for item in disk.scan(0) {
        let (key, value) = item?;
        let found = entry(&key, &value)?.log_id;
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
pub fn entry(key: &[u8], value: &[u8]) -> io::Result<Entry> {
    let stored: pb::LogEntry = frame::open(value).map_err(|error| bad(key, &error))?;
    let entry = codec::entry_from(stored).map_err(io::Error::other)?;
    if key != entry.log_id.index.to_be_bytes() {
        let text = format!("log entry {} stands under another key", entry.log_id.index);
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    Ok(entry)
}

/// The snapshot kept.
pub fn snapshot(disk: &dyn Disk) -> io::Result<Option<Snapshot>> {
    let Some(stored) = message::<pb::StoredSnapshot>(disk, SNAP, CURRENT)? else {
        return Ok(None);
    };
    let meta = codec::meta_from(stored.meta.as_ref()).map_err(io::Error::other)?;
    Ok(Some(Snapshot { meta, snapshot: stored.data }))
}

fn position(disk: &dyn Disk, key: &[u8]) -> io::Result<Option<RaftLogId>> {
    Ok(message::<pb::LogPosition>(disk, META, key)?.as_ref().map(codec::log_id_from))
}

/// The framed message under `key`; none: never written.
fn message<M: Message + Default>(
    disk: &dyn Disk,
    family: &'static str,
    key: &[u8],
) -> io::Result<Option<M>> {
    let bytes = disk.get(family, key)?;
    bytes.map(|bytes| frame::open(&bytes).map_err(|error| bad(key, &error))).transpose()
}

fn bad(key: &[u8], error: &FrameError) -> io::Error {
    let key = match <[u8; 8]>::try_from(key) {
        Ok(index) => format!("log entry {}", u64::from_be_bytes(index)),
        Err(_) => format!("`{}`", String::from_utf8_lossy(key)),
    };
    io::Error::new(io::ErrorKind::InvalidData, format!("{key}: {error}"))
}
