//! Starting and stopping the server's processes.
//!
//! Knows commands, signals and waits. Never knows what role the server should have: that stands in
//! its data when it is started.

use super::processes::{self, Process};
use super::sql::Unreachable;
use super::{Postgres, files};
use crate::drivers::{Command, DriverError};
use nix::sys::signal::Signal;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio_postgres::error::SqlState;

/// How long one call waits for a started server; the executor asks again.
const START_WAIT_MAX: Duration = Duration::from_secs(20);
/// How long a started server may take until a process of it is seen.
const APPEAR_MAX: Duration = Duration::from_secs(5);
/// How long one look at a starting server waits for the next.
const START_POLL: Duration = Duration::from_millis(5);
/// How long a kill may take until nothing is left.
const KILL_WAIT_MAX: Duration = Duration::from_secs(2);
/// Looks for forks that a kill raced with.
const KILL_ROUNDS_MAX: u32 = 16;
/// Characters of a server's last fatal line that an error shows.
const FATAL_LINE_MAX: usize = 240;
/// Bytes at the end of the log that are searched for it.
const LOG_TAIL_BYTES: u64 = 16 * 1024;

/// No link is followed, and a pipe without a writer is not waited for.
const LOG_FLAGS: i32 = nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK;
/// Looks at a server that forks while it is adopted.
const ADOPT_PASSES_MAX: u32 = 8;

/// How far up the server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Up {
    /// No process of it.
    No,
    /// No postmaster, but processes that it left: they can still write.
    Orphans(Vec<Process>),
    /// A postmaster on its way up.
    Starting(Process),
    /// A postmaster that accepts connections.
    Yes(Process),
    /// A postmaster on its way down.
    Stopping(Process),
}

impl Postgres {
    /// How far up the server is, by its processes and what the postmaster wrote.
    pub(super) fn up(&self) -> Result<Up, DriverError> {
        let found = self.processes()?;
        let Some(server) = processes::postmaster(&found).cloned() else {
            return Ok(if found.is_empty() { Up::No } else { Up::Orphans(found) });
        };
        let file = files::pid_file(&self.set.data_dir).unwrap_or_default();
        let status = if file.pid == server.inner { file.status.as_str() } else { "" };
        Ok(match status {
            "ready" | "standby" => Up::Yes(server),
            "stopping" => Up::Stopping(server),
            _ => Up::Starting(server),
        })
    }

    /// Start the stopped server in the role that its data has and wait until it answers.
    pub(super) async fn start(&self, writable: bool) -> Result<(), DriverError> {
        let _permit = self.permit()?;
        self.asked_to_stop.store(false, Ordering::SeqCst);
        self.holder.start(&self.server_command(), writable).await?;
        self.await_start().await
    }

    /// See that the deadman holds a running server, whoever started it: it must be able to kill it.
    /// I4
    pub(super) async fn have_held(&self, server: &Process) -> Result<(), DriverError> {
        if !self.holder.armed() || self.holder.processes()?.contains(&server.pid) {
            return Ok(());
        }
        for _ in 0..ADOPT_PASSES_MAX {
            let held = self.holder.processes()?;
            let all = self.processes()?.into_iter().map(|process| process.pid);
            let outside: Vec<i32> = all.filter(|pid| !held.contains(pid)).collect();
            if outside.is_empty() {
                return Ok(());
            }
            self.holder.adopt(outside).await?;
        }
        Err(self.retry("the server forks faster than it can be held"))
    }

    fn server_command(&self) -> Command {
        let set = &self.set;
        let mut args = vec!["-D".to_owned(), set.data_dir.display().to_string()];
        let mut option = |name: &str, value: String| {
            args.push("-c".to_owned());
            args.push(format!("{name}={value}"));
        };
        // A port copied from a peer's configuration must not win.
        option("port", set.port.to_string());
        if let Some(path) = &set.config_file {
            option("config_file", path.display().to_string());
        }
        if let Some(listen) = &set.listen {
            option("listen_addresses", listen.clone());
        }
        if let Some(dir) = &set.socket_dir {
            option("unix_socket_directories", dir.display().to_string());
        }
        Command {
            program: set.program("postgres"),
            args,
            env: Vec::new(),
            user: set.user.clone(),
            limit: START_WAIT_MAX,
            log: Some(set.log_file.clone()),
        }
    }

    /// Wait until a starting server answers; from then on nobody starts another.
    pub(super) async fn await_start(&self) -> Result<(), DriverError> {
        let began = crate::clock::now();
        let mut appeared = false;
        loop {
            let waited = crate::clock::now().since(began);
            match self.up()? {
                Up::Yes(_) if self.answers().await? => break,
                Up::No | Up::Orphans(_) if appeared || waited > APPEAR_MAX => {
                    return Err(
                        self.retry(format!("the server did not start{}", self.fatal(|_| true)))
                    );
                }
                Up::No | Up::Orphans(_) => {}
                _ => appeared = true,
            }
            if waited > START_WAIT_MAX {
                return Err(self.retry("the server is still starting or recovering"));
            }
            tokio::time::sleep(START_POLL).await;
        }
        if self.gated() { self.hold() } else { Ok(()) }
    }

