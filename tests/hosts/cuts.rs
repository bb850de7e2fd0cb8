//! Links and regions cut.

use super::stage::{LIMIT, Stage, check, until};
use super::{Case, stage::wrong};
use arbiter::clock;
use arbiter::lab::cluster::{EU, GROUP, US};
use arbiter::lab::net::Way;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io;
use std::time::Duration;

/// Longest pause of the follower where nothing may move: a reconnect, no more.
const GAP_MAX: Duration = Duration::from_millis(1500);
/// How long a healed region is watched.
const WATCH: Duration = Duration::from_secs(3);

/// The cases of this file.
pub const CASES: &[Case] = &[
    Case::new(
        "region-cut",
        "the active region is cut off: the other serves, the old one is dead by its deadline",
        |stage| Box::pin(region_cut(stage)),
    )
    .profile("wan"),
    Case::new(
        "region-cut-agent-stopped",
        "cut off with the agent stopped by SIGSTOP: the deadman kills in time",
        |stage| Box::pin(agent_stopped(stage)),
    ),
    Case::new(
        "region-cut-deadman-killed",
        "cut off with agent and deadman killed: PostgreSQL dies with the deadman",
        |stage| Box::pin(deadman_killed(stage)),
    ),
    Case::new(
        "region-cut-orphan",
        "cut off with the postmaster killed under a busy backend: the backend dies too",
        |stage| Box::pin(orphan(stage)),
    ),
    Case::new(
        "one-way-out",
        "what the active region sends is lost: us-east within 3 x dead after, or still eu-west",
        |stage| Box::pin(one_way(stage, Way::Out)),
    ),
    Case::new("one-way-in", "what the active region should receive is lost: the same", |stage| {
        Box::pin(one_way(stage, Way::In))
    }),
    Case::new(
        "agent-leader-link",
        "only the link between agent and leader is cut: relayed, nothing moves",
        |stage| Box::pin(agent_leader_link(stage)),
    ),
    Case::new(
        "data-link",
        "only the link between the data regions is cut: nothing moves, status says degraded and why",
        |stage| Box::pin(data_link(stage)),
    ),
];

/// After a cut of eu-west: us-east serves at epoch 2, and the old PostgreSQL is gone by then. Then
/// the region heals, and the old primary never acknowledges again.
async fn moved_and_stays_dead(stage: &mut Stage) -> io::Result<()> {
    stage.serves("us-east", 2, stage.dead_after() + LIMIT).await?;
    let left = stage.postgres_processes("eu-db");
    check(left.is_empty(), || format!("processes of the old PostgreSQL: {left:?}"))?;
    stage.lab.net.heal()?;
    let healed = clock::now();
    tokio::time::sleep(WATCH).await;
    let old = stage.server("eu-west");
    let again = stage.acks().iter().filter(|a| a.server == old && a.at > healed).count();
    check(again == 0, || format!("the old primary acknowledged {again} after the healing"))?;
    stage.follows("us-east").await
}

async fn region_cut(stage: &mut Stage) -> io::Result<()> {
    let cut = clock::now();
    stage.lab.net.cut_region(EU)?;
    let deadline = stage.timing().lease;
    until("no process of the old PostgreSQL is left", deadline, || async {
        stage.postgres_processes("eu-db").is_empty()
    })
    .await?;
    check(clock::now().since(cut) <= deadline, || "the fence was late".into())?;
    moved_and_stays_dead(stage).await
}

async fn agent_stopped(stage: &mut Stage) -> io::Result<()> {
    stage.lab.agents["agent-eu"].signal(Signal::SIGSTOP);
    stage.lab.net.cut_region(EU)?;
    until("the deadman has killed", stage.timing().lease, || async {
        stage.postgres_processes("eu-db").is_empty()
    })
    .await?;
    stage.serves("us-east", 2, stage.dead_after() + LIMIT).await?;
    stage.lab.agents["agent-eu"].signal(Signal::SIGCONT);
    moved_and_stays_dead(stage).await
}

