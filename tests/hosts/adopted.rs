//! A running PostgreSQL that nobody of ours started: armed as it is, and guarded.

use super::Case;
use super::agents::GAP_MAX;
use super::processes::alive;
use super::stage::{LIMIT, Stage, check, until, wrong};
use arbiter::clock;
use arbiter::lab::cluster::{EU, FIRST_PAIR, GROUP, Pair};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io;
use std::time::Duration;

/// The pair of every lab, started by hand before any agent.
const BY_HAND: Pair = Pair { by_hand: true, ..FIRST_PAIR };
/// Where no systemd ties a server to the deadman, the end of its lease counts one class lower.
const LOWER: &str = "evidence_min = \"provider-asserted\"\n";

/// The cases of this file.
pub const CASES: &[Case] = &[
    Case::new(
        "adopted",
        "a running server is armed without a restart; cut off, it is dead by its deadline",
        |stage| Box::pin(adopted(stage)),
    )
    .mode("observe")
    .group(LOWER)
    .pairs(&[BY_HAND]),
    Case::new(
        "adopted-deadman-killed",
        "a running server that was armed dies with the deadman, by its guard",
        |stage| Box::pin(guarded(stage)),
    )
    .mode("observe")
    .pairs(&[BY_HAND]),
];

/// Arm the group: the server that runs is held, and nothing of it changes. Its postmaster.
async fn armed_as_it_is(stage: &mut Stage, mode: &str) -> io::Result<i32> {
    let held = format!("region-arbiter-{}", stage.lab.options.prefix);
    let (from, errors) = (clock::now(), stage.follower.errors());
    let postmaster = stage.postmaster("eu-db")?;
    let before = cgroup_of(postmaster)?;
    check(!before.contains(&held), || format!("it is held before it is armed: {before}"))?;
    stage.lab.arm(GROUP, mode).await?;
    let systemd = std::path::Path::new("/run/systemd/system").is_dir();
    until("a guard stands", LIMIT, async || {
        systemd || stage.processes_with("eu-db", "guard").is_ok_and(|pids| !pids.is_empty())
    })
    .await?;
    for pid in stage.postgres_processes("eu-db")? {
        let now = match cgroup_of(pid) {
            // A worker that has ended since it was listed.
            Err(_) if !alive(pid) => continue,
            now => now?,
        };
        check(now.contains(&held), || format!("process {pid} is not held: {now}"))?;
    }
    let after = stage.postmaster("eu-db")?;
    check(after == postmaster, || format!("postmaster {after} after {postmaster}: a restart"))?;
    check(stage.follower.errors() == errors, || "a write was missed".into())?;
    stage.no_gap("eu-west", from, GAP_MAX)?;
    Ok(postmaster)
}

fn cgroup_of(pid: i32) -> io::Result<String> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    let own = text.lines().find_map(|line| line.strip_prefix("0::"));
    own.map(str::to_owned).ok_or_else(|| wrong(format!("no cgroup v2 for {pid}: {text}")))
}

async fn adopted(stage: &mut Stage) -> io::Result<()> {
    armed_as_it_is(stage, "automatic").await?;
    stage.leader_outside("eu-west").await?;
    stage.ready_to_move("us-east").await?;
    // A live agent would fence by itself: the deadman must as well.
    stage.lab.agents["agent-eu"].signal(Signal::SIGSTOP);
    stage.lab.net.cut_region(EU)?;
    stage.postgres_gone("eu-db", stage.timing().lease).await?;
    stage.serves("us-east", 2, stage.dead_after() + LIMIT).await?;
    let evidence = stage.newest_plan().await?.evidence;
    let kinds: Vec<&str> = evidence.iter().map(|e| e.kind.as_str()).collect();
    check(kinds == ["provider-asserted"], || format!("evidence {kinds:?}"))?;
    stage.lab.agents["agent-eu"].signal(Signal::SIGCONT);
    stage.lab.net.heal()?;
    stage.returned_as_no_primary("eu-west").await
}

async fn guarded(stage: &mut Stage) -> io::Result<()> {
    let postmaster = armed_as_it_is(stage, "manual").await?;
    // A live agent fences when its deadman goes: the guard must as well.
    stage.lab.agents["agent-eu"].signal(Signal::SIGSTOP);
    let deadmen = stage.processes_with("eu-db", "deadman")?;
    check(!deadmen.is_empty(), || "no deadman runs".into())?;
    for pid in deadmen {
        kill(Pid::from_raw(pid), Signal::SIGKILL)?;
    }
    stage.postgres_gone("eu-db", Duration::from_secs(1)).await?;
    // One that is ending has left its namespace, by which the others are listed, a little before.
    let gone = async || !alive(postmaster);
    until("the postmaster is gone", Duration::from_secs(1), gone).await?;
    stage.lab.agents["agent-eu"].signal(Signal::SIGCONT);
    stage.serves("eu-west", 1, LIMIT).await
}
