//! Whose disk this is. Knows the identity file and what it must agree with; never a peer.
//!
//! A voter that lost its disk forgot whom it voted for and what it acknowledged. Under its old id
//! it could help elect a leader that lacks committed entries (openraft: FAQ, wiped node). So the
//! disk's life, the incarnation, is written on it twice, in the database and beside it; peers have
//! it in the log.

use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Name of the identity file in the data directory.
const FILE: &str = "identity.json";
/// Version of what is stored in the data directory as a whole.
pub const DISK_FORMAT: u32 = 1;

/// Whose disk this is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Raft node id.
    pub node_id: u64,
    /// The cluster's configured name.
    pub cluster_id: String,
    /// Random, never 0, never reused: one life of one disk.
    pub incarnation: u64,
}

/// Why this disk is not the one it should be. Every case ends the start.
#[derive(Debug, Error)]
pub enum IdentityError {
    /// The database is gone.
    #[error(
        "{0} says that this disk holds voter {1}, but its database is missing: a voter that forgot \
         what it acknowledged must not come back under its id. Replace it: remove node {1}, and \
         add an empty one under a new id"
    )]
    DatabaseLost(PathBuf, u64),
    /// The file is gone.
    #[error(
        "the database in {0} has no identity file beside it: was it copied from another node? \
         Restore identity.json, or replace this voter by an empty one under a new id"
    )]
    FileLost(PathBuf),
    /// File and database are of two lives.
    #[error(
        "identity.json and the database in {dir} belong to different disks (incarnation {file:x} \
         and {database:x}): one of them was copied or restored. Replace this voter by an empty one \
         under a new id"
    )]
    TwoLives {
        /// The data directory.
        dir: PathBuf,
        /// In the file.
        file: u64,
        /// In the database.
        database: u64,
    },
    /// The configuration names another node or cluster.
    #[error(
        "{dir} belongs to node {} of cluster `{}`, and the configuration starts node {wanted_node} \
         of cluster `{wanted_cluster}` there: give each node its own --data-dir", found.node_id,
        found.cluster_id
    )]
    NotThisNode {
        /// The data directory.
        dir: PathBuf,
        /// Whose it is.
        found: Identity,
        /// Node id in the configuration.
        wanted_node: u64,
        /// Cluster in the configuration.
        wanted_cluster: String,
    },
    /// The file cannot be read as one.
    #[error("{0} is damaged ({1}): restore it, or replace this voter by one under a new id")]
    Damaged(PathBuf, String),
    /// The file system refused.
    #[error("{0}: {1}")]
    Io(PathBuf, io::Error),
}

#[derive(Serialize, Deserialize)]
struct Stored {
    format: u32,
    #[serde(flatten)]
    identity: Identity,
    /// False until the database has the same identity durably: a crash in between is no lost disk.
    ready: bool,
}

/// The identity file of a data directory.
#[derive(Debug)]
pub struct IdentityFile {
    dir: PathBuf,
    identity: Identity,
    ready: bool,
}

impl IdentityFile {
    /// Reads the file in `dir`, or makes one where neither it nor a database is there yet.
    ///
    /// # Errors
    /// [`IdentityError`].
    pub fn open(
        dir: &Path,
        cluster_id: &str,
        node_id: u64,
        database: bool,
    ) -> Result<Self, IdentityError> {
        let path = dir.join(FILE);
        let failed = |error| IdentityError::Io(path.clone(), error);
        let stored = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice::<Stored>(&bytes)
                .map_err(|error| IdentityError::Damaged(path.clone(), error.to_string()))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound && database => {
                return Err(IdentityError::FileLost(dir.to_owned()));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let incarnation = random_id().map_err(failed)?;
                let cluster_id = cluster_id.to_owned();
                let identity = Identity { node_id, cluster_id, incarnation };
                let stored = Stored { format: DISK_FORMAT, identity, ready: false };
                write(dir, &stored).map_err(failed)?;
                stored
            }
            Err(error) => return Err(failed(error)),
        };
        if stored.format != DISK_FORMAT {
            let text = format!("format {}, this build reads {DISK_FORMAT}", stored.format);
            return Err(IdentityError::Damaged(path, text));
        }
        if stored.ready && !database {
            return Err(IdentityError::DatabaseLost(path, stored.identity.node_id));
        }
        if stored.identity.node_id != node_id || stored.identity.cluster_id != cluster_id {
            return Err(IdentityError::NotThisNode {
                dir: dir.to_owned(),
                found: stored.identity,
                wanted_node: node_id,
                wanted_cluster: cluster_id.to_owned(),
            });
        }
        Ok(Self { dir: dir.to_owned(), identity: stored.identity, ready: stored.ready })
    }

    /// Whose disk this is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Checks what the database says. None: it says nothing yet, and may only be written to when
    /// this file is still new.
    ///
    /// # Errors
    /// [`IdentityError`].
    pub fn agree(&self, database: Option<&Identity>) -> Result<(), IdentityError> {
        match database {
            Some(found) if *found == self.identity => Ok(()),
            Some(found) => Err(IdentityError::TwoLives {
                dir: self.dir.clone(),
                file: self.identity.incarnation,
                database: found.incarnation,
            }),
            None if self.ready => {
                let path = self.dir.join(FILE);
                Err(IdentityError::DatabaseLost(path, self.identity.node_id))
            }
            None => Ok(()),
        }
    }

    /// Notes that the database has the identity durably.
    ///
    /// # Errors
    /// [`IdentityError::Io`].
    pub fn settle(&mut self) -> Result<(), IdentityError> {
        if !self.ready {
            let identity = self.identity.clone();
            let stored = Stored { format: DISK_FORMAT, identity, ready: true };
            write(&self.dir, &stored)
                .map_err(|error| IdentityError::Io(self.dir.join(FILE), error))?;
            self.ready = true;
        }
        Ok(())
    }
}

/// Written beside, synced, renamed, and the directory synced: whole or not at all.
fn write(dir: &Path, stored: &Stored) -> io::Result<()> {
    let beside = dir.join("identity.json.new");
    let mut file = File::create(&beside)?;
    file.write_all(serde_json::to_string_pretty(stored)?.as_bytes())?;
    file.sync_all()?;
    fs::rename(&beside, dir.join(FILE))?;
    File::open(dir)?.sync_all()
}

/// Random and not 0.
fn random_id() -> io::Result<u64> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(u64::from_le_bytes(bytes).max(1))
}
