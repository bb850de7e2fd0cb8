//! Voters lost, and mode `observe`.

use super::Case;
use super::command_line::{YES, says};
use super::stage::{LIMIT, Stage, check, until, wrong};
use arbiter::clock;
use arbiter::lab::cluster::{EU, GROUP, US, WITNESS};
use arbiter::lab::net::Way;
use arbiter_proto::v1;
use nix::sys::signal::Signal;
use std::io;
use std::time::Duration;

/// Longest pause of the follower where nothing may move.
const GAP_MAX: Duration = Duration::from_millis(1500);

/// The cases of this file.
pub const CASES: &[Case] = &[
    Case::new(
        "witness-lost",
        "the witness is lost: nothing moves, and a switchover still works",
        |stage| Box::pin(witness_lost(stage)),
    ),
    Case::new(
        "two-lost-armed",
        "two of three voters lost: the armed active region fences itself in time, and comes back",
        |stage| Box::pin(two_lost_armed(stage)),
    ),
    Case::new(
        "two-lost-unarmed",
        "two of three voters lost: an unarmed active region goes on",
        |stage| Box::pin(two_lost_unarmed(stage)),
    )
    .mode("observe"),
    Case::new(
        "hold",
        "on_quorum_loss = hold: it serves without a quorum; cut off, nothing moves until its fence is confirmed",
        |stage| Box::pin(hold(stage)),
    )
    .mode("observe")
    .group("on_quorum_loss = \"hold\"\nallow_automatic = false\n"),
    Case::new(
        "observe",
        "mode observe: the same cuts order and kill nothing, and record what would have been done",
        |stage| Box::pin(observe(stage)),
    )
    .mode("observe"),
];

async fn witness_lost(stage: &mut Stage) -> io::Result<()> {
    stage.lab.kill_region(WITNESS)?;
    stage.nothing_moves("eu-west", 2 * stage.dead_after(), GAP_MAX).await?;
    stage.ready_to_move("us-east").await?;
    stage.moved_by("switchover", "us-east").await
}

async fn two_lost_armed(stage: &mut Stage) -> io::Result<()> {
    stage.lab.net.cut_region(US)?;
    stage.lab.net.cut_region(WITNESS)?;
    stage.postgres_gone("eu-db", stage.timing().lease).await?;
    stage.lab.net.heal()?;
    stage.serves("eu-west", 1, LIMIT).await
}

/// Two of three voters are lost, for longer than a lease lasts: the active region goes on.
async fn two_lost_unarmed(stage: &mut Stage) -> io::Result<()> {
    let (from, postmaster) = (clock::now(), stage.postmaster("eu-db")?);
    stage.lab.net.cut_region(US)?;
    stage.lab.net.cut_region(WITNESS)?;
    tokio::time::sleep(2 * stage.dead_after()).await;
    stage.no_gap("eu-west", from, GAP_MAX)?;
    check(stage.postmaster("eu-db")? == postmaster, || "PostgreSQL was restarted".into())?;
    stage.lab.net.heal()?;
    stage.serves("eu-west", 1, LIMIT).await
}

async fn hold(stage: &mut Stage) -> io::Result<()> {
    says(stage, "arm", YES, &["NEXT:"])?;
    // Never known as armed: it may be in mode manual all the same, once its agents are gated.
    until("mode manual", LIMIT, async || stage.lab.set_mode(GROUP, "manual").await.is_ok()).await?;
    two_lost_unarmed(stage).await?;
    stage.ready_to_move("us-east").await?;

    let from = clock::now();
    stage.lab.net.cut_region(EU)?;
    let opened = stage.lab.open_plan(GROUP, "failover", "us-east").await;
    opened.map_err(|status| wrong(format!("failover: {status}")))?;
    let halted = |g: &v1::GroupStatus| g.plan.as_ref().is_some_and(|plan| plan.state == "halted");
    let limit = 2 * stage.dead_after() + LIMIT;
    stage.lab.operator.wait_group(GROUP, "a plan that waits for evidence", limit, halted).await?;
    check(stage.lab.epoch(GROUP).await? == 1, || "it was promoted without evidence".into())?;
    stage.no_pinned_gap(from, GAP_MAX)?;
    // Reached again, and well, it serves on. Whoever still wants to move has it fenced first.
    stage.lab.net.heal()?;
    stage.serves("eu-west", 1, limit).await?;
    stage.ready_to_move("us-east").await?;
    stage.moved_by("failover", "us-east").await?;
    let kinds: Vec<_> = stage.newest_plan().await?.evidence.into_iter().map(|e| e.kind).collect();
    check(kinds == ["confirmed"], || format!("evidence {kinds:?}"))
}

