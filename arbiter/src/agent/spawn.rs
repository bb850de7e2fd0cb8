//! Starts programs: in the held cgroup and PID namespace, or beside them.
//!
//! Knows users, namespaces and cgroups. Never knows leases: the holder asks before it starts.

use super::tree::Root;
use crate::drivers::Command;
use nix::libc;
use nix::unistd::{Gid, Uid, User};
use serde::{Deserialize, Serialize};
use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Stdio;

/// Supplementary groups that one user may have here.
const GROUPS_MAX: usize = 1024;

/// Where a server is to run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Directory of the held cgroup; none where there is no cgroup v2.
    pub cgroup: Option<std::path::PathBuf>,
    /// Init of the PID namespace and the namespace's inode; none without the privilege to make one.
    pub init: Option<(i32, u64)>,
    /// The reaper, where there is neither: a server must be started by it, to be below it.
    pub reaper: Option<Root>,
}

/// Who runs a program: resolved before the fork, since looking it up allocates.
#[derive(Clone, Debug)]
struct Identity {
    uid: Uid,
    gid: Gid,
    groups: Vec<libc::gid_t>,
}

fn identity(user: &str) -> io::Result<Identity> {
    let found = User::from_name(user).map_err(io::Error::from)?;
    let unknown = || io::Error::new(io::ErrorKind::NotFound, format!("no user {user:?} here"));
    let found = found.ok_or_else(unknown)?;
    let name = CString::new(user).map_err(|_| unknown())?;
    let groups = nix::unistd::getgrouplist(&name, found.gid).map_err(io::Error::from)?;
    let groups = groups.into_iter().take(GROUPS_MAX).map(Gid::as_raw).collect();
    Ok(Identity { uid: found.uid, gid: found.gid, groups })
}

/// Who is to run `program`: nobody else when this process is that user already.
fn switch(program: &Command) -> io::Result<Option<Identity>> {
    let Some(user) = &program.user else { return Ok(None) };
    let identity = identity(user)?;
    Ok((identity.uid != Uid::effective()).then_some(identity))
}

/// The program as the standard library runs it, standard input closed.
fn prepare(program: &Command) -> std::process::Command {
    let mut command = std::process::Command::new(&program.program);
    command.args(&program.args).envs(program.env.iter().map(|(k, v)| (k, v)));
    command.current_dir("/").stdin(Stdio::null());
    command
}

/// A tool, ready to be run beside the held cgroup as its user.
///
/// # Errors
/// When the user is unknown.
pub fn tool(program: &Command) -> io::Result<std::process::Command> {
    let mut command = prepare(program);
    command.process_group(0);
    if let Some(who) = switch(program)? {
        // SAFETY: `become_user` makes system calls only, as is required between fork and exec.
        unsafe { command.pre_exec(move || become_user(&who)) };
    }
    Ok(command)
}

/// Start a server at `place` and leave it running. Returns when it was executed; what becomes of
/// it then is seen in the cgroup.
///
/// # Errors
/// When it cannot be executed, or the place is gone: the deadman died or killed meanwhile.
pub fn server(program: &Command, place: &Place) -> io::Result<()> {
    let who = switch(program)?;
    let mut command = prepare(program);
    let (output, errors) = outputs(program, who.as_ref())?;
    command.stdout(output).stderr(errors);
    let procs = match &place.cgroup {
        Some(path) => Some(open_for_write(&path.join("cgroup.procs"))?),
        None => None,
    };
    let namespaces = match place.init {
        Some((pid, inode)) => Some(namespaces_of(pid, inode)?),
        None => None,
    };
    let enter = move || {
        if let Some(procs) = &procs {
            write_all(procs, b"0")?;
        }
        if let Some((pid, mount)) = &namespaces {
            enter_namespace(pid, libc::CLONE_NEWPID)?;
            enter_namespace(mount, libc::CLONE_NEWNS)?;
        }
        detach()?;
        who.as_ref().map_or(Ok(()), become_user)
    };
    // SAFETY: the closure makes system calls only, as is required between fork and exec.
    unsafe { command.pre_exec(enter) };
    // The child is the first of three; it ends when the server was forked off for good.
    command.spawn()?.wait().map(drop)
}

fn outputs(program: &Command, who: Option<&Identity>) -> io::Result<(Stdio, Stdio)> {
    let Some(path) = &program.log else { return Ok((Stdio::null(), Stdio::null())) };
    let log = open_log(path, who)?;
    Ok((log.try_clone()?.into(), log.into()))
}

