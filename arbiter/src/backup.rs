//! A backup file: the State of a cluster as of one entry of its log, and what it is of. Three
//! lines: a head, the State, and a checksum of both. Knows no arbiter and no Raft.

use arbiter_core::{LogId, State, WallMillis};
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// The first word of the head. Another format has another.
const FORMAT: &str = "region-arbiter-backup-1";
/// Before the checksum of everything above it.
const CHECK: &str = "crc32c ";

/// Why a file is not a backup that can be used. The text names the place and the remedy.
#[derive(Debug, Error)]
pub enum BackupError {
    /// Not whole, or not what was written.
    #[error("{0}; take another copy of the file, or another backup")]
    Damaged(String),
    /// Made by a build that this one does not know.
    #[error("the backup is of state version {found}, and this build reads {known}; use the newer")]
    Newer {
        /// Version of its State.
        found: u32,
        /// The newest that this build supports.
        known: u32,
    },
    /// The file system refused.
    #[error("{0}: {1}")]
    Io(PathBuf, io::Error),
}

/// What a backup is of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    format: String,
    /// The cluster.
    pub cluster_id: String,
    /// `State.version`.
    pub state_version: u32,
    /// The last entry in it.
    pub applied: LogId,
    /// When it was taken, by the wall clock of who took it.
    pub taken: WallMillis,
    /// Who took it: an arbiter's name, or that it is from a data directory.
    pub by: String,
}

/// A backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backup {
    /// What it is of.
    pub head: Head,
    /// The State.
    pub state: State,
}

impl Backup {
    /// Of `state`, which holds everything up to `applied`.
    pub fn of(state: State, applied: LogId, taken: WallMillis, by: &str) -> Self {
        let cluster_id = state.cluster_id.as_ref().map_or(String::new(), |id| id.0.clone());
        let head = Head {
            format: FORMAT.to_owned(),
            cluster_id,
            state_version: state.version,
            applied,
            taken,
            by: by.to_owned(),
        };
        Self { head, state }
    }

    /// As it is stored and sent.
    pub fn encode(&self) -> Vec<u8> {
        let line = |out: &mut Vec<u8>, json: serde_json::Result<Vec<u8>>| {
            out.extend(json.expect("core types serialise to JSON"));
            out.push(b'\n');
        };
        let mut out = Vec::new();
        line(&mut out, serde_json::to_vec(&self.head));
        line(&mut out, serde_json::to_vec(&self.state));
        let sum = crc32c::crc32c(&out);
        out.extend(format!("{CHECK}{sum:08x}\n").into_bytes());
        out
    }

    /// Read back, and verified.
    ///
    /// # Errors
    /// [`BackupError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, BackupError> {
        let damaged = |what: &str| BackupError::Damaged(what.to_owned());
        let text = std::str::from_utf8(bytes).map_err(|_| damaged("it is no text"))?;
        let mut lines = text.split_inclusive('\n');
        let (head, state, check) = (lines.next(), lines.next(), lines.next());
        let (Some(head), Some(state), Some(check), None) = (head, state, check, lines.next())
        else {
            return Err(damaged("it has not the three lines of a backup: it is cut short"));
        };
        let sum = crc32c::crc32c(&bytes[..head.len() + state.len()]);
        if check != format!("{CHECK}{sum:08x}\n") {
            return Err(damaged("its checksum is not the one of its bytes"));
        }
        let head: Head = serde_json::from_str(head)
            .map_err(|error| BackupError::Damaged(format!("its head: {error}")))?;
        if head.format != FORMAT {
            return Err(BackupError::Damaged(format!("its format is {:?}", head.format)));
        }
        let known = arbiter_core::STATE_VERSION_MAX;
        if head.state_version > known {
            return Err(BackupError::Newer { found: head.state_version, known });
        }
        let state: State = serde_json::from_str(state)
            .map_err(|error| BackupError::Damaged(format!("its State: {error}")))?;
        let named = state.cluster_id.as_ref().is_some_and(|id| id.0 == head.cluster_id);
        if !named || state.version != head.state_version {
            return Err(damaged("head and State are of two clusters"));
        }
        Ok(Self { head, state })
    }

    /// Read a file.
    ///
    /// # Errors
    /// [`BackupError`].
    pub fn read(path: &Path) -> Result<Self, BackupError> {
        Self::decode(&fs::read(path).map_err(|error| BackupError::Io(path.to_owned(), error))?)
    }
}

/// Written beside, synced and renamed, readable by its owner only: whole or not at all.
///
/// # Errors
/// [`BackupError::Io`].
pub fn store(path: &Path, bytes: &[u8]) -> Result<(), BackupError> {
    let failed = |error| BackupError::Io(path.to_owned(), error);
    let beside = path.with_extension("part");
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(&beside);
    let mut file = file.map_err(failed)?;
    file.write_all(bytes).map_err(failed)?;
    file.sync_all().map_err(failed)?;
    fs::rename(&beside, path).map_err(failed)?;
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
    File::open(dir.unwrap_or(Path::new("."))).and_then(|dir| dir.sync_all()).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backup() -> Backup {
        let state = State { cluster_id: Some("one".into()), version: 2, ..State::default() };
        Backup::of(state, LogId { term: 3, index: 40 }, WallMillis(7), "eu")
    }

    #[test]
    fn what_was_stored_comes_back_and_no_other_byte_does() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("backup");
        let bytes = backup().encode();
        store(&path, &bytes).unwrap();
        assert_eq!(Backup::read(&path).unwrap(), backup());
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            let error = Backup::decode(&damaged).expect_err("a flipped bit");
            assert!(error.to_string().contains("take another"), "byte {at}: {error}");
            assert!(Backup::decode(&bytes[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn one_of_a_newer_build_is_refused_as_such() {
        let mut newer = backup();
        newer.head.state_version = 99;
        let error = Backup::decode(&newer.encode()).expect_err("not known here");
        assert!(matches!(error, BackupError::Newer { found: 99, .. }), "{error}");
    }
}
