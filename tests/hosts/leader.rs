//! The leader lost: killed, frozen, cut; in steady state and at each row of the plan table.

use super::Case;
use super::stage::{LIMIT, Stage, check, wrong};
use arbiter::clock;
use arbiter::lab::cluster::{ARBITERS, GROUP};
use arbiter_core::STEPS;
use arbiter_proto::v1;
use nix::sys::signal::Signal;
use std::io;
use std::time::Duration;

/// Losses of each kind in steady state.
const LOSSES: u32 = 5;
/// Pause between two looks at a plan's rows.
const ROW_LOOK_PAUSE: Duration = Duration::from_millis(1);

/// How a leader is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// SIGKILL.
    Killed,
    /// SIGSTOP.
    Frozen,
    /// Its links cut.
    Cut,
}

/// The cases of this file.
pub const CASES: &[Case] = &[
    Case::new(
        "leader-loss",
        "the leader killed, frozen and cut, five times each at 80 ms: no fence, no missed write, no split vote",
        |stage| Box::pin(leader_loss(stage, LOSSES)),
    )
    .profile("wan")
    .delay_ms(80),
    Case::new(
        "leader-killed-at-rows",
        "the leader killed at each row of the plan table: the plan ends in the same state",
        |stage| Box::pin(at_rows(stage, Loss::Killed)),
    )
    .mode("manual"),
    Case::new(
        "leader-cut-at-rows",
        "the leader cut off at each row of the plan table: the plan ends in the same state",
        |stage| Box::pin(at_rows(stage, Loss::Cut)),
    )
    .mode("manual"),
];

/// Host of an arbiter.
pub fn host_of(arbiter: &str) -> io::Result<&'static str> {
    let found = ARBITERS.iter().find(|known| known.0 == arbiter);
    found.map(|known| known.1).ok_or_else(|| wrong(format!("no arbiter {arbiter:?}")))
}

/// Lose the leader, wait for another, and bring it back.
///
/// # Errors
/// If no other leads, or it does not come back.
pub async fn lose(stage: &mut Stage, leader: &str, loss: Loss) -> io::Result<()> {
    take_away(stage, leader, loss)?;
    let lost = leader.to_owned();
    let other = |s: &v1::Status| !s.stale && !s.leader.is_empty() && s.leader != lost;
    stage.lab.operator.wait("another leader", LIMIT, other).await?;
    bring_back(stage, leader, loss)
}

fn take_away(stage: &mut Stage, leader: &str, loss: Loss) -> io::Result<()> {
    match loss {
        Loss::Killed => drop(stage.lab.arbiters.remove(leader)),
        Loss::Frozen => stage.lab.arbiters[leader].signal(Signal::SIGSTOP),
        Loss::Cut => stage.lab.net.cut_host(host_of(leader)?)?,
    }
    Ok(())
}

fn bring_back(stage: &mut Stage, leader: &str, loss: Loss) -> io::Result<()> {
    match loss {
        Loss::Killed => stage.lab.start_arbiter(leader)?,
        Loss::Frozen => stage.lab.arbiters[leader].signal(Signal::SIGCONT),
        Loss::Cut => stage.lab.net.heal_host(host_of(leader)?)?,
    }
    Ok(())
}

/// Wait until every voter is heard and the leader stands outside the active region.
async fn settled(stage: &Stage) -> io::Result<v1::Status> {
    let all = |s: &v1::Status| {
        let outside = s.voters.iter().any(|v| v.name == s.leader && v.region != "eu-west");
        !s.stale && outside && s.voters.iter().all(|v| v.role != "unreachable")
    };
    stage.lab.operator.wait("three voters, led from outside the active region", LIMIT, all).await
}

/// Lose the leader `times` times in each way.
///
/// # Errors
/// At a fence, a missed write or a split vote.
pub async fn leader_loss(stage: &mut Stage, times: u32) -> io::Result<()> {
    for loss in [Loss::Killed, Loss::Frozen, Loss::Cut] {
        for round in 0..times {
            let before = settled(stage).await?;
            let (errors, from) = (stage.follower.errors(), clock::now());
            lose(stage, &before.leader, loss).await?;
            let during = stage.lab.operator.status().await.map_or(before.term, |s| s.term);
            check(during == before.term + 1, || {
                format!("{loss:?} {round}: term {} after {}: a split vote", during, before.term)
            })?;
            settled(stage).await?;
            let missed = stage.follower.errors() - errors;
            check(missed == 0, || format!("{loss:?} {round}: {missed} writes missed"))?;
            stage.no_gap("eu-west", from, Duration::from_secs(1))?;
        }
    }
    Ok(())
}

/// For each row: open a failover with the source alive, lose the leader when the row's turn comes,
/// and see the plan completed all the same. The source stopped cleanly, so it returns as a standby.
/// Losing the leader may make a source kill itself at its deadline, so asynchronous replication may
/// lose the newest writes; that is bounded by policy, and not what is asked here.
async fn at_rows(stage: &mut Stage, loss: Loss) -> io::Result<()> {
    let (mut here, mut there) = ("eu-west", "us-east");
    for (epoch, step) in (2..).zip(STEPS) {
        let leader = stage.leader_outside(here).await?;
        stage.ready_to_move(there).await?;
        stage.lab.open_plan(GROUP, "failover", there).await.map_err(io::Error::other)?;
        row_reached(stage, step.name).await?;
        lose(stage, &leader, loss).await?;
        let ended = stage.serves(there, epoch, stage.dead_after() + LIMIT).await;
        ended.map_err(|error| wrong(format!("{loss:?} at {}: {error}", step.name)))?;
        let plan = stage.newest_plan().await.ok_or_else(|| wrong("no plan is kept"))?;
        check(plan.state == "completed", || format!("at {}: plan {}", step.name, plan.state))?;
        (here, there) = (there, here);
    }
    Ok(())
}

/// Wait until the turn of `row` has come, or has passed: some rows take no time.
async fn row_reached(stage: &Stage, row: &str) -> io::Result<()> {
    let started = clock::now();
    while clock::now().since(started) < LIMIT {
        let group = stage.lab.operator.group(GROUP).await.unwrap_or_default();
        let reached = match &group.plan {
            Some(plan) => plan.steps.iter().any(|s| s.name == row && s.state != "pending"),
            None => true,
        };
        if reached {
            return Ok(());
        }
        tokio::time::sleep(ROW_LOOK_PAUSE).await;
    }
    Err(wrong(format!("the turn of {row} did not come")))
}
