//! One plan moves everything that a region has: PostgreSQL, Redis, a bucket, workloads and DNS.

use super::Case;
use super::command_line::{YES, says};
use super::services::{ACTIVE, STANDBY};
use super::stage::{LIMIT, Stage, check, until, wrong};
use super::together::{self, BACK_LIMIT};
use arbiter::clock;
use arbiter::lab::cluster::{EU, GROUP};
use arbiter_core::{Instant, STEPS, StepId};
use arbiter_proto::v1;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpStream;

/// Limits of the group's rows, as its file has them and as they are held against a plan.
const LIMITS: &str = "clean_stop_limit = \"1s\"\nstep_limit = \"10s\"\n";
const CLEAN_STOP_LIMIT: Duration = Duration::from_secs(1);
const STEP_LIMIT: Duration = Duration::from_secs(10);
/// What a loaded machine may add to a row: a look of the leader, and an entry of its log.
const SLACK: Duration = Duration::from_secs(1);
/// How long services may take to be told to stop, once the lease has died.
const STOP_LIMIT: Duration = Duration::from_secs(3);
/// How long an endpoint that is cut off is asked.
const SILENCE: Duration = Duration::from_millis(300);

/// The cases of this file.
pub const CASES: &[Case] = &[Case::new(
    "platform",
    "one plan moves PostgreSQL, Redis, bucket, workloads and DNS: there, back, off a dead region",
    |stage| Box::pin(platform(stage)),
)
.mode("manual")
.group(LIMITS)
.with(together::REDIS, together::redis_in_place)
.with_services()];

async fn platform(stage: &mut Stage) -> io::Result<()> {
    stage.pin("us-east")?;
    switched(stage, "eu-west", "us-east").await?;
    switched(stage, "us-east", "eu-west").await?;
    lost(stage).await
}

/// Everything of both regions is where it belongs when `active` serves and `standby` stands by.
///
/// # Errors
/// With what does not become so.
pub async fn stands(stage: &Stage, active: &str, standby: &str) -> io::Result<()> {
    let (here, there) = (stage.services(active), stage.services(standby));
    let shown = || {
        let side = |side: &super::services::Side| (side.replicas(), side.suspended());
        format!("{active} has {:?}, {standby} has {:?}", side(here), side(there))
    };
    let workloads = until("workloads are where they belong", BACK_LIMIT, async || {
        (here.replicas(), here.suspended()) == (ACTIVE, false)
            && (there.replicas(), there.suspended()) == (STANDBY, true)
    });
    workloads.await.map_err(|error| wrong(format!("{error}: {}", shown())))?;
    let now = clock::now();
    until(
        &format!("the bucket of {active} takes writes, that of {standby} none"),
        LIMIT,
        async || !here.app.keys_since(now).is_empty() && there.app.denied_since(now),
    )
    .await?;
    together::follows(stage, standby).await
}

/// A switchover: in order, and nothing is lost of anything.
async fn switched(stage: &mut Stage, source: &str, target: &str) -> io::Result<()> {
    stands(stage, source, target).await?;
    together::write(stage.server(source), target).await?;
    stage.ready_to_move(target).await?;
    let from = clock::now();
    stage.moved_by("switchover", target).await?;
    stands(stage, target, source).await?;
    let plan = stage.newest_plan().await?;
    for (step, row) in STEPS.iter().zip(&plan.steps) {
        let done = row.name == step.name && row.state == "done" && row.attempts == 0;
        check(done, || format!("row {} is {row:?}", step.name))?;
    }
    together::proven_for_both(&plan)?;
    in_order(stage, source, target, from)?;
    stage.nothing_lost(target).await?;
    together::serves(stage.server(target), target).await?;
    objects_have_arrived(stage, source, target).await
}

/// Nobody is acknowledged by the old primary when the new one is promoted, that is promoted when
/// workloads are scaled up, and they are when clients are led there: each as its own part of the
/// platform tells, none as the plan does.
fn in_order(stage: &Stage, source: &str, target: &str, from: Instant) -> io::Result<()> {
    let (old, new) = (stage.server(source), stage.server(target));
    let acks = stage.acks();
    let fenced = acks.iter().rfind(|ack| ack.server == old).map(|ack| wall(ack.at));
    let promoted = promoted(stage, target)?;
    let scaled = stage.services(target).scaled_to(ACTIVE).map(|at| at.0);
    let follower = stage.follower.acks();
    let led = follower.iter().find(|ack| ack.server == new && ack.at > from);
    let led = led.map(|ack| wall(ack.at));
    let order = [fenced, Some(promoted), scaled, led];
    let told = order.iter().all(Option::is_some);
    check(told && order.is_sorted(), || {
        format!("last write at {source}, promotion, scaling, first write by name: {order:?}")
    })?;
    let wall_from = wall(from);
    check(promoted >= wall_from, || format!("promoted at {promoted}, begun at {wall_from}"))
}

/// The wall clock at an instant, in milliseconds.
fn wall(at: Instant) -> u64 {
    clock::wall().0.saturating_sub(clock::now().since(at).as_millis() as u64)
}

/// When the server of `region` was promoted last: it wrote its new timeline's history.
fn promoted(stage: &Stage, region: &str) -> io::Result<u64> {
    let server = &stage.lab.servers[0][usize::from(region != "eu-west")];
    let files = std::fs::read_dir(server.data_dir.join("pg_wal"))?.flatten();
    let histories = files.filter(|file| file.path().extension().is_some_and(|e| e == "history"));
    let newest = histories.max_by_key(std::fs::DirEntry::file_name);
    let newest = newest.ok_or_else(|| wrong(format!("{region} was never promoted")))?;
    let written = newest.metadata()?.modified()?.duration_since(std::time::UNIX_EPOCH);
    Ok(written.map_err(io::Error::other)?.as_millis() as u64)
}

