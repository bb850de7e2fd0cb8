//! Links and regions cut.

use super::processes::alive;
use super::stage::{LIMIT, Stage, check, until, wrong};
use super::{Case, leader};
use arbiter::clock;
use arbiter::lab::cluster::{EU, GROUP, US};
use arbiter::lab::demo::column;
use arbiter::lab::net::Way;
use arbiter_proto::v1;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io;
use std::time::Duration;

/// Longest pause of the follower where nothing may move: a reconnect, no more.
const GAP_MAX: Duration = Duration::from_millis(1500);

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
/// the region heals, its agent is back under its orders, and the old primary never acknowledges
/// again.
async fn moved_and_stays_dead(stage: &mut Stage) -> io::Result<()> {
    stage.serves("us-east", 2, stage.dead_after() + LIMIT).await?;
    let left = stage.postgres_processes("eu-db")?;
    check(left.is_empty(), || format!("processes of the old PostgreSQL: {left:?}"))?;
    stage.lab.net.heal()?;
    stage.returned_as_no_primary("eu-west").await?;
    stage.follows("us-east").await
}

async fn region_cut(stage: &mut Stage) -> io::Result<()> {
    stage.lab.net.cut_region(EU)?;
    stage.postgres_gone("eu-db", stage.timing().lease).await?;
    moved_and_stays_dead(stage).await
}

async fn agent_stopped(stage: &mut Stage) -> io::Result<()> {
    stage.lab.agents["agent-eu"].signal(Signal::SIGSTOP);
    stage.lab.net.cut_region(EU)?;
    stage.postgres_gone("eu-db", stage.timing().lease).await?;
    stage.serves("us-east", 2, stage.dead_after() + LIMIT).await?;
    stage.lab.agents["agent-eu"].signal(Signal::SIGCONT);
    moved_and_stays_dead(stage).await
}

async fn deadman_killed(stage: &mut Stage) -> io::Result<()> {
    stage.lab.net.cut_region(EU)?;
    let deadmen = stage.processes_with("eu-db", "deadman")?;
    check(!deadmen.is_empty(), || "no deadman runs".into())?;
    stage.lab.agents.remove("agent-eu");
    for pid in deadmen {
        kill(Pid::from_raw(pid), Signal::SIGKILL)?;
    }
    stage.postgres_gone("eu-db", Duration::from_secs(1)).await?;
    stage.serves("us-east", 2, stage.dead_after() + LIMIT).await?;
    stage.lab.start_agent("agent-eu", None)?;
    moved_and_stays_dead(stage).await
}

async fn orphan(stage: &mut Stage) -> io::Result<()> {
    let (busy, inner) = busy_backend(stage).await?;
    let backend = stage.process_inside("eu-db", inner)?;
    // A live agent would kill it at once, and start the primary again: the deadman must as well.
    stage.lab.agents["agent-eu"].signal(Signal::SIGSTOP);
    stage.lab.net.cut_region(EU)?;
    let began = clock::now();
    let postmaster = stage.kill_postmaster("eu-db")?;
    until("the postmaster is gone", LIMIT, async || !alive(postmaster)).await?;
    check(alive(backend), || "the busy backend did not outlive its postmaster".into())?;
    let lease = stage.timing().lease;
    let rest = || lease.saturating_sub(clock::now().since(began));
    stage.postgres_gone("eu-db", rest()).await?;
    // A process that exits leaves its namespaces, by which a host's are listed, before it is a
    // zombie.
    until("the busy backend is gone by its deadline", rest(), async || !alive(backend)).await?;
    busy.abort();
    stage.lab.agents["agent-eu"].signal(Signal::SIGCONT);
    moved_and_stays_dead(stage).await
}

