//! Runs a program of an operator: in a small environment, for a limited time, in a process group
//! that goes with it.
//!
//! Knows processes, bytes and limits. Never knows what the program is for, and never shows what it
//! printed: it may hold secrets. What it writes to standard error goes nowhere.

use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Pid, User};
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;
use tokio::time::timeout;

/// Most bytes that a program may print.
pub const OUTPUT_BYTES_MAX: u64 = 64 * 1024;
/// What a program finds of this process's environment, beside what is given to it.
pub const INHERITED: [&str; 3] = ["PATH", "HOME", "LANG"];
/// `PATH` where this process has none.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A program to run. No shell: the words of its line are program and arguments.
pub struct Run<'a> {
    /// Program and arguments, with spaces between.
    pub line: &'a str,
    /// More arguments.
    pub args: &'a [&'a str],
    /// Its environment, beside [`INHERITED`].
    pub env: Vec<(&'a str, String)>,
    /// Who runs it; none: whoever runs this process.
    pub user: Option<&'a User>,
    /// Whether what it prints is wanted.
    pub reads: bool,
    /// Its time limit.
    pub limit: Duration,
}

/// What a program left.
#[derive(PartialEq, Eq)]
pub struct Ended {
    /// Its exit code; none where a signal ended it.
    pub code: Option<i32>,
    /// What it printed.
    pub stdout: Vec<u8>,
}

/// Why nothing came of a program.
#[derive(Debug, PartialEq, Eq)]
pub enum Failed {
    /// It could not be started.
    NotStarted(io::ErrorKind),
    /// It took longer than this, and was killed with what it started.
    TookTooLong(Duration),
    /// It printed more than [`OUTPUT_BYTES_MAX`], and was killed with what it started.
    TooMuch,
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotStarted(kind) => write!(f, "could not be started: {kind}"),
            Self::TookTooLong(limit) => {
                write!(f, "took longer than {limit:?} and was killed with what it started")
            }
            Self::TooMuch => {
                write!(f, "printed more than {OUTPUT_BYTES_MAX} bytes and was killed")
            }
        }
    }
}

impl Run<'_> {
    /// Run it to its end. Dropped, or at the limit, it is killed with its process group. What it
    /// leaves behind with its output open is waited for; what it detached on purpose is not.
    ///
    /// # Errors
    /// See [`Failed`].
    pub async fn to_end(&self) -> Result<Ended, Failed> {
        let not_started = |error: io::Error| Failed::NotStarted(error.kind());
        let mut child = self.command().spawn().map_err(not_started)?;
        let tree = Tree(child.id());
        let out = child.stdout.take();
        let ended = timeout(self.limit, async {
            let stdout = bounded(out).await?;
            let status = child.wait().await.map_err(not_started)?;
            Ok(Ended { code: status.code(), stdout })
        });
        match ended.await {
            Ok(Ok(ended)) => {
                tree.leave();
                Ok(ended)
            }
            Ok(Err(failed)) => Err(failed),
            Err(_) => Err(Failed::TookTooLong(self.limit)),
        }
    }

    fn command(&self) -> Command {
        let mut words = self.line.split_whitespace();
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words).args(self.args).current_dir("/").env_clear();
        for name in INHERITED {
            if let Some(value) = std::env::var_os(name).or_else(|| default(name)) {
                command.env(name, value);
            }
        }
        if let Some(user) = self.user {
            command.env("HOME", &user.dir).uid(user.uid.as_raw()).gid(user.gid.as_raw());
        }
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        let out = if self.reads { Stdio::piped() } else { Stdio::null() };
        command.stdin(Stdio::null()).stdout(out).stderr(Stdio::null());
        command.process_group(0).kill_on_drop(true);
        command
    }
}

fn default(name: &str) -> Option<OsString> {
    (name == "PATH").then(|| PATH.into())
}

async fn bounded(out: Option<impl AsyncRead + Unpin>) -> Result<Vec<u8>, Failed> {
    let mut bytes = Vec::new();
    if let Some(out) = out {
        // An output that breaks off is what there is of it.
        let _ = out.take(OUTPUT_BYTES_MAX + 1).read_to_end(&mut bytes).await;
    }
    if bytes.len() as u64 > OUTPUT_BYTES_MAX { Err(Failed::TooMuch) } else { Ok(bytes) }
}

