//! The agent's disk: who it is, what it has obeyed, what is armed. Every change is on disk, fsynced
//! with its directory, before the caller acts on it.
//!
//! Knows one file and one lock. Never knows why something is stored.

use arbiter_core::agent::Stored;
use arbiter_core::{AgentId, Arming, ClusterId, GroupId, Incarnation, InstanceId, Token};
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Where the kernel tells which boot this is.
pub const BOOT_ID_FILE: &str = "/proc/sys/kernel/random/boot_id";
/// Version of the file.
const VERSION: u32 = 1;

/// Why the state directory cannot be used; named by what the operator does next.
#[derive(Debug, Error)]
pub enum StoreError {
    /// Stop the other agent first.
    #[error("another agent runs on the state directory {0}: stop it first")]
    Busy(PathBuf),
    /// Give each agent a directory of its own.
    #[error("the state directory {dir} is of agent {found}, not of {asked}")]
    Foreign {
        /// The directory.
        dir: PathBuf,
        /// Whose it is.
        found: String,
        /// Who came.
        asked: String,
    },
    /// Restore it, or, when nothing here is writable, remove it: then the agent is a new one.
    #[error("{path} is damaged ({why}): restore it; it says which orders are too old to obey")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Mend the file system.
    #[error("{path}: {source}")]
    Io {
        /// What was read or written.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// The file as it is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Saved {
    version: u32,
    agent: AgentId,
    incarnation: Incarnation,
    boot_id: String,
    cluster_id: Option<ClusterId>,
    tokens: BTreeMap<GroupId, BTreeMap<InstanceId, Token>>,
    armed: BTreeMap<GroupId, Arming>,
    /// Where arbiters were last said to be.
    #[serde(default)]
    arbiters: Vec<String>,
}

/// The state directory of one agent, held by one process at a time.
#[derive(Debug)]
pub struct Store {
    dir: PathBuf,
    saved: Saved,
    /// One identity has one live session.
    _lock: Flock<File>,
}

impl Store {
    /// Open the directory of `agent`, made where missing. A directory that is new, or was last used
    /// in another boot, begins a new life.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn open(dir: &Path, agent: &AgentId, boot_id_file: &Path) -> Result<Self, StoreError> {
        let io = |path: &Path| {
            let path = path.to_owned();
            move |source| StoreError::Io { path, source }
        };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(io(dir))?;
        let lock = lock(dir)?;
        let boot_id = fs::read_to_string(boot_id_file).map_err(io(boot_id_file))?;
        let boot_id = boot_id.trim().to_owned();
        let path = dir.join("agent.json");
        let found = match fs::read(&path) {
            Ok(bytes) => Some(parse(&path, &bytes)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(source) => return Err(StoreError::Io { path, source }),
        };
        if let Some(saved) = &found
            && saved.agent != *agent
        {
            let (found, asked) = (saved.agent.to_string(), agent.to_string());
            return Err(StoreError::Foreign { dir: dir.to_owned(), found, asked });
        }
        let same_life = found.as_ref().is_some_and(|saved| saved.boot_id == boot_id);
        let mut saved = found.unwrap_or_else(|| Saved {
            version: VERSION,
            agent: agent.clone(),
            incarnation: Incarnation::default(),
            boot_id: String::new(),
            cluster_id: None,
            tokens: BTreeMap::new(),
            armed: BTreeMap::new(),
            arbiters: Vec::new(),
        });
        let mut store = Self { dir: dir.to_owned(), saved: saved.clone(), _lock: lock };
        if !same_life {
            saved.incarnation = new_life().map_err(io(dir))?;
            saved.boot_id = boot_id;
            store.save(saved).map_err(io(dir))?;
        }
        Ok(store)
    }

    /// What the core's machine starts from.
    pub fn stored(&self) -> Stored {
        let flat = self.saved.tokens.iter().flat_map(|(group, tokens)| {
            tokens.iter().map(|(id, token)| ((group.clone(), id.clone()), *token))
        });
        Stored {
            agent: self.saved.agent.clone(),
            incarnation: self.saved.incarnation,
            boot_id: self.saved.boot_id.clone(),
            cluster_id: self.saved.cluster_id.clone(),
            tokens: flat.collect(),
            armed: self.saved.armed.clone(),
            leaves: None,
        }
    }

    /// Where arbiters were last said to be, `host:port`.
    pub fn arbiters(&self) -> &[String] {
        &self.saved.arbiters
    }

    /// Store where arbiters are.
    ///
    /// # Errors
    /// When it is not on disk.
    pub fn learn(&mut self, arbiters: &[String]) -> io::Result<()> {
        self.save(Saved { arbiters: arbiters.to_vec(), ..self.saved.clone() })
    }

    /// Store a token; a lower one than is there is kept out. // I10
    ///
    /// # Errors
    /// When it is not on disk.
    pub fn token(&mut self, group: &GroupId, id: &InstanceId, token: Token) -> io::Result<()> {
        let mut saved = self.saved.clone();
        let tokens = saved.tokens.entry(group.clone()).or_default();
        let before = tokens.get(id).copied().unwrap_or_default();
        tokens.insert(id.clone(), before.max(token));
        self.save(saved)
    }

