//! Processes on the hosts of a lab. Knows how to start, stop and watch them; never what they do.

use super::net::Net;
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// How long a killed process may take to be gone.
const GONE_LIMIT: Duration = Duration::from_secs(5);

/// What to start on a host.
#[derive(Clone, Debug)]
pub struct Spec {
    /// Path of the program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// Environment on top of ours.
    pub env: Vec<(String, String)>,
    /// User and group id; none: ours.
    pub user: Option<(u32, u32)>,
    /// Where standard output and error go, appended.
    pub log: PathBuf,
    /// Bound over the kernel's boot id, so that a host seems to have rebooted.
    pub boot_id: Option<PathBuf>,
    /// Whether it is killed when the lab's process ends.
    pub dies_with_lab: bool,
}

impl Spec {
    /// `program` with `args`, logging to `log`.
    pub fn new(program: impl Into<PathBuf>, args: &[&str], log: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            args: args.iter().map(ToString::to_string).collect(),
            env: Vec::new(),
            user: None,
            log: log.into(),
            boot_id: None,
            dies_with_lab: true,
        }
    }
}

/// A process on a host. Killed when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
}

impl Process {
    /// Start `spec` in the namespace of `host`.
    ///
    /// # Errors
    /// If the program is missing or the namespace is gone.
    pub fn start(net: &Net, host: &str, spec: &Spec) -> io::Result<Self> {
        let child = command(net, host, spec)?.spawn().map_err(|error| {
            io::Error::new(error.kind(), format!("{}: {error}", spec.program.display()))
        })?;
        Ok(Self { child })
    }

    /// Run `spec` in the namespace of `host` to its end.
    ///
    /// # Errors
    /// If it cannot be started or fails; the text names its log.
    pub fn run(net: &Net, host: &str, spec: &Spec) -> io::Result<()> {
        let status = command(net, host, spec)?.status()?;
        if status.success() {
            return Ok(());
        }
        let (program, log) = (spec.program.display(), spec.log.display());
        Err(io::Error::other(format!("{program} ended with {status}; see {log}")))
    }

    /// Its id.
    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// Send it a signal. A process that is gone already is no error.
    pub fn signal(&self, signal: Signal) {
        let _ = kill(Pid::from_raw(self.pid()), signal);
    }

    /// Whether it still runs.
    pub fn running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// SIGKILL, and wait until it is gone.
    pub fn kill(&mut self) {
        self.signal(Signal::SIGKILL);
        let _ = self.child.wait();
    }

    /// SIGTERM, and wait until it is gone; SIGKILL after five seconds.
    pub fn stop(&mut self) {
        self.signal(Signal::SIGTERM);
        let started = crate::clock::now();
        while self.running() {
            if crate::clock::now().since(started) > GONE_LIMIT {
                return self.kill();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

fn command(net: &Net, host: &str, spec: &Spec) -> io::Result<Command> {
    let namespace = File::open(net.namespace_path(host))?;
    let log = File::options().create(true).append(true).open(&spec.log)?;
    let mut command = Command::new(&spec.program);
    command.args(&spec.args).envs(spec.env.iter().cloned());
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    let (user, boot_id, dies) = (spec.user, spec.boot_id.clone(), spec.dies_with_lab);
    // SAFETY: between fork and exec only system calls are made, on values made before the fork.
    unsafe {
        command.pre_exec(move || {
            setns(namespace.as_fd(), CloneFlags::CLONE_NEWNET)?;
            if let Some(path) = &boot_id {
                other_boot(path)?;
            }
            if dies {
                nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
            }
            if let Some((uid, gid)) = user {
                nix::unistd::setgroups(&[])?;
                nix::unistd::setgid(gid.into())?;
                nix::unistd::setuid(uid.into())?;
            }
            Ok(())
        });
    }
    Ok(command)
}

/// Put `path` in the place of the kernel's boot id, for this process and its children only.
fn other_boot(path: &Path) -> io::Result<()> {
    use nix::mount::{MsFlags, mount};
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?;
    let boot_id = "/proc/sys/kernel/random/boot_id";
    mount(Some(path), boot_id, None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
    Ok(())
}
