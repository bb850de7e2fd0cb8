//! What an agent is told when it starts. Knows names, paths and settings; reads no file.

use crate::tls::Tls;
use arbiter_core::{AgentId, GroupId, Instance, InstanceId, Timing};
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// Everything that an agent is told when it starts.
#[derive(Clone, Debug)]
pub struct AgentOptions {
    /// Its configured name.
    pub name: AgentId,
    /// Its state directory: on a disk that outlives reboots, its own.
    pub state_dir: PathBuf,
    /// Its runtime directory: on a file system that a reboot empties, its own.
    pub runtime_dir: PathBuf,
    /// Arbiters that may be asked, `host:port`; all are tried.
    pub arbiters: Vec<String>,
    /// Its certificates; none: plaintext.
    pub tls: Option<Arc<Tls>>,
    /// A cluster that an operator says is gone for good: the agent leaves it, fenced.
    pub leaves: Option<String>,
    /// Its own instances.
    pub instances: BTreeMap<(GroupId, InstanceId), Instance>,
    /// Timers of its groups, until an arbiter tells those in force.
    pub timings: BTreeMap<GroupId, Timing>,
    /// Where groups get their cgroups; see `DeadmanArgs::cgroup_parent`.
    pub cgroup_parent: String,
    /// This program: deadman and guard are started from it.
    pub program: PathBuf,
    /// Where the kernel tells which boot this is; [`super::store::BOOT_ID_FILE`].
    pub boot_id_file: PathBuf,
}

/// The runtime directory of an agent for which none was configured.
pub fn default_runtime_dir(name: &AgentId) -> PathBuf {
    PathBuf::from("/run/region-arbiter").join(super::cgroup::component(name.as_str()))
}

/// This program's file. After an upgrade the file that was started is gone, and its name leads to
/// the new one.
///
/// # Errors
/// When `/proc` cannot be read.
pub fn own_program() -> io::Result<PathBuf> {
    let path = std::env::current_exe()?;
    let text = path.to_string_lossy();
    Ok(text.strip_suffix(" (deleted)").map_or(path.clone(), PathBuf::from))
}