    async fn answers(&self) -> Result<bool, DriverError> {
        match self.session().await {
            Ok(_) => Ok(true),
            Err(Unreachable::Failed { state, message }) if no_login(&state) => {
                Err(self.refuse(format!(
                    "user {} cannot log in over the Unix socket: {message}; allow it in \
                     pg_hba.conf or set admin_user and admin_password_file",
                    self.set.admin_user
                )))
            }
            Err(_) => Ok(false),
        }
    }

    /// Bytes of the log now.
    pub(super) fn log_bytes(&self) -> u64 {
        std::fs::symlink_metadata(&self.set.log_file).map_or(0, |meta| meta.len())
    }

    /// The log from byte `from` on, [`LOG_TAIL_BYTES`] at most; empty where it cannot be read.
    pub(super) fn log_since(&self, from: u64) -> String {
        use std::io::{Read, Seek, SeekFrom};
        use std::os::unix::fs::OpenOptionsExt;
        let read = || -> std::io::Result<String> {
            // The server's user owns the directory: a link may lead anywhere.
            let mut options = std::fs::OpenOptions::new();
            let mut file = options.read(true).custom_flags(LOG_FLAGS).open(&self.set.log_file)?;
            let length = file.metadata()?.len();
            let from = from.max(length.saturating_sub(LOG_TAIL_BYTES));
            file.seek(SeekFrom::Start(from))?;
            let mut bytes = Vec::new();
            file.take(LOG_TAIL_BYTES).read_to_end(&mut bytes)?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        read().unwrap_or_default()
    }

    /// `: ` and the last fatal line of the log that is `wanted`, if there is one.
    pub(super) fn fatal(&self, wanted: fn(&str) -> bool) -> String {
        let text = self.log_since(self.log_bytes().saturating_sub(LOG_TAIL_BYTES));
        let line = text
            .lines()
            .rev()
            .filter(|line| wanted(line))
            .find_map(|line| Some(line.split_once("FATAL:")?.1.trim()));
        let see = format!("; see {}", self.set.log_file.display());
        let shown = line.map(|line| line.chars().take(FATAL_LINE_MAX).collect::<String>());
        shown.map_or(see.clone(), |line| format!(": {line}{see}"))
    }

    /// Ask for a fast stop (sessions end, the standby gets everything) and wait at most `limit`.
    /// Never a smart one: it waits for every session. Returns whether all of it is gone.
    pub(super) async fn stop(&self, limit: Duration) -> Result<bool, DriverError> {
        self.signal_and_wait(Signal::SIGINT, limit).await
    }

    /// The same without a checkpoint and without waiting for anybody.
    pub(super) async fn stop_now(&self, limit: Duration) -> Result<bool, DriverError> {
        self.signal_and_wait(Signal::SIGQUIT, limit).await
    }

    async fn signal_and_wait(&self, how: Signal, limit: Duration) -> Result<bool, DriverError> {
        self.asked_to_stop.store(true, Ordering::SeqCst);
        let found = self.processes()?;
        match processes::postmaster(&found) {
            Some(server) => processes::send(server, how),
            // What a dead postmaster left obeys no shutdown.
            None => return Ok(found.is_empty()),
        }
        Ok(processes::wait_gone(&found, limit).await && self.processes()?.is_empty())
    }

    /// Kill every process of the server, whoever started it, and wait until none is left.
    pub(super) async fn kill_all(&self) -> Result<(), DriverError> {
        for _ in 0..KILL_ROUNDS_MAX {
            let found = self.processes()?;
            if found.is_empty() {
                return Ok(());
            }
            // The postmaster first: then nobody forks.
            if let Some(server) = processes::postmaster(&found) {
                processes::send(server, Signal::SIGKILL);
            }
            found.iter().for_each(|process| processes::send(process, Signal::SIGKILL));
            if !processes::wait_gone(&found, KILL_WAIT_MAX).await {
                break;
            }
        }
        // Theirs is the stronger hand, and it takes the rest of the group as well.
        self.holder.kill().await?;
        let left = self.processes()?;
        if left.is_empty() {
            return Ok(());
        }
        Err(self.retry(format!("{} processes are left after SIGKILL", left.len())))
    }
}

/// Whether a server that answers with this SQLSTATE will not let the administrator in without
/// somebody's doing: wrong authorization, or no such database.
fn no_login(state: &str) -> bool {
    state.starts_with("28") || state == SqlState::INVALID_CATALOG_NAME.code()
}
