//! What the deadman is known to hold, shared by the agent's loop and the drivers' holders.
//!
//! Knows the last answer of the deadman, and what outlives it: paths of cgroups. Decides only how
//! firmly a group is held.

use super::cgroup::Cgroup;
use super::link::{Held, Reply};
use super::spawn::Place;
use arbiter_core::agent::Hold;
use arbiter_core::{EvidenceKind, GroupId, Instant};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// See the module.
#[derive(Debug, Default)]
pub struct Holds {
    /// Where cgroup v2 is mounted for this process.
    mount: Option<PathBuf>,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Where cgroup v2 is mounted for this process, and for the deadman.
    mounts: Option<(PathBuf, PathBuf)>,
    deadman: Option<i32>,
    groups: BTreeMap<GroupId, Held>,
    /// Kept when the deadman goes, so that what is in them can still be killed and counted.
    cgroups: BTreeMap<GroupId, BTreeSet<PathBuf>>,
    /// Units that systemd stops when the deadman stops.
    bound: BTreeSet<PathBuf>,
    /// Armed, says the disk.
    armed: BTreeSet<GroupId>,
    counts_as: BTreeMap<GroupId, EvidenceKind>,
}

impl Holds {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Holds of which nothing is known yet, for a process that sees cgroup v2 at `mount`.
    pub fn new(mount: Option<PathBuf>) -> Self {
        Self { mount, inner: Mutex::default() }
    }

    /// The path by which the deadman knows a cgroup.
    pub fn as_deadman_sees(&self, path: &Path) -> PathBuf {
        match &self.lock().mounts {
            Some((ours, its)) => translate(path, ours, its),
            None => path.to_owned(),
        }
    }

    /// The deadman answered. Its paths are turned into ours: an agent that was started anew, inside
    /// another `ip netns exec` for example, may see cgroup v2 elsewhere.
    pub fn learn(&self, reply: &Reply) {
        let mounts = self.mount.clone().zip(reply.mount.clone());
        let ours = |path: &mut PathBuf| {
            if let Some((ours, its)) = &mounts {
                *path = translate(path, its, ours);
            }
        };
        let mut inner = self.lock();
        for (group, held) in &reply.groups {
            let mut held = held.clone();
            held.place.iter_mut().filter_map(|place| place.cgroup.as_mut()).for_each(ours);
            held.included.iter_mut().for_each(ours);
            inner.groups.insert(group.clone(), held.clone());
            let paths = inner.cgroups.entry(group.clone()).or_default();
            paths.extend(held.place.iter().filter_map(|place| place.cgroup.clone()));
            paths.extend(held.included.iter().cloned());
        }
        inner.mounts = mounts;
    }

    /// The deadman is gone.
    pub fn forget(&self) {
        let mut inner = self.lock();
        inner.groups.clear();
        inner.counts_as.clear();
        inner.deadman = None;
    }

    /// The deadman's process id, while it is there.
    pub fn deadman(&self) -> Option<i32> {
        self.lock().deadman
    }

    /// A deadman is there.
    pub fn set_deadman(&self, pid: i32) {
        self.lock().deadman = Some(pid);
    }

    /// Whether every group that the deadman holds was weighed.
    pub fn is_weighed(&self) -> bool {
        let inner = self.lock();
        inner.groups.keys().all(|group| inner.counts_as.contains_key(group))
    }

    /// Note what the disk says.
    pub fn set_armed(&self, group: &GroupId, armed: bool) {
        let mut inner = self.lock();
        if armed {
            inner.armed.insert(group.clone())
        } else {
            inner.armed.remove(group)
        };
    }

    /// Note that a unit's cgroup is bound to the deadman by systemd.
    pub fn set_bound(&self, cgroup: &Path) {
        self.lock().bound.insert(cgroup.to_owned());
    }

    /// Whether anything enforces for `group`: the deadman, or what the disk says.
    pub fn enforced(&self, group: &GroupId) -> bool {
        let inner = self.lock();
        let held = inner.groups.get(group).is_some_and(|held| held.hold.armed);
        held || inner.armed.contains(group)
    }

