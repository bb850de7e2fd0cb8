//! The goal *fenced*, and the proof that nothing writes and nothing can be started.
//!
//! Knows processes, a port and two files. Never asks the script or the manager: a fence waits for
//! nobody, and a word proves nothing. There is no clean stop here: a manager that is asked to stop
//! hands its server's role to another node first.

use super::{Delegated, found::Found};
use crate::clock;
use crate::drivers::processes;
use crate::drivers::{Done, DriverError, files};
use arbiter_core::{Condition, EvidenceKind, Fact};
use nix::sys::signal::Signal;
use std::time::Duration;

/// How long the files' removal is waited for before anything is killed.
const LOCK_OUT_LIMIT: Duration = Duration::from_millis(50);
/// How long killed processes are waited for, each time.
const GONE_MAX: Duration = Duration::from_millis(200);
/// How long all of them are.
const KILL_MAX: Duration = Duration::from_secs(2);
/// How long the port is asked whether somebody listens.
const PORT_LIMIT: Duration = Duration::from_millis(250);

impl Delegated {
    /// What a fence needs is there: the deadman holds the manager and all that it runs, the manager
    /// asks for both files, and they can be taken away. The script is not asked: no fence asks it.
    pub(super) async fn rehearsed_fence(&self) -> Result<bool, DriverError> {
        let found = self.found()?;
        if found.managers.is_empty() || !self.holder.armed() {
            return Ok(false);
        }
        self.holder.rehearse_kill(found.all().map(|process| process.pid).collect()).await?;
        self.must_be_gated()?;
        let files = [self.start_file(), self.active_file()];
        for file in files.iter().filter(|file| file.exists()) {
            files::may_be_removed(file).map_err(|error| self.retry(error))?;
        }
        Ok(true)
    }

    /// Fence: lock out, kill, prove. I1, I3
    pub(super) async fn fenced(&self) -> Result<Done, DriverError> {
        // First: whatever dies from here on cannot come back. A file that cannot be removed keeps
        // nothing alive, and the proof asks for it again.
        let (start, active) = (self.start_file(), self.active_file());
        let removed = tokio::task::spawn_blocking(move || {
            let _ = std::fs::remove_file(active);
            let _ = std::fs::remove_file(start);
        });
        let _ = tokio::time::timeout(LOCK_OUT_LIMIT, removed).await;
        self.kill_all().await?;
        self.prove().await
    }

    /// Kill the manager, then what it runs, until nothing is left of either.
    pub(super) async fn kill_all(&self) -> Result<(), DriverError> {
        let began = clock::now();
        loop {
            let found = self.found()?;
            if found.is_empty() {
                break;
            }
            found.all().for_each(|process| processes::send(process, Signal::SIGKILL));
            let all: Vec<_> = found.all().cloned().collect();
            processes::wait_gone(&all, GONE_MAX).await;
            if clock::now().since(began) > KILL_MAX {
                let left = self.found()?.all().count();
                return Err(self.retry(format!("{left} killed processes are left")));
            }
        }
        // Whatever else is in the cgroup: nothing that this process knows by name.
        if !self.ours_in_cgroup()?.is_empty() {
            self.holder.kill().await?;
        }
        Ok(())
    }

    /// Show that it is fenced: no process, nobody listening, neither file. Stops nothing.
    pub(super) async fn prove(&self) -> Result<Done, DriverError> {
        self.lock_out()?;
        let left = self.ours_in_cgroup()?;
        if !left.is_empty() {
            return Err(self.retry(format!("{} processes are left in the cgroup", left.len())));
        }
        self.nobody_listens().await?;
        if self.start_file().exists() || self.active_file().exists() {
            return Err(self.retry("the start file is there again"));
        }
        if self.holder.armed() && !self.gated() {
            // No refusal: whoever mends the configuration need not tell anybody.
            let config = self.set.manager_config.display();
            return Err(self.retry(format!("{config} does not ask for the start file any more")));
        }
        let Found { managers, others } = self.found()?;
        if !managers.is_empty() || !others.is_empty() {
            let count = managers.len() + others.len();
            return Err(self.retry(format!("{count} processes hold the data or manage it")));
        }
        let facts = Fact { condition: Condition::Stopped, ..self.at_rest() };
        Ok(Done { evidence: Some(EvidenceKind::Confirmed), facts, ..Done::default() })
    }

    /// What is left in the held cgroup. What belongs to a server of another driver is not ours.
    fn ours_in_cgroup(&self) -> Result<Vec<i32>, DriverError> {
        let ours = processes::dir_id(&self.set.data_dir);
        let all = self.holder.processes()?.into_iter();
        Ok(all.filter(|pid| !processes::is_anothers(*pid, ours)).collect())
    }

    async fn nobody_listens(&self) -> Result<(), DriverError> {
        let (host, port) = (self.set.host.as_str(), self.set.port);
        let dial = tokio::net::TcpStream::connect((host, port));
        match tokio::time::timeout(PORT_LIMIT, dial).await {
            Ok(Ok(stream)) if !is_own(&stream) => {
                Err(self
                    .retry(format!("somebody listens on {host}:{port}, though the server is gone")))
            }
            _ => Ok(()),
        }
    }
}

/// Where nobody listens on a port of this host, a connection to it may come from that very port and
/// meet itself.
fn is_own(stream: &tokio::net::TcpStream) -> bool {
    stream.local_addr().ok().is_some_and(|own| stream.peer_addr().is_ok_and(|peer| peer == own))
}
