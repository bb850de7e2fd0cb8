//! What the tests share.

use crate::raft::store::{LogStore, Opened, StoreError, open};
use crate::raft::types::{Command, Entry, RaftLogId, TypeConfig};
use arbiter_core::{By, Command as Core, Proposal, RequestId, WallMillis};
use bytes::Bytes;
use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::{EntryPayload, RaftLogReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command as Process;

/// Name of the cluster in tests.
pub const CLUSTER: &str = "test";

pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime")
}

pub fn open_store(dir: &Path) -> Result<Opened, StoreError> {
    open(dir, CLUSTER, 1)
}

pub fn log_id(term: u64, index: u64) -> RaftLogId {
    RaftLogId { leader_id: term.into(), index }
}

/// An entry whose payload can be told from every other's.
pub fn entry(term: u64, index: u64, bytes: usize) -> Entry {
    let mut data = format!("{term}.{index}.").into_bytes();
    data.resize(data.len().max(bytes), b'x');
    Entry { log_id: log_id(term, index), payload: EntryPayload::Normal(Command(Bytes::from(data))) }
}

/// Appends, and waits until it is acknowledged.
pub async fn append(log: &mut LogStore, entries: Vec<Entry>) -> std::io::Result<()> {
    let (sender, receiver) = <TypeConfig as openraft::type_config::TypeConfigExt>::oneshot();
    log.append(entries, IOFlushed::signal(sender)).await?;
    receiver.await.unwrap_or_else(|_| Err(std::io::Error::other("never called back")))
}

pub async fn read_all(log: &mut LogStore) -> std::io::Result<Vec<Entry>> {
    log.try_get_log_entries(..).await
}

/// A proposal that State remembers under `request`.
pub fn proposal(request: &str, command: Core) -> Proposal {
    Proposal {
        request: Some(RequestId::from(request)),
        by: By::Operator("test".to_owned()),
        reason: "test".to_owned(),
        wall: WallMillis(0),
        command,
    }
}

/// A refusal is an entry like any other, and remembered.
pub fn harmless(request: &str) -> Proposal {
    proposal(request, Core::RaiseVersion { version: 0 })
}

/// This test binary again, running only `test` with `dir` in `RAFT_TEST_DIR`.
pub fn child(test: &str, dir: &Path) -> Process {
    let mut process = Process::new(std::env::current_exe().expect("this binary"));
    process.args([test, "--exact", "--ignored", "--nocapture", "--test-threads=1"]);
    process.env("RAFT_TEST_DIR", dir);
    // SAFETY: only an async-signal-safe system call between fork and exec.
    unsafe {
        process.pre_exec(|| Ok(nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?));
    }
    process
}

/// The directory that [`child`] gave this process; none: it was started by somebody else.
pub fn child_dir() -> Option<std::path::PathBuf> {
    std::env::var_os("RAFT_TEST_DIR").map(Into::into)
}
