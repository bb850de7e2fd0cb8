//! What the deadman is known to hold, shared by the agent's loop and the drivers' holders.
//!
//! Knows the last answer of the deadman, and what outlives it: paths of cgroups. Decides only how
//! firmly a group is held.

use super::cgroup::{Cgroup, send_kill};
use super::link::{Held, Reply};
use super::spawn::Place;
use super::tree::{self, Root};
use crate::clock;
use arbiter_core::agent::Hold;
use arbiter_core::{EvidenceKind, GroupId, Instant};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// The least F where a cgroup cannot be killed in one write.
const FENCE_WITHOUT_KILL_MIN: Duration = Duration::from_secs(6);
/// Between two passes of [`Holds::kill_owned`].
const KILL_AGAIN_EVERY: Duration = Duration::from_millis(2);

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
    /// The same where there are no cgroups. A kill ends them, and takes them from the deadman's
    /// answers before everything in them is gone.
    owners: BTreeMap<GroupId, BTreeSet<Owner>>,
    /// Units that systemd kills when the deadman goes, and their main processes.
    bound: BTreeMap<PathBuf, i32>,
    /// Armed, says the disk.
    armed: BTreeSet<GroupId>,
    counts_as: BTreeMap<GroupId, EvidenceKind>,
}

/// What holds a group's processes where there is no cgroup v2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Owner {
    /// A PID namespace, by its inode.
    Namespace(u64),
    /// A reaper.
    Reaper(Root),
}

impl Owner {
    /// None where there is a cgroup: that lists everything.
    fn of(place: &Place) -> Option<Self> {
        if place.cgroup.is_some() {
            return None;
        }
        let reaper = place.reaper.map(Self::Reaper);
        reaper.or_else(|| place.init.map(|(_, namespace)| Self::Namespace(namespace)))
    }

    /// The processes that it holds, itself left out.
    fn processes(self) -> io::Result<Vec<i32>> {
        match self {
            Self::Namespace(inode) => in_namespace(inode),
            Self::Reaper(root) => tree::below(root, &BTreeSet::new()),
        }
    }
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
            inner.note_owner(group, held.place.as_ref().and_then(Owner::of));
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

    /// Note which cgroups of units systemd kills with the deadman, and their main processes.
    pub fn set_bound(&self, bound: BTreeMap<PathBuf, i32>) {
        self.lock().bound = bound;
    }

    /// Existing cgroups that are held for any group.
    pub fn included(&self) -> BTreeSet<PathBuf> {
        self.lock().groups.values().flat_map(|held| held.included.iter().cloned()).collect()
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
        let mut pids = BTreeSet::new();
        if cgroups.is_empty() {
            pids = self.owned(group)?;
        }
        for cgroup in cgroups {
            pids.extend(cgroup.processes()?);
        }
        Ok(pids.into_iter().collect())
    }

    /// What is known to hold, or to have held, `group` where there are no cgroups.
    fn owners(&self, group: &GroupId) -> BTreeSet<Owner> {
        self.lock().owners.get(group).cloned().unwrap_or_default()
    }

    /// Whether the deadman ever named what holds `group`, other than a cgroup.
    pub fn has_owner(&self, group: &GroupId) -> bool {
        !self.owners(group).is_empty()
    }

    /// The processes of `group` where there are no cgroups.
    fn owned(&self, group: &GroupId) -> io::Result<BTreeSet<i32>> {
        let (owners, mut pids) = (self.owners(group), BTreeSet::new());
        for owner in &owners {
            pids.extend(owner.processes()?);
        }
        if owners.iter().any(|owner| matches!(owner, Owner::Reaper(_))) {
            pids.extend(self.orphans()?);
        }
        Ok(pids)
    }

