//! What the deadman does to processes: kill, freeze, thaw, and a place for the next server.
//!
//! Knows the cgroups, and the PID namespace or the reaper, of each group. Never knows a deadline.

use super::DeadmanArgs;
use super::reaper::Reaper;
use crate::agent::cgroup::{self, Cgroup};
use crate::agent::namespace::Init;
use crate::agent::spawn::Place;
use crate::agent::tree::{self, Root};
use crate::drivers::Command;
use arbiter_core::GroupId;
use arbiter_core::agent::DeadmanAction;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

/// Start files of one group.
const START_FILES_MAX: usize = 256;
/// Existing cgroups that one group may hold.
const INCLUDED_MAX: usize = 32;
/// Passes over what a reaper left, before the next child's end brings more.
const ORPHAN_PASSES_MAX: u32 = 16;
/// Between two of them.
const ORPHANS_AGAIN_EVERY: Duration = Duration::from_millis(2);

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
    /// A reaper ended, and what it may have left came to this process, to be killed.
    orphans: bool,
}

/// What is held of one group.
#[derive(Debug, Default)]
struct Grip {
    own: Option<Cgroup>,
    included: Vec<Cgroup>,
    init: Option<Init>,
    /// Only where there is neither cgroup nor PID namespace.
    reaper: Option<Reaper>,
    /// Reapers that were told to kill, and have not ended yet.
    ending: Vec<Root>,
}

/// A grip as it is handed to the next image.
#[derive(Debug, Serialize, Deserialize)]
pub struct KeptGrip {
    own: Option<PathBuf>,
    included: Vec<PathBuf>,
    init: Option<(i32, RawFd, u64)>,
    reaper: Option<(Root, RawFd)>,
    ending: Vec<Root>,
}

