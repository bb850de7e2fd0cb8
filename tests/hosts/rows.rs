//! The leader lost at each row of the plan table, each row held until the loss has fallen in it.

use super::Case;
use super::leader::{Loss, another, bring_back, host_of, index_of, take_away};
use super::stage::{LIMIT, Stage, check, wrong};
use arbiter::clock;
use arbiter::lab::cluster::{ARBITERS, GROUP};
use arbiter::lab::demo::column;
use arbiter::lab::postgres;
use arbiter_core::{STEPS, Step, StepId};
use nix::sys::signal::Signal;
use std::io;
use std::time::Duration;

/// Pause between two looks at a plan's rows.
const ROW_LOOK_PAUSE: Duration = Duration::from_millis(1);
/// Longer than a row is held: a frozen agent's lease must not end meanwhile. A source that killed
/// itself could have written what the target has not, and would not return as its standby.
const LEASE: &str = "lease = \"15s\"\n";

/// The cases of this file.
pub const CASES: &[Case] = &[
    Case::new(
        "leader-killed-at-rows",
        "the leader killed at each row of the plan table: the plan ends in the same state",
        |stage| Box::pin(at_rows(stage, Loss::Killed)),
    )
    .mode("manual")
    .group(LEASE),
    Case::new(
        "leader-cut-at-rows",
        "the leader cut off at each row of the plan table: the plan ends in the same state",
        |stage| Box::pin(at_rows(stage, Loss::Cut)),
    )
    .mode("manual")
    .group(LEASE),
];

/// What keeps a row from its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hold {
    /// The agent of the source does not answer.
    SourceAgent,
    /// The agent of the target does not answer.
    TargetAgent,
    /// The target's server cannot write the file that promotes it.
    Promotion,
    /// The target's server refuses writes.
    Writes,
    /// The DNS server is away.
    Dns,
    /// An arbiter that does not lead cannot reach the databases.
    Vantage,
    /// Nothing can: the row is one entry of the log, decided where it is written.
    Nothing,
}

fn hold_of(step: StepId) -> Hold {
    match step {
        StepId::FenceSource | StepId::ProveFence => Hold::SourceAgent,
        StepId::CatchUp => Hold::TargetAgent,
        StepId::PromoteData => Hold::Promotion,
        StepId::VerifyTarget => Hold::Writes,
        StepId::SwitchTraffic => Hold::Dns,
        StepId::VerifyService => Hold::Vantage,
        // The lab has no workloads.
        StepId::Preflight
        | StepId::StopLease
        | StepId::AdvanceEpoch
        | StepId::ActivateWorkloads => Hold::Nothing,
    }
}

/// One row's turn: who loses, who gains, who leads.
struct Turn {
    step: &'static Step,
    here: &'static str,
    there: &'static str,
    leader: String,
}

/// For each row: open a failover with the source alive, lose the leader while the row runs, and see
/// the plan completed all the same, nothing lost. The source stopped cleanly, so it returns as a
/// standby.
async fn at_rows(stage: &mut Stage, loss: Loss) -> io::Result<()> {
    stage.pin("us-east")?;
    let (mut here, mut there) = ("eu-west", "us-east");
    for (epoch, step) in (2..).zip(STEPS) {
        let leader = stage.leader_outside(here).await?;
        let turn = Turn { step, here, there, leader };
        let hit = at_row(stage, &turn, epoch, loss).await;
        let hit = hit.map_err(|error| wrong(format!("{loss:?} at {}: {error}", step.name)))?;
        eprintln!("   {loss:?} at {:<18} {hit}", step.name);
        (here, there) = (there, here);
    }
    Ok(())
}

/// What was hit, for people.
async fn at_row(stage: &mut Stage, turn: &Turn, epoch: u64, loss: Loss) -> io::Result<String> {
    let hold = hold_of(turn.step.id);
    stage.ready_to_move(turn.there).await?;
    put_on(stage, turn, hold).await?;
    let opened = stage.lab.open_plan(GROUP, "failover", turn.there).await;
    let id = opened.map_err(io::Error::other)?;
    let state = row_reached(stage, turn).await?;
    check(hold == Hold::Nothing || state == "running", || {
        format!("the row was held, and is {state}")
    })?;
    take_away(stage, &turn.leader, loss)?;
    another(stage, &turn.leader).await?;
    bring_back(stage, &turn.leader, loss)?;
    take_off(stage, turn, hold).await?;
    stage.serves(turn.there, epoch, LIMIT).await?;
    let plan = stage.newest_plan().await?;
    check(plan.id == id && plan.state == "completed", || {
        format!("plan {} {}, opened was {id}", plan.id, plan.state)
    })?;
    stage.nothing_lost(turn.there).await?;
    Ok(if hold == Hold::Nothing {
        format!("one entry, cannot be held: {state} when the leader was lost")
    } else {
        format!("held, and {state} when the leader was lost")
    })
}