    /// What a killed reaper left went to the deadman, which kills it. Whose it was cannot be told.
    fn orphans(&self) -> io::Result<Vec<i32>> {
        let inner = self.lock();
        let Some(deadman) = inner.deadman.and_then(|pid| Root::of(pid).ok()) else {
            return Ok(Vec::new());
        };
        let reapers = inner.owners.values().flatten().filter_map(|owner| match owner {
            Owner::Reaper(root) => Some(root.pid),
            Owner::Namespace(_) => None,
        });
        let places = inner.groups.values().filter_map(|held| held.place.as_ref());
        let inits = places.filter_map(|place| place.init.map(|(pid, _)| pid));
        let held = reapers.chain(inits).collect();
        drop(inner);
        tree::below(deadman, &held)
    }

    /// Kill what `group` runs where there are no cgroups, and wait until nothing is left, at most
    /// `limit`.
    ///
    /// # Errors
    /// `TimedOut` when something is.
    pub fn kill_owned(&self, group: &GroupId, limit: Duration) -> io::Result<()> {
        let until = clock::now() + limit;
        loop {
            for owner in self.owners(group) {
                for pid in owner.processes()? {
                    // It may be gone already.
                    let _ = send_kill(pid);
                }
            }
            if self.owned(group)?.is_empty() {
                return Ok(());
            }
            if clock::now() >= until {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "killed processes are left"));
            }
            thread::sleep(KILL_AGAIN_EVERY);
        }
    }

    /// Cgroups of `group` with a process that would outlive the deadman, so that a guard is needed.
    pub fn unguarded(&self, group: &GroupId) -> Vec<PathBuf> {
        let namespace = self.place(group).and_then(|place| place.init).map(|(_, inode)| inode);
        let bound = self.lock().bound.clone();
        // 0 stands for one of a namespace that cannot be seen from here.
        let foreign =
            |pid: &i32| *pid == 0 || namespace_of(*pid).is_some_and(|ns| Some(ns) != namespace);
        let outlives = |cgroup: &Cgroup| {
            cgroup.processes().is_ok_and(|pids| {
                let unit = bound.get(cgroup.path()).is_some_and(|main| pids.contains(main));
                !unit && pids.iter().any(foreign)
            })
        };
        let cgroups = self.cgroups(group).into_iter();
        cgroups.filter(outlives).map(|cgroup| cgroup.path().to_owned()).collect()
    }

    /// Look anew how firmly each group is held; what the expiry of its lease counts as.
    pub fn weigh(&self) {
        let groups: Vec<GroupId> = self.lock().groups.keys().cloned().collect();
        for group in groups {
            let weak = self.weakness(&group);
            let full = EvidenceKind::LeaseExpired;
            let counts_as = if weak.is_none() { full } else { full.one_lower() };
            let before = self.lock().counts_as.insert(group.clone(), counts_as);
            if let Some(why) = weak
                && before != Some(counts_as)
            {
                tracing::warn!(%group, why, "evidence counts a class lower");
            }
        }
    }

    /// Why `group` is not held as firmly as can be.
    fn weakness(&self, group: &GroupId) -> Option<&'static str> {
        // A kill takes the namespace, and the next start makes one.
        let Some(Place { cgroup: Some(_), .. }) = self.place(group) else {
            return Some("there is no cgroup v2 here");
        };
        if !self.unguarded(group).is_empty() {
            return Some("nothing but a guard kills what was adopted when the deadman goes");
        }
        let timing = self.lock().groups.get(group).and_then(|held| held.hold.timing);
        let short = timing.is_none_or(|timing| timing.fence < FENCE_WITHOUT_KILL_MIN);
        let slow = |cgroup: &Cgroup| cgroup.path().exists() && !cgroup.has_kill();
        (short && self.cgroups(group).iter().any(slow)).then_some(
            "this kernel has no cgroup.kill, and the fence may take less than 6 s: set \
             cgroup_kill = false and fence = \"6s\", or run Linux 5.14 or newer",
        )
    }

    /// What the expiry of each group's lease counts as, as last weighed.
    pub fn counts_as(&self) -> BTreeMap<GroupId, EvidenceKind> {
        self.lock().counts_as.clone()
    }
}