/// A session that computes for a minute, so that it does not notice its postmaster's death; the
/// process id of its backend, as that sees itself. It computes when this returns.
async fn busy_backend(stage: &Stage) -> io::Result<(tokio::task::JoinHandle<()>, i32)> {
    let server = stage.server("eu-west");
    let config = format!("host={server} user=postgres dbname=postgres");
    let (client, connection) =
        tokio_postgres::connect(&config, tokio_postgres::NoTls).await.map_err(io::Error::other)?;
    tokio::spawn(connection);
    let row = client.query_one("SELECT pg_backend_pid()", &[]).await.map_err(io::Error::other)?;
    let inner: i32 = row.get(0);
    let task = tokio::spawn(async move {
        let sql =
            "DO $$ BEGIN WHILE clock_timestamp() < now() + interval '60 s' LOOP END LOOP; END $$";
        let _ = client.batch_execute(sql).await;
    });
    let sql = format!(
        "SELECT count(*) FROM pg_stat_activity
         WHERE pid = {inner} AND state = 'active' AND query LIKE 'DO %'"
    );
    until("the backend computes", LIMIT, async || {
        column(server, &sql).await.is_ok_and(|count| count == [1])
    })
    .await?;
    Ok((task, inner))
}

async fn one_way(stage: &mut Stage, way: Way) -> io::Result<()> {
    let cut = clock::now();
    stage.lab.net.cut_region_one_way(EU, way)?;
    tokio::time::sleep(3 * stage.dead_after()).await;
    let group = stage.group().await?;
    match group.active.as_str() {
        "us-east" => {
            check(group.epoch == 2 && group.plan.is_none(), || {
                format!("epoch {}, plan {:?}", group.epoch, group.plan)
            })?;
            let limit = 3 * stage.dead_after();
            let took = stage.first_ack("us-east", cut).map(|first| first.since(cut));
            let in_time = took.is_some_and(|took| took <= limit);
            check(in_time, || format!("us-east served after {took:?}, not within {limit:?}"))?;
            let left = stage.postgres_processes("eu-db")?;
            check(left.is_empty(), || format!("processes of the old PostgreSQL: {left:?}"))?;
        }
        "eu-west" => {
            check(group.epoch == 1 && group.plan.is_none(), || {
                format!("epoch {}, plan {:?}", group.epoch, group.plan)
            })?;
            stage.no_pinned_gap(cut, GAP_MAX)?;
        }
        other => return Err(wrong(format!("{other:?} is active"))),
    }
    stage.no_overlap().await?;
    stage.lab.net.heal()?;
    if group.active == "us-east" {
        stage.returned_as_no_primary("eu-west").await?;
    }
    stage.follows(&group.active).await
}

/// The group is as an operator wants it: nothing is degraded, nothing says why.
async fn healthy(stage: &Stage) -> io::Result<v1::GroupStatus> {
    let healthy = |g: &v1::GroupStatus| g.health == "healthy" && g.degraded_because.is_empty();
    stage.lab.operator.wait_group(GROUP, "a healthy group", LIMIT, healthy).await
}

async fn agent_leader_link(stage: &mut Stage) -> io::Result<()> {
    let leader = stage.leader_outside("eu-west").await?;
    healthy(stage).await?;
    stage.lab.net.cut_links("eu-db", &[leader::host_of(&leader)?], Way::Both)?;
    stage.nothing_moves("eu-west", 2 * stage.dead_after(), GAP_MAX).await?;
    let after = stage.leader().await?;
    check(after == leader, || format!("{after} leads after {leader}"))
}

async fn data_link(stage: &mut Stage) -> io::Result<()> {
    let leader = stage.leader_outside("eu-west").await?;
    healthy(stage).await?;
    let far: Vec<String> = stage.lab.net.hosts_of(US).iter().map(|h| h.name.clone()).collect();
    let far: Vec<&str> = far.iter().map(String::as_str).collect();
    for near in ["eu-arbiter", "eu-db"] {
        stage.lab.net.cut_links(near, &far, Way::Both)?;
    }
    stage.nothing_moves("eu-west", 2 * stage.dead_after(), GAP_MAX).await?;
    let after = stage.leader().await?;
    check(after == leader, || format!("{after} leads after {leader}"))?;
    let said = |g: &v1::GroupStatus| {
        let why = "does not receive from its primary";
        g.health == "degraded" && g.degraded_because.iter().any(|text| text.contains(why))
    };
    stage.lab.operator.wait_group(GROUP, "degraded, and why", LIMIT, said).await.map(drop)
}
