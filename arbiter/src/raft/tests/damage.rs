//! Torn and flipped bytes: either everything acknowledged is there, or the node says why it does
//! not start.

use super::kit;
use crate::raft::identity::IdentityError;
use crate::raft::store::StoreError;
use crate::raft::types::{Entry, Vote};
use openraft::RaftLogReader;
use openraft::storage::RaftLogStorage;
use std::fs;
use std::path::{Path, PathBuf};

/// Entries in the store that is damaged.
const ENTRIES: u64 = 40;
/// Header of a record of RocksDB's log: checksum, length (little endian), type.
const LENGTH_AT: usize = 4;
const HEAD_BYTES: usize = 7;

/// A closed store with acknowledged entries and a vote.
fn store(dir: &Path, entry_bytes: usize) {
    kit::runtime().block_on(async {
        let mut opened = kit::open_store(dir).expect("a new store opens");
        opened.log.save_vote(&Vote::new_committed(3, 1)).await.expect("saved");
        for index in 0..ENTRIES {
            let entry = kit::entry(3, index, entry_bytes);
            kit::append(&mut opened.log, vec![entry]).await.expect("acknowledged");
        }
    });
}

fn expected(entry_bytes: usize) -> Vec<Entry> {
    (0..ENTRIES).map(|index| kit::entry(3, index, entry_bytes)).collect()
}

fn read(dir: &Path) -> Result<(Option<Vote>, Vec<Entry>), StoreError> {
    kit::runtime().block_on(async {
        let mut opened = kit::open_store(dir)?;
        let vote = opened.log.read_vote().await.expect("readable once open");
        let entries = kit::read_all(&mut opened.log).await.expect("readable once open");
        Ok((vote, entries))
    })
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    for item in fs::read_dir(from).expect("readable") {
        let item = item.expect("readable");
        let target = to.join(item.file_name());
        if item.file_type().expect("known").is_dir() {
            copy(&item.path(), &target);
        } else {
            fs::copy(item.path(), target).expect("copied");
        }
    }
}

/// Files of the database that end in `extension`, largest last.
fn files(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(dir.join("db"))
        .expect("readable")
        .map(|item| item.expect("readable").path())
        .filter(|path| path.extension().is_some_and(|e| e == extension))
        .collect();
    files.sort_by_key(|path| fs::metadata(path).map_or(0, |meta| meta.len()));
    files
}

/// Where each record of a log file begins, as long as they are whole records.
fn records(log: &[u8]) -> Vec<usize> {
    let mut starts = Vec::new();
    let mut at = 0;
    while at + HEAD_BYTES < log.len() {
        let length = u16::from_le_bytes([log[at + LENGTH_AT], log[at + LENGTH_AT + 1]]);
        starts.push(at);
        at += HEAD_BYTES + length as usize;
    }
    starts
}

/// Flips one bit of `file`, a file of the store in `dir`, in a copy of the whole, and opens it.
/// True: it opened, with everything in it.
fn survives(dir: &Path, file: &Path, byte: usize, bit: u8, entry_bytes: usize) -> bool {
    let scratch = tempfile::tempdir().expect("a directory");
    copy(dir, scratch.path());
    let damaged = scratch.path().join("db").join(file.file_name().expect("a file"));
    let mut bytes = fs::read(&damaged).expect("readable");
    bytes[byte] ^= 1 << bit;
    fs::write(&damaged, bytes).expect("writable");
    match read(scratch.path()) {
        Ok((vote, entries)) => {
            let what = format!("byte {byte} bit {bit} of {}", file.display());
            assert_eq!(vote, Some(Vote::new_committed(3, 1)), "vote lost in silence: {what}");
            assert!(entries == expected(entry_bytes), "entries lost in silence: {what}");
            true
        }
        Err(error) => {
            let text = error.to_string();
            assert!(matches!(error, StoreError::Damaged { .. }), "{text}");
            assert!(text.contains("new id"), "says what to do: {text}");
            false
        }
    }
}

