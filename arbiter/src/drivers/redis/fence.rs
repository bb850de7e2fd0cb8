//! The goal *fenced*, and the proof that nothing writes and nothing can be started.
//!
//! Knows processes, sockets and the start file. Never waits for a replica or a disk before it has
//! killed: a hung disk must not keep a writer alive.

use super::info::Point;
use super::{Redis, processes};
use crate::clock;
use crate::drivers::{Done, DriverError, files};
use arbiter_core::{EvidenceKind, Terms};
use std::collections::BTreeSet;
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// How long the start file's removal is waited for before anything is stopped.
const LOCK_OUT_LIMIT: Duration = Duration::from_millis(50);
/// How long one call waits for a clean stop without a limit of its own; the executor asks again.
const CLEAN_WAIT_MAX: Duration = Duration::from_secs(60);
/// How long the port is asked whether somebody listens.
const PORT_LIMIT: Duration = Duration::from_millis(250);
/// How long the disk may take to keep where the server ended.
const RECORD_LIMIT: Duration = Duration::from_millis(400);
/// How long the held cgroup may take to be empty once the server is gone.
const CGROUP_WAIT_MAX: Duration = Duration::from_millis(500);
/// How long one look at the held cgroup waits for the next.
const CGROUP_POLL: Duration = Duration::from_millis(5);

impl Redis {
    /// What a fence needs is there: the deadman holds every process, and the start file can be
    /// taken away.
    pub(super) async fn rehearsed_fence(&self) -> Result<bool, DriverError> {
        let server: Vec<i32> = self.processes()?.into_iter().map(|process| process.pid).collect();
        if server.is_empty() || !self.holder.armed() || !self.wants_gate() {
            return Ok(false);
        }
        self.holder.rehearse_kill(server).await?;
        if !self.gated() {
            return Err(self.retry("its configuration has no start gate"));
        }
        files::may_be_removed(&self.start_file()).map_err(|error| self.retry(error))?;
        Ok(true)
    }
}

impl Redis {
    /// Fence: lock out, stop as the terms allow, kill, prove. I1, I3
    pub(super) async fn fenced(&self, terms: &Terms) -> Result<Done, DriverError> {
        self.asked_to_stop.store(true, std::sync::atomic::Ordering::SeqCst);
        // First: whatever dies from here on cannot be started by hand. A file that cannot be
        // removed keeps nothing alive, and the proof asks for it again.
        let path = self.start_file();
        let removed = tokio::task::spawn_blocking(move || files::remove(&path));
        let _ = tokio::time::timeout(LOCK_OUT_LIMIT, removed).await;
        let end = match terms.clean_stop {
            Some(Duration::ZERO) => None,
            Some(limit) => self.stop(limit).await?.end,
            None => {
                let stopped = self.stop(CLEAN_WAIT_MAX).await?;
                if !stopped.gone {
                    return Err(self.retry("the clean stop goes on: the data is being saved"));
                }
                stopped.end
            }
        };
        self.kill_all().await?;
        self.ended(end).await;
        self.prove().await
    }

    /// Keep where the stopped server ended. A disk that takes too long takes nothing from the
    /// fence; the end is then not known.
    pub(super) async fn ended(&self, end: Option<Point>) {
        if end.is_none() {
            return;
        }
        let book = self.book.clone();
        let keep = tokio::task::spawn_blocking(move || {
            book.change(|standing| {
                standing.seen.clone_from(&end);
                standing.end = end;
            })
        });
        match tokio::time::timeout(RECORD_LIMIT, keep).await {
            Ok(Ok(Ok(()))) => {}
            other => tracing::warn!(instance = %self.set.id, ?other, "the end was not kept"),
        }
    }

    /// Show that it is fenced: no process, nobody listening, no start file. Stops nothing that has
    /// not been stopped.
    pub(super) async fn prove(&self) -> Result<Done, DriverError> {
        self.shut()?;
        self.empty_cgroup().await?;
        self.nobody_listens().await?;
        if self.gated() && self.start_file().exists() {
            return Err(self.retry("the start file is there again"));
        }
        let left = self.processes()?;
        if !left.is_empty() {
            return Err(self.retry(format!("{} processes hold the data", left.len())));
        }
        // What a killed server is at least known to have had is no end.
        let end = self.standing().and_then(|standing| standing.end);
        let facts = self.at_rest();
        Ok(Done {
            evidence: Some(EvidenceKind::Confirmed),
            clean: end.is_some(),
            end: end.map(|end| super::observe::position(&end)),
            facts,
        })
    }

    /// Nothing of this server is left in the held cgroup. What belongs to another server of the
    /// same group is not ours to kill.
    async fn empty_cgroup(&self) -> Result<(), DriverError> {
        let began = clock::now();
        loop {
            let left = self.ours_in_cgroup()?;
            if left.is_empty() {
                return Ok(());
            }
            // 0 stands for one that this process cannot name; a signal to 0 would be to ourselves.
            for pid in left.iter().filter(|pid| **pid > 1) {
                let _ = nix::sys::signal::kill(
                    nix::unistd::Pid::from_raw(*pid),
                    nix::sys::signal::Signal::SIGKILL,
                );
            }
            if clock::now().since(began) > CGROUP_WAIT_MAX {
                self.holder.kill().await?;
                let left = self.ours_in_cgroup()?;
                if left.is_empty() {
                    return Ok(());
                }
                return Err(self.retry(format!("{} processes are left in the cgroup", left.len())));
            }
            tokio::time::sleep(CGROUP_POLL).await;
        }
    }

    fn ours_in_cgroup(&self) -> Result<BTreeSet<i32>, DriverError> {
        let ours = processes::dir_id(&self.set.data_dir);
        let all = self.holder.processes()?.into_iter();
        Ok(all.filter(|pid| !processes::is_anothers(*pid, ours)).collect())
    }

    /// Neither the Unix socket nor the port takes a connection.
    async fn nobody_listens(&self) -> Result<(), DriverError> {
        let set = &self.set;
        if let Some(path) = &set.unix_socket
            && UnixStream::connect(path).is_ok()
        {
            return Err(self.retry(format!("somebody listens on {}", path.display())));
        }
        let dial = tokio::net::TcpStream::connect((set.host.as_str(), set.port));
        match tokio::time::timeout(PORT_LIMIT, dial).await {
            Ok(Ok(stream)) if !is_own(&stream) => Err(self.retry(format!(
                "somebody listens on {}:{}, though this server is gone",
                set.host, set.port
            ))),
            _ => Ok(()),
        }
    }
}

/// Where nobody listens on a port of this host, a connection to it may come from that very port and
/// meet itself.
fn is_own(stream: &tokio::net::TcpStream) -> bool {
    stream.local_addr().ok().is_some_and(|own| stream.peer_addr().is_ok_and(|peer| peer == own))
}