/// Each object that was acknowledged in `source` is in `target`.
///
/// # Errors
/// When that takes too long.
pub async fn objects_have_arrived(stage: &Stage, source: &str, target: &str) -> io::Result<()> {
    let written = stage.services(source).app.keys();
    check(!written.is_empty(), || format!("no object was written in {source}"))?;
    until("every object is in the target", LIMIT, async || {
        let there = stage.services(target).keys().await.unwrap_or_default();
        written.iter().all(|key| there.contains(key))
    })
    .await
}

/// The active region is cut off, and the plan asks nothing of it.
async fn lost(stage: &mut Stage) -> io::Result<()> {
    let us = stage.server("us-east");
    together::write(stage.server("eu-west"), "lost").await?;
    stage.ready_to_move("us-east").await?;
    let epoch = stage.group().await?.epoch;
    stage.lab.net.cut_region(EU)?;
    let cut = clock::now();
    every_endpoint_is_silent(stage).await?;
    stage.lab.open_plan(GROUP, "failover", "us-east").await.map_err(io::Error::other)?;
    stage.serves("us-east", epoch + 1, stage.dead_after() + LIMIT).await?;
    let served = clock::now();
    let plan = stage.newest_plan().await?;
    within_limits(stage, &plan)?;
    together::proven_for_both(&plan)?;
    together::serves(us, "lost").await?;
    let target = stage.services("us-east");
    check((target.replicas(), target.suspended()) == (ACTIVE, false), || {
        format!("{} replicas in us-east", target.replicas())
    })?;
    its_agent_stopped_its_services(stage, cut).await?;
    says(stage, "status", YES, &["orders-eu since", "web-eu since", "orders-eu is unfenced"])?;
    let source = stage.services("eu-west");
    until("the bucket of the dead region takes late writes", LIMIT, async || {
        !source.app.keys_since(served).is_empty()
    })
    .await?;
    healed(stage).await
}

/// Nothing of eu-west answers, and nothing says so: a read would take its whole limit.
async fn every_endpoint_is_silent(stage: &Stage) -> io::Result<()> {
    let ends = [("eu-services", 9000), ("eu-services", 6443), ("eu-db", 5432), ("eu-db", 6379)];
    for (host, port) in ends {
        let asked = TcpStream::connect(SocketAddr::new(stage.lab.address(host), port));
        let silent = tokio::time::timeout(SILENCE, asked).await.is_err();
        check(silent, || format!("{host}:{port} answers"))?;
    }
    Ok(())
}

/// No row took longer than its limit, and none was tried twice.
fn within_limits(stage: &Stage, plan: &v1::Plan) -> io::Result<()> {
    for (step, row) in STEPS.iter().zip(&plan.steps) {
        let limit = match step.id {
            StepId::FenceSource => CLEAN_STOP_LIMIT + stage.timing().fence,
            StepId::ProveFence => stage.dead_after(),
            _ => STEP_LIMIT,
        };
        let took = Duration::from_millis(row.took_ms);
        check(row.attempts == 0 && took <= limit + SLACK, || {
            format!("{} took {took:?} of {limit:?}: {row:?}", step.name)
        })?;
        eprintln!(
            "   {:<18} {:<10} {took:>6.1?} of {limit:.1?} {}",
            step.name, row.state, row.note
        );
    }
    Ok(())
}

/// Cut off, the agent inside stopped what served when its lease had died, unasked.
async fn its_agent_stopped_its_services(stage: &Stage, cut: Instant) -> io::Result<()> {
    let source = stage.services("eu-west");
    until("the services of the region that is cut off stop", LIMIT, async || {
        (source.replicas(), source.suspended()) == (0, true)
    })
    .await?;
    let stopped = source.scaled_to(0).map_or(u64::MAX, |at| at.0);
    let took = Duration::from_millis(stopped.saturating_sub(wall(cut)));
    eprintln!("   its agent stopped its services {took:.1?} after the cut");
    let limit = stage.timing().lease + STOP_LIMIT;
    check(took <= limit, || format!("stopped {took:?} after the cut, not within {limit:?}"))
}

/// The region comes back: fenced where it was not, its late writes are named, and it stands by.
async fn healed(stage: &mut Stage) -> io::Result<()> {
    stage.lab.net.heal()?;
    let fenced = |g: &v1::GroupStatus| {
        let regions = g.regions.iter().filter(|region| region.region == "eu-west");
        let mut instances = regions.flat_map(|r| &r.agents).flat_map(|agent| &agent.instances);
        instances.all(|instance| instance.unfenced_since.is_empty())
    };
    stage.lab.operator.wait_group(GROUP, "eu-west is fenced", LIMIT, fenced).await?;
    let denied = clock::now();
    let app = &stage.services("eu-west").app;
    until("late writes are denied", LIMIT, async || app.denied_since(denied)).await?;
    stage.returned_as_no_primary("eu-west").await?;
    stands(stage, "us-east", "eu-west").await?;
    let late = app.keys_since(denied);
    check(late.is_empty(), || format!("written after the fence: {late:?}"))?;
    let told = |g: &v1::GroupStatus| {
        let agents = g.regions.iter().flat_map(|region| &region.agents);
        let mut instances = agents.flat_map(|agent| &agent.instances);
        let orders = instances.find(|instance| instance.instance == "orders-eu");
        let said = orders.and_then(|orders| orders.detail.get("late-writes"));
        said.is_some_and(|said| said.contains("app-eu-"))
    };
    stage.lab.operator.wait_group(GROUP, "late writes are listed", LIMIT, told).await?;
    stage.ready_to_move("eu-west").await
}
