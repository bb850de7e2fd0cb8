//! Patroni inside each region: two nodes in eu-west, one in us-east, and an etcd for each region.

use super::Case;
use super::stage::{LIMIT, Stage, check, until, wrong};
use arbiter::clock;
use arbiter::lab::cluster::{EU, Lab};
use arbiter::lab::postgres::{bin_dir, owner};
use arbiter::lab::process::{Process, Spec};
use arbiter::lab::writer::{Ack, Aim, Writer};
use arbiter_core::Instant;
use arbiter_proto::v1;
use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// The group.
const STORE: &str = "store";
/// Port of its PostgreSQL, and of its Patroni.
const PORTS: (u16, u16) = (5440, 8008);
/// Nodes: host, instance, agent, host of its etcd, what follows whom at first.
const NODES: [(&str, &str, &str, &str); 3] = [
    ("eu-db", "store-eu-1", "agent-eu", "eu-arbiter"),
    ("eu-db2", "store-eu-2", "agent-eu2", "eu-arbiter"),
    ("us-db", "store-us-1", "agent-us", "us-arbiter"),
];
/// How long Patroni may take to make a cluster, to move a primary, or to bring a node back.
const PATRONI_LIMIT: Duration = Duration::from_secs(120);
/// First ids of the writers, so that ids never meet.
const IDS_FROM: u64 = 5_000_000_000;
/// Writes that say that somebody writes.
const WRITES: usize = 20;

const GROUP: &str = r#"
[agents.agent-eu2]
region = "eu-west"

[groups.store]
initial_active = "eu-west"

[groups.store.resources.store]
kind = "delegated"
command = "{dir}/venv/bin/python {dir}/arbiter-patroni"
limit = "30s"
user = "postgres"
start = "agent"
env.PATRONI_CTL = "{dir}/venv/bin/patronictl"
env.PGUSER = "postgres"
env.PGDATABASE = "postgres"
"#;

const INSTANCE: &str = r#"
[groups.store.resources.store.instances.INSTANCE]
agent = "AGENT"
address = "{HOST}:5440"
manager = "{dir}/venv/bin/patroni {dir}/patroni/HOST.yml"
manager_config = "{dir}/patroni/HOST.yml"
data_dir = "{dir}/patroni/HOST/data"
log_file = "{dir}/patroni/HOST.log"
env.PATRONI_CONFIG = "{dir}/patroni/HOST.yml"
env.PATRONI_URL = "http://{HOST}:8008"
env.PATRONI_PEER = "THEIRS"
"#;

const PROBES: &str = r#"
[groups.store.probes.store-eu]
region = "eu-west"
kind = "tcp"
target = "{eu-db}:5440"
[groups.store.probes.store-us]
region = "us-east"
kind = "tcp"
target = "{us-db}:5440"
"#;

/// The cases of this file.
pub const CASES: &[Case] = &[Case::new(
    "patroni",
    "Patroni moves its primary inside a region; a cut and two switchovers move the region, in turn",
    |stage| Box::pin(patroni(stage)),
)
.with("", prepare)];

/// The programs and Patroni's configuration of each node, and the group in the cluster's file.
fn prepare(lab: &Lab) -> io::Result<()> {
    let dir = &lab.options.dir;
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let setup = here.join("setup/patroni.sh");
    let made = Command::new("bash").arg(setup).stderr(Stdio::inherit()).output()?;
    check(made.status.success(), || {
        "first run tests/setup/patroni.sh, which needs a network".into()
    })?;
    symlink(String::from_utf8_lossy(&made.stdout).trim(), dir.join("venv"))?;
    let script = dir.join("arbiter-patroni");
    std::fs::copy(here.join("../deploy/patroni/arbiter-patroni"), &script)?;
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755))?;
    let (uid, gid) = owner()?;
    let mut text = std::fs::read_to_string(lab.config())? + &lab.placed(GROUP);
    for (host, instance, agent, _) in NODES {
        let peer = if host == "us-db" { "{eu-db}:5440,{eu-db2}:5440" } else { "{us-db}:5440" };
        let named = INSTANCE.replace("INSTANCE", instance).replace("AGENT", agent);
        let named = named.replace("THEIRS", peer).replace("HOST", host);
        text += &lab.placed(&named);
        let own = dir.join("patroni").join(host);
        std::fs::create_dir_all(&own)?;
        std::fs::write(own.with_extension("yml"), configuration(lab, host)?)?;
        chown(&own, Some(uid), Some(gid))?;
    }
    text += &lab.placed(PROBES);
    std::fs::write(lab.config(), text)
}

