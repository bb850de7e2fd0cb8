#![allow(dead_code, reason = "each test binary uses a part")]
//! A deadman of one's own, on the real kernel, and something for it to hold.

pub mod fake;

use arbiter::agent::link::{self, Ask, Held, Reply, Request};
use arbiter::agent::means::WITHOUT;
use arbiter::agent::{cgroup, deadman, spawn};
use arbiter::clock;
use arbiter::drivers::Command;
use arbiter_core::{GroupId, Profile, Timing};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

/// The binary under test.
pub const ARBITER: &str = env!("CARGO_BIN_EXE_arbiter");
/// The longest that anything here may take.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// Burns CPU in four processes.
const BUSY: &str = "for (1..2) { fork } my $i; while (1) { $i++ }";

/// Whether these tests can run; says what is left out otherwise.
pub fn root(test: &str) -> bool {
    let root = nix::unistd::Uid::effective().is_root();
    if !root {
        eprintln!("{test}: left out, since it needs root");
    }
    root
}

/// Wait until `look` gives something, at most [`PATIENCE`].
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = clock::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(clock::now() < end, "waited too long until {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Timers short enough for a test: K is its least, 250 ms.
pub fn timing() -> Timing {
    let mut timing = Profile::Metro.timing();
    timing.fence = Duration::from_millis(500);
    timing.lease = Duration::from_millis(1500);
    timing.renewal = Duration::from_millis(100);
    timing
}

/// A deadman, its runtime directory, and a connection to it.
pub struct Rig {
    pub runtime: tempfile::TempDir,
    pub name: String,
    pub child: Child,
    pub stream: UnixStream,
    unread: Vec<u8>,
    next: u64,
}

impl Rig {
    /// Start a deadman. `name` must be unique among tests.
    pub fn new(name: &str) -> Self {
        Self::without(name, "")
    }

    /// The same on a machine that has not what `means` names; see `agent::means`.
    pub fn without(name: &str, means: &str) -> Self {
        let runtime = tempfile::Builder::new().prefix("arbiter-").tempdir_in("/dev/shm").unwrap();
        let name = format!("{name}-{}", std::process::id());
        let child = std::process::Command::new(ARBITER)
            .args(["deadman", "--agent", &name, "--cgroup-parent", "region-arbiter-test"])
            .arg("--runtime-dir")
            .arg(runtime.path())
            .env(WITHOUT, means)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let path = deadman::socket_path(runtime.path());
        let stream = until("the deadman listens", || UnixStream::connect(&path).ok());
        Self { runtime, name, child, stream, unread: Vec::new(), next: 1 }
    }

    /// Connect again, after the deadman replaced its image.
    pub fn reconnect(&mut self) {
        let path = deadman::socket_path(self.runtime.path());
        self.stream = until("the deadman listens again", || UnixStream::connect(&path).ok());
        self.unread.clear();
    }

    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    pub fn send(&mut self, asks: Vec<Ask>) -> u64 {
        let id = self.next;
        self.next += 1;
        self.stream.write_all(&link::encode(&Request { id, asks }).unwrap()).unwrap();
        id
    }

    /// Ask, and return the answer, which must be no error.
    pub fn ask(&mut self, asks: Vec<Ask>) -> Reply {
        let id = self.send(asks);
        loop {
            let reply = self.hear();
            if reply.id == id {
                assert_eq!(reply.error, None);
                return reply;
            }
        }
    }

    /// The next thing that the deadman says.
    pub fn hear(&mut self) -> Reply {
        self.stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut bytes = [0; 4096];
        loop {
            if let Some(reply) = link::decode(&mut self.unread).unwrap() {
                return reply;
            }
            let count = self.stream.read(&mut bytes).unwrap();
            assert!(count > 0, "the deadman hung up");
            self.unread.extend(&bytes[..count]);
        }
    }

    /// One group as it is held.
    pub fn held(&mut self, group: &str) -> Held {
        let group = GroupId::from(group);
        self.ask(vec![Ask::Hold { group: group.clone() }]).groups.remove(&group).unwrap()
    }

    /// Start something busy in `group`; the ids of its processes.
    pub fn start_busy(&mut self, group: &str) -> Vec<i32> {
        let place = self.held(group).place.unwrap();
        spawn::server(&perl(BUSY), &place).unwrap();
        let path = place.cgroup.unwrap();
        until("four processes are busy", || Some(processes(&path)).filter(|pids| pids.len() == 4))
    }

    /// Arm `group` with a deadline `left` from now.
    pub fn arm(&mut self, group: &str, left: Duration) {
        let deadline = clock::now() + left;
        let group = GroupId::from(group);
        let arm = Ask::Arm { group: group.clone() };
        self.ask(vec![arm, Ask::Renew { group, deadline, timing: timing() }]);
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Ok(mount) = cgroup::find_or_mount(&self.runtime.path().join("cgroup2")) {
            remove_cgroups(&mount.join("region-arbiter-test"), &cgroup::component(&self.name));
        }
    }
}

/// Remove the cgroups of one test, whatever is in them.
pub fn remove_cgroups(base: &Path, prefix: &str) {
    for entry in fs::read_dir(base).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            let cgroup = cgroup::Cgroup::at(entry.path());
            let _ = cgroup.kill_and_wait(PATIENCE);
            // The kernel lets go of the last process a moment after it is gone from the list.
            until("the cgroup can be removed", || cgroup.remove().ok());
        }
    }
}

/// A program of one line.
pub fn perl(text: &str) -> Command {
    Command {
        program: PathBuf::from("/usr/bin/perl"),
        args: vec!["-e".into(), text.into()],
        env: Vec::new(),
        user: None,
        limit: PATIENCE,
        log: None,
    }
}

pub fn processes(cgroup: &Path) -> Vec<i32> {
    cgroup::Cgroup::at(cgroup).processes().unwrap()
}

/// Ids of the processes with `mark` in their command line, however they came to be.
pub fn marked(mark: &str) -> Vec<i32> {
    let own = std::process::id() as i32;
    let all = fs::read_dir("/proc").unwrap().flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let has = |pid: &i32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(mark)
    };
    pids.filter(|pid| *pid != own && has(pid) && cgroup::alive(*pid)).collect()
}

/// Which of `pids` live.
pub fn living(pids: &[i32]) -> Vec<i32> {
    pids.iter().copied().filter(|pid| cgroup::alive(*pid)).collect()
}
