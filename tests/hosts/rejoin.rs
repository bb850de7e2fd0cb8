//! A region that was lost comes back: what it has that nobody else has is kept and listed, it is
//! rewound, and it takes over again.

use super::Case;
use super::stage::{LIMIT, Stage, check, wrong};
use arbiter::clock;
use arbiter::lab::cluster::{EU, GROUP};
use arbiter_core::Durability;
use arbiter_proto::v1;
use std::collections::BTreeSet;
use std::io;
use std::time::Duration;

/// Times in a row.
const ROUNDS: usize = 3;
/// How long a region may take to come back.
const BACK_LIMIT: Duration = Duration::from_secs(90);

/// The cases of this file.
pub const CASES: &[Case] = &[
    Case::new(
        "rejoin",
        "failover, rejoin by rewind and failback, three times: what is lost is what is listed",
        |stage| Box::pin(rejoin(stage, ROUNDS, Durability::Async)),
    )
    .mode("manual"),
    Case::new(
        "rejoin-strict",
        "the same in strict, asked for late: nothing that was acknowledged is lost",
        |stage| Box::pin(rejoin(stage, ROUNDS, Durability::Strict)),
    )
    .group("durability = \"strict\"\n")
    .mode("manual"),
];

/// Fail over, come back and fail back, `rounds` times; figures `rounds`, `lost` and `back_ms`, the
/// longest time that a region took to come back.
///
/// # Errors
/// What did not hold.
pub async fn rejoin(stage: &mut Stage, rounds: usize, durability: Durability) -> io::Result<()> {
    stage.pin("us-east")?;
    let (mut known, mut longest) = (BTreeSet::new(), Duration::ZERO);
    for _ in 0..rounds {
        longest = longest.max(round(stage, &mut known, durability).await?);
    }
    stage.figure("rounds", rounds as f64);
    stage.figure("lost", known.len() as f64);
    stage.figure("back_ms", longest.as_secs_f64() * 1000.0);
    Ok(())
}

/// Fail over, come back, fail back; how long the region took to come back. `known`: ids that
/// earlier rounds lost.
async fn round(
    stage: &mut Stage,
    known: &mut BTreeSet<i64>,
    durability: Durability,
) -> io::Result<Duration> {
    let strict = durability == Durability::Strict;
    let epoch = stage.lab.epoch(GROUP).await?;
    if strict {
        let counted = |g: &v1::GroupStatus| g.predicted.contains("no acknowledged write");
        stage.lab.operator.wait_group(GROUP, "a standby is counted on", LIMIT, counted).await?;
    }
    stage.lab.net.cut_region(EU)?;
    if strict {
        // Longer than a primary that is heard would wait for its standby.
        alone_for(stage, stage.timing().lease * 2).await?;
    }
    let opened = stage.lab.open_plan(GROUP, "failover", "us-east").await;
    let plan = opened.map_err(|status| wrong(format!("failover: {status}")))?;
    stage.serves("us-east", epoch + 1, stage.dead_after() + LIMIT).await?;
    let lost: BTreeSet<i64> =
        stage.lost("us-east").await?.into_iter().filter(|id| !known.contains(id)).collect();
    check(lost.is_empty() == strict, || format!("{durability:?}: {} are lost", lost.len()))?;
    stage.lab.net.heal()?;
    let healed = clock::now();
    let listed = counted(stage, plan).await?;
    listed_exactly(stage, &lost, &listed)?;
    known.extend(lost);
    stage.ready_to_move("eu-west").await?;
    let took = clock::now().since(healed);
    rewound(stage).await?;
    stage.moved_by("switchover", "eu-west").await?;
    let after: BTreeSet<i64> = stage.lost("eu-west").await?.into_iter().collect();
    check(after == *known, || format!("lost by the failback: {:?}", after.difference(known)))?;
    stage.ready_to_move("us-east").await?;
    Ok(took)
}

/// The standby of the region that was cut off has not heard from its primary for `time`.
async fn alone_for(stage: &Stage, time: Duration) -> io::Result<()> {
    let alone = async || {
        let Ok(group) = stage.group().await else { return false };
        let mut agents = group.regions.iter().flat_map(|region| &region.agents);
        let standby = agents.find_map(|a| a.instances.iter().find(|i| i.instance == "db-us"));
        standby.is_some_and(|i| u128::from(i.lag_age_ms) > time.as_millis())
    };
    super::stage::until("the standby is alone for long", time + LIMIT, alone).await
}

/// The loss as the report has it, once the old primary could be read.
async fn counted(stage: &Stage, plan: u64) -> io::Result<v1::Loss> {
    let counted = async || {
        let plan = stage.newest_plan().await.ok().filter(|newest| newest.id == plan)?;
        plan.losses.into_iter().find(|found| found.instance == "db-eu")?.loss
    };
    super::stage::until("the report says what was lost", BACK_LIMIT, async || {
        counted().await.is_some()
    })
    .await?;
    counted().await.ok_or_else(|| wrong("the report lost what it said"))
}

/// Every acknowledged write that is lost is listed by its transaction; what is listed besides was
/// never acknowledged.
fn listed_exactly(stage: &Stage, lost: &BTreeSet<i64>, loss: &v1::Loss) -> io::Result<()> {
    let listed: BTreeSet<u64> = loss.listed.iter().map(|one| one.id).collect();
    let server = stage.server("eu-west");
    let acks = stage.acks();
    let transactions: BTreeSet<u64> = acks
        .iter()
        .filter(|ack| ack.server == server && lost.contains(&ack.id))
        .map(|ack| ack.transaction)
        .collect();
    check(transactions.len() == lost.len(), || "a lost write has no transaction".into())?;
    let missing: Vec<_> = transactions.difference(&listed).collect();
    check(missing.is_empty(), || format!("lost and not listed: {missing:?} of {loss:?}"))?;
    let unknown: usize = stage.follower.unknown().len()
        + stage.pinned.iter().map(|(writer, _)| writer.unknown().len()).sum::<usize>();
    let more = listed.difference(&transactions).count();
    check(loss.count == Some(listed.len() as u64) && more <= unknown, || {
        format!("{more} listed besides what was acknowledged, {unknown} were not: {loss:?}")
    })
}

/// It came back by a rewind, not by a new copy.
async fn rewound(stage: &Stage) -> io::Result<()> {
    let group = stage.group().await?;
    let mut agents = group.regions.iter().flat_map(|region| &region.agents);
    let instance = agents.find_map(|agent| agent.instances.iter().find(|i| i.instance == "db-eu"));
    let how = instance.and_then(|i| i.detail.get("rejoin")).cloned().unwrap_or_default();
    check(how.starts_with("rewound to"), || format!("it came back by {how:?}"))
}
