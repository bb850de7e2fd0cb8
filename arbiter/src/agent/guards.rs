//! Running servers that were not started by the agent: taken into the held cgroup as they are, and
//! guarded where neither a PID namespace nor systemd ties them to the deadman.

use super::cgroup::{self, Cgroup};
use super::companion::{Companion, detached};
use super::held::Holds;
use super::link::Ask;
use super::options::AgentOptions;
use super::units;
use crate::drivers::Driver;
use arbiter_core::GroupId;
use nix::fcntl::{Flock, FlockArg};
use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

/// Looks at a server that forks while it is adopted.
const ADOPT_PASSES_MAX: u32 = 8;

/// Take every running server of `group` into the held cgroup, or hold the cgroup of its unit.
///
/// # Errors
/// When one of them cannot be held: then the group must not be armed.
pub async fn adopt(
    group: &GroupId,
    drivers: &[Arc<dyn Driver>],
    holds: &Holds,
    companion: &Companion,
) -> io::Result<()> {
    companion.ask(vec![Ask::Hold { group: group.clone() }]).await?;
    for driver in drivers {
        adopt_one(group, driver.as_ref(), holds, companion).await?;
    }
    Ok(())
}

async fn adopt_one(
    group: &GroupId,
    driver: &dyn Driver,
    holds: &Holds,
    companion: &Companion,
) -> io::Result<()> {
    for _ in 0..ADOPT_PASSES_MAX {
        let running =
            driver.running().await.map_err(|error| io::Error::other(error.to_string()))?;
        let held = holds.processes(group)?;
        let outside: Vec<i32> = running.into_iter().filter(|pid| !held.contains(pid)).collect();
        if outside.is_empty() {
            return Ok(());
        }
        hold(group, &outside, holds, companion).await?;
    }
    Err(io::Error::other("the server forks faster than it can be held"))
}

/// Take the processes of one server into the held cgroup, or hold the cgroup of its unit.
///
/// # Errors
/// When one of them cannot be held.
pub async fn hold(
    group: &GroupId,
    pids: &[i32],
    holds: &Holds,
    companion: &Companion,
) -> io::Result<()> {
    let mut known: BTreeMap<String, bool> = BTreeMap::new();
    for pid in pids {
        let Some((unit, path)) = units::of_process(*pid) else {
            admit(group, *pid, holds)?;
            continue;
        };
        let own = match known.get(&unit) {
            Some(own) => *own,
            None => {
                let own = units::is_of(&unit, pids).await?;
                if own {
                    let cgroup = holds.as_deadman_sees(&path);
                    companion.ask(vec![Ask::Include { group: group.clone(), cgroup }]).await?;
                }
                known.insert(unit, own);
                own
            }
        };
        if !own {
            admit(group, *pid, holds)?;
        }
    }
    Ok(())
}

fn admit(group: &GroupId, pid: i32, holds: &Holds) -> io::Result<()> {
    let place = holds.place(group).and_then(|place| place.cgroup);
    let missing = "there is no cgroup v2 here: a running server cannot be held; restart it";
    match Cgroup::at(place.ok_or_else(|| io::Error::other(missing))?).admit(pid) {
        // It ended by itself.
        Err(error) if error.raw_os_error() == Some(nix::libc::ESRCH) => Ok(()),
        outcome => outcome,
    }
}

/// Start a guard for each cgroup that needs one and has none.
pub fn keep(options: &AgentOptions, holds: &Holds, groups: &[GroupId], deadman: i32) {
    for group in groups {
        for cgroup in holds.unguarded(group) {
            if let Err(error) = guard(options, &cgroup, deadman) {
                tracing::warn!(%group, %error, "an adopted server has no guard yet");
            }
        }
    }
}

fn guard(options: &AgentOptions, cgroup: &Path, deadman: i32) -> io::Result<()> {
    let name = cgroup::component(&cgroup.to_string_lossy());
    let path = options.runtime_dir.join(format!("guard.{name}.lock"));
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path)?;
    // Somebody holds it: a guard watches, also one that an agent before this one started.
    let Ok(free) = Flock::lock(file, FlockArg::LockExclusiveNonblock) else { return Ok(()) };
    drop(free);
    let mut command = std::process::Command::new(&options.program);
    command.args(["guard", "--deadman", &deadman.to_string(), "--cgroup"]).arg(cgroup);
    command.arg("--lock").arg(&path).current_dir("/");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    detached(command)
}
