//! Agent and deadman: restarted, left dead, upgraded in place; a primary crashed.

use super::Case;
use super::processes::alive;
use super::stage::{LIMIT, Stage, check, until, wrong};
use arbiter::clock;
use arbiter::lab::cluster::{EU, GROUP};
use arbiter_proto::v1;
use nix::sys::signal::Signal;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Longest pause of the follower where no write may be missed.
pub const GAP_MAX: Duration = Duration::from_millis(500);

/// The cases of this file.
pub const CASES: &[Case] = &[
    Case::new(
        "agent-restart",
        "the agent killed and restarted within the lease costs no write",
        |stage| Box::pin(agent_restart(stage)),
    ),
    Case::new("agent-left-dead", "the agent left dead ends in a fence by the deadman", |stage| {
        Box::pin(agent_left_dead(stage))
    })
    .mode("manual"),
    Case::new(
        "upgrade-in-place",
        "agent and deadman upgraded in place keep the deadline and cost no write",
        |stage| Box::pin(upgrade(stage)),
    ),
    Case::new("primary-crash", "a crashed primary is restarted where it is", |stage| {
        Box::pin(primary_crash(stage))
    }),
];

async fn agent_restart(stage: &mut Stage) -> io::Result<()> {
    let (from, errors) = (clock::now(), stage.follower.errors());
    let postmaster = stage.postmaster("eu-db")?;
    stage.lab.agents.remove("agent-eu");
    stage.lab.start_agent("agent-eu", None)?;
    tokio::time::sleep(2 * stage.dead_after()).await;
    check(stage.postmaster("eu-db")? == postmaster, || "PostgreSQL was restarted".into())?;
    check(stage.follower.errors() == errors, || "a write was missed".into())?;
    stage.no_gap("eu-west", from, GAP_MAX)
}

async fn agent_left_dead(stage: &mut Stage) -> io::Result<()> {
    stage.lab.agents.remove("agent-eu");
    stage.postgres_gone("eu-db", stage.timing().lease).await?;
    stage.lab.start_agent("agent-eu", None)?;
    stage.serves("eu-west", 1, LIMIT).await
}

async fn upgrade(stage: &mut Stage) -> io::Result<()> {
    let deadman = upgraded(stage, "arbiter-upgraded").await?;
    upgraded_while_cut(stage, deadman).await
}

/// The image that takes over keeps the deadline of the one before: cut off, no other comes, and the
/// agent, which would fence by itself, is stopped.
async fn upgraded_while_cut(stage: &mut Stage, deadman: i32) -> io::Result<()> {
    let next = other_program(stage, "arbiter-upgraded-again")?;
    stage.lab.agents.remove("agent-eu");
    stage.lab.net.cut_region(EU)?;
    let cut = clock::now();
    stage.lab.start_agent("agent-eu", None)?;
    runs(deadman, &next).await?;
    stage.lab.agents["agent-eu"].signal(Signal::SIGSTOP);
    stage.postmaster("eu-db")?;
    let left = stage.timing().lease.saturating_sub(clock::now().since(cut));
    stage.postgres_gone("eu-db", left).await?;
    stage.serves("us-east", 2, stage.dead_after() + LIMIT).await?;
    stage.lab.agents["agent-eu"].signal(Signal::SIGCONT);
    stage.lab.net.heal()?;
    stage.returned_as_no_primary("eu-west").await
}

/// Agents and deadmen that start from now on are of another program: a copy.
fn other_program(stage: &mut Stage, name: &str) -> io::Result<PathBuf> {
    let path = stage.lab.options.dir.join(name);
    std::fs::copy(&stage.lab.options.binary, &path)?;
    stage.lab.options.binary.clone_from(&path);
    Ok(path)
}

/// Wait until a process runs this program.
async fn runs(pid: i32, program: &Path) -> io::Result<()> {
    let link = format!("/proc/{pid}/exe");
    until("the deadman runs the new program", LIMIT, || async {
        std::fs::read_link(&link).is_ok_and(|path| path == program)
    })
    .await
}

/// An agent of another program finds a deadman of the old one, and has it exec in place; the
/// deadman.
async fn upgraded(stage: &mut Stage, name: &str) -> io::Result<i32> {
    let (from, errors) = (clock::now(), stage.follower.errors());
    let deadmen = stage.processes_with("eu-db", "deadman")?;
    let deadman = *deadmen.first().ok_or_else(|| wrong("no deadman runs"))?;
    let program = other_program(stage, name)?;
    stage.lab.agents.remove("agent-eu");
    stage.lab.start_agent("agent-eu", None)?;
    runs(deadman, &program).await?;
    tokio::time::sleep(2 * stage.dead_after()).await;
    let after = stage.processes_with("eu-db", "deadman")?;
    check(after.contains(&deadman), || format!("the deadman was replaced: {after:?}"))?;
    check(stage.follower.errors() == errors, || "a write was missed".into())?;
    stage.no_gap("eu-west", from, GAP_MAX)?;
    Ok(deadman)
}

async fn primary_crash(stage: &mut Stage) -> io::Result<()> {
    let plans = stage.plans().await;
    let killed = stage.kill_postmaster("eu-db")?;
    until("the crashed postmaster is gone, and another runs", LIMIT, || async {
        !alive(killed) && stage.postmaster("eu-db").is_ok_and(|pid| pid != killed)
    })
    .await?;
    stage.follows("eu-west").await?;
    stage.nothing_lost("eu-west").await?;
    let there = |g: &v1::GroupStatus| g.active == "eu-west" && g.epoch == 1 && g.plan.is_none();
    stage.lab.operator.wait_group(GROUP, "restarted in place", LIMIT, there).await?;
    let after = stage.plans().await;
    check(after == plans, || format!("a plan was opened: {after:?}"))
}