#[test]
fn a_torn_tail_opens_with_everything_acknowledged() {
    let dir = tempfile::tempdir().expect("a directory");
    store(dir.path(), 100);
    let log = files(dir.path(), "log").pop().expect("a write-ahead log");
    let mut bytes = fs::read(&log).expect("readable");
    // The first bytes of a record that was being written when the power went.
    let last = *records(&bytes).last().expect("records");
    let torn = bytes[last..last + (bytes.len() - last) / 2].to_vec();
    bytes.extend_from_slice(&torn);
    fs::write(&log, bytes).expect("writable");
    let (vote, entries) = read(dir.path()).expect("an unfinished write is no damage");
    assert_eq!(vote, Some(Vote::new_committed(3, 1)));
    assert_eq!(entries, expected(100));
}

#[test]
fn a_cut_into_what_was_acknowledged_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    store(dir.path(), 100);
    let log = files(dir.path(), "log").pop().expect("a write-ahead log");
    let bytes = fs::read(&log).expect("readable");
    let last = *records(&bytes).last().expect("records");
    fs::write(&log, &bytes[..last + 20]).expect("writable");
    let error = read(dir.path()).expect_err("an acknowledged entry is gone");
    assert!(error.to_string().contains("acknowledged"), "{error}");
}

#[test]
fn no_flipped_bit_in_the_log_loses_an_entry_in_silence() {
    let dir = tempfile::tempdir().expect("a directory");
    store(dir.path(), 100);
    let log = files(dir.path(), "log").pop().expect("a write-ahead log");
    let bytes = fs::read(&log).expect("readable");
    let starts = records(&bytes);
    let mut refused = 0;
    // A length that points beyond the end looks like an unfinished write, to RocksDB.
    for start in starts.iter().rev().take(3).chain(starts.iter().take(3)) {
        for (byte, bit) in [(LENGTH_AT, 0), (LENGTH_AT + 1, 6), (6, 3), (0, 1)] {
            refused += usize::from(!survives(dir.path(), &log, start + byte, bit, 100));
        }
    }
    for step in 0..12 {
        let byte = (step * 7919 + 13) % bytes.len();
        refused += usize::from(!survives(dir.path(), &log, byte, (step % 8) as u8, 100));
    }
    assert!(refused > 30, "flipped bits are noticed: {refused}");
}

#[test]
fn no_flipped_bit_in_a_table_loses_an_entry_in_silence() {
    let dir = tempfile::tempdir().expect("a directory");
    // More than a memtable, so that tables are written.
    let entry_bytes = 100_000;
    store(dir.path(), entry_bytes);
    drop(kit::open_store(dir.path()).expect("opening writes the rest into tables"));
    let table = files(dir.path(), "sst").pop().expect("a table");
    let length = fs::metadata(&table).expect("there").len() as usize;
    let refused = (0..8)
        .filter(|step| !survives(dir.path(), &table, length * step / 9 + 50, 2, entry_bytes))
        .count();
    assert!(refused >= 6, "flipped bits are noticed: {refused}");
}

#[test]
fn a_lost_database_a_lost_file_and_a_foreign_disk_are_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    store(dir.path(), 100);
    let identity = |error| match error {
        StoreError::Identity(error) => error,
        other => panic!("{other}"),
    };
    let other = crate::raft::store::open(dir.path(), kit::CLUSTER, 2).err().map(identity);
    assert!(matches!(other, Some(IdentityError::NotThisNode { .. })), "{other:?}");

    let twin = tempfile::tempdir().expect("a directory");
    store(twin.path(), 100);
    let file = dir.path().join("identity.json");
    let own = fs::read(&file).expect("readable");
    fs::copy(twin.path().join("identity.json"), &file).expect("copied");
    let error = read(dir.path()).err().map(identity);
    assert!(matches!(error, Some(IdentityError::TwoLives { .. })), "{error:?}");

    fs::remove_file(&file).expect("removed");
    let error = read(dir.path()).err().map(identity);
    assert!(matches!(error, Some(IdentityError::FileLost(_))), "{error:?}");

    fs::write(&file, own).expect("restored");
    fs::remove_dir_all(dir.path().join("db")).expect("removed");
    let error = read(dir.path()).err().map(identity);
    assert!(matches!(error, Some(IdentityError::DatabaseLost(..))), "{error:?}");
}

#[test]
fn a_second_process_is_kept_out() {
    let dir = tempfile::tempdir().expect("a directory");
    let first = kit::open_store(dir.path()).expect("a new store opens");
    let second = kit::open_store(dir.path()).err().expect("one at a time");
    assert!(matches!(second, StoreError::InUse(_)), "{second}");
    drop(first);
    kit::open_store(dir.path()).expect("it is free again");
}
