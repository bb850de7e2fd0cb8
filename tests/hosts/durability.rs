//! What a lost region had acknowledged: nothing in `strict`, two renewals of it with `stall`.

use super::Case;
use super::stage::{LIMIT, Stage, check};
use arbiter::clock;
use arbiter::lab::cluster::EU;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io;
use std::time::Duration;

/// Beside two renewals, what a stall may take.
const STALL: Duration = Duration::from_millis(500);

/// The cases of this file.
pub const CASES: &[Case] = &[
    Case::new(
        "strict",
        "strict: the active region is cut off under load, and no acknowledged write is lost",
        |stage| Box::pin(strict(stage)),
    )
    .group("durability = \"strict\"\n"),
    Case::new(
        "stall",
        "stall: what a cut-off region acknowledged and lost is of two renewals and half a second",
        |stage| Box::pin(stall(stage)),
    )
    .group(STALLS),
    Case::new(
        "stall-checkpoint",
        "the same with a checkpointer that is busy, so that the server cannot be told: it is frozen",
        |stage| Box::pin(stall_under_checkpoint(stage)),
    )
    .group(STALLS),
];

const STALLS: &str = "on_isolation = \"stall\"\n";

async fn strict(stage: &mut Stage) -> io::Result<()> {
    stage.lab.net.cut_region(EU)?;
    stage.serves("us-east", 2, stage.dead_after() + LIMIT).await?;
    stage.nothing_lost("us-east").await?;
    stage.lab.net.heal()?;
    stage.returned_as_no_primary("eu-west").await?;
    stage.follows("us-east").await?;
    // It is waited for again, so that the way back loses nothing either.
    stage.ready_to_move("eu-west").await?;
    stage.nothing_lost("us-east").await
}

async fn stall(stage: &mut Stage) -> io::Result<()> {
    stage.lab.net.cut_region(EU)?;
    let cut = clock::now();
    stage.serves("us-east", 2, stage.dead_after() + LIMIT).await?;
    let lost = stage.lost("us-east").await?;
    let until = cut + 2 * stage.timing().renewal + STALL;
    let late: Vec<Duration> = stage
        .acks()
        .iter()
        .filter(|ack| lost.contains(&ack.id) && ack.at > until)
        .map(|ack| ack.at.since(until))
        .collect();
    check(late.is_empty(), || {
        format!("of {} lost writes {} came late: {late:?}", lost.len(), late.len())
    })?;
    // What it did before the cut nobody lost.
    let early = stage.acks().iter().filter(|ack| lost.contains(&ack.id) && ack.at < cut).count();
    println!("   {} acknowledged writes are lost, {early} of before the cut", lost.len());
    stage.lab.net.heal()?;
    stage.returned_as_no_primary("eu-west").await?;
    stage.follows("us-east").await
}

async fn stall_under_checkpoint(stage: &mut Stage) -> io::Result<()> {
    let titled = |pid: &i32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains("checkpointer")
    };
    let busy = stage.postgres_processes("eu-db")?.into_iter().find(titled);
    let busy = busy.ok_or_else(|| super::stage::wrong("no checkpointer runs"))?;
    // As in one long write: it reads no configuration until that has ended.
    kill(Pid::from_raw(busy), Signal::SIGSTOP)?;
    stall(stage).await
}
