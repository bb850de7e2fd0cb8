//! Fences from outside: an operator's command, run by the target's agent.

use super::Case;
use super::stage::{LIMIT, Stage, check};
use arbiter::lab::cluster::EU;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

/// Nothing weaker than the word of the external fence lets a failover open and go on by itself.
const POWER_OFF: &str = "evidence_min = \"power-off\"

[groups.default.external_fence.eu-west]
fence_command = \"{dir}/fence\"
fence_check = \"{dir}/fence-check\"
";

/// The cases of this file.
pub const CASES: &[Case] = &[Case::new(
    "external-fence",
    "cut off with agent and deadman stopped: the target's agent runs the fence, which proves it",
    |stage| Box::pin(external_fence(stage)),
)
.group(POWER_OFF)];

async fn external_fence(stage: &mut Stage) -> io::Result<()> {
    let log = power_switch(stage)?;
    for pid in stage.processes_with("eu-db", "deadman")? {
        kill(Pid::from_raw(pid), Signal::SIGSTOP)?;
    }
    stage.lab.agents["agent-eu"].signal(Signal::SIGSTOP);
    let postmaster = stage.postmaster("eu-db")?;
    stage.lab.net.cut_region(EU)?;
    stage.serves("us-east", 2, stage.dead_after() + LIMIT).await?;
    let plan = stage.newest_plan().await?;
    let kinds: Vec<(&str, &str)> =
        plan.evidence.iter().map(|e| (e.instance.as_str(), e.kind.as_str())).collect();
    check(kinds == [("db-eu", "power-off")], || format!("evidence {kinds:?}"))?;
    let said = std::fs::read_to_string(log)?;
    check(!said.is_empty(), || "the fence was never run".into())?;
    for line in said.lines() {
        let word = |word: &str| line.split(' ').any(|found| found == word);
        let for_this = word("default") && word("eu-west") && word(&plan.fence_token);
        check(for_this && word(&postmaster.to_string()), || format!("cut off was: {line}"))?;
        check(word("agent") && word("agent-us"), || format!("not run by the target: {line}"))?;
    }
    Ok(())
}

/// A power switch for eu-west, and its check. It writes down for what it was run, what ran there as
/// PostgreSQL, and by whom: its file.
fn power_switch(stage: &Stage) -> io::Result<PathBuf> {
    let dir = &stage.lab.options.dir;
    let (log, off) = (dir.join("fenced.log"), dir.join("off"));
    let hosts = stage.lab.net.hosts_of(EU);
    let hosts: Vec<String> = hosts.iter().map(|h| stage.lab.net.namespace(&h.name)).collect();
    let (log_path, off, hosts) = (log.display(), off.display(), hosts.join(" "));
    let ran = format!("for host in {hosts}; do ip netns pids $host; done");
    let command = format!(
        "#!/bin/sh\nran=$({ran})\nby=$(tr '\\0' ' ' </proc/$PPID/cmdline)\n\
         echo $ARBITER_GROUP $ARBITER_REGION $ARBITER_TOKEN ran $ran by $by >>{log_path}\n\
         kill -KILL $ran\ntouch {off}\n"
    );
    let check = format!("#!/bin/sh\ntest -e {off} && test -z \"$({ran})\"\n");
    for (name, text) in [("fence", command), ("fence-check", check)] {
        let path = dir.join(name);
        std::fs::write(&path, text)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
    }
    Ok(log)
}
