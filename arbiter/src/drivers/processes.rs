//! Processes that hold a data directory, from `/proc`.
//!
//! Knows process ids, titles and signals. Never knows roles or why one is stopped. A process is
//! told by its working directory, which a database server sets to its data directory: a file with
//! its process id can be stale, missing, or written from inside another PID namespace.

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
    /// Its id inside its innermost PID namespace, as it writes it into a file.
    pub inner: i32,
    /// Its command line, or what it titled itself; empty for one that is exiting.
    pub title: String,
}

/// Identity of directory `path`; none when it is not there.
pub fn dir_id(path: &Path) -> Option<DirId> {
    let meta = std::fs::metadata(path).ok()?;
    Some((meta.dev(), meta.ino()))
}

/// Every live process.
///
/// # Errors
/// When `/proc` cannot be read.
pub fn all() -> std::io::Result<Vec<Process>> {
    let entries = std::fs::read_dir("/proc")?.flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    Ok(pids.filter_map(|pid| describe(pid, |_| true)).collect())
}

/// Every live process whose working directory is `dir` and which is `named` so: its name as the
/// kernel has it, or its program's. An operator's shell may stand in the directory: it holds no
/// data and is left alone. Zombies have no working directory.
///
/// # Errors
/// When `/proc` cannot be read.
pub fn holding(dir: DirId, named: impl Fn(&str) -> bool) -> std::io::Result<Vec<Process>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        if dir_id(&entry.path().join("cwd")) == Some(dir)
            && let Some(process) = describe(pid, &named)
        {
            found.push(process);
        }
    }
    Ok(found)
}

fn describe(pid: i32, named: impl Fn(&str) -> bool) -> Option<Process> {
    let title = title(pid)?;
    let program = title.split(['\0', ':', ' ']).next().unwrap_or("");
    let program = program.rsplit('/').next().unwrap_or("");
    if !named(name(pid)?.trim()) && !named(program) {
        return None;
    }
    let (state, parent, started) = stat(pid)?;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let inner = status
        .lines()
        .find_map(|line| line.strip_prefix("NSpid:"))
        .and_then(|ids| ids.split_whitespace().last()?.parse().ok())
        .unwrap_or(pid);
    (state != 'Z').then_some(Process { pid, parent, started, inner, title })
}

fn title(pid: i32) -> Option<String> {
    let bytes = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn name(pid: i32) -> Option<String> {
    std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()
}

/// Whether `pid`, in the cgroup of a group, is of another server than the one whose data directory
/// is `ours`: it stands in a data directory of its own, and is not ours to kill. One that is just
/// starting stands in none yet, and may be ours.
pub fn is_anothers(pid: i32, ours: Option<DirId>) -> bool {
    let cwd = std::path::PathBuf::from(format!("/proc/{pid}/cwd"));
    let dir = dir_id(&cwd);
    let redis = || name(pid).is_some_and(|name| is_redis(name.trim()));
    let elsewhere = dir.is_some() && dir != ours && dir != dir_id(Path::new("/"));
    elsewhere && (cwd.join("PG_VERSION").exists() || redis())
}

/// Whether a Redis server, or what it forks to save, is called so.
pub fn is_redis(name: &str) -> bool {
    const NAMES: [&str; 4] = ["redis-server", "redis-rdb-", "redis-aof-", "valkey-server"];
    NAMES.iter().any(|known| name.starts_with(known))
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

/// The first among them that is none of the others' child.
pub fn parent_of(processes: &[Process], fits: impl Fn(&Process) -> bool) -> Option<&Process> {
    let is_parent = |pid| processes.iter().any(|other| other.pid == pid);
    processes.iter().find(|process| fits(process) && !is_parent(process.parent))
}

/// Whether that very process still runs. A zombie does not, unless its other threads do: they hold
/// its sockets and files.
pub fn alive(process: &Process) -> bool {
    let Some((state, _, started)) = stat(process.pid) else { return false };
    let over = match state {
        'X' => true,
        'Z' => threads(process.pid) < 2,
        _ => false,
    };
    started == process.started && !over
}

fn threads(pid: i32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count)
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
