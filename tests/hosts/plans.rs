//! Plans: switchover, failover by command, abort, supersede, reboot, DNS away.

use super::Case;
use super::stage::{LIMIT, Stage, check, other_boot_id, until, wrong};
use arbiter::clock;
use arbiter::lab::cluster::{EU, GROUP, US};
use arbiter::lab::operator::Operator;
use arbiter::lab::process::{Process, Spec};
use arbiter_proto::v1;
use nix::sys::signal::Signal;
use std::collections::BTreeSet;
use std::io;
use std::time::Duration;

/// Switchovers there and back.
const ROUNDS: u64 = 5;

/// The cases of this file.
pub const CASES: &[Case] = &[
    Case::new(
        "switchover",
        "switchover under load, forth and back five times: no acknowledged write is lost or doubled",
        |stage| Box::pin(switchover(stage)),
    )
    .mode("manual"),
    Case::new(
        "failover-live",
        "an impaired region whose agent answers: failover by command loses no acknowledged write",
        |stage| Box::pin(failover_live(stage)),
    )
    .mode("manual"),
    Case::new(
        "region-killed",
        "every process of the active region is killed at once: the other serves",
        |stage| Box::pin(region_killed(stage)),
    ),
    Case::new(
        "dns-away",
        "the DNS server is down during failover: writes are accepted, traffic follows later",
        |stage| Box::pin(dns_away(stage)),
    ),
    Case::new(
        "aborted-then-again",
        "a failover aborted and its source resumed: the next one waits for its own evidence",
        |stage| Box::pin(aborted(stage)),
    )
    .mode("manual"),
    Case::new(
        "superseded",
        "the target is lost after the point of no return: superseded, the old source serves again",
        |stage| Box::pin(superseded(stage)),
    )
    .mode("manual"),
    Case::new(
        "rebooted",
        "the old region rebooted and PostgreSQL started by hand first: it stays fenced",
        |stage| Box::pin(rebooted(stage)),
    ),
];

async fn switchover(stage: &mut Stage) -> io::Result<()> {
    stage.pin("us-east")?;
    for round in 0..ROUNDS {
        for target in ["us-east", "eu-west"] {
            stage.ready_to_move(target).await?;
            stage
                .moved_by("switchover", target)
                .await
                .map_err(|e| wrong(format!("round {round}: {e}")))?;
        }
    }
    let lost = stage.lost("eu-west").await?;
    check(lost.is_empty(), || format!("{} acknowledged writes are lost: {lost:?}", lost.len()))?;
    let acks = stage.acks();
    let once: BTreeSet<i64> = acks.iter().map(|a| a.id).collect();
    check(once.len() == acks.len(), || "an id was acknowledged twice".into())
}

async fn failover_live(stage: &mut Stage) -> io::Result<()> {
    stage.moved_by("failover", "us-east").await?;
    let lost = stage.lost("us-east").await?;
    check(lost.is_empty(), || format!("{} acknowledged writes are lost", lost.len()))?;
    stage.ready_to_move("eu-west").await
}

async fn region_killed(stage: &mut Stage) -> io::Result<()> {
    stage.lab.kill_region(EU);
    stage.serves("us-east", 2, stage.dead_after() + LIMIT).await
}

/// The plan waits for the DNS server.
fn switching_traffic(group: &v1::GroupStatus) -> bool {
    group.plan.as_ref().is_some_and(|plan| {
        plan.steps.iter().any(|s| s.name == "switch-traffic" && s.state == "running")
    })
}

async fn dns_away(stage: &mut Stage) -> io::Result<()> {
    stage.pin("us-east")?;
    stage.lab.bind.stop();
    stage.lab.net.cut_region(EU)?;
    let new = stage.server("us-east");
    let limit = stage.dead_after() + LIMIT;
    until("the new primary accepts writes without DNS", limit, || async {
        stage.pinned.iter().any(|(writer, server)| *server == new && writer.count() > 0)
    })
    .await?;
    let what = "switch-traffic waits";
    stage.lab.operator.wait_group(GROUP, what, LIMIT, switching_traffic).await?;
    stage.lab.bind.restart(&stage.lab.net)?;
    stage.serves("us-east", 2, LIMIT).await
}

/// Ask for the open plan to be aborted.
async fn abort(stage: &Stage, plan: u64) -> Result<(), tonic::Status> {
    let call = |mut client: v1::admin_client::AdminClient<_>| async move {
        let request = v1::PlanRequest {
            asked: Operator::asked("a case aborts"),
            group: GROUP.into(),
            plan,
            expected_epoch: 1,
            accept_loss: false,
        };
        client.abort_plan(request).await
    };
    stage.lab.operator.admin(call).await.map(drop)
}

