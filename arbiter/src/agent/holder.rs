//! The holder that each driver gets: starts and kills processes so that the deadman holds them.
//!
//! Knows one group's place, and whether the deadman lets something start there. Never knows what
//! it starts.

use super::cgroup::Cgroup;
use super::companion::Companion;
use super::guards;
use super::held::Holds;
use super::link::Ask;
use super::spawn;
use crate::clock;
use crate::drivers::{Command, DriverError, Holder, Output};
use arbiter_core::GroupId;
use async_trait::async_trait;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};

/// The longest that killed processes are waited for.
const KILL_LIMIT: Duration = Duration::from_secs(5);
/// Bytes kept of each output of a tool.
const OUTPUT_BYTES_MAX: u64 = 1 << 20;

/// Rehearsed kills of this process, for names.
static REHEARSED: AtomicU64 = AtomicU64::new(0);

/// The holder of one group.
pub struct GroupHolder {
    group: GroupId,
    holds: Arc<Holds>,
    companion: Companion,
    gate_dir: PathBuf,
}

impl GroupHolder {
    /// A holder of `group`, whose gate files go to `gate_dir`.
    pub fn new(group: GroupId, holds: Arc<Holds>, companion: Companion, gate_dir: PathBuf) -> Self {
        Self { group, holds, companion, gate_dir }
    }

    fn refused(&self, writable: bool) -> Result<(), DriverError> {
        match self.holds.refuses(&self.group, writable, clock::now()) {
            Some(why) => Err(DriverError::Retry(format!("not started: {why}"))),
            None => Ok(()),
        }
    }
}

#[async_trait]
impl Holder for GroupHolder {
    async fn run(&self, program: &Command) -> Result<Output, DriverError> {
        run_tool(program).await
    }

    async fn start(&self, program: &Command, writable: bool) -> Result<(), DriverError> {
        self.refused(writable)?;
        // A kill took the namespace with it: there is a new one for each start that needs it.
        let held = self.companion.ask(vec![Ask::Hold { group: self.group.clone() }]).await;
        held.map_err(|error| DriverError::Retry(format!("the deadman: {error}")))?;
        self.refused(writable)?;
        let place = self.holds.place(&self.group);
        let place = place.ok_or_else(|| DriverError::Retry("the deadman has no place".into()))?;
        let program = program.clone();
        let name = program.program.display().to_string();
        let started = if place.reaper.is_some() {
            let group = self.group.clone();
            self.companion.ask(vec![Ask::Start { group, program }]).await
        } else {
            blocking(move || spawn::server(&program, &place)).await
        };
        started.map_err(|error| DriverError::Retry(format!("{name} could not be started: {error}")))
    }

    async fn adopt(&self, pids: Vec<i32>) -> Result<(), DriverError> {
        let held = guards::hold(&self.group, &pids, &self.holds, &self.companion).await;
        held.map_err(|error| DriverError::Retry(format!("a running server is not held: {error}")))
    }

    fn processes(&self) -> Result<Vec<i32>, DriverError> {
        self.holds.processes(&self.group).map_err(|error| {
            DriverError::Retry(format!("the held processes cannot be listed: {error}"))
        })
    }

    async fn kill(&self) -> Result<(), DriverError> {
        let failed = |error| DriverError::Retry(format!("not all could be killed: {error}"));
        let cgroups = self.holds.cgroups(&self.group);
        // Without the deadman: it may be the reason for the kill.
        if cgroups.is_empty() && self.holds.has_owner(&self.group) {
            self.companion.tell(Ask::Kill { group: self.group.clone() });
            let (holds, group) = (self.holds.clone(), self.group.clone());
            return blocking(move || holds.kill_owned(&group, KILL_LIMIT)).await.map_err(failed);
        }
        if cgroups.is_empty() {
            // What it holds is not known here yet.
            let ask = Ask::Kill { group: self.group.clone() };
            return self.companion.ask(vec![ask]).await.map_err(failed);
        }
        blocking(move || {
            let kill = |cgroup: &super::cgroup::Cgroup| cgroup.kill_and_wait(KILL_LIMIT);
            cgroups.iter().map(kill).fold(Ok(()), Result::and)
        })
        .await
        .map_err(failed)
    }

