//! Exec in place: a new image of the deadman takes over deadlines and children, under the same
//! process id, so that nothing which dies with the deadman notices.

use super::hands::{Base, Hands, KeptGrip};
use super::server::Server;
use super::{DeadmanArgs, note};
use crate::agent::link::LINK_VERSION;
use crate::agent::namespace::close_on_exec;
use crate::clock;
use arbiter_core::GroupId;
use arbiter_core::agent::Deadman;
use nix::fcntl::{Flock, FlockArg};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::memfd::{MFdFlags, memfd_create};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Number of the descriptor that holds the state, in the environment of the next image.
const STATE_VARIABLE: &str = "ARBITER_DEADMAN_STATE";

/// The command of a program that prints the version of the state it understands.
pub const VERSION_COMMAND: &str = "deadman-version";
/// How long a program may take to say it.
const VERSION_LIMIT: Duration = Duration::from_secs(1);
/// Bytes that it may say.
const VERSION_BYTES_MAX: usize = 64;

/// All that a deadman hands to its next image.
#[derive(Serialize, Deserialize)]
pub struct Kept {
    version: u32,
    machine: Deadman,
    grips: BTreeMap<GroupId, KeptGrip>,
    listener: RawFd,
    lock: RawFd,
}

/// The state that the image before this one left, if there was one.
///
/// # Errors
/// When it is there and cannot be read: the deadman must end, and what it holds with it.
pub fn take() -> io::Result<Option<Kept>> {
    let Ok(number) = std::env::var(STATE_VARIABLE) else { return Ok(None) };
    let unreadable = |why| io::Error::new(io::ErrorKind::InvalidData, why);
    let number: RawFd = number.parse().map_err(|_| unreadable("no descriptor of the state"))?;
    // SAFETY: the image before this one opened it for this one only.
    let mut file = unsafe { File::from_raw_fd(number) };
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    let kept: Kept = serde_json::from_str(&text)?;
    if kept.version != LINK_VERSION {
        return Err(unreadable("the state is of a version that this build does not know"));
    }
    // SAFETY: this process has one thread.
    unsafe { std::env::remove_var(STATE_VARIABLE) };
    Ok(Some(kept))
}

impl Kept {
    /// Go on where the image before this one stopped.
    ///
    /// # Safety
    /// The descriptors are those that [`exec`] left open.
    ///
    /// # Errors
    /// When one of them is not open.
    pub unsafe fn resume(self, base: Option<Base>, args: &DeadmanArgs) -> io::Result<Server> {
        // SAFETY: as the caller vouches.
        let (listener, lock, hands) = unsafe {
            let listener = UnixListener::from_raw_fd(self.listener);
            let lock = File::from_raw_fd(self.lock);
            (listener, lock, Hands::resume(base, args, self.grips)?)
        };
        close_on_exec(&listener, true)?;
        close_on_exec(&lock, true)?;
        let busy = |_| io::Error::new(io::ErrorKind::AddrInUse, "the lock was lost");
        let lock = Flock::lock(lock, FlockArg::LockExclusiveNonblock).map_err(busy)?;
        note(&args.runtime_dir, "goes on in a new image");
        Server::new(Deadman::restore(self.machine), hands, listener, lock, &args.runtime_dir)
    }
}

/// See that `program` understands what this image would hand to it: an image that does not must
/// end, and what is held with it. It is asked for at most `left`, if that is known.
///
/// # Errors
/// When it cannot be asked, or knows another version.
pub fn fits(program: &Path, left: Option<Duration>) -> io::Result<()> {
    let mut command = Command::new(program);
    command.arg(VERSION_COMMAND).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.stderr(Stdio::null()).spawn()?;
    let limit = left.map_or(VERSION_LIMIT, |left| left.min(VERSION_LIMIT));
    let said = child.stdout.take().map_or(Ok(String::new()), |out| read_within(out, limit));
    let _ = child.kill();
    let _ = child.wait();
    let said = said?;
    if said.trim() == LINK_VERSION.to_string() {
        return Ok(());
    }
    let what = format!(
        "{} knows another version of a deadman's state ({:?}, and this one has {LINK_VERSION}): \
         disarm the groups, or fence them, before the deadman is replaced",
        program.display(),
        said.trim()
    );
    Err(io::Error::new(io::ErrorKind::InvalidData, what))
}

/// What comes until the end, or until `limit`.
fn read_within(mut from: impl Read + AsFd, limit: Duration) -> io::Result<String> {
    let until = clock::now() + limit;
    let (mut said, mut bytes) = (Vec::new(), [0; VERSION_BYTES_MAX]);
    while said.len() < VERSION_BYTES_MAX {
        let left = until.since(clock::now()).as_millis();
        let wait = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
        let mut fds = [PollFd::new(from.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, wait) {
            Err(nix::errno::Errno::EINTR) => continue,
            Ok(0) => return Err(io::Error::from(io::ErrorKind::TimedOut)),
            other => drop(other?),
        }
        match from.read(&mut bytes)? {
            0 => break,
            count => said.extend(&bytes[..count]),
        }
    }
    Ok(String::from_utf8_lossy(&said).into_owned())
}

/// Replace this image by `program`, with the arguments that this one has. Returns only on failure,
/// with everything as it was.
///
/// # Errors
/// When the program cannot be executed.
pub fn exec(server: &mut Server, program: &Path) -> io::Result<Infallible> {
    let outcome = try_exec(server, program);
    // It did not happen: nothing may leak into a later child.
    let _ = close_on_exec(&server.listener, true);
    let _ = close_on_exec(&*server.lock, true);
    let _ = server.hands.unkeep();
    outcome
}

fn try_exec(server: &Server, program: &Path) -> io::Result<Infallible> {
    close_on_exec(&server.listener, false)?;
    close_on_exec(&*server.lock, false)?;
    let kept = Kept {
        version: LINK_VERSION,
        machine: server.machine.snapshot(),
        grips: server.hands.keep()?,
        listener: server.listener.as_raw_fd(),
        lock: server.lock.as_raw_fd(),
    };
    let mut state = File::from(memfd_create(c"arbiter-deadman", MFdFlags::empty())?);
    state.write_all(&serde_json::to_vec(&kept)?)?;
    state.rewind()?;
    let text = |bytes: &[u8]| CString::new(bytes).map_err(io::Error::from);
    let path = text(program.as_os_str().as_bytes())?;
    let mut args = vec![path.clone()];
    for argument in std::env::args_os().skip(1) {
        args.push(text(argument.as_bytes())?);
    }
    let mut environment = vec![text(format!("{STATE_VARIABLE}={}", state.as_raw_fd()).as_bytes())?];
    for (name, value) in std::env::vars_os() {
        let mut pair = name.into_encoded_bytes();
        pair.push(b'=');
        pair.extend(value.as_bytes());
        environment.push(text(&pair)?);
    }
    Ok(nix::unistd::execve(&path, &args, &environment)?)
}