async fn aborted(stage: &mut Stage) -> io::Result<()> {
    // The target's agent does not answer, so the plan stops short of the point of no return.
    stage.lab.agents["agent-us"].signal(Signal::SIGSTOP);
    let plan = stage.lab.open_plan(GROUP, "failover", "us-east").await.map_err(io::Error::other)?;
    let proven = |g: &v1::GroupStatus| {
        g.plan.as_ref().is_some_and(|p| p.evidence.iter().any(|e| e.kind == "confirmed"))
    };
    let first = stage.lab.operator.wait_group(GROUP, "evidence", LIMIT, proven).await?;
    abort(stage, plan).await.map_err(io::Error::other)?;
    stage.serves("eu-west", 1, LIMIT).await?;
    stage.lab.agents["agent-us"].signal(Signal::SIGCONT);
    stage.ready_to_move("us-east").await?;
    stage.lab.net.cut_region(EU)?;
    let cut = clock::now();
    stage.lab.open_plan(GROUP, "failover", "us-east").await.map_err(io::Error::other)?;
    stage.serves("us-east", 2, stage.dead_after() + LIMIT).await?;
    let second = stage.newest_plan().await.ok_or_else(|| wrong("no plan is kept"))?;
    let old_token = first.plan.map(|p| p.fence_token).unwrap_or_default();
    check(second.evidence.iter().all(|e| e.token != old_token), || "old evidence counted".into())?;
    check(second.evidence.iter().any(|e| e.kind == "lease-expired"), || {
        format!("evidence {:?} after {:?}", second.evidence, clock::now().since(cut))
    })
}

async fn superseded(stage: &mut Stage) -> io::Result<()> {
    // The DNS server is away, so the plan waits behind the point of no return.
    stage.lab.bind.stop();
    stage.lab.open_plan(GROUP, "failover", "us-east").await.map_err(io::Error::other)?;
    stage.lab.operator.wait_group(GROUP, "past it", LIMIT, switching_traffic).await?;
    stage.lab.net.cut_region(US)?;
    stage.lab.bind.restart(&stage.lab.net)?;
    // What the lost target wrote after the fork is the loss: it has to be accepted by name.
    let back = async || stage.lab.open_plan_accepting(GROUP, "failover", "eu-west", true).await;
    let started = clock::now();
    while let Err(status) = back().await {
        check(clock::now().since(started) < LIMIT, || format!("not superseded: {status}"))?;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    stage.serves("eu-west", 3, stage.dead_after() + LIMIT).await
}

async fn rebooted(stage: &mut Stage) -> io::Result<()> {
    stage.lab.kill_region(EU);
    stage.lab.net.cut_region(EU)?;
    let runtime = stage.lab.options.dir.join("run/agent-eu");
    std::fs::remove_dir_all(&runtime)?;
    let boot_id = other_boot_id(&stage.lab.options.dir)?;
    // PostgreSQL is started by hand first: its configuration must not let it.
    let server = stage.lab.servers[0][0].clone();
    let data = server.data_dir.to_string_lossy().into_owned();
    let log = stage.lab.options.dir.join("by-hand.log");
    let mut spec =
        Spec::new(arbiter::lab::postgres::bin_dir()?.join("postgres"), &["-D", &data], &log);
    spec.user = Some(arbiter::lab::postgres::owner()?);
    let mut by_hand = Process::start(&stage.lab.net, "eu-db", &spec)?;
    let began = clock::now();
    while by_hand.running() {
        let waited = clock::now().since(began);
        check(waited < Duration::from_secs(5), || "PostgreSQL was started by hand".into())?;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    stage.lab.start_arbiter("arbiter-eu")?;
    stage.lab.start_agent("agent-eu", Some(boot_id))?;
    stage.serves("us-east", 2, stage.dead_after() + LIMIT).await?;
    let left = stage.postgres_processes("eu-db");
    check(left.is_empty(), || format!("PostgreSQL runs in the rebooted region: {left:?}"))?;
    stage.lab.net.heal()?;
    let healed = clock::now();
    tokio::time::sleep(Duration::from_secs(3)).await;
    let old = stage.server("eu-west");
    let again = stage.acks().iter().filter(|a| a.server == old && a.at > healed).count();
    check(again == 0, || format!("the rebooted primary acknowledged {again}"))
}