/// The ways in which a region is lost in mode `observe`.
const LOSSES: [Loss; 3] = [Loss::Cut, Loss::AgentStopped, Loss::OneWay];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loss {
    Cut,
    AgentStopped,
    OneWay,
}

async fn observe(stage: &mut Stage) -> io::Result<()> {
    for loss in LOSSES {
        observed(stage, loss).await.map_err(|error| wrong(format!("{loss:?}: {error}")))?;
    }
    Ok(())
}

async fn observed(stage: &mut Stage, loss: Loss) -> io::Result<()> {
    // Unarmed, it has a lease all the same: what would be done at its end is what is counted.
    let leased = |g: &v1::GroupStatus| source(g).any(|agent| agent.lease_left_ms > 0);
    let before = stage.lab.operator.wait_group(GROUP, "a lease to lose", LIMIT, leased).await?;
    let (from, postmaster) = (clock::now(), stage.postmaster("eu-db")?);
    let lost_at = clock::wall().0;
    match loss {
        Loss::Cut => stage.lab.net.cut_region(EU)?,
        Loss::AgentStopped => {
            stage.lab.agents["agent-eu"].signal(Signal::SIGSTOP);
            stage.lab.net.cut_region(EU)?;
        }
        Loss::OneWay => stage.lab.net.cut_region_one_way(EU, Way::Out)?,
    }
    let recorded = |g: &v1::GroupStatus| {
        let what = "a failover would have opened from eu-west: region lost by ";
        g.would_have.starts_with(what) && g.would_have_wall_ms > before.would_have_wall_ms
    };
    let limit = stage.dead_after() + LIMIT;
    let what = "what would have been done is recorded, and when";
    let would = stage.lab.operator.wait_group(GROUP, what, limit, recorded).await?;
    let when = would.would_have_wall_ms;
    check((lost_at..=clock::wall().0).contains(&when), || {
        format!("lost at {lost_at}, and what would have been done is of {when}")
    })?;
    tokio::time::sleep(stage.dead_after()).await;
    let group = stage.group().await?;
    check(group.epoch == 1 && group.active == "eu-west" && group.plan.is_none(), || {
        format!("{} at epoch {}, plan {:?}", group.active, group.epoch, group.plan)
    })?;
    let plans = stage.plans().await;
    check(plans.is_empty(), || format!("plans were opened: {plans:?}"))?;
    let after = stage.postmaster("eu-db")?;
    check(after == postmaster, || format!("postmaster {after} after {postmaster}"))?;
    stage.no_pinned_gap(from, GAP_MAX)?;
    stage.lab.net.heal()?;
    stage.lab.agents["agent-eu"].signal(Signal::SIGCONT);
    let killed = |g: &v1::GroupStatus| source(g).map(|agent| agent.would_have_killed).sum::<u64>();
    let counted = |g: &v1::GroupStatus| killed(g) > killed(&before);
    let what = "the unarmed deadman counted what it would have done";
    stage.lab.operator.wait_group(GROUP, what, LIMIT, counted).await?;
    until("the signs of loss are gone", LIMIT, async || signs_are_gone(stage).await).await?;
    stage.serves("eu-west", 1, LIMIT).await
}

/// The newest word on what would have been done is that there is no reason any more.
async fn signs_are_gone(stage: &Stage) -> bool {
    let request = v1::ListPlansRequest { group: GROUP.into(), limit: 0 };
    let events = stage.lab.operator.history(request).await.events;
    let newest = events.iter().find(|event| event.kind == "would-have");
    newest.is_some_and(|event| event.message.contains("are gone"))
}

/// The agents beside the active region.
fn source(group: &v1::GroupStatus) -> impl Iterator<Item = &v1::AgentStatus> {
    group.regions.iter().filter(|region| region.region == "eu-west").flat_map(|r| &r.agents)
}