    /// Store whether `group` is armed.
    ///
    /// # Errors
    /// When it is not on disk.
    pub fn arming(&mut self, group: &GroupId, arming: Option<Arming>) -> io::Result<()> {
        let mut saved = self.saved.clone();
        match arming {
            Some(arming) => saved.armed.insert(group.clone(), arming),
            None => saved.armed.remove(group),
        };
        self.save(saved)
    }

    /// Store the name of the cluster, or that none is known any more.
    ///
    /// # Errors
    /// When it is not on disk.
    pub fn cluster(&mut self, cluster: Option<ClusterId>) -> io::Result<()> {
        self.save(Saved { cluster_id: cluster, ..self.saved.clone() })
    }

    /// Write a new file, have it on disk, put it in the place of the old, have that on disk.
    fn save(&mut self, saved: Saved) -> io::Result<()> {
        if saved == self.saved {
            return Ok(());
        }
        let new = self.dir.join("agent.json.new");
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(&serde_json::to_vec_pretty(&saved)?)?;
        file.sync_all()?;
        fs::rename(&new, self.dir.join("agent.json"))?;
        File::open(&self.dir)?.sync_all()?;
        self.saved = saved;
        Ok(())
    }
}

pub(crate) fn parse(path: &Path, bytes: &[u8]) -> Result<Saved, StoreError> {
    let damaged = |why: String| StoreError::Damaged { path: path.to_owned(), why };
    let saved: Saved = serde_json::from_slice(bytes).map_err(|e| damaged(e.to_string()))?;
    if saved.version != VERSION {
        return Err(damaged(format!("version {} is not known here", saved.version)));
    }
    Ok(saved)
}

fn lock(dir: &Path) -> Result<Flock<File>, StoreError> {
    let path = dir.join("lock");
    let open = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
    let file = open.map_err(|source| StoreError::Io { path, source })?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|_| StoreError::Busy(dir.to_owned()))
}

/// A number that no other life has, and not 0.
fn new_life() -> io::Result<Incarnation> {
    let random = getrandom::u64().map_err(|error| io::Error::other(error.to_string()))?;
    Ok(Incarnation(random.max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boot(dir: &Path, id: &str) -> PathBuf {
        let path = dir.join("boot_id");
        fs::write(&path, format!("{id}\n")).unwrap();
        path
    }

    #[test]
    fn a_life_lasts_as_long_as_boot_and_directory() {
        let tmp = tempfile::tempdir().unwrap();
        let (dir, agent) = (tmp.path().join("state"), AgentId::from("agent-eu"));
        let first = Store::open(&dir, &agent, &boot(tmp.path(), "one")).unwrap();
        let life = first.stored().incarnation;
        assert!(matches!(
            Store::open(&dir, &agent, &boot(tmp.path(), "one")),
            Err(StoreError::Busy(_))
        ));
        drop(first);
        let again = Store::open(&dir, &agent, &boot(tmp.path(), "one")).unwrap();
        assert_eq!(again.stored().incarnation, life);
        drop(again);
        let rebooted = Store::open(&dir, &agent, &boot(tmp.path(), "two")).unwrap();
        assert_ne!(rebooted.stored().incarnation, life);
        assert_eq!(rebooted.stored().boot_id, "two");
        drop(rebooted);
        let foreign = Store::open(&dir, &"agent-us".into(), &boot(tmp.path(), "two"));
        assert!(matches!(foreign, Err(StoreError::Foreign { .. })));
    }

    #[test]
    fn what_was_stored_outlives_restarts_and_reboots_and_never_sinks() {
        let tmp = tempfile::tempdir().unwrap();
        let (dir, agent) = (tmp.path().join("state"), AgentId::from("agent-eu"));
        let (group, id) = (GroupId::from("default"), InstanceId::from("db-eu"));
        let mut store = Store::open(&dir, &agent, &boot(tmp.path(), "one")).unwrap();
        store.token(&group, &id, Token::new(7, 40)).unwrap();
        store.token(&group, &id, Token::new(7, 39)).unwrap();
        let arming = Arming { expiry_counts_as: arbiter_core::EvidenceKind::LeaseExpired };
        store.arming(&group, Some(arming)).unwrap();
        store.cluster(Some("demo".into())).unwrap();
        drop(store);
        let stored = Store::open(&dir, &agent, &boot(tmp.path(), "two")).unwrap().stored();
        assert_eq!(stored.tokens[&(group.clone(), id)], Token::new(7, 40));
        assert_eq!(stored.armed[&group], arming);
        assert_eq!(stored.cluster_id, Some("demo".into()));
    }

    #[test]
    fn a_damaged_file_is_refused_and_not_replaced() {
        let tmp = tempfile::tempdir().unwrap();
        let (dir, agent) = (tmp.path().join("state"), AgentId::from("agent-eu"));
        drop(Store::open(&dir, &agent, &boot(tmp.path(), "one")).unwrap());
        fs::write(dir.join("agent.json"), b"{\"version\":1,").unwrap();
        let error = Store::open(&dir, &agent, &boot(tmp.path(), "one"));
        assert!(matches!(error, Err(StoreError::Damaged { .. })));
        assert_eq!(fs::read(dir.join("agent.json")).unwrap(), b"{\"version\":1,");
    }
}
