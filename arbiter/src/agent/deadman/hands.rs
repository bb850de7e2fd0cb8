//! What the deadman does to processes: kill, freeze, thaw, and a place for the next server.
//!
//! Knows the cgroups and the PID namespace of each group. Never knows a deadline.

use super::DeadmanArgs;
use crate::agent::cgroup::{self, Cgroup};
use crate::agent::namespace::Init;
use crate::agent::spawn::Place;
use arbiter_core::GroupId;
use arbiter_core::agent::DeadmanAction;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};

/// Start files of one group.
const START_FILES_MAX: usize = 256;
/// Existing cgroups that one group may hold.
const INCLUDED_MAX: usize = 32;

/// Where groups get their cgroups.
#[derive(Clone, Debug)]
pub struct Base {
    /// Where cgroup v2 is mounted.
    pub mount: PathBuf,
    /// The directory in it.
    pub path: PathBuf,
}

/// The hands of one deadman.
#[derive(Debug)]
pub struct Hands {
    /// None without cgroup v2.
    base: Option<Base>,
    /// The agent's name: agents on one machine share the base.
    agent: String,
    runtime_dir: PathBuf,
    groups: BTreeMap<GroupId, Grip>,
}

/// What is held of one group.
#[derive(Debug, Default)]
struct Grip {
    own: Option<Cgroup>,
    included: Vec<Cgroup>,
    init: Option<Init>,
}

/// A grip as it is handed to the next image.
#[derive(Debug, Serialize, Deserialize)]
pub struct KeptGrip {
    own: Option<PathBuf>,
    included: Vec<PathBuf>,
    init: Option<(i32, RawFd, u64)>,
}

impl Hands {
    /// Hands that hold nothing.
    pub fn new(base: Option<Base>, args: &DeadmanArgs) -> Self {
        let (agent, runtime_dir) = (args.agent.clone(), args.runtime_dir.clone());
        Self { base, agent, runtime_dir, groups: BTreeMap::new() }
    }

    /// Go on after an exec in place.
    ///
    /// # Safety
    /// The descriptors in `kept` come from [`Self::keep`] of the image before this one.
    ///
    /// # Errors
    /// When a descriptor is not open.
    pub unsafe fn resume(
        base: Option<Base>,
        args: &DeadmanArgs,
        kept: BTreeMap<GroupId, KeptGrip>,
    ) -> io::Result<Self> {
        let mut groups = BTreeMap::new();
        for (group, grip) in kept {
            let init = match grip.init {
                // SAFETY: as the caller vouches.
                Some((pid, fd, ns)) => Some(unsafe { Init::resume(pid, fd, ns) }?),
                None => None,
            };
            let included = grip.included.into_iter().map(Cgroup::at).collect();
            groups.insert(group, Grip { own: grip.own.map(Cgroup::at), included, init });
        }
        Ok(Self { groups, ..Self::new(base, args) })
    }

    /// Let what is held outlive an exec in place.
    ///
    /// # Errors
    /// Never on open descriptors.
    pub fn keep(&self) -> io::Result<BTreeMap<GroupId, KeptGrip>> {
        let mut kept = BTreeMap::new();
        for (group, grip) in &self.groups {
            let init = match &grip.init {
                Some(init) => Some((init.pid(), init.keep()?, init.namespace())),
                None => None,
            };
            let own = grip.own.as_ref().map(|cgroup| cgroup.path().to_owned());
            let included = grip.included.iter().map(|cgroup| cgroup.path().to_owned()).collect();
            kept.insert(group.clone(), KeptGrip { own, included, init });
        }
        Ok(kept)
    }

    /// A place for a server of `group`, made where missing.
    ///
    /// # Errors
    /// When neither a cgroup nor a PID namespace can be had.
    pub fn hold(&mut self, group: &GroupId) -> io::Result<()> {
        let name = group_component(&self.agent, group);
        let path = self.base.as_ref().map(|base| base.path.join(name));
        let grip = self.groups.entry(group.clone()).or_default();
        if let (None, Some(path)) = (&grip.own, path) {
            grip.own = Some(fresh(Cgroup::create(path)?)?);
        }
        if grip.init.is_none() {
            match Init::spawn() {
                Ok(init) => grip.init = Some(init),
                Err(error) if grip.own.is_none() => return Err(error),
                // Held by the cgroup alone; the agent sees that there is no namespace.
                Err(_) => {}
            }
        }
        Ok(())
    }

    /// Hold an existing cgroup as well. It must be a cgroup, and not one that holds this process.
    ///
    /// # Errors
    /// `InvalidInput` for any other directory.
    pub fn include(&mut self, group: &GroupId, path: &Path) -> io::Result<()> {
        let refuse = |why| Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        if !path.is_absolute() || !path.join("cgroup.freeze").exists() {
            return refuse("not a cgroup v2 that can be frozen");
        }
        let cgroup = Cgroup::at(path);
        if cgroup.processes()?.contains(&(std::process::id() as i32)) {
            return refuse("the deadman itself is in that cgroup");
        }
        let grip = self.groups.entry(group.clone()).or_default();
        if grip.included.contains(&cgroup) {
            return Ok(());
        }
        if grip.included.len() >= INCLUDED_MAX {
            return refuse("the group holds too many cgroups");
        }
        grip.included.push(cgroup);
        Ok(())
    }

