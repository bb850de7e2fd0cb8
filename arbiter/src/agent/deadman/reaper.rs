//! The reaper: holds the process tree of one group where there is neither cgroup v2 nor a PID
//! namespace.
//!
//! It is forked off the deadman, starts what it is told over a line to it, and is the subreaper of
//! all that: what is forked off or daemonised stays below it. When the line ends, because the
//! deadman let go or died, it kills until it has no child left, and ends. Knows one line and its
//! own children. Never knows groups or deadlines.

use super::{note, protect};
use crate::agent::namespace::{close_on_exec, keep_only};
use crate::agent::spawn::{self, Place};
use crate::agent::tree::{self, Root};
use crate::drivers::Command;
use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::{SigHandler, SigSet, Signal};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, send, socketpair};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::{ForkResult, fork};
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::thread;
use std::time::Duration;

/// Longest order to start something, in bytes.
const START_BYTES_MAX: usize = 64 * 1024;
/// Input, output and errors.
const STANDARD_DESCRIPTORS: usize = 3;
/// Between two passes over what is left.
const KILL_AGAIN_EVERY: Duration = Duration::from_millis(2);

/// The reaper of one group, a child of this process.
#[derive(Debug)]
pub struct Reaper {
    root: Root,
    /// Ended by the kernel when this process dies.
    line: OwnedFd,
}

impl Reaper {
    /// Fork one off. This process becomes a subreaper too: what a killed reaper leaves comes to it.
    /// Only for a process with one thread.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn spawn(runtime_dir: &Path) -> io::Result<Self> {
        become_subreaper()?;
        let flags = SockFlag::SOCK_CLOEXEC;
        let (line, its) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?;
        // SAFETY: this process has one thread, so the copy may do whatever this one may.
        match unsafe { fork() }? {
            ForkResult::Parent { child } => Ok(Self { root: Root::of(child.as_raw())?, line }),
            ForkResult::Child => {
                let code = i32::from(live(its.as_raw_fd(), runtime_dir).is_err());
                // SAFETY: _exit runs nothing that belongs to the deadman.
                unsafe { libc::_exit(code) }
            }
        }
    }

    /// Take over a reaper that this process made before it replaced its own image.
    ///
    /// # Safety
    /// `line` is the descriptor that [`Self::keep`] gave, and nobody else owns it.
    pub unsafe fn resume(root: Root, line: RawFd) -> io::Result<Self> {
        // SAFETY: the caller vouches for the descriptor.
        let line = unsafe { OwnedFd::from_raw_fd(line) };
        close_on_exec(&line, true)?;
        Ok(Self { root, line })
    }

    /// Let the line stay open over an exec in place; its number, for [`Self::resume`].
    ///
    /// # Errors
    /// Never on an open descriptor.
    pub fn keep(&self) -> io::Result<RawFd> {
        close_on_exec(&self.line, false)?;
        Ok(self.line.as_raw_fd())
    }

    /// The exec did not happen: the line is for no later child.
    ///
    /// # Errors
    /// Never on an open descriptor.
    pub fn unkeep(&self) -> io::Result<()> {
        close_on_exec(&self.line, true)
    }

    /// Its process.
    pub fn root(&self) -> Root {
        self.root
    }

    /// Have it start a server, and do not wait: what becomes of it is seen in the tree, and why it
    /// was not executed in the notes.
    ///
    /// # Errors
    /// When it is gone, or reads nothing.
    pub fn start(&self, program: &Command) -> io::Result<()> {
        let order = serde_json::to_vec(program)?;
        if order.len() > START_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the command is too long"));
        }
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        send(self.line.as_raw_fd(), &order, flags)?;
        Ok(())
    }
}

fn become_subreaper() -> io::Result<()> {
    // SAFETY: prctl with this option reads its arguments only.
    match unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The life of a reaper. An error: it cannot be one, and has started nothing.
fn live(line: RawFd, runtime_dir: &Path) -> io::Result<()> {
    let line = settle(line)?;
    become_subreaper()?;
    protect(c"arbiter-reaper");
    // SAFETY: no handler is installed. Ignored children leave no zombies.
    unsafe { nix::sys::signal::signal(Signal::SIGCHLD, SigHandler::SigIgn) }?;
    let mut order = vec![0; START_BYTES_MAX];
    loop {
        match recv(line.as_raw_fd(), &mut order, MsgFlags::empty()) {
            Err(Errno::EINTR) => {}
            Ok(0) | Err(_) => break,
            Ok(bytes) => start(&order[..bytes], runtime_dir),
        }
    }
    let me = Root::of(std::process::id() as i32)?;
    loop {
        let _ = tree::kill_below(me, &BTreeSet::new());
        // Whatever is below it becomes its child when all between have ended: no child, nothing.
        if waitpid(None, Some(WaitPidFlag::WNOHANG | WaitPidFlag::__WALL)) == Err(Errno::ECHILD) {
            return Ok(());
        }
        thread::sleep(KILL_AGAIN_EVERY);
    }
}

/// Close all that is the deadman's but `line`; the standard descriptors lead nowhere.
fn settle(line: RawFd) -> io::Result<OwnedFd> {
    // A clone is none of the standard ones, which are free then.
    let kept = keep_only(line)?.try_clone()?;
    for _ in 0..STANDARD_DESCRIPTORS {
        // SAFETY: the path is NUL-terminated. The descriptor is to stay open, over an exec too.
        if unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDWR) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(kept)
}

/// Start a server in a child: the reaper itself must not wait for a disk.
fn start(order: &[u8], runtime_dir: &Path) {
    // SAFETY: the reaper has one thread.
    let forked = unsafe { fork() };
    let started = match forked {
        Ok(ForkResult::Parent { .. }) => return,
        Ok(ForkResult::Child) => launch(order),
        Err(error) => Err(error.into()),
    };
    if let Err(error) = started {
        note(runtime_dir, &format!("a server could not be started: {error}"));
    }
    if forked.is_ok() {
        // SAFETY: _exit runs nothing that belongs to the reaper.
        unsafe { libc::_exit(0) }
    }
}

fn launch(order: &[u8]) -> io::Result<()> {
    let program: Command = serde_json::from_slice(order)?;
    // What protects the deadman is not for what it holds.
    let _ = fs::write("/proc/self/oom_score_adj", "0");
    // SAFETY: no handler is installed.
    unsafe { nix::sys::signal::signal(Signal::SIGCHLD, SigHandler::SigDfl) }?;
    SigSet::empty().thread_set_mask()?;
    spawn::server(&program, &Place::default())
}