async fn deadman_killed(stage: &mut Stage) -> io::Result<()> {
    stage.lab.net.cut_region(EU)?;
    let deadmen = stage.processes_with("eu-db", "deadman");
    check(!deadmen.is_empty(), || "no deadman runs".into())?;
    stage.lab.agents.remove("agent-eu");
    for pid in deadmen {
        kill(Pid::from_raw(pid), Signal::SIGKILL)?;
    }
    until("PostgreSQL died with the deadman", Duration::from_secs(1), || async {
        stage.postgres_processes("eu-db").is_empty()
    })
    .await?;
    moved_and_stays_dead(stage).await
}

async fn orphan(stage: &mut Stage) -> io::Result<()> {
    let busy = busy_backend(stage).await?;
    stage.lab.net.cut_region(EU)?;
    let postmaster =
        std::fs::read_to_string(stage.lab.servers[0][0].data_dir.join("postmaster.pid"))?;
    // Inside the deadman's PID namespace the file's number is another one: the oldest is meant.
    drop(postmaster);
    let oldest = stage.postgres_processes("eu-db").into_iter().min();
    let oldest = oldest.ok_or_else(|| wrong("PostgreSQL does not run"))?;
    kill(Pid::from_raw(oldest), Signal::SIGKILL)?;
    until("the busy backend is gone", stage.timing().lease, || async {
        stage.postgres_processes("eu-db").is_empty()
    })
    .await?;
    busy.abort();
    moved_and_stays_dead(stage).await
}

/// A session that computes for a minute, so that it does not notice its postmaster's death.
async fn busy_backend(stage: &Stage) -> io::Result<tokio::task::JoinHandle<()>> {
    let config = format!("host={} user=postgres dbname=postgres", stage.server("eu-west"));
    let (client, connection) =
        tokio_postgres::connect(&config, tokio_postgres::NoTls).await.map_err(io::Error::other)?;
    tokio::spawn(connection);
    let before = stage.postgres_processes("eu-db").len();
    let task = tokio::spawn(async move {
        let sql =
            "DO $$ BEGIN WHILE clock_timestamp() < now() + interval '60 s' LOOP END LOOP; END $$";
        let _ = client.batch_execute(sql).await;
    });
    check(before > 0, || "PostgreSQL does not run".into())?;
    Ok(task)
}

async fn one_way(stage: &mut Stage, way: Way) -> io::Result<()> {
    stage.lab.net.cut_region_one_way(EU, way)?;
    tokio::time::sleep(3 * stage.dead_after()).await;
    let group = stage.group().await?;
    match group.active.as_str() {
        "us-east" => stage.follows("us-east").await?,
        "eu-west" => check(group.epoch == 1, || format!("epoch {}", group.epoch))?,
        other => return Err(wrong(format!("{other:?} is active"))),
    }
    stage.no_overlap()?;
    stage.lab.net.heal()?;
    tokio::time::sleep(WATCH).await;
    stage.follows(&group.active).await
}

async fn agent_leader_link(stage: &mut Stage) -> io::Result<()> {
    let leader = stage.leader_outside("eu-west").await?;
    let host = if leader == "arbiter-us" { "us-arbiter" } else { "witness" };
    stage.lab.net.cut_links("eu-db", &[host], Way::Both)?;
    stage.nothing_moves("eu-west", 2 * stage.dead_after(), GAP_MAX).await
}

async fn data_link(stage: &mut Stage) -> io::Result<()> {
    let far: Vec<String> = stage.lab.net.hosts_of(US).iter().map(|h| h.name.clone()).collect();
    let far: Vec<&str> = far.iter().map(String::as_str).collect();
    for near in ["eu-arbiter", "eu-db"] {
        stage.lab.net.cut_links(near, &far, Way::Both)?;
    }
    stage.nothing_moves("eu-west", 2 * stage.dead_after(), GAP_MAX).await?;
    let said = |g: &arbiter_proto::v1::GroupStatus| {
        g.health == "degraded" && !g.degraded_because.is_empty()
    };
    stage.lab.operator.wait_group(GROUP, "degraded, and why", LIMIT, said).await.map(drop)
}
