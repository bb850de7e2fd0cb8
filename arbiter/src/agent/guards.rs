//! Running servers that were not started by the agent: taken into the held cgroup as they are, and
//! guarded where neither a PID namespace nor systemd ties them to the deadman.

use super::cgroup::{self, Cgroup};
use super::companion::{Companion, detached};
use super::held::Holds;
use super::holder::run_tool;
use super::link::Ask;
use super::options::AgentOptions;
use crate::drivers::{Command, Driver};
use arbiter_core::GroupId;
use nix::fcntl::{Flock, FlockArg};
use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

/// Looks at a server that forks while it is adopted.
const ADOPT_PASSES_MAX: u32 = 8;
/// Start of the name of the deadman's unit, as in `deploy/systemd`.
const DEADMAN_UNIT: &str = "region-arbiter-deadman";
/// Time limit of asking systemd.
const SYSTEMD_LIMIT: Duration = Duration::from_secs(5);

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
        for pid in outside {
            match unit_of(pid) {
                Some((unit, path)) => hold_unit(group, &unit, path, holds, companion).await?,
                None => admit(group, pid, holds)?,
            }
        }
    }
    Err(io::Error::other("the server forks faster than it can be held"))
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

/// The systemd unit of a process, and its cgroup's directory.
fn unit_of(pid: i32) -> Option<(String, PathBuf)> {
    if !Path::new("/run/systemd/system").is_dir() {
        return None;
    }
    let below = cgroup::of_process(pid).ok()?;
    let unit = below.split('/').rfind(|part| part.ends_with(".service"))?.to_owned();
    let end = below.find(&unit)? + unit.len();
    let mount = cgroup::find_mount().ok()??;
    Some((unit, mount.join(below[..end].trim_start_matches('/'))))
}

async fn hold_unit(
    group: &GroupId,
    unit: &str,
    path: PathBuf,
    holds: &Holds,
    companion: &Companion,
) -> io::Result<()> {
    let cgroup = holds.as_deadman_sees(&path);
    companion.ask(vec![Ask::Include { group: group.clone(), cgroup }]).await?;
    let show = Command {
        program: PathBuf::from("systemctl"),
        args: ["show", "--property=BindsTo", "--value", unit].map(str::to_owned).to_vec(),
        env: Vec::new(),
        user: None,
        limit: SYSTEMD_LIMIT,
        log: None,
    };
    if run_tool(&show).await.is_ok_and(|output| output.stdout.contains(DEADMAN_UNIT)) {
        holds.set_bound(&path);
    }
    Ok(())
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