/// Wait until the turn of the row has come, as the leader itself tells, or has passed: some take no
/// time. Its state then.
async fn row_reached(stage: &Stage, turn: &Turn) -> io::Result<String> {
    let asked = stage.lab.operator.only(index_of(&turn.leader)?);
    let started = clock::now();
    while clock::now().since(started) < LIMIT {
        let status = asked.status().await.unwrap_or_default();
        check(status.leader.is_empty() || status.leader == turn.leader, || {
            format!("{} leads, not {}", status.leader, turn.leader)
        })?;
        let plan = status.groups.iter().find(|group| group.group == GROUP).map(|g| &g.plan);
        let row = match plan {
            Some(Some(plan)) => plan.steps.iter().find(|step| step.name == turn.step.name),
            Some(None) => return Ok("passed: no plan is open".into()),
            None => None,
        };
        if let Some(row) = row.filter(|row| row.state != "pending" && !status.stale) {
            return Ok(row.state.clone());
        }
        tokio::time::sleep(ROW_LOOK_PAUSE).await;
    }
    Err(wrong("the turn of the row did not come"))
}

fn agent_of(region: &str) -> &'static str {
    if region == "eu-west" { "agent-eu" } else { "agent-us" }
}

/// An arbiter that does not lead.
fn follower(turn: &Turn) -> io::Result<&'static str> {
    let other = ARBITERS.iter().find(|known| known.0 != turn.leader && known.0 != "arbiter-eu");
    host_of(other.ok_or_else(|| wrong("no arbiter follows"))?.0)
}

async fn put_on(stage: &mut Stage, turn: &Turn, hold: Hold) -> io::Result<()> {
    match hold {
        Hold::SourceAgent => stage.lab.agents[agent_of(turn.here)].signal(Signal::SIGSTOP),
        Hold::TargetAgent => stage.lab.agents[agent_of(turn.there)].signal(Signal::SIGSTOP),
        // What promotes is a file of this name. It leads where none can be made.
        Hold::Promotion => std::os::unix::fs::symlink("/nowhere/promote", promotion(stage, turn))?,
        Hold::Writes => read_only(stage, turn.there, "on").await?,
        Hold::Dns => stage.lab.bind.stop(),
        Hold::Vantage => stage.lab.net.cut_port(follower(turn)?, postgres::PORT)?,
        Hold::Nothing => {}
    }
    Ok(())
}

async fn take_off(stage: &mut Stage, turn: &Turn, hold: Hold) -> io::Result<()> {
    match hold {
        Hold::SourceAgent => stage.lab.agents[agent_of(turn.here)].signal(Signal::SIGCONT),
        Hold::TargetAgent => stage.lab.agents[agent_of(turn.there)].signal(Signal::SIGCONT),
        Hold::Promotion => std::fs::remove_file(promotion(stage, turn))?,
        Hold::Writes => read_only(stage, turn.there, "off").await?,
        Hold::Dns => stage.lab.bind.restart(&stage.lab.net)?,
        Hold::Vantage => stage.lab.net.heal_host(follower(turn)?)?,
        Hold::Nothing => {}
    }
    Ok(())
}

/// The file by which the target's server would be promoted.
fn promotion(stage: &Stage, turn: &Turn) -> std::path::PathBuf {
    let target = usize::from(turn.there != "eu-west");
    stage.lab.servers[0][target].data_dir.join("promote")
}

async fn read_only(stage: &Stage, region: &str, how: &str) -> io::Result<()> {
    let server = stage.server(region);
    let set = format!("ALTER SYSTEM SET default_transaction_read_only = {how}");
    column(server, &set).await?;
    column(server, "SELECT pg_reload_conf()::int::int8").await.map(drop)
}
