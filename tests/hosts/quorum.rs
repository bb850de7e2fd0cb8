//! Voters lost, and mode `observe`.

use super::Case;
use super::stage::{LIMIT, Stage, check, until};
use arbiter::clock;
use arbiter::lab::cluster::{EU, GROUP, US, WITNESS};
use arbiter_proto::v1;
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
        "observe",
        "mode observe: a cut orders and kills nothing, and records what would have been done",
        |stage| Box::pin(observe(stage)),
    )
    .mode("observe"),
];

async fn witness_lost(stage: &mut Stage) -> io::Result<()> {
    stage.lab.kill_region(WITNESS);
    stage.nothing_moves("eu-west", 2 * stage.dead_after(), GAP_MAX).await?;
    stage.ready_to_move("us-east").await?;
    stage.moved_by("switchover", "us-east").await
}

async fn two_lost_armed(stage: &mut Stage) -> io::Result<()> {
    let lost = clock::now();
    stage.lab.net.cut_region(US)?;
    stage.lab.net.cut_region(WITNESS)?;
    let lease = stage.timing().lease;
    until("the active region fenced itself", lease, || async {
        stage.postgres_processes("eu-db").is_empty()
    })
    .await?;
    check(clock::now().since(lost) <= lease, || "late".into())?;
    stage.lab.net.heal()?;
    stage.serves("eu-west", 1, LIMIT).await
}

async fn two_lost_unarmed(stage: &mut Stage) -> io::Result<()> {
    let from = clock::now();
    stage.lab.net.cut_region(US)?;
    stage.lab.net.cut_region(WITNESS)?;
    tokio::time::sleep(2 * stage.dead_after()).await;
    stage.no_gap("eu-west", from, GAP_MAX)?;
    stage.lab.net.heal()?;
    stage.serves("eu-west", 1, LIMIT).await
}

async fn observe(stage: &mut Stage) -> io::Result<()> {
    // Unarmed, it has a lease all the same: what would be done at its end is what is counted.
    let leased =
        |g: &v1::GroupStatus| g.regions.iter().flat_map(|r| &r.agents).any(|a| a.lease_left_ms > 0);
    stage.lab.operator.wait_group(GROUP, "a lease to lose", LIMIT, leased).await?;
    let before = stage.postgres_processes("eu-db").len();
    let pinned = stage.pinned[0].0.count();
    stage.lab.net.cut_region(EU)?;
    let recorded = |g: &v1::GroupStatus| !g.would_have.is_empty() && g.would_have_wall_ms > 0;
    let limit = stage.dead_after() + LIMIT;
    let what = "what would have been done is recorded";
    let group = stage.lab.operator.wait_group(GROUP, what, limit, recorded).await?;
    tokio::time::sleep(stage.dead_after()).await;
    let after = stage.postgres_processes("eu-db").len();
    check(after > 0 && before > 0, || "PostgreSQL was stopped".into())?;
    check(stage.pinned[0].0.count() > pinned, || "the pinned writer was stopped".into())?;
    check(group.epoch == 1 && group.plan.is_none(), || "a plan was opened".into())?;
    stage.lab.net.heal()?;
    let counted = |g: &v1::GroupStatus| {
        g.regions.iter().flat_map(|r| &r.agents).any(|a| a.would_have_killed > 0)
    };
    let what = "the unarmed deadman counted what it would have done";
    stage.lab.operator.wait_group(GROUP, what, LIMIT, counted).await?;
    stage.serves("eu-west", 1, LIMIT).await
}
