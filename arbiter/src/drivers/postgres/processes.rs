//! Processes that hold a data directory, from `/proc`.
//!
//! Knows process ids, titles and signals. Never knows roles or why one is stopped. A process is
//! told by its working directory, which PostgreSQL sets to the data directory: `postmaster.pid`
//! can be stale, missing, or written from inside another PID namespace.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

/// How long one look at ending processes waits for the next.
const EXIT_POLL: Duration = Duration::from_millis(3);

/// Device and inode of a directory: the same whatever path or mount namespace it is seen through.
pub type DirId = (u64, u64);

/// A live process of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its id as this process sees it.
    pub pid: i32,
    /// Its parent's id.
    pub parent: i32,
    /// When it started, in clock ticks since boot: with the id it names one process for ever.
    pub started: u64,
    /// Its id inside its innermost PID namespace, as it stands in `postmaster.pid`.
    pub inner: i32,
    /// Titled as a child (`postgres: …`), or about to exit.
    pub child: bool,
}

/// Identity of directory `path`; none when it is not there.
pub fn dir_id(path: &Path) -> Option<DirId> {
    let meta = std::fs::metadata(path).ok()?;
    Some((meta.dev(), meta.ino()))
}

/// Every live PostgreSQL process whose working directory is `dir`. Zombies have none.
pub fn holding(dir: DirId) -> std::io::Result<Vec<Process>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        if dir_id(&entry.path().join("cwd")) == Some(dir)
            && let Some(process) = describe(pid)
        {
            found.push(process);
        }
    }
    Ok(found)
}

fn describe(pid: i32) -> Option<Process> {
    let cmdline = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let title = String::from_utf8_lossy(&cmdline).into_owned();
    let program = title.split(['\0', ':', ' ']).next().unwrap_or("");
    let comm = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    let named = |name: &str| name.contains("postgres") || name.contains("postmaster");
    // An operator's shell may stand in the directory: it holds no data and is left alone.
    if !named(comm.trim()) && !named(program.rsplit('/').next().unwrap_or("")) {
        return None;
    }
    let (state, parent, started) = stat(pid)?;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let inner = status
        .lines()
        .find_map(|line| line.strip_prefix("NSpid:"))
        .and_then(|ids| ids.split_whitespace().last()?.parse().ok())
        .unwrap_or(pid);
    // One that is exiting has no title any more, and is nobody's postmaster.
    let child = title.is_empty() || title.starts_with("postgres: ");
    (state != 'Z').then_some(Process { pid, parent, started, inner, child })
}

/// State, parent and start time.
fn stat(pid: i32) -> Option<(char, i32, u64)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in brackets and may hold anything.
    let rest = text.rsplit_once(") ")?.1;
    let words: Vec<&str> = rest.split(' ').collect();
    let state = words.first()?.chars().next()?;
    Some((state, words.get(1)?.parse().ok()?, words.get(19)?.parse().ok()?))
}

/// The postmaster among them: neither titled as a child nor the child of another.
pub fn postmaster(processes: &[Process]) -> Option<&Process> {
    let is_parent = |pid| processes.iter().any(|other| other.pid == pid);
    processes.iter().find(|process| !process.child && !is_parent(process.parent))
}

/// Whether that very process still runs (a zombie does not).
pub fn alive(process: &Process) -> bool {
    matches!(stat(process.pid), Some((state, _, started))
        if started == process.started && state != 'Z' && state != 'X')
}

/// Send `signal`; a process that is gone already is no error.
pub fn send(process: &Process, signal: Signal) {
    if alive(process) {
        let _ = kill(Pid::from_raw(process.pid), signal);
    }
}

/// Wait until none of `processes` runs, at most `limit`. Returns whether none does.
pub async fn wait_gone(processes: &[Process], limit: Duration) -> bool {
    let end = crate::clock::now() + limit;
    while processes.iter().any(alive) {
        if crate::clock::now() >= end {
            return false;
        }
        tokio::time::sleep(EXIT_POLL).await;
    }
    true
}