impl Inner {
    /// Note what holds a group now. What held it before is forgotten once nothing is in it.
    fn note_owner(&mut self, group: &GroupId, owner: Option<Owner>) {
        let owners = self.owners.entry(group.clone()).or_default();
        let known = owner.is_none_or(|owner| !owners.insert(owner));
        if !known {
            let empty = |old: &Owner| old.processes().is_ok_and(|pids| pids.is_empty());
            owners.retain(|old| Some(*old) == owner || !empty(old));
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use arbiter_core::Profile;
    use arbiter_core::agent::{Deadman, DeadmanEvent};

    /// Holds of group `g` in directories that look like cgroups; the second is a unit's.
    fn holds(dir: &Path, fence: Duration) -> Holds {
        let (own, unit) = (dir.join("own"), dir.join("db.service"));
        for path in [dir, &own, &unit] {
            fs::create_dir_all(path).unwrap();
            fs::write(path.join("cgroup.procs"), "").unwrap();
            fs::write(path.join("cgroup.kill"), "").unwrap();
        }
        let (group, mut timing) = (GroupId::from("g"), Profile::Wan.timing());
        timing.fence = fence;
        let mut deadman = Deadman::new();
        let (now, deadline) = (clock::now(), clock::now() + timing.lease);
        deadman.step(DeadmanEvent::Renew { group: group.clone(), deadline, timing }, now);
        let place = Some(Place { cgroup: Some(own), ..Place::default() });
        let held = Held { hold: deadman.holds()[&group].clone(), place, included: vec![unit] };
        let groups = BTreeMap::from([(group, held)]);
        let holds = Holds::default();
        holds.learn(&Reply { id: 1, version: 1, pid: 1, mount: None, groups, error: None });
        holds
    }

    fn weighed(holds: &Holds) -> EvidenceKind {
        holds.weigh();
        holds.counts_as()[&GroupId::from("g")]
    }

    const FULL: EvidenceKind = EvidenceKind::LeaseExpired;

    #[test]
    fn without_cgroup_kill_a_short_fence_counts_a_class_lower() {
        let dir = tempfile::tempdir().unwrap();
        let (short, long) = (Duration::from_secs(2), FENCE_WITHOUT_KILL_MIN);
        let quick = holds(dir.path(), short);
        assert_eq!(weighed(&quick), FULL);
        fs::remove_file(dir.path().join("own/cgroup.kill")).unwrap();
        assert_eq!(weighed(&quick), FULL.one_lower());
        let slow = holds(dir.path(), long);
        fs::remove_file(dir.path().join("own/cgroup.kill")).unwrap();
        assert_eq!(weighed(&slow), FULL);
    }

    #[test]
    fn only_a_unit_whose_main_process_is_in_it_is_bound() {
        let dir = tempfile::tempdir().unwrap();
        let holds = holds(dir.path(), Duration::from_secs(2));
        let (me, unit) = (std::process::id() as i32, dir.path().join("db.service"));
        fs::write(unit.join("cgroup.procs"), format!("{me}\n")).unwrap();
        assert_eq!(weighed(&holds), FULL.one_lower());
        assert_eq!(holds.included(), BTreeSet::from([unit.clone()]));
        holds.set_bound(BTreeMap::from([(unit.clone(), me)]));
        assert_eq!(weighed(&holds), FULL);
        // Restarted since: nobody knows what it is bound to now.
        holds.set_bound(BTreeMap::from([(unit, me + 1)]));
        assert_eq!(weighed(&holds), FULL.one_lower());
        // In a namespace that cannot be seen.
        fs::write(dir.path().join("db.service/cgroup.procs"), "0\n").unwrap();
        assert_eq!(weighed(&holds), FULL.one_lower());
    }
}
