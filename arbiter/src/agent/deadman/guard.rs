//! The guard, `arbiter guard`: kills a cgroup when the deadman goes.
//!
//! For a running server that was adopted without a restart, where no systemd binds it to the
//! deadman: it is in no PID namespace of ours. Knows one process to watch and one cgroup.

use crate::agent::cgroup::Cgroup;
use nix::fcntl::{Flock, FlockArg};
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::mman::{MlockAllFlags, mlockall};
use std::fs::{self, OpenOptions};
use std::io;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

/// Between two kills while processes are left in the cgroup.
const KILL_AGAIN_EVERY: Duration = Duration::from_millis(10);

/// Arguments of `arbiter guard`, which an agent starts.
#[derive(Clone, Debug, clap::Args)]
pub struct GuardArgs {
    /// Process id of the deadman.
    #[arg(long)]
    pub deadman: i32,
    /// Directory of the cgroup to kill.
    #[arg(long)]
    pub cgroup: PathBuf,
    /// Held while it watches, so that no second guard is started for the same.
    #[arg(long)]
    pub lock: PathBuf,
}

/// A descriptor that becomes readable when process `pid` ends.
///
/// # Errors
/// When there is no such process, or the kernel is older than 5.3.
pub fn pidfd(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: pidfd_open reads its integers only; what it returns is a new descriptor.
    unsafe {
        let fd = libc::syscall(libc::SYS_pidfd_open, pid, 0);
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(OwnedFd::from_raw_fd(fd as i32))
    }
}

/// Watch until the deadman is gone, then kill until nothing is left, and end. Ends at once where
/// another guard holds the lock.
pub fn guard_main(args: &GuardArgs) -> ExitCode {
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(&args.lock);
    let lock = file.map(|file| Flock::lock(file, FlockArg::LockExclusiveNonblock));
    let Ok(Ok(_lock)) = lock else { return ExitCode::from(1) };
    let _ = fs::write("/proc/self/oom_score_adj", "-1000");
    let _ = mlockall(MlockAllFlags::MCL_CURRENT | MlockAllFlags::MCL_FUTURE);
    let cgroup = Cgroup::at(&args.cgroup);
    // Without the descriptor the deadman is gone already, or cannot be watched: both mean kill.
    if let Ok(watched) = pidfd(args.deadman) {
        wait_for_end(&watched);
    }
    loop {
        let killed = cgroup.freeze(true).and_then(|()| cgroup.kill());
        match cgroup.processes() {
            Ok(left) if left.is_empty() => return ExitCode::SUCCESS,
            Err(_) if killed.is_err() => return ExitCode::from(2),
            _ => thread::sleep(KILL_AGAIN_EVERY),
        }
    }
}

fn wait_for_end(watched: &OwnedFd) {
    loop {
        let mut fds = [PollFd::new(watched.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::NONE) {
            Err(nix::errno::Errno::EINTR) => {}
            _ => return,
        }
    }
}