impl Hands {
    /// Hands that hold nothing.
    pub fn new(base: Option<Base>, args: &DeadmanArgs) -> Self {
        let (agent, runtime_dir) = (args.agent.clone(), args.runtime_dir.clone());
        Self { base, agent, runtime_dir, groups: BTreeMap::new(), orphans: false }
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
            let reaper = match grip.reaper {
                // SAFETY: as the caller vouches.
                Some((root, line)) => Some(unsafe { Reaper::resume(root, line) }?),
                None => None,
            };
            let included = grip.included.into_iter().map(Cgroup::at).collect();
            let (own, ending) = (grip.own.map(Cgroup::at), grip.ending);
            groups.insert(group, Grip { own, included, init, reaper, ending });
        }
        // The image before this one may not have come to the end of it.
        Ok(Self { groups, orphans: true, ..Self::new(base, args) })
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
            let reaper = match &grip.reaper {
                Some(reaper) => Some((reaper.root(), reaper.keep()?)),
                None => None,
            };
            let own = grip.own.as_ref().map(|cgroup| cgroup.path().to_owned());
            let included = grip.included.iter().map(|cgroup| cgroup.path().to_owned()).collect();
            let ending = grip.ending.clone();
            kept.insert(group.clone(), KeptGrip { own, included, init, reaper, ending });
        }
        Ok(kept)
    }

    /// The exec did not happen: a line that a child inherits would not end with this process.
    ///
    /// # Errors
    /// Never on open descriptors.
    pub fn unkeep(&self) -> io::Result<()> {
        for grip in self.groups.values() {
            grip.init.as_ref().map_or(Ok(()), Init::unkeep)?;
            grip.reaper.as_ref().map_or(Ok(()), Reaper::unkeep)?;
        }
        Ok(())
    }

    /// A place for a server of `group`, made where missing.
    ///
    /// # Errors
    /// When no cgroup, PID namespace or reaper can be had.
    pub fn hold(&mut self, group: &GroupId) -> io::Result<()> {
        let name = group_component(&self.agent, group);
        let path = self.base.as_ref().map(|base| base.path.join(name));
        let grip = self.groups.entry(group.clone()).or_default();
        if let (None, Some(path)) = (&grip.own, path) {
            grip.own = Some(fresh(Cgroup::create(path)?)?);
        }
        if grip.init.is_none() && grip.reaper.is_none() {
            match Init::spawn() {
                Ok(init) => grip.init = Some(init),
                Err(_) if grip.own.is_none() => {
                    grip.reaper = Some(Reaper::spawn(&self.runtime_dir)?);
                }
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

    /// Have the reaper of `group` start a server.
    ///
    /// # Errors
    /// When there is none, or it does not hear.
    pub fn start(&self, group: &GroupId, program: &Command) -> io::Result<()> {
        let reaper = self.groups.get(group).and_then(|grip| grip.reaper.as_ref());
        let missing = || io::Error::new(io::ErrorKind::NotFound, "the group has no reaper");
        reaper.ok_or_else(missing)?.start(program)
    }

    /// Where a server of `group` is to run; none before [`Self::hold`].
    pub fn place(&self, group: &GroupId) -> Option<Place> {
        let grip = self.groups.get(group)?;
        let cgroup = grip.own.as_ref().map(|own| own.path().to_owned());
        let init = grip.init.as_ref().map(|init| (init.pid(), init.namespace()));
        let reaper = grip.reaper.as_ref().map(Reaper::root);
        let place = Place { cgroup, init, reaper };
        (place != Place::default()).then_some(place)
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

    /// Do them all, and return what came of each: every kill first, in their order, the quickest
    /// before the others, so that nothing done for one group delays the end of another. I4
    pub fn perform(&mut self, actions: &[DeadmanAction]) -> Vec<io::Result<()>> {
        let killed = |action: &DeadmanAction| match action {
            DeadmanAction::Kill(group) => Some(group.clone()),
            _ => None,
        };
        let groups: Vec<GroupId> = actions.iter().filter_map(killed).collect();
        groups.iter().for_each(|group| self.kill_owned(group));
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
            DeadmanAction::Pause(group) => self.each(group, |cgroup| cgroup.freeze(true)),
            DeadmanAction::Continue(group) | DeadmanAction::Thaw(group) => {
                self.each(group, |cgroup| cgroup.freeze(false))
            }
        }
    }

    /// Kill what `group` runs: its cgroups, and its PID namespace or process tree.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn kill(&mut self, group: &GroupId) -> io::Result<()> {
        self.kill_owned(group);
        self.each(group, Cgroup::kill)
    }

    /// The namespace goes first: it is one signal, and holds also what left the cgroup. A reaper
    /// that is let go kills until nothing is left; should it be stopped, this kills what stands.
    fn kill_owned(&mut self, group: &GroupId) {
        let Some(grip) = self.groups.get_mut(group) else { return };
        if let Some(init) = grip.init.take() {
            init.kill();
        }
        grip.ending.extend(grip.reaper.take().map(|reaper| reaper.root()));
        for root in &grip.ending {
            // Without `/proc` the reaper could not either: both try again.
            let _ = tree::kill_below(*root, &BTreeSet::new());
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

    /// Note that a child ended: an init, perhaps, or a reaper.
    pub fn ended(&mut self, pid: i32) {
        for grip in self.groups.values_mut() {
            if grip.init.as_ref().is_some_and(|init| init.pid() == pid) {
                grip.init = None;
            }
            let own = grip.reaper.take_if(|reaper| reaper.root().pid == pid);
            let before = grip.ending.len();
            grip.ending.retain(|root| root.pid != pid);
            self.orphans |= own.is_some() || grip.ending.len() < before;
        }
    }

    /// Kill what a reaper left when it was killed: it came to this process, and belongs to nobody.
    /// To be called when children ended, and so again for each of these.
    pub fn kill_orphans(&mut self) {
        let held = self.groups.values().flat_map(|grip| {
            let init = grip.init.iter().map(Init::pid);
            let roots = grip.reaper.iter().map(Reaper::root).chain(grip.ending.iter().copied());
            init.chain(roots.map(|root| root.pid))
        });
        let held: BTreeSet<i32> = held.collect();
        let Ok(me) = Root::of(std::process::id() as i32) else { return };
        for _ in 0..ORPHAN_PASSES_MAX {
            if !self.orphans {
                return;
            }
            self.orphans = !matches!(tree::kill_below(me, &held), Ok(0));
            if self.orphans {
                thread::sleep(ORPHANS_AGAIN_EVERY);
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