    /// Where a server of `group` is to run; none before [`Self::hold`].
    pub fn place(&self, group: &GroupId) -> Option<Place> {
        let grip = self.groups.get(group)?;
        let cgroup = grip.own.as_ref().map(|own| own.path().to_owned());
        let init = grip.init.as_ref().map(|init| (init.pid(), init.namespace()));
        (cgroup.is_some() || init.is_some()).then_some(Place { cgroup, init })
    }

    /// Where cgroup v2 is mounted, as seen here.
    pub fn mount(&self) -> Option<PathBuf> {
        self.base.as_ref().map(|base| base.mount.clone())
    }

    /// Existing cgroups that `group` holds as well.
    pub fn included(&self, group: &GroupId) -> Vec<PathBuf> {
        let paths = |grip: &Grip| grip.included.iter().map(|c| c.path().to_owned()).collect();
        self.groups.get(group).map(paths).unwrap_or_default()
    }

    /// Do them all, and return what came of each: every kill first, the quickest before the others,
    /// so that nothing done for one group delays the end of another. I4
    pub fn perform(&mut self, actions: &[DeadmanAction]) -> Vec<io::Result<()>> {
        let killed = |action: &DeadmanAction| match action {
            DeadmanAction::Kill(group) => Some(group.clone()),
            _ => None,
        };
        let groups: BTreeSet<GroupId> = actions.iter().filter_map(killed).collect();
        groups.iter().for_each(|group| self.kill_init(group));
        let mut outcomes: BTreeMap<usize, io::Result<()>> = BTreeMap::new();
        let (kills, others): (Vec<_>, Vec<_>) =
            actions.iter().enumerate().partition(|(_, action)| killed(action).is_some());
        for (index, action) in kills.into_iter().chain(others) {
            outcomes.insert(index, self.perform_one(action));
        }
        groups.iter().for_each(|group| self.lock_out(group));
        outcomes.into_values().collect()
    }

    /// All of it is tried, whatever fails; the first failure is returned.
    fn perform_one(&mut self, action: &DeadmanAction) -> io::Result<()> {
        match action {
            DeadmanAction::Kill(group) => self.kill(group),
            DeadmanAction::Freeze(group) => {
                let frozen = self.each(group, |cgroup| cgroup.freeze(true));
                // I4: what came in between the kill and the freeze is killed where it stands.
                frozen.and(self.kill(group))
            }
            DeadmanAction::Thaw(group) => self.each(group, |cgroup| cgroup.freeze(false)),
        }
    }

    /// Kill what `group` runs: its cgroups and its PID namespace.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn kill(&mut self, group: &GroupId) -> io::Result<()> {
        self.kill_init(group);
        self.each(group, Cgroup::kill)
    }

    /// The namespace goes first: it is one signal, and holds also what left the cgroup.
    fn kill_init(&mut self, group: &GroupId) {
        if let Some(init) = self.groups.get_mut(group).and_then(|grip| grip.init.take()) {
            init.kill();
        }
    }

    /// Take the start files away: while the agent is dead too, nobody starts by hand what was
    /// killed. They are in memory, so this does not wait for a disk.
    fn lock_out(&self, group: &GroupId) {
        let files = std::fs::read_dir(gate_dir(&self.runtime_dir, group)).into_iter().flatten();
        for file in files.flatten().take(START_FILES_MAX) {
            let _ = std::fs::remove_file(file.path());
        }
    }

    fn each(&self, group: &GroupId, act: impl Fn(&Cgroup) -> io::Result<()>) -> io::Result<()> {
        let Some(grip) = self.groups.get(group) else { return Ok(()) };
        let mut result = Ok(());
        for cgroup in grip.own.iter().chain(&grip.included) {
            match act(cgroup) {
                // A unit that stopped takes its cgroup with it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                outcome => result = result.and(outcome),
            }
        }
        result
    }

    /// Note that a child ended: an init, perhaps.
    pub fn ended(&mut self, pid: i32) {
        for grip in self.groups.values_mut() {
            if grip.init.as_ref().is_some_and(|init| init.pid() == pid) {
                grip.init = None;
            }
        }
    }
}

/// A deadman before this one, or its guard, may have left the cgroup frozen. What is in it then was
/// to be dead, and is killed before it could run.
fn fresh(cgroup: Cgroup) -> io::Result<Cgroup> {
    if cgroup.frozen() {
        cgroup.kill()?;
        cgroup.freeze(false)?;
    }
    Ok(cgroup)
}

/// Where the start files of a group are.
pub fn gate_dir(runtime_dir: &Path, group: &GroupId) -> PathBuf {
    runtime_dir.join("gate").join(cgroup::component(group.as_str()))
}

/// Directory name of a group's cgroup.
pub fn group_component(agent: &str, group: &GroupId) -> String {
    format!("{}.{}", cgroup::component(agent), cgroup::component(group.as_str()))
}
