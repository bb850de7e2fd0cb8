//! The deadman's process: `arbiter deadman`, and the guard, `arbiter guard`.
//!
//! Knows one agent's holds and their deadlines (the core's machine), one socket and one timer.
//! Never knows arbiters, drivers or the disk: nothing that may block stands between a deadline and
//! the kill. It has one thread, locked memory and a cgroup of its own, and outlives its agent.

mod guard;
mod hands;
mod reaper;
mod server;
pub(crate) mod upgrade;

pub use guard::{GuardArgs, guard_main, pidfd};
pub use hands::{gate_dir, group_component};
pub use upgrade::VERSION_COMMAND;

use crate::agent::cgroup::{self, Cgroup};
use arbiter_core::agent::Deadman;
use hands::{Base, Hands};
use nix::fcntl::{Flock, FlockArg};
use nix::libc;
use nix::sys::mman::{MlockAllFlags, mlockall};
use server::Server;
use std::ffi::CStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Real-time priority of the deadman: the least, which already goes before every ordinary process.
const PRIORITY: i32 = 1;
/// As the parent of cgroups: the cgroup that systemd started the deadman in. An agent that is told
/// so leaves it to systemd to start the deadman.
pub const OWN_CGROUP: &str = "self";
/// Bytes after which the notes are not continued.
const NOTES_BYTES_MAX: u64 = 1 << 20;

/// Arguments of `arbiter deadman`, which an agent or systemd starts.
#[derive(Clone, Debug, clap::Args)]
pub struct DeadmanArgs {
    /// The agent that it serves.
    #[arg(long)]
    pub agent: String,
    /// Directory on a file system that a reboot empties: socket, lock and notes.
    #[arg(long)]
    pub runtime_dir: PathBuf,
    /// Where groups get their cgroups: a path below the mount of cgroup v2, or `self` for the
    /// cgroup that it was started in.
    #[arg(long, default_value = "region-arbiter")]
    pub cgroup_parent: String,
}

/// Path of the socket in a runtime directory.
pub fn socket_path(runtime_dir: &Path) -> PathBuf {
    runtime_dir.join("deadman.sock")
}

/// Print the version of the state that this image could take over from a deadman.
pub fn version_main() -> ExitCode {
    let mut out = io::stdout().lock();
    let printed = writeln!(out, "{}", crate::agent::link::LINK_VERSION);
    if printed.is_ok() { ExitCode::SUCCESS } else { ExitCode::from(2) }
}

/// Run the deadman until it is killed. To be called before any thread is started.
pub fn main(args: &DeadmanArgs) -> ExitCode {
    let Err(error) = run(args);
    eprintln!("arbiter deadman: {error}");
    ExitCode::from(2)
}

fn run(args: &DeadmanArgs) -> io::Result<std::convert::Infallible> {
    let resumed = upgrade::take()?;
    let base = base(args);
    harden(base.as_ref().map(|base| base.path.as_path()), &args.agent);
    let mut server = match resumed {
        // SAFETY: the image before this one wrote it for this one, with its descriptors.
        Some(kept) => unsafe { kept.resume(base, args) }?,
        None => {
            let lock = lock(&args.runtime_dir)?;
            let path = socket_path(&args.runtime_dir);
            let _ = fs::remove_file(&path);
            let listener = UnixListener::bind(&path)?;
            let hands = Hands::new(base, args);
            Server::new(Deadman::new(), hands, listener, lock, &args.runtime_dir)?
        }
    };
    server.run()
}

/// Only one deadman in a runtime directory.
fn lock(runtime_dir: &Path) -> io::Result<Flock<File>> {
    fs::DirBuilder::new().recursive(true).mode(0o711).create(runtime_dir)?;
    let path = runtime_dir.join("deadman.lock");
    let file =
        OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|_| {
        io::Error::new(io::ErrorKind::AddrInUse, "a deadman runs in this runtime directory")
    })
}

/// Where cgroup v2 is mounted, and the directory under which groups get their cgroups; none where
/// there is no cgroup v2.
fn base(args: &DeadmanArgs) -> Option<Base> {
    let mount = cgroup::find_or_mount(&args.runtime_dir.join("cgroup2")).ok()?;
    let below = if args.cgroup_parent == OWN_CGROUP {
        let own = cgroup::of_process(std::process::id() as i32).ok()?;
        // After an exec in place it stands in the cgroup that it made inside that one.
        let inner = format!("/{}", own_component(&args.agent));
        own.strip_suffix(&inner).map_or(own.clone(), str::to_owned)
    } else {
        args.cgroup_parent.clone()
    };
    let path = mount.join(below.trim_start_matches('/'));
    Cgroup::create(&path).ok()?;
    Some(Base { mount, path })
}

fn own_component(agent: &str) -> String {
    format!("{}.deadman", cgroup::component(agent))
}

/// Make it hard to lose: its own cgroup, and what [`protect`] does.
fn harden(base: Option<&Path>, agent: &str) {
    if let Some(base) = base {
        let own = Cgroup::create(base.join(own_component(agent)));
        let _ = own.and_then(|own| own.admit(std::process::id() as i32));
    }
    protect(c"arbiter-deadman");
}

/// Memory locked, the last to be killed for memory, ahead of every ordinary process. Each is tried;
/// without privilege this process works, less firmly. Of all that only the second is its child's.
fn protect(name: &CStr) {
    let _ = fs::write("/proc/self/oom_score_adj", "-1000");
    let _ = mlockall(MlockAllFlags::MCL_CURRENT | MlockAllFlags::MCL_FUTURE);
    let parameter = libc::sched_param { sched_priority: PRIORITY };
    // SAFETY: both calls read their arguments only. A child does not inherit the priority.
    unsafe {
        libc::sched_setscheduler(0, libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK, &parameter);
        libc::prctl(libc::PR_SET_NAME, name.as_ptr());
    }
}

/// Write one line for who reads them after an accident. The file is on a file system in memory, and
/// bounded.
fn note(runtime_dir: &Path, text: &str) {
    let path = runtime_dir.join("deadman.notes");
    let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path);
    if let Ok(mut file) = file
        && file.metadata().is_ok_and(|meta| meta.len() < NOTES_BYTES_MAX)
    {
        let _ = writeln!(file, "{} {text}", crate::clock::wall().0);
    }
}