    /// Why nothing may be started in `group` now, if so.
    pub fn refuses(&self, group: &GroupId, writable: bool, now: Instant) -> Option<&'static str> {
        let inner = self.lock();
        let Some(held) = inner.groups.get(group) else { return Some("the deadman is not there") };
        if held.hold.frozen {
            return Some("the deadman killed the group, and no lease followed");
        }
        // I4: nothing starts as primary before a deadline runs.
        let armed = held.hold.armed || inner.armed.contains(group);
        (armed && writable && !(held.hold.armed && held.hold.is_running(now)))
            .then_some("the group is armed and no deadline is running")
    }

    /// Every hold, for the core's machine.
    pub fn all(&self) -> BTreeMap<GroupId, Hold> {
        let inner = self.lock();
        inner.groups.iter().map(|(group, held)| (group.clone(), held.hold.clone())).collect()
    }

    /// Every cgroup that `group` holds or held.
    pub fn cgroups(&self, group: &GroupId) -> Vec<Cgroup> {
        let inner = self.lock();
        inner.cgroups.get(group).into_iter().flatten().map(Cgroup::at).collect()
    }

    /// The place for the next server of `group`.
    pub fn place(&self, group: &GroupId) -> Option<Place> {
        self.lock().groups.get(group)?.place.clone()
    }

    /// Ids of the processes of `group`, zombies left out.
    ///
    /// # Errors
    /// When they cannot be listed: then nobody may say that there are none.
    pub fn processes(&self, group: &GroupId) -> io::Result<Vec<i32>> {
        let cgroups = self.cgroups(group);
        if cgroups.is_empty() {
            return match self.place(group).and_then(|place| place.init) {
                Some((_, namespace)) => in_namespace(namespace),
                // Nothing was ever held here.
                None => Ok(Vec::new()),
            };
        }
        let mut pids = BTreeSet::new();
        for cgroup in cgroups {
            pids.extend(cgroup.processes()?);
        }
        Ok(pids.into_iter().collect())
    }

    /// Cgroups of `group` with a process that would outlive the deadman, so that a guard is needed.
    pub fn unguarded(&self, group: &GroupId) -> Vec<PathBuf> {
        let namespace = self.place(group).and_then(|place| place.init).map(|(_, inode)| inode);
        let bound = self.lock().bound.clone();
        let outlives = |cgroup: &Cgroup| {
            !bound.contains(cgroup.path())
                && cgroup.processes().is_ok_and(|pids| {
                    pids.iter()
                        .any(|pid| namespace_of(*pid).is_some_and(|ns| Some(ns) != namespace))
                })
        };
        let cgroups = self.cgroups(group).into_iter();
        cgroups.filter(outlives).map(|cgroup| cgroup.path().to_owned()).collect()
    }

    /// Look anew how firmly each group is held; what the expiry of its lease counts as.
    pub fn weigh(&self) {
        let groups: Vec<GroupId> = self.lock().groups.keys().cloned().collect();
        for group in groups {
            let firm = match self.place(&group) {
                // A kill takes the namespace, and the next start makes one.
                Some(Place { cgroup: Some(_), .. }) => self.unguarded(&group).is_empty(),
                _ => false,
            };
            let full = EvidenceKind::LeaseExpired;
            let counts_as = if firm { full } else { full.one_lower() };
            self.lock().counts_as.insert(group, counts_as);
        }
    }

    /// What the expiry of each group's lease counts as, as last weighed.
    pub fn counts_as(&self) -> BTreeMap<GroupId, EvidenceKind> {
        self.lock().counts_as.clone()
    }
}

/// `path` below `from`, below `to` instead.
fn translate(path: &Path, from: &Path, to: &Path) -> PathBuf {
    path.strip_prefix(from).map_or_else(|_| path.to_owned(), |below| to.join(below))
}

/// Inode of the PID namespace of process `pid`; none when it is gone.
fn namespace_of(pid: i32) -> Option<u64> {
    fs::metadata(format!("/proc/{pid}/ns/pid")).ok().map(|meta| meta.ino())
}

/// Processes of a PID namespace, its init left out.
fn in_namespace(namespace: u64) -> io::Result<Vec<i32>> {
    let mut pids = Vec::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        let inside = namespace_of(pid) == Some(namespace) && super::cgroup::alive(pid);
        if inside && !is_init(pid) {
            pids.push(pid);
        }
    }
    Ok(pids)
}

/// Whether `pid` is the first process of its own namespace.
fn is_init(pid: i32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let inner = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    inner.and_then(|line| line.split_whitespace().last()) == Some("1")
}
