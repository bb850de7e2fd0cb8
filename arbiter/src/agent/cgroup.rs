//! Hands on cgroup v2: one cgroup per held group.
//!
//! Knows the files of cgroup v2 and `/proc`. Never knows leases, deadlines or drivers.

use super::means::Means;
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

/// How long [`Cgroup::kill_and_wait`] waits between two looks.
const EMPTY_POLL: Duration = Duration::from_millis(2);
/// Passes over the processes of a cgroup on a kernel without `cgroup.kill`, before the caller is
/// told that new ones come all the time.
const KILL_PASSES_MAX: u32 = 64;
/// Nested cgroups that are walked, against a loop of mounts.
const DEPTH_MAX: u32 = 16;

/// One cgroup, by the path of its directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cgroup {
    path: PathBuf,
}

/// Where cgroup v2 is mounted, as this process sees it; none when it is not.
///
/// # Errors
/// When `/proc/self/mountinfo` cannot be read.
pub fn find_mount() -> io::Result<Option<PathBuf>> {
    if Means::Cgroup.is_hidden() {
        return Ok(None);
    }
    Ok(mount_in(&fs::read_to_string("/proc/self/mountinfo")?))
}

/// The mount point of the first cgroup2 that shows the whole hierarchy.
fn mount_in(mountinfo: &str) -> Option<PathBuf> {
    mountinfo.lines().find_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        let mut fields = left.split(' ');
        let root = fields.nth(3)?;
        let point = fields.next()?;
        (right.split(' ').next() == Some("cgroup2") && root == "/").then(|| PathBuf::from(point))
    })
}

/// Find cgroup v2, or mount it at `own` where the kernel has it and nobody mounted it: inside
/// `ip netns exec`, for example, `/sys` is new and empty of cgroups.
///
/// # Errors
/// When it is neither mounted nor could be.
pub fn find_or_mount(own: &Path) -> io::Result<PathBuf> {
    if let Some(mount) = find_mount()? {
        return Ok(mount);
    }
    if Means::Cgroup.is_hidden() {
        return Err(io::Error::from(io::ErrorKind::Unsupported));
    }
    fs::create_dir_all(own)?;
    nix::mount::mount(
        Some("cgroup2"),
        own,
        Some("cgroup2"),
        nix::mount::MsFlags::MS_NOSUID | nix::mount::MsFlags::MS_NODEV,
        None::<&str>,
    )
    .map_err(io::Error::from)?;
    Ok(own.to_path_buf())
}

/// The cgroup v2 of process `pid` as a path below the mount, such as `/system.slice/x.service`.
///
/// # Errors
/// When the process is gone or has no cgroup v2.
pub fn of_process(pid: i32) -> io::Result<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    text.lines()
        .find_map(|line| line.strip_prefix("0::"))
        .map(str::to_owned)
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the process has no cgroup v2"))
}

/// A name that is one safe path component, unique for a unique `text`.
pub fn component(text: &str) -> String {
    let mut name = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => name.push(char::from(byte)),
            other => name.push_str(&format!("%{other:02x}")),
        }
    }
    name
}

