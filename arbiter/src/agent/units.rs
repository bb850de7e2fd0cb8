//! What systemd says of the units that hold an adopted server.
//!
//! Knows `systemctl show` and the names of units. Never knows why one is asked about.

use super::cgroup;
use super::held::Holds;
use super::holder::run_tool;
use crate::drivers::Command;
use arbiter_core::AgentId;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Time limit of asking systemd: a new agent renews nothing before its holds are weighed.
const SYSTEMD_LIMIT: Duration = Duration::from_secs(1);
/// End of the name of a unit that is a service.
const SERVICE: &str = ".service";
/// What is asked of each unit.
const PROPERTIES: &str = "--property=Id,BindsTo,MainPID,ExecStop,KillMode,KillSignal";

/// One unit, as systemd shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Unit {
    binds_to: Vec<String>,
    main_pid: i32,
    has_stop: bool,
    kill_mode: String,
    kill_signal: String,
}

impl Unit {
    /// Whether systemd kills all of it, at once, when the unit `deadman` goes. A command of its own
    /// for the stop would come first, and take its time.
    fn dies_with(&self, deadman: &str) -> bool {
        self.binds_to.iter().any(|unit| unit == deadman)
            && !self.has_stop
            && self.kill_mode == "control-group"
            && self.kill_signal == "9"
    }
}

/// Blocks of `name=value` lines, one for each unit.
pub(crate) fn parse(text: &str) -> BTreeMap<String, Unit> {
    let mut units = BTreeMap::new();
    for block in text.split("\n\n") {
        let (mut name, mut unit) = (String::new(), Unit::default());
        for (key, value) in block.lines().filter_map(|line| line.split_once('=')) {
            match key {
                "Id" => name = value.to_owned(),
                "BindsTo" => unit.binds_to = value.split(' ').map(str::to_owned).collect(),
                "MainPID" => unit.main_pid = value.parse().unwrap_or(0),
                "ExecStop" => unit.has_stop |= !value.trim().is_empty(),
                "KillMode" => unit.kill_mode = value.to_owned(),
                "KillSignal" => unit.kill_signal = value.to_owned(),
                _ => {}
            }
        }
        units.insert(name, unit);
    }
    units
}

async fn show(names: Vec<String>) -> io::Result<BTreeMap<String, Unit>> {
    let mut args = vec!["show".to_owned(), PROPERTIES.to_owned(), "--".to_owned()];
    args.extend(names);
    let command = Command {
        program: PathBuf::from("systemctl"),
        args,
        env: Vec::new(),
        user: None,
        limit: SYSTEMD_LIMIT,
        log: None,
    };
    let output = run_tool(&command).await.map_err(|error| io::Error::other(error.to_string()))?;
    match output.code {
        Some(0) => Ok(parse(&output.stdout)),
        _ => Err(io::Error::other(format!("systemctl show failed: {}", output.stderr.trim()))),
    }
}

/// The service that a process is in, and its cgroup's directory.
pub(super) fn of_process(pid: i32) -> Option<(String, PathBuf)> {
    if !Path::new("/run/systemd/system").is_dir() {
        return None;
    }
    let below = cgroup::of_process(pid).ok()?;
    let unit = below.split('/').rfind(|part| part.ends_with(SERVICE))?.to_owned();
    let end = below.find(&unit)? + unit.len();
    let mount = cgroup::find_mount().ok()??;
    Some((unit, mount.join(below[..end].trim_start_matches('/'))))
}

/// Whether service `unit` is that of the server with these processes, and not of whatever it was
/// started from: nobody wants the service of a shell or of cron killed for it.
///
/// # Errors
/// When systemd does not answer.
pub(super) async fn is_of(unit: &str, server: &[i32]) -> io::Result<bool> {
    let shown = show(vec![unit.to_owned()]).await?;
    Ok(shown.get(unit).is_some_and(|unit| server.contains(&unit.main_pid)))
}