fn configuration(lab: &Lab, host: &str) -> io::Result<String> {
    let node = NODES.iter().find(|node| node.0 == host);
    let (_, instance, agent, etcd) = node.ok_or_else(|| wrong("no such node"))?;
    let gate = lab.options.dir.join("run").join(agent).join("gate").join(STORE).join(instance);
    let standby = if host == "us-db" {
        lab.placed("    standby_cluster: {host: '{eu-db},{eu-db2}', port: 5440}\n")
    } else {
        String::new()
    };
    let (address, etcd) = (lab.address(host), lab.address(etcd));
    let (dir, bin, gate) = (lab.options.dir.display(), bin_dir()?, gate.display());
    Ok(format!(
        "scope: store
name: {host}
restapi: {{listen: '{address}:8008', connect_address: '{address}:8008'}}
etcd3: {{host: '{etcd}:2379'}}
bootstrap:
  dcs:
    loop_wait: 1
    ttl: 20
    retry_timeout: 3
{standby}    postgresql:
      use_pg_rewind: true
      parameters:
        wal_keep_size: 128MB
        shared_buffers: 16MB
        max_connections: 40
        wal_receiver_status_interval: 1s
        wal_receiver_timeout: 5s
        wal_sender_timeout: 5s
  initdb: [{{auth-host: trust}}, {{auth-local: trust}}, data-checksums]
postgresql:
  listen: '{address}:5440'
  connect_address: '{address}:5440'
  data_dir: {dir}/patroni/{host}/data
  bin_dir: {}
  custom_conf: {gate}.start.conf
  pre_promote: test -e {gate}.active
  pgpass: {dir}/patroni/{host}/pgpass
  authentication:
    superuser: {{username: postgres}}
    replication: {{username: replicator}}
    rewind: {{username: rewinder}}
  parameters: {{unix_socket_directories: '{dir}/patroni/{host}'}}
  pg_hba: ['local all all trust', 'host all all 10.77.0.0/16 trust',
    'host replication all 10.77.0.0/16 trust']
",
        bin.display()
    ))
}

/// The etcd of a region, on its arbiter's host.
fn etcd(stage: &Stage, host: &str) -> io::Result<Process> {
    let dir = stage.lab.options.dir.join("etcd").join(host);
    std::fs::create_dir_all(&dir)?;
    let at = |port| format!("http://{}:{port}", stage.lab.address(host));
    let (client, peer) = (at(2379), at(2380));
    let cluster = format!("default={peer}");
    let args = [
        "--data-dir",
        &dir.display().to_string(),
        "--listen-client-urls",
        &client,
        "--advertise-client-urls",
        &client,
        "--listen-peer-urls",
        &peer,
        "--initial-advertise-peer-urls",
        &peer,
        "--initial-cluster",
        &cluster,
    ];
    let program = PathBuf::from("etcd");
    Process::start(&stage.lab.net, host, &Spec::new(program, &args, dir.with_extension("log")))
}

