//! The leader lost at each row of the plan table, each row held until the loss has fallen in it.

use super::Case;
use super::holds::{Hold, LEASE, Move};
use super::leader::{Loss, another, bring_back, index_of, take_away};
use super::stage::{LIMIT, Stage, check, wrong};
use arbiter::clock;
use arbiter::lab::cluster::GROUP;
use arbiter_core::{STEPS, Step, StepId};
use std::io;
use std::time::Duration;

/// Pause between two looks at a plan's rows.
const ROW_LOOK_PAUSE: Duration = Duration::from_millis(1);

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

/// One row's turn.
struct Turn {
    step: &'static Step,
    ways: Move,
}

/// For each row: open a failover with the source alive, lose the leader while the row runs, and see
/// the plan completed all the same, nothing lost. The source stopped cleanly, so it returns as a
/// standby.
async fn at_rows(stage: &mut Stage, loss: Loss) -> io::Result<()> {
    stage.pin("us-east")?;
    let (mut here, mut there) = ("eu-west", "us-east");
    for (epoch, step) in (2..).zip(STEPS) {
        let leader = stage.leader_outside(here).await?;
        let turn = Turn { step, ways: Move { here, there, leader } };
        let hit = at_row(stage, &turn, epoch, loss).await;
        let hit = hit.map_err(|error| wrong(format!("{loss:?} at {}: {error}", step.name)))?;
        eprintln!("   {loss:?} at {:<18} {hit}", step.name);
        (here, there) = (there, here);
    }
    Ok(())
}

/// What was hit, for people.
async fn at_row(stage: &mut Stage, turn: &Turn, epoch: u64, loss: Loss) -> io::Result<String> {
    let (hold, ways) = (hold_of(turn.step.id), &turn.ways);
    stage.ready_to_move(ways.there).await?;
    hold.put_on(stage, ways).await?;
    let opened = stage.lab.open_plan(GROUP, "failover", ways.there).await;
    let id = opened.map_err(io::Error::other)?;
    let state = row_reached(stage, turn).await?;
    check(hold == Hold::Nothing || state == "running", || {
        format!("the row was held, and is {state}")
    })?;
    take_away(stage, &ways.leader, loss)?;
    another(stage, &ways.leader).await?;
    bring_back(stage, &ways.leader, loss)?;
    hold.take_off(stage, ways).await?;
    stage.serves(ways.there, epoch, LIMIT).await?;
    let plan = stage.newest_plan().await?;
    check(plan.id == id && plan.state == "completed", || {
        format!("plan {} {}, opened was {id}", plan.id, plan.state)
    })?;
    stage.nothing_lost(ways.there).await?;
    Ok(if hold == Hold::Nothing {
        format!("one entry, cannot be held: {state} when the leader was lost")
    } else {
        format!("held, and {state} when the leader was lost")
    })
}

/// Wait until the turn of the row has come, as the leader itself tells, or has passed: some take no
/// time. Its state then.
async fn row_reached(stage: &Stage, turn: &Turn) -> io::Result<String> {
    let leader = &turn.ways.leader;
    let asked = stage.lab.operator.only(index_of(leader)?);
    let started = clock::now();
    while clock::now().since(started) < LIMIT {
        let status = asked.status().await.unwrap_or_default();
        check(status.leader.is_empty() || status.leader == *leader, || {
            format!("{} leads, not {leader}", status.leader)
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
