//! The processes on the platform's hosts, as its machine sees them.

use super::stage::{Stage, until, wrong};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io;
use std::time::Duration;

impl Stage {
    /// Processes of PostgreSQL on a host.
    ///
    /// # Errors
    /// If they cannot be listed: then nobody may say that there are none.
    pub fn postgres_processes(&self, host: &str) -> io::Result<Vec<i32>> {
        let named = |pid: &i32| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let zombie = stat.rsplit(')').next().is_some_and(|rest| rest.trim().starts_with('Z'));
            stat.contains("(postgres)") && !zombie
        };
        Ok(self.lab.net.processes(host)?.into_iter().filter(named).collect())
    }

    /// The postmaster on a host: the oldest of its processes, that every other descends from.
    ///
    /// # Errors
    /// If there is none.
    pub fn postmaster(&self, host: &str) -> io::Result<i32> {
        let pids = self.postgres_processes(host)?;
        let child = |pid: &&i32| parent(**pid).is_some_and(|parent| pids.contains(&parent));
        let found = pids.iter().find(|pid| !child(pid)).copied();
        found.ok_or_else(|| wrong(format!("PostgreSQL does not run on {host}")))
    }

    /// Kill the postmaster on a host, and nothing else; its process id.
    ///
    /// # Errors
    /// If there is none.
    pub fn kill_postmaster(&self, host: &str) -> io::Result<i32> {
        let postmaster = self.postmaster(host)?;
        kill(Pid::from_raw(postmaster), Signal::SIGKILL)?;
        Ok(postmaster)
    }

    /// Wait until no process of PostgreSQL is left on a host.
    ///
    /// # Errors
    /// With those that are left when `limit` passed first.
    pub async fn postgres_gone(&self, host: &str, limit: Duration) -> io::Result<()> {
        let what = format!("no process of PostgreSQL is left on {host}");
        let gone = async || self.postgres_processes(host).is_ok_and(|left| left.is_empty());
        let waited = until(&what, limit, gone).await;
        waited.map_err(|error| wrong(format!("{error}: {:?}", self.postgres_processes(host))))
    }

    /// Processes on a host whose command line has `word`.
    ///
    /// # Errors
    /// If they cannot be listed.
    pub fn processes_with(&self, host: &str, word: &str) -> io::Result<Vec<i32>> {
        let has = |pid: &i32| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).split('\0').any(|argument| argument == word)
        };
        Ok(self.lab.net.processes(host)?.into_iter().filter(has).collect())
    }

    /// The process on a host that calls itself `inner` in its own PID namespace.
    ///
    /// # Errors
    /// If there is none.
    pub fn process_inside(&self, host: &str, inner: i32) -> io::Result<i32> {
        let pids = self.postgres_processes(host)?;
        let found = pids.into_iter().find(|pid| {
            let line = status_line(*pid, "NSpid:").unwrap_or_default();
            line.split_whitespace().last() == Some(&inner.to_string())
        });
        found.ok_or_else(|| wrong(format!("no process of {host} is {inner} to itself")))
    }
}

/// Whether a process is there, zombies left out.
pub fn alive(pid: i32) -> bool {
    status_line(pid, "State:").is_some_and(|state| !state.trim().starts_with('Z'))
}

/// Bytes of memory that a process has, pages of its files left out.
///
/// # Errors
/// If it is gone.
pub fn memory(pid: i32) -> io::Result<u64> {
    let gone = || wrong(format!("process {pid} is gone"));
    let line = status_line(pid, "RssAnon:").ok_or_else(gone)?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().map_err(io::Error::other)?;
    Ok(kib << 10)
}

/// The parent of a process; none when it is gone.
pub fn parent(pid: i32) -> Option<i32> {
    status_line(pid, "PPid:")?.trim().parse().ok()
}

/// A line of `/proc/PID/status`, after its name; none when the process is gone.
fn status_line(pid: i32, name: &str) -> Option<String> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned)
}