impl Cgroup {
    /// The cgroup at `path`, which exists.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Create it, and its parents, where missing.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn create(path: impl Into<PathBuf>) -> io::Result<Self> {
        let path = path.into();
        fs::create_dir_all(&path)?;
        Ok(Self { path })
    }

    /// Its directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the kernel can kill it in one write (Linux 5.14).
    pub fn has_kill(&self) -> bool {
        !Means::CgroupKill.is_hidden() && self.path.join("cgroup.kill").exists()
    }

    /// Kill every process in it and below it: in one write, or pid by pid until each that can be
    /// seen has its signal. Does not wait for them to be gone.
    ///
    /// # Errors
    /// When the kernel refuses, or forks outran the passes.
    pub fn kill(&self) -> io::Result<()> {
        if self.has_kill() {
            return self.write("cgroup.kill", "1");
        }
        // Frozen first, so that nobody forks between the passes; a frozen process can be killed.
        let frozen = self.frozen();
        self.freeze(true)?;
        let killed = self.kill_each();
        if !frozen {
            self.freeze(false)?;
        }
        killed
    }

    /// Until each that can be seen has its signal: one that is stuck in the kernel has it too, and
    /// must not hold up what is killed next.
    fn kill_each(&self) -> io::Result<()> {
        let mut killed = BTreeSet::new();
        for _ in 0..KILL_PASSES_MAX {
            let pids = self.processes()?;
            if pids.contains(&0) {
                let what = "a process of a PID namespace that cannot be seen from here is left";
                return Err(io::Error::other(what));
            }
            let new: Vec<i32> = pids.into_iter().filter(|pid| killed.insert(*pid)).collect();
            if new.is_empty() {
                return Ok(());
            }
            for pid in new {
                // It may be gone already.
                let _ = send_kill(pid);
            }
            thread::sleep(EMPTY_POLL);
        }
        Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "processes forked faster than they were killed",
        ))
    }

    /// Freeze, so that no process in it runs until it is thawed, or thaw.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn freeze(&self, frozen: bool) -> io::Result<()> {
        self.write("cgroup.freeze", if frozen { "1" } else { "0" })
    }

    /// Whether it may be killed and frozen from here. Does neither.
    ///
    /// # Errors
    /// When one of its files cannot be opened for writing.
    pub fn can_be_killed(&self) -> io::Result<()> {
        let kill = self.has_kill().then_some("cgroup.kill");
        for file in kill.into_iter().chain(["cgroup.freeze", "cgroup.procs"]) {
            let path = self.path.join(file);
            fs::OpenOptions::new().write(true).open(&path).map_err(|error| {
                io::Error::new(error.kind(), format!("{}: {error}", path.display()))
            })?;
        }
        Ok(())
    }

    /// Whether it was asked to be frozen.
    pub fn frozen(&self) -> bool {
        fs::read_to_string(self.path.join("cgroup.freeze")).is_ok_and(|text| text.trim() == "1")
    }

    /// Move a process into it.
    ///
    /// # Errors
    /// When the process is gone or the kernel refuses.
    pub fn admit(&self, pid: i32) -> io::Result<()> {
        self.write("cgroup.procs", &pid.to_string())
    }

    /// Ids of the processes in it and below it, zombies left out. A process of a PID namespace that
    /// this one cannot see is listed as 0.
    ///
    /// # Errors
    /// When it cannot be read. A cgroup that is gone has no processes; one whose parent is not
    /// there
    /// either was not found: nobody may say that it is empty.
    pub fn processes(&self) -> io::Result<Vec<i32>> {
        let mut pids = Vec::new();
        let parent = self.path.parent().map(|parent| parent.join("cgroup.procs"));
        if !parent.is_some_and(|procs| procs.exists()) {
            let what = format!("no cgroups at {}", self.path.display());
            return Err(io::Error::new(io::ErrorKind::NotFound, what));
        }
        collect(&self.path, 0, &mut pids)?;
        pids.retain(|pid| *pid == 0 || alive(*pid));
        Ok(pids)
    }

    /// Kill, and wait until no process is left, at most `limit`.
    ///
    /// # Errors
    /// `TimedOut` when some are left: stuck in the kernel, most likely on storage.
    pub fn kill_and_wait(&self, limit: Duration) -> io::Result<()> {
        let until = crate::clock::now() + limit;
        let in_one_write = self.has_kill();
        if in_one_write {
            self.kill()?;
        }
        loop {
            if !in_one_write {
                // Again and again: a fork may have been under way while the others were killed.
                self.kill()?;
            }
            if self.processes()?.is_empty() {
                return Ok(());
            }
            if crate::clock::now() >= until {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "killed processes are still there: stuck in the kernel, most likely on storage",
                ));
            }
            thread::sleep(EMPTY_POLL);
        }
    }

    /// Remove it; it must be empty. One that is gone is removed.
    ///
    /// # Errors
    /// When it is not empty.
    pub fn remove(&self) -> io::Result<()> {
        match fs::remove_dir(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn write(&self, file: &str, text: &str) -> io::Result<()> {
        fs::OpenOptions::new().write(true).open(self.path.join(file))?.write_all(text.as_bytes())
    }
}

fn collect(path: &Path, depth: u32, pids: &mut Vec<i32>) -> io::Result<()> {
    let text = match fs::read_to_string(path.join("cgroup.procs")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        // The cgroup was removed while it was read.
        Err(error) if error.raw_os_error() == Some(nix::libc::ENODEV) => return Ok(()),
        other => other?,
    };
    pids.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()));
    if depth < DEPTH_MAX {
        for entry in fs::read_dir(path)?.flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                collect(&entry.path(), depth + 1, pids)?;
            }
        }
    }
    Ok(())
}

/// Whether process `pid` exists and is no zombie.
pub fn alive(pid: i32) -> bool {
    state_of(pid).is_some_and(|state| state != 'Z' && state != 'X')
}

/// The state letter of `/proc/PID/stat`. The name in front of it may hold anything, so it is read
/// from the last parenthesis.
fn state_of(pid: i32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

/// SIGKILL to one process.
///
/// # Errors
/// When it is gone or not ours to kill, or `pid` names no one process.
pub fn send_kill(pid: i32) -> io::Result<()> {
    // 0 stands for one that cannot be seen, and to the kernel for this process and its group.
    if pid < 1 {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    let pid = nix::unistd::Pid::from_raw(pid);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).map_err(io::Error::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mount_is_found_wherever_it_is() {
        let hybrid = "31 23 0:27 / /sys/fs/cgroup rw shared:9 - tmpfs tmpfs rw,mode=755\n\
                      32 31 0:28 / /sys/fs/cgroup/unified rw shared:10 - cgroup2 cgroup2 rw\n";
        assert_eq!(mount_in(hybrid), Some(PathBuf::from("/sys/fs/cgroup/unified")));
        let part = "32 31 0:28 /docker/1 /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        assert_eq!(mount_in(part), None);
    }

    #[test]
    fn a_cgroup_that_cannot_be_found_is_not_said_to_be_empty() {
        let nowhere = tempfile::tempdir().unwrap();
        assert!(Cgroup::at(nowhere.path().join("group")).processes().is_err());
        std::fs::write(nowhere.path().join("cgroup.procs"), "").unwrap();
        assert!(Cgroup::at(nowhere.path().join("group")).processes().unwrap().is_empty());
    }

    #[test]
    fn a_signal_goes_to_one_process_or_to_none() {
        for nobody in [0, -1, -4711] {
            assert_eq!(send_kill(nobody).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        }
    }

    #[test]
    fn different_names_never_share_a_component() {
        assert_eq!(component("agent-eu"), "agent-eu");
        assert_ne!(component("a.b"), component("a/b"));
        assert!(!component("../x").contains(['/', '.']));
    }
}
