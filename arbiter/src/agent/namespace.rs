//! A PID namespace that dies with the process that made it.
//!
//! Its init does nothing but live: the kernel kills every process of a PID namespace when its init
//! dies, and this init dies with its parent, by signal and, should that be lost, by the end of a
//! pipe. Knows namespaces. Never knows groups, deadlines or what runs inside.

use super::means::Means;
use nix::fcntl::OFlag;
use nix::libc;
use nix::mount::MsFlags;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::CloneFlags;
use nix::sys::signal::{SigHandler, Signal};
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::MetadataExt;

/// Bytes of stack of an init: it only mounts and polls.
const STACK_BYTES: usize = 256 * 1024;
/// Descriptors that the deadman may have, where the kernel cannot close a range (before 5.9).
const DESCRIPTORS_MAX: RawFd = 1024;

/// The init of a PID namespace, a child of this process.
#[derive(Debug)]
pub struct Init {
    /// Its process id as seen here.
    pid: i32,
    /// Closed by the kernel when this process dies: the init reads the end and exits.
    lifeline: OwnedFd,
    /// Inode of the namespace, so that another process can tell it from one that reuses the id.
    namespace: u64,
}

impl Init {
    /// Make a namespace. Only for a process with one thread.
    ///
    /// # Errors
    /// When the kernel refuses, for want of privilege most likely, or it is not to be used.
    pub fn spawn() -> io::Result<Self> {
        if Means::Namespace.is_hidden() {
            return Err(io::Error::from(io::ErrorKind::Unsupported));
        }
        let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
        let mut stack = vec![0_u8; STACK_BYTES];
        let flags = CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWNS;
        let lifeline = read.as_raw_fd();
        let child = Box::new(move || live(lifeline));
        // SAFETY: without CLONE_VM the child has a copy of this process's memory, the stack
        // included, as after fork; this process has one thread, so no lock is held in the copy.
        let pid = unsafe { nix::sched::clone(child, &mut stack, flags, Some(libc::SIGCHLD)) }?;
        drop(read);
        let namespace = fs::metadata(format!("/proc/{pid}/ns/pid")).map_or(0, |meta| meta.ino());
        Ok(Self { pid: pid.as_raw(), lifeline: write, namespace })
    }

    /// Take over an init that this process made before it replaced its own image.
    ///
    /// # Safety
    /// `lifeline` is the descriptor that [`Self::keep`] gave, and nobody else owns it.
    pub unsafe fn resume(pid: i32, lifeline: RawFd, namespace: u64) -> io::Result<Self> {
        // SAFETY: the caller vouches for the descriptor.
        let lifeline = unsafe { OwnedFd::from_raw_fd(lifeline) };
        close_on_exec(&lifeline, true)?;
        Ok(Self { pid, lifeline, namespace })
    }

    /// Let the lifeline stay open over an exec in place; its number, for [`Self::resume`].
    ///
    /// # Errors
    /// Never on an open descriptor.
    pub fn keep(&self) -> io::Result<RawFd> {
        close_on_exec(&self.lifeline, false)?;
        Ok(self.lifeline.as_raw_fd())
    }

    /// The exec did not happen: the lifeline is for no later child.
    ///
    /// # Errors
    /// Never on an open descriptor.
    pub fn unkeep(&self) -> io::Result<()> {
        close_on_exec(&self.lifeline, true)
    }

    /// Its process id as seen by this process.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Inode of its PID namespace.
    pub fn namespace(&self) -> u64 {
        self.namespace
    }

    /// Kill it, and with it everything in the namespace. Does not wait.
    pub fn kill(&self) {
        // It is this process's child and not yet waited for, so the id is still its own.
        let _ = super::cgroup::send_kill(self.pid);
    }
}

/// Set or clear close-on-exec.
///
/// # Errors
/// Never on an open descriptor.
pub fn close_on_exec(fd: &impl AsFd, close: bool) -> io::Result<()> {
    let flag = if close { nix::fcntl::FdFlag::FD_CLOEXEC } else { nix::fcntl::FdFlag::empty() };
    nix::fcntl::fcntl(fd, nix::fcntl::FcntlArg::F_SETFD(flag))?;
    Ok(())
}

/// The life of an init: private mounts with a `/proc` of its own, then waiting for the end.
fn live(lifeline: RawFd) -> isize {
    let Ok(lifeline) = keep_only(lifeline) else { return 1 };
    let named = c"arbiter-init";
    // SAFETY: prctl with these options reads its arguments only; the name is NUL-terminated.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        libc::prctl(libc::PR_SET_NAME, named.as_ptr());
    }
    // SAFETY: no handler is installed. Ignored children leave no zombies.
    let _ = unsafe { nix::sys::signal::signal(Signal::SIGCHLD, SigHandler::SigIgn) };
    let none: Option<&str> = None;
    // Mounts of the host still arrive here; nothing mounted here arrives at the host.
    let private = nix::mount::mount(none, "/", none, MsFlags::MS_SLAVE | MsFlags::MS_REC, none)
        .and_then(|()| {
            let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
            nix::mount::mount(Some("proc"), "/proc", Some("proc"), flags, none)
        });
    if private.is_err() {
        return 1;
    }
    loop {
        let mut fds = [PollFd::new(lifeline.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::NONE) {
            Err(nix::errno::Errno::EINTR) => {}
            // The writing end is gone, and with it the parent.
            _ => return 0,
        }
    }
}

/// Close every descriptor but `keep`, the copy of the writing end first of all: while it is open
/// here the pipe has no end.
pub(super) fn keep_only(keep: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: this process is a fresh copy that uses no other descriptor.
    let kept = unsafe {
        let kept = libc::dup2(keep, 0);
        if libc::syscall(libc::SYS_close_range, 1_u32, u32::MAX, 0_u32) != 0 {
            for fd in 1..DESCRIPTORS_MAX {
                libc::close(fd);
            }
        }
        kept
    };
    if kept != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: descriptor 0 was made above and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(0) })
}