/// What one statement returns on one node: a number in each row.
async fn ask(stage: &Stage, host: &str, sql: &str) -> io::Result<Vec<i64>> {
    let address = stage.lab.address(host);
    let config =
        format!("host={address} port={} user=postgres dbname=postgres connect_timeout=3", PORTS.0);
    let connected = tokio_postgres::connect(&config, tokio_postgres::NoTls).await;
    let (client, connection) = connected.map_err(io::Error::other)?;
    let driver = tokio::spawn(connection);
    let rows = tokio::time::timeout(Duration::from_secs(5), client.query(sql, &[])).await;
    driver.abort();
    let rows = rows.map_err(io::Error::other)?.map_err(io::Error::other)?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

async fn is_primary(stage: &Stage, host: &str) -> bool {
    let replica = ask(stage, host, "SELECT pg_is_in_recovery()::int::int8").await;
    replica.is_ok_and(|replica| replica == [0])
}

/// The node of eu-west that is primary, and the other.
async fn leads(stage: &Stage) -> io::Result<(&'static str, &'static str)> {
    let mut found = None;
    until("a node of eu-west is primary", PATRONI_LIMIT, async || {
        is_primary(stage, "eu-db").await || is_primary(stage, "eu-db2").await
    })
    .await?;
    for (host, other) in [("eu-db", "eu-db2"), ("eu-db2", "eu-db")] {
        if is_primary(stage, host).await {
            found = Some((host, other));
        }
    }
    found.ok_or_else(|| wrong("no node of eu-west is primary any more"))
}

/// A writer in the region of each node, on that node and no other.
fn writers(stage: &Stage) -> io::Result<Vec<(&'static str, Writer)>> {
    let on = |(at, (host, ..)): (usize, &(&'static str, &str, &str, &str))| {
        let aim = Aim::Pinned(SocketAddr::new(stage.lab.address(host), PORTS.0));
        let from = if host.starts_with("eu") { "eu-client" } else { "us-client" };
        let netns = stage.lab.net.namespace_path(from);
        Ok((*host, Writer::start(host, netns, aim, IDS_FROM * (at as u64 + 1))?))
    };
    NODES.iter().enumerate().map(on).collect()
}

/// Wait until the server of `host` acknowledges.
async fn acknowledges(writers: &[(&str, Writer)], host: &str) -> io::Result<()> {
    let (_, writer) = writers.iter().find(|(on, _)| *on == host).ok_or_else(|| wrong(host))?;
    let before = writer.count();
    let what = format!("{host} acknowledges");
    until(&what, PATRONI_LIMIT, async || writer.count() >= before + WRITES).await
}

async fn patroni(stage: &mut Stage) -> io::Result<()> {
    let _eu = etcd(stage, "eu-arbiter")?;
    stage.lab.start_agent("agent-eu2", None)?;
    let (first, second) = leads(stage).await?;
    ask(stage, first, "CREATE TABLE writes (id bigint NOT NULL, writer text NOT NULL)").await?;
    let _us = etcd(stage, "us-arbiter")?;
    let active = |g: &v1::GroupStatus| g.active == "eu-west" && g.epoch == 1;
    stage.lab.operator.wait_group(STORE, "it is active", PATRONI_LIMIT, active).await?;
    for host in [second, "us-db"] {
        until(&format!("{host} has the table"), PATRONI_LIMIT, async || {
            ask(stage, host, "SELECT count(*) FROM writes").await.is_ok()
        })
        .await?;
    }
    stage.lab.arm(STORE, "automatic").await?;
    let writers = writers(stage)?;
    acknowledges(&writers, first).await?;
    moved_inside(stage, first, second).await?;
    acknowledges(&writers, second).await?;
    stage.lab.ready_to_move(STORE, "us-east").await?;

    stage.lab.net.cut_region(EU)?;
    let moved = |g: &v1::GroupStatus| g.active == "us-east" && g.epoch == 2 && g.plan.is_none();
    let limit = stage.dead_after() + PATRONI_LIMIT;
    stage.lab.operator.wait_group(STORE, "us-east is active", limit, moved).await?;
    acknowledges(&writers, "us-db").await?;
    for host in ["eu-db", "eu-db2"] {
        let left = stage.postgres_processes(host)?;
        let managers = stage.processes_with(host, "bin/patroni")?;
        check(left.is_empty() && managers.is_empty(), || format!("{host}: {left:?} {managers:?}"))?;
    }
    proven(stage).await?;
    stage.serves("us-east", 2, stage.dead_after() + LIMIT).await?;
    returned(stage, &writers).await?;
    let from = clock::now();
    switched(stage, "eu-west", 3).await?;
    let (first, _) = leads(stage).await?;
    acknowledges(&writers, first).await?;
    switched(stage, "us-east", 4).await?;
    acknowledges(&writers, "us-db").await?;
    nothing_lost(stage, &writers, from).await?;
    turns(stage, &writers, 3)
}

/// A switchover of the group, to its end.
async fn switched(stage: &Stage, target: &str, epoch: u64) -> io::Result<()> {
    stage.lab.ready_to_move(STORE, target).await?;
    let opened = stage.lab.open_plan(STORE, "switchover", target).await;
    opened.map_err(|status| wrong(format!("switchover to {target}: {status}")))?;
    let moved = |g: &v1::GroupStatus| g.active == target && g.epoch == epoch && g.plan.is_none();
    let what = format!("{target} is active by a switchover");
    stage.lab.operator.wait_group(STORE, &what, PATRONI_LIMIT, moved).await.map(drop)
}

/// I11: a switchover loses nothing that was acknowledged, whichever node led.
async fn nothing_lost(stage: &Stage, writers: &[(&str, Writer)], from: Instant) -> io::Result<()> {
    let acks = writers.iter().flat_map(|(_, writer)| writer.acks());
    let wanted: Vec<i64> = acks.filter(|ack| ack.at > from).map(|ack| ack.id).collect();
    let there: BTreeSet<i64> =
        ask(stage, "us-db", "SELECT id FROM writes").await?.into_iter().collect();
    let lost = wanted.iter().filter(|id| !there.contains(id)).count();
    check(lost == 0, || format!("{lost} of {} acknowledged writes are lost", wanted.len()))
}

/// Patroni moves its primary: the arbiter sees it, and has nothing to do.
async fn moved_inside(stage: &Stage, from: &str, to: &str) -> io::Result<()> {
    let dir = &stage.lab.options.dir;
    let config = dir.join("patroni").join(format!("{from}.yml")).display().to_string();
    let args = ["-c", &config, "switchover", "--leader", from, "--candidate", to, "--force"];
    let spec = Spec::new(dir.join("venv/bin/patronictl"), &args, dir.join("patronictl.log"));
    Process::run(&stage.lab.net, from, &spec)?;
    until("the other node is primary", PATRONI_LIMIT, async || is_primary(stage, to).await).await?;
    let group = stage.lab.operator.group(STORE).await.ok_or_else(|| wrong("no arbiter answers"))?;
    check(group.active == "eu-west" && group.epoch == 1 && group.plan.is_none(), || {
        format!("{} at {}, plan {:?}", group.active, group.epoch, group.plan)
    })
}

/// I3: there is evidence for each node of the region.
async fn proven(stage: &Stage) -> io::Result<()> {
    let request = v1::ListPlansRequest { group: STORE.into(), limit: 1 };
    let plans = stage.lab.operator.plans(request).await;
    let plan = plans.first().ok_or_else(|| wrong("no plan is kept"))?;
    let proven: Vec<&str> = plan.evidence.iter().map(|e| e.instance.as_str()).collect();
    check(proven == ["store-eu-1", "store-eu-2"], || format!("evidence for {proven:?}"))
}

/// Healed, both nodes of eu-west have what us-east has, and neither takes a write.
async fn returned(stage: &Stage, writers: &[(&str, Writer)]) -> io::Result<()> {
    stage.lab.net.heal()?;
    let (_, us) = writers.iter().find(|(on, _)| *on == "us-db").ok_or_else(|| wrong("us-db"))?;
    let newest = us.last().ok_or_else(|| wrong("no write"))?.id;
    let there = format!("SELECT count(*) FROM writes WHERE id = {newest}");
    for host in ["eu-db", "eu-db2"] {
        until(&format!("{host} follows us-east"), PATRONI_LIMIT, async || {
            ask(stage, host, &there).await.is_ok_and(|count| count == [1])
        })
        .await?;
        check(!is_primary(stage, host).await, || format!("{host} is a primary"))?;
    }
    Ok(())
}

/// I1: acknowledgements change their region as often as the group did.
fn turns(stage: &Stage, writers: &[(&str, Writer)], moves: usize) -> io::Result<()> {
    let us: IpAddr = stage.lab.address("us-db");
    let mut acks: Vec<Ack> = writers.iter().flat_map(|(_, writer)| writer.acks()).collect();
    acks.sort_by_key(|ack| ack.at);
    let mut turns: Vec<(&str, usize)> = Vec::new();
    for ack in acks {
        let region = if ack.server == us { "us-east" } else { "eu-west" };
        match turns.last_mut() {
            Some((last, count)) if *last == region => *count += 1,
            _ => turns.push((region, 1)),
        }
    }
    check(turns.len() == moves + 1, || format!("acknowledged was by turns {turns:?}"))
}
