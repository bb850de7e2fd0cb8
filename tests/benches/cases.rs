//! The benchmark cases. Knows what is measured; the stage is that of the cases in `tests/hosts`.

use crate::{commit, idle};
use arbiter::clock;
use arbiter::lab::cluster::EU;
use arbiter::lab::writer::verdict;
use arbiter_core::{Durability, Instant};
use arbiter_tests::hosts::proofs::longest_gap;
use arbiter_tests::hosts::stage::{Figures, LIMIT, Stage, until, wrong};
use arbiter_tests::hosts::{Case, leader, pooled, rejoin};
use std::io;
use std::time::Duration;

/// A benchmark.
#[derive(Clone, Copy)]
pub struct Bench {
    /// Its name on the command line.
    pub name: &'static str,
    /// What is measured.
    pub measures: &'static str,
    /// Where.
    pub on: On,
    /// Its own number of runs.
    pub runs: Option<u32>,
}

/// Where a benchmark runs.
#[derive(Clone, Copy)]
pub enum On {
    /// On the stage of the cases in `tests/hosts`.
    Stage(Case),
    /// On what it makes itself.
    Its(fn() -> io::Result<Figures>),
}

impl Bench {
    /// Run it once.
    ///
    /// # Errors
    /// What did not hold.
    pub fn play(&self) -> io::Result<Figures> {
        match &self.on {
            On::Stage(case) => Stage::play(case),
            On::Its(play) => play(),
        }
    }
}

/// Losses of each kind in the bench `leader-loss`.
const LEADER_LOSSES: u32 = 20;
/// Times in a row in the bench `rejoin`.
const REJOINS: usize = 10;

const fn bench(case: Case) -> Bench {
    Bench { name: case.name, measures: case.holds, on: On::Stage(case), runs: None }
}

const fn once(case: Case) -> Bench {
    let mut bench = bench(case);
    bench.runs = Some(1);
    bench
}

/// Every benchmark.
pub const BENCHES: &[Bench] = &[
    bench(
        Case::new("region-cut", "the active region is cut off", |s| Box::pin(region_cut(s)))
            .profile("wan"),
    ),
    bench(Case::new("region-cut-regional", "the same", |s| Box::pin(region_cut(s)))),
    bench(Case::new("region-cut-metro", "the same", |s| Box::pin(region_cut(s))).profile("metro")),
    bench(
        Case::new("switchover", "a planned switchover", |s| Box::pin(by_command(s, "switchover")))
            .mode("manual"),
    ),
    bench(
        Case::new("failover-live", "a failover by command, the agent alive", |s| {
            Box::pin(by_command(s, "failover"))
        })
        .mode("manual"),
    ),
    bench(pooled::SWITCHOVER),
    bench(pooled::FAILOVER),
    bench(Case::new("primary-crash", "a crashed primary is restarted in place", |s| {
        Box::pin(primary_crash(s))
    })),
    bench(Case::new("agent-restart", "the agent is killed and restarted", |s| {
        Box::pin(agent_restart(s))
    })),
    once(
        Case::new("leader-loss", "the leader killed, frozen and cut", |s| {
            Box::pin(leader_losses(s))
        })
        .profile("wan")
        .delay_ms(80),
    ),
    once(
        Case::new("rejoin", "failover, rejoin by rewind and failback, ten times", |s| {
            Box::pin(rejoin::rejoin(s, REJOINS, Durability::Async))
        })
        .mode("manual"),
    ),
    once(
        Case::new("rejoin-strict", "the same in strict, ten times", |s| {
            Box::pin(rejoin::rejoin(s, REJOINS, Durability::Strict))
        })
        .group("durability = \"strict\"\n")
        .mode("manual"),
    ),
    bench(
        Case::new("region-cut-strict", "the active region is cut off, nothing may be lost", |s| {
            Box::pin(region_cut(s))
        })
        .group("durability = \"strict\"\n")
        .profile("wan"),
    ),
    bench(
        Case::new("region-cut-stall", "the same, and a cut-off primary stalls", |s| {
            Box::pin(region_cut(s))
        })
        .group("on_isolation = \"stall\"\n")
        .profile("wan"),
    ),
    Bench {
        name: "commit",
        measures: "a committed command against its floor",
        on: On::Its(commit::run),
        runs: None,
    },
    bench(Case::new("idle", "an idle node", |s| Box::pin(idle::run(s))).mode("observe")),
];

/// One round elects, within what an agent's lease lasts through.
async fn leader_losses(stage: &mut Stage) -> io::Result<()> {
    leader::leader_loss(stage, LEADER_LOSSES).await?;
    let (took, limit) = (stage.figures["next_leader_ms"], leader::led_within(&stage.timing()));
    let held = took <= ms(limit);
    if held { Ok(()) } else { Err(wrong(format!("another led after {took} ms, not {limit:?}"))) }
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// Note the outage of the move from eu-west, and what was lost.
async fn note_move(stage: &mut Stage, from: Instant) -> io::Result<()> {
    let (old, new) = (stage.server("eu-west"), stage.server("us-east"));
    let found = verdict(&stage.follower.acks(), &stage.acks(), old, new, from);
    let lost = stage.lost("us-east").await?.len();
    let outage =
        found.outage.ok_or_else(|| wrong("the follower did not move: no outage is known"))?;
    stage.figure("outage_ms", ms(outage));
    stage.figure("acknowledged_and_lost", lost as f64);
    for step in &stage.newest_plan().await?.steps {
        stage.figure(&format!("phases_ms.{}", step.name), step.took_ms as f64);
    }
    Ok(())
}

async fn region_cut(stage: &mut Stage) -> io::Result<()> {
    let cut = clock::now();
    stage.lab.net.cut_region(EU)?;
    stage.serves("us-east", 2, stage.dead_after() + LIMIT).await?;
    note_move(stage, cut).await
}

async fn by_command(stage: &mut Stage, kind: &str) -> io::Result<()> {
    stage.ready_to_move("us-east").await?;
    let asked = clock::now();
    stage.moved_by(kind, "us-east").await?;
    note_move(stage, asked).await
}

async fn primary_crash(stage: &mut Stage) -> io::Result<()> {
    let from = clock::now();
    stage.kill_postmaster("eu-db")?;
    let errors = stage.follower.errors();
    until("the crash is noticed", LIMIT, || async { stage.follower.errors() > errors }).await?;
    stage.follows("eu-west").await?;
    stage.figure("outage_ms", ms(longest_gap(&stage.follower, from, clock::now())));
    let lost = stage.lost("eu-west").await?.len();
    stage.figure("acknowledged_and_lost", lost as f64);
    Ok(())
}

async fn agent_restart(stage: &mut Stage) -> io::Result<()> {
    let from = clock::now();
    stage.lab.agents.remove("agent-eu");
    stage.lab.start_agent("agent-eu", None)?;
    tokio::time::sleep(2 * stage.dead_after()).await;
    stage.follows("eu-west").await?;
    stage.figure("outage_ms", ms(longest_gap(&stage.follower, from, clock::now())));
    Ok(())
}