    async fn rehearse_kill(&self, server: Vec<i32>) -> Result<(), DriverError> {
        let failed = |error: io::Error| DriverError::Retry(format!("a rehearsed kill: {error}"));
        // Of those that ran when they were listed, some have ended since.
        let held = self.processes()?;
        let outside = |pid: &&i32| !held.contains(pid) && super::cgroup::alive(**pid);
        if let Some(pid) = server.iter().find(outside) {
            return Err(DriverError::Retry(format!("process {pid} is not held by the deadman")));
        }
        self.companion.ask(vec![Ask::Status]).await.map_err(failed)?;
        let cgroups = self.holds.cgroups(&self.group);
        blocking(move || {
            cgroups.iter().try_for_each(Cgroup::can_be_killed)?;
            match cgroups.first().and_then(|cgroup| cgroup.path().parent().map(Path::to_owned)) {
                Some(beside) => kill_aside(&beside),
                None => Ok(()),
            }
        })
        .await
        .map_err(failed)
    }

    fn armed(&self) -> bool {
        self.holds.enforced(&self.group)
    }

    fn gate_dir(&self) -> PathBuf {
        self.gate_dir.clone()
    }
}

/// Kill a process that is there for that alone, in a cgroup of its own beside those that are held:
/// the kernel lets us, and it works.
fn kill_aside(beside: &Path) -> io::Result<()> {
    let number = REHEARSED.fetch_add(1, Ordering::Relaxed);
    let name = format!("rehearsal-{}-{number}", std::process::id());
    let aside = Cgroup::create(beside.join(name))?;
    let killed = || {
        let mut sleeper = std::process::Command::new("sleep")
            .arg(KILL_LIMIT.as_secs().to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()?;
        let done = aside.admit(sleeper.id() as i32).and_then(|()| aside.kill_and_wait(KILL_LIMIT));
        let _ = sleeper.kill();
        let ended = sleeper.wait()?;
        done?;
        if ended.success() { Err(io::Error::other("it ended by itself")) } else { Ok(()) }
    };
    let killed = killed();
    aside.remove().and(killed)
}

/// Run a tool to its end, at most for its limit; then it is killed with what it started.
///
/// # Errors
/// `Retry` when it cannot be started or took too long.
pub async fn run_tool(program: &Command) -> Result<Output, DriverError> {
    let name = program.program.display().to_string();
    let failed = |error: io::Error| DriverError::Retry(format!("{name}: {error}"));
    let mut command = spawn::tool(program).map_err(failed)?;
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut command = tokio::process::Command::from(command);
    let mut child = command.kill_on_drop(true).spawn().map_err(failed)?;
    let tree = Tree(child.id());
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let ended = tokio::time::timeout(program.limit, async {
        let (stdout, stderr) = tokio::join!(read(out), read(err));
        child.wait().await.map(|status| Output { code: status.code(), stdout, stderr })
    });
    match ended.await {
        Ok(output) => {
            tree.leave();
            output.map_err(failed)
        }
        Err(_) => Err(DriverError::Retry(format!("{name} took longer than {:?}", program.limit))),
    }
}

/// A tool that does not end goes with what it started, also when its caller is dropped.
struct Tree(Option<u32>);

impl Tree {
    /// It ended: its id may be another's by now.
    fn leave(mut self) {
        self.0 = None;
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            let _ = killpg(Pid::from_raw(pid as i32), Signal::SIGKILL);
        }
    }
}

async fn read(from: Option<impl AsyncRead + Unpin>) -> String {
    let mut bytes = Vec::new();
    if let Some(mut from) = from {
        let _ = (&mut from).take(OUTPUT_BYTES_MAX).read_to_end(&mut bytes).await;
        // Read on, so that the tool is not stopped by a full pipe.
        let _ = tokio::io::copy(&mut from, &mut tokio::io::sink()).await;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Do blocking work beside the runtime's threads.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}