/// The log, made where missing and then given to the server's user. The directory may be that
/// user's, and this process root: whatever was put there in its place is refused.
fn open_log(path: &Path, who: Option<&Identity>) -> io::Result<File> {
    let mut options = OpenOptions::new();
    // Nor is a pipe waited for that nobody reads.
    options.append(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC);
    match options.clone().create_new(true).open(path) {
        Ok(log) => {
            if let Some(who) = who {
                let (uid, gid) = (who.uid.as_raw(), who.gid.as_raw());
                std::os::unix::fs::fchown(&log, Some(uid), Some(gid))?;
            }
            return Ok(log);
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    let log = options.open(path)?;
    let meta = log.metadata()?;
    if meta.is_file() && meta.nlink() == 1 {
        return Ok(log);
    }
    let what = format!("the log {} is no regular file of its own", path.display());
    Err(io::Error::new(io::ErrorKind::PermissionDenied, what))
}

fn open_for_write(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).open(path)
}

/// The PID and mount namespaces of an init, if it is still the one that the deadman named.
fn namespaces_of(pid: i32, inode: u64) -> io::Result<(File, File)> {
    let ns = File::open(format!("/proc/{pid}/ns/pid"))?;
    if ns.metadata()?.ino() != inode {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the namespace's init is gone"));
    }
    let mount = File::open(format!("/proc/{pid}/ns/mnt"))?;
    // Read again: while the first descriptor is held the inode cannot be reused.
    match fs::metadata(format!("/proc/{pid}/ns/pid")) {
        Ok(meta) if meta.ino() == inode => Ok((ns, mount)),
        _ => Err(io::Error::new(io::ErrorKind::NotFound, "the namespace's init is gone")),
    }
}

fn enter_namespace(file: &File, kind: libc::c_int) -> io::Result<()> {
    // SAFETY: setns reads its two integers only.
    check(unsafe { libc::setns(file.as_raw_fd(), kind) })
}

fn write_all(mut file: &File, bytes: &[u8]) -> io::Result<()> {
    io::Write::write_all(&mut file, bytes)
}

/// Fork twice and go on in the grandchild, so that its parent is the namespace's init, which leaves
/// no zombies, and not somebody outside who may be stopped.
fn detach() -> io::Result<()> {
    if fork()? != 0 {
        // SAFETY: _exit and waitpid touch no memory of ours. The child is waited for, so that it
        // leaves no zombie either.
        unsafe {
            libc::waitpid(-1, std::ptr::null_mut(), 0);
            libc::_exit(0);
        }
    }
    if fork()? != 0 {
        // SAFETY: as above.
        unsafe { libc::_exit(0) };
    }
    // SAFETY: setsid takes no argument.
    check(unsafe { libc::setsid() })
}

/// fork without the handlers of the C library, whose locks another thread may have held.
fn fork() -> io::Result<libc::c_long> {
    // SAFETY: like fork, with no new stack and no shared memory.
    let pid = unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) };
    if pid < 0 { Err(io::Error::last_os_error()) } else { Ok(pid) }
}

fn become_user(who: &Identity) -> io::Result<()> {
    // SAFETY: the list lives through the call. The raw calls change this process only, which has
    // one thread after fork; groups go first, since without root they could not.
    unsafe {
        check(libc::setgroups(who.groups.len(), who.groups.as_ptr()))?;
        check(libc::setgid(who.gid.as_raw()))?;
        check(libc::setuid(who.uid.as_raw()))
    }
}

fn check(returned: libc::c_int) -> io::Result<()> {
    if returned < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_log_is_a_file_of_its_own_and_nothing_that_was_planted() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for _ in 0..2 {
            write_all(&open_log(&at("log"), None).unwrap(), b"x").unwrap();
        }
        assert_eq!(fs::read_to_string(at("log")).unwrap(), "xx");
        symlink(at("log"), at("link")).unwrap();
        symlink(at("nowhere"), at("dangling")).unwrap();
        nix::unistd::mkfifo(&at("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        for planted in ["link", "dangling", "pipe"] {
            assert!(open_log(&at(planted), None).is_err(), "{planted}");
        }
        fs::hard_link(at("log"), at("hard")).unwrap();
        assert!(open_log(&at("hard"), None).is_err());
    }
}