/// Whether `program`, a path or a name that is looked for as a run does, may be run by whoever runs
/// this process.
pub fn runs(program: &str) -> bool {
    let may = |path: &Path| {
        path.is_file() && nix::unistd::access(path, nix::unistd::AccessFlags::X_OK).is_ok()
    };
    if program.contains('/') {
        return may(Path::new(program));
    }
    let path = std::env::var_os("PATH").or_else(|| default("PATH")).unwrap_or_default();
    !program.is_empty() && std::env::split_paths(&path).any(|dir| may(&dir.join(program)))
}

/// What does not end goes with all that it started, also when its caller is dropped.
struct Tree(Option<u32>);

impl Tree {
    /// It ended: its id may be another's by now.
    fn leave(mut self) {
        self.0 = None;
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        // Not waited for yet, so its id is still its own.
        if let Some(pid) = self.0.and_then(|pid| i32::try_from(pid).ok()).filter(|pid| *pid > 1) {
            let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run<'a>(line: &'a str, args: &'a [&'a str], limit: Duration) -> Run<'a> {
        let env = vec![("ARBITER_GROUP", "g".to_owned())];
        Run { line, args, env, user: None, reads: true, limit }
    }

    const LONG: Duration = Duration::from_secs(60);

    /// The process, and each that it started, by what they wrote down.
    fn living(dir: &std::path::Path) -> usize {
        let pids = std::fs::read_to_string(dir.join("pids")).unwrap_or_default();
        let lives = |pid: &&str| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            !stat.is_empty() && !stat.contains(") Z ")
        };
        pids.lines().filter(lives).count()
    }

    #[tokio::test]
    async fn what_hangs_is_killed_with_what_it_started() {
        let dir = tempfile::tempdir().unwrap();
        let pids = dir.path().join("pids").display().to_string();
        // A child that holds the output, and one that ignores being asked to end.
        let text = format!(
            "sleep 600 & echo $! >> {pids}; (trap '' TERM; sleep 600) & echo $! >> {pids}; \
             echo $$ >> {pids}; wait"
        );
        let failed = run("sh -c", &[&text], Duration::from_millis(500)).to_end().await.err();
        assert_eq!(failed, Some(Failed::TookTooLong(Duration::from_millis(500))));
        let written = std::fs::read_to_string(dir.path().join("pids")).unwrap();
        assert_eq!(written.lines().count(), 3, "all three ran");
        for _ in 0..1000 {
            if living(dir.path()) == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("{} are left", living(dir.path()));
    }

    #[tokio::test]
    async fn output_without_end_is_cut_off_long_before_the_limit() {
        let failed = run("yes", &["hunter2"], LONG).to_end().await.err();
        assert_eq!(failed, Some(Failed::TooMuch));
        assert!(!Failed::TooMuch.to_string().contains("hunter2"));
    }

    #[tokio::test]
    async fn it_finds_the_environment_that_is_documented_and_no_other() {
        // Cargo gives its tests many more.
        assert!(std::env::var_os("CARGO_PKG_NAME").is_some());
        let ended = run("env", &[], LONG).to_end().await.unwrap();
        let text = String::from_utf8(ended.stdout).unwrap();
        let names: Vec<&str> = text.lines().filter_map(|line| line.split('=').next()).collect();
        assert!(names.contains(&"PATH") && names.contains(&"ARBITER_GROUP"), "{names:?}");
        let known = |name: &&str| INHERITED.contains(name) || *name == "ARBITER_GROUP";
        assert!(names.iter().all(known), "{names:?}");
    }

    #[tokio::test]
    async fn exit_codes_are_told_and_standard_error_is_not() {
        let ended = run("sh -c", &["echo out; echo err >&2; exit 75"], LONG).to_end().await;
        assert!(ended == Ok(Ended { code: Some(75), stdout: b"out\n".to_vec() }));
        let killed = run("sh -c", &["kill -9 $$"], LONG).to_end().await;
        assert!(killed == Ok(Ended { code: None, stdout: Vec::new() }));
        let missing = run("/nonexistent", &[], LONG).to_end().await.err();
        assert_eq!(missing, Some(Failed::NotStarted(io::ErrorKind::NotFound)));
    }
}