/// Ask anew which of the held units would be killed with the deadman of `agent`: an operator may
/// change them at any time. What is not told is not so.
pub(super) async fn reread(agent: &AgentId, holds: &Holds) {
    let units: BTreeMap<String, PathBuf> = holds
        .included()
        .into_iter()
        .filter_map(|path| Some((path.file_name()?.to_str()?.to_owned(), path)))
        .filter(|(name, _)| name.ends_with(SERVICE))
        .collect();
    if units.is_empty() {
        return holds.set_bound(BTreeMap::new());
    }
    let shown = show(units.keys().cloned().collect()).await.unwrap_or_else(|error| {
        tracing::warn!(%error, "systemd does not say what dies with the deadman");
        BTreeMap::new()
    });
    holds.set_bound(bound(&units, &shown, agent));
}

/// Cgroups of the units that die with the deadman of `agent`, and their main processes.
fn bound(
    units: &BTreeMap<String, PathBuf>,
    shown: &BTreeMap<String, Unit>,
    agent: &AgentId,
) -> BTreeMap<PathBuf, i32> {
    // As in `deploy/systemd`.
    let deadman = format!("region-arbiter-deadman@{agent}{SERVICE}");
    let dies = |name: &String| shown.get(name).filter(|unit| unit.dies_with(&deadman));
    units.iter().filter_map(|(name, path)| Some((path.clone(), dies(name)?.main_pid))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUND: &str = "MainPID=4711\nKillMode=control-group\nKillSignal=9\n\
        Id=postgresql@15-main.service\nBindsTo=x.mount region-arbiter-deadman@eu.service\n";

    fn bound_of(text: &str) -> Option<i32> {
        let name = "postgresql@15-main.service".to_owned();
        let units = BTreeMap::from([(name, PathBuf::from("/c"))]);
        bound(&units, &parse(text), &"eu".into()).into_values().next()
    }

    #[test]
    fn only_what_is_killed_at_once_with_this_deadman_is_bound() {
        assert_eq!(bound_of(BOUND), Some(4711));
        let other = "MainPID=1\nId=cron.service\nKillSignal=15\n";
        assert_eq!(bound_of(&format!("{other}\n{BOUND}")), Some(4711));
        assert_eq!(bound_of(other), None);
        assert_eq!(bound_of(&BOUND.replace("@eu", "@eu-west")), None);
        assert_eq!(bound_of(&BOUND.replace("Signal=9", "Signal=15")), None);
        assert_eq!(bound_of(&BOUND.replace("control-group", "process")), None);
        let stop = "ExecStop={ path=/usr/bin/pg_ctlcluster ; argv[]=pg_ctlcluster stop }\n";
        assert_eq!(bound_of(&format!("{BOUND}{stop}")), None);
    }

    /// What is installed beside a server's unit makes systemd show what is asked for above.
    #[test]
    fn the_drop_in_that_is_shipped_binds() {
        let path = "../deploy/systemd/postgresql@.service.d/region-arbiter.conf";
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        let drop_in = std::fs::read_to_string(file).unwrap().replace("AGENT", "eu");
        let set = |key: &str| {
            let lines = drop_in.lines().filter_map(|line| line.split_once('='));
            let mut values = lines.filter(|(name, _)| *name == key).map(|(_, value)| value);
            values.next_back().unwrap_or_default().to_owned()
        };
        // An empty line takes away the command that the unit has.
        assert!(drop_in.lines().any(|line| line == "ExecStop="));
        assert_eq!(set("KillSignal"), "SIGKILL");
        let shown = format!(
            "MainPID=4711\nId=postgresql@15-main.service\nBindsTo={}\nExecStop={}\nKillMode={}\n\
             KillSignal={}\n",
            set("BindsTo"),
            set("ExecStop"),
            set("KillMode"),
            nix::libc::SIGKILL,
        );
        assert_eq!(bound_of(&shown), Some(4711));
    }
}
