//! The goal *fenced*, and the proof that nothing writes and nothing can be started.
//!
//! Knows processes, sockets and the start file. Never waits for a standby or a disk before it has
//! killed: a hung disk must not keep a writer alive.

use super::control::{Control, DbState};
use super::{Postgres, files, processes};
use crate::clock;
use crate::drivers::files::may_be_removed;
use crate::drivers::{Done, DriverError};
use arbiter_core::{Condition, EvidenceKind, Fact, Role, Terms};
use std::collections::BTreeSet;
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// How long an immediate stop may take before every process is killed. It was measured to take 40
/// ms, and what is begun at `deadline - F` must be over when the deadman would kill, also where F
/// is short.
const IMMEDIATE_LIMIT: Duration = Duration::from_millis(200);
/// How long the start file's removal is waited for before anything is stopped.
const LOCK_OUT_LIMIT: Duration = Duration::from_millis(50);
/// How long one call waits for a clean stop without a limit of its own; the executor asks again.
const CLEAN_WAIT_MAX: Duration = Duration::from_secs(60);
/// How long the port is asked whether somebody listens.
const PORT_LIMIT: Duration = Duration::from_millis(250);
/// Limit of finding the end of the WAL within a fence; an observation finds it later.
const END_LIMIT: Duration = Duration::from_millis(400);
/// How long the held cgroup may take to be empty once the server is gone.
const CGROUP_WAIT_MAX: Duration = Duration::from_millis(500);
/// How long one look at the held cgroup waits for the next.
const CGROUP_POLL: Duration = Duration::from_millis(5);

impl Postgres {
    /// What a fence needs is there: the deadman holds every process, the start file can be taken
    /// away, and the programs run.
    pub(super) async fn rehearsed_fence(&self) -> Result<bool, DriverError> {
        let server: Vec<i32> = self.processes()?.into_iter().map(|process| process.pid).collect();
        if server.is_empty() || !self.holder.armed() {
            return Ok(false);
        }
        self.holder.rehearse_kill(server).await?;
        if !self.gated() {
            return Err(self.retry("its configuration has no start gate"));
        }
        may_be_removed(&self.start_file()).map_err(|error| self.retry(error))?;
        self.control().await?;
        Ok(true)
    }
}

impl Postgres {
    /// Fence: lock out, stop as the terms allow, kill, prove. I1, I3
    pub(super) async fn fenced(&self, terms: &Terms) -> Result<Done, DriverError> {
        self.asked_to_stop.store(true, std::sync::atomic::Ordering::SeqCst);
        // First: whatever dies from here on cannot be started by hand. A file that cannot be
        // removed keeps nothing alive, and the proof asks for it again.
        let path = self.start_file();
        let removed = tokio::task::spawn_blocking(move || files::remove(&path));
        let _ = tokio::time::timeout(LOCK_OUT_LIMIT, removed).await;
        match terms.clean_stop {
            Some(limit) => {
                let stopped = !limit.is_zero() && self.stop(limit).await?;
                if !stopped {
                    self.stop_now(IMMEDIATE_LIMIT).await?;
                }
            }
            None => {
                if !self.stop(CLEAN_WAIT_MAX).await? {
                    return Err(
                        self.retry("the clean stop goes on: a standby or the archiver lags")
                    );
                }
            }
        }
        self.kill_all().await?;
        Ok(self.prove().await?.0)
    }

    /// Show that it is fenced: no process, nobody listening, no start file. Stops nothing that has
    /// not been stopped. Returns the control file's state too, where it can be read.
    pub(super) async fn prove(&self) -> Result<(Done, Option<DbState>), DriverError> {
        self.shut()?;
        self.empty_cgroup().await?;
        self.nobody_listens().await?;
        if self.gated() && self.start_file().exists() {
            return Err(self.retry("the start file is there again"));
        }
        let left = self.processes()?;
        if !left.is_empty() {
            return Err(self.retry(format!("{} processes hold the data directory", left.len())));
        }
        Ok(self.fenced_done().await)
    }

    /// What is reported with the proof. A disk that cannot be read takes nothing from the proof.
    async fn fenced_done(&self) -> (Done, Option<DbState>) {
        let control = self.control().await.ok();
        let end = match &control {
            Some(control) => self.known_end(control, END_LIMIT).await,
            None => None,
        };
        let clean = control.as_ref().is_some_and(|control| control.state.is_clean());
        let replica = files::is_standby(&self.set.data_dir);
        let mut facts = Fact {
            condition: Condition::Stopped,
            role: if replica { Role::Replica } else { Role::Primary },
            position: end,
            fork: end.and_then(|end| self.lineage(end).fork()),
            ..Fact::default()
        };
        let mut found = None;
        if let Some(Control { system_id, state, .. }) = control {
            facts.data_id = system_id;
            facts.detail.insert("control".into(), state.as_str().to_owned());
            found = Some(state);
        }
        (Done { evidence: Some(EvidenceKind::Confirmed), end, clean, facts }, found)
    }

    /// Nothing of this server is left in the held cgroup. What belongs to another server of the
    /// same group, which stands in a data directory of its own, is not ours to kill.
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
        let (dir, port) = self.socket_place();
        if UnixStream::connect(dir.join(format!(".s.PGSQL.{port}"))).is_ok() {
            return Err(self.retry(format!("somebody listens on the Unix socket of port {port}")));
        }
        let address = (self.set.host.as_str(), self.set.port);
        let dial = tokio::net::TcpStream::connect(address);
        match tokio::time::timeout(PORT_LIMIT, dial).await {
            Ok(Ok(_)) => Err(self.retry(format!(
                "somebody listens on {}:{}, though this server is gone",
                self.set.host, self.set.port
            ))),
            _ => Ok(()),
        }
    }
}
