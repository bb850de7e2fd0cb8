//! Clients that come through PgBouncers, one beside each database.

use super::Case;
use super::stage::{LIMIT, Stage, check, until, wrong};
use arbiter::clock;
use arbiter::lab::cluster::{EU, GROUP, Lab};
use arbiter::lab::demo::{doubled, ids};
use arbiter::lab::postgres::{PORT, owner};
use arbiter::lab::process::{Process, Spec};
use arbiter_core::Instant;
use arbiter_proto::v1;
use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::chown;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

/// Port of both poolers.
const POOL_PORT: u16 = 6432;
/// Clients of each pooler.
const CLIENTS: usize = 6;
/// First of their ids.
const FROM: i64 = 100_000_000_000;
/// Switchovers there and back.
const ROUNDS: usize = 2;
/// Acknowledgements of each client before a move.
const WARM_UP_WRITES: usize = 20;
/// Pause of a client between two transactions.
const PACE: Duration = Duration::from_millis(5);
/// Limit of one transaction of a client whose region may be lost.
const GIVE_UP: Duration = Duration::from_secs(1);
/// How much later than the clients the report may have them go on: agents tell, and it is written.
const TOLD_LATE_MAX: Duration = Duration::from_secs(2);

const POOLS: &str = r#"
[groups.default.resources.pool]
kind = "pgbouncer"
admin_user = "arbiter"
[groups.default.resources.pool.instances.pool-eu]
agent = "agent-eu"
address = "{eu-db}:6432"
databases_file = "{dir}/pool-eu/databases.ini"
[groups.default.resources.pool.instances.pool-us]
agent = "agent-us"
address = "{us-db}:6432"
databases_file = "{dir}/pool-us/databases.ini"
"#;

/// A switchover of clients that come through poolers; figure `last_client_ms`, the longest time
/// until the last of them wrote again.
pub const SWITCHOVER: Case = Case::new(
    "pooled",
    "switchover under load through PgBouncer, forth and back: no client sees an error",
    |stage| Box::pin(pooled(stage)),
)
.mode("manual")
.with(POOLS, pools_in_place);

/// A failover of those whose region is not lost; the same figure.
pub const FAILOVER: Case = Case::new(
    "pooled-failover",
    "the active region is cut off: clients of the other region's PgBouncer write there again",
    |stage| Box::pin(pooled_failover(stage)),
)
.with(POOLS, pools_in_place);

/// The cases of this file.
pub const CASES: &[Case] = &[SWITCHOVER, FAILOVER];

/// Configuration of a PgBouncer beside each database; both lead to the first primary.
fn pools_in_place(lab: &Lab) -> io::Result<()> {
    for (side, host) in [("eu", "eu-db"), ("us", "us-db")] {
        let dir = lab.options.dir.join(format!("pool-{side}"));
        std::fs::create_dir_all(&dir)?;
        let place = dir.display();
        let ini = format!(
            "%include {place}/databases.ini\n[pgbouncer]\nlisten_addr = {{{host}}}\n\
             listen_port = {POOL_PORT}\nunix_socket_dir =\nauth_type = trust\n\
             auth_file = {place}/users\nadmin_users = arbiter\npool_mode = transaction\n\
             default_pool_size = {CLIENTS}\nserver_login_retry = 1\nserver_connect_timeout = 2\n\
             tcp_user_timeout = 2000\ntcp_keepidle = 2\n"
        );
        let databases = format!("[databases]\napp = host={{eu-db}} port={PORT} dbname=postgres\n");
        let users = "\"postgres\" \"\"\n\"arbiter\" \"\"\n";
        let (uid, gid) = owner()?;
        for (name, text) in
            [("pgbouncer.ini", &*ini), ("databases.ini", &*databases), ("users", users)]
        {
            std::fs::write(dir.join(name), lab.placed(text))?;
            chown(dir.join(name), Some(uid), Some(gid))?;
        }
        chown(&dir, Some(uid), Some(gid))?;
    }
    Ok(())
}

/// The running poolers, and their clients.
struct Pooled {
    clients: Vec<Arc<Log>>,
    stop: Arc<AtomicBool>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
    next: Arc<AtomicI64>,
    _poolers: Vec<Process>,
}

/// What carries a client's words; aborted, the client is gone.
type Connection = tokio::task::JoinHandle<Result<(), tokio_postgres::Error>>;

/// What one client saw.
#[derive(Default)]
struct Log {
    acks: Mutex<Vec<Ack>>,
    errors: Mutex<Vec<String>>,
}

/// An acknowledged transaction: its id, by which server, and when.
#[derive(Clone, Copy, Debug)]
struct Ack {
    id: i64,
    server: IpAddr,
    at: Instant,
}

impl Log {
    fn acks(&self) -> Vec<Ack> {
        self.acks.lock().expect("no client panics").clone()
    }

    fn errors(&self) -> Vec<String> {
        self.errors.lock().expect("no client panics").clone()
    }
}

impl Pooled {
    /// Start both poolers, and clients of those on `hosts`.
    async fn start(stage: &Stage, hosts: &[&str], limit: Duration) -> io::Result<Self> {
        let mut poolers = Vec::new();
        for (side, host) in [("eu", "eu-db"), ("us", "us-db")] {
            let dir = stage.lab.options.dir.join(format!("pool-{side}"));
            let ini = dir.join("pgbouncer.ini").display().to_string();
            let mut spec = Spec::new("/usr/sbin/pgbouncer", &[&ini], dir.join("log"));
            spec.user = Some(owner()?);
            poolers.push(Process::start(&stage.lab.net, host, &spec)?);
        }
        let led = |g: &v1::GroupStatus| {
            let agents = g.regions.iter().flat_map(|region| &region.agents);
            let pools = agents.flat_map(|agent| &agent.instances).filter(|i| i.layer == "pooler");
            pools.filter(|i| i.condition == "healthy" && i.token != "0.0").count() == 2
        };
        stage.lab.operator.wait_group(GROUP, "both poolers are led", LIMIT, led).await?;
        let mut pooled = Self {
            clients: Vec::new(),
            stop: Arc::default(),
            tasks: Vec::new(),
            next: Arc::new(AtomicI64::new(FROM)),
            _poolers: poolers,
        };
        for host in hosts {
            for _ in 0..CLIENTS {
                let (log, address) = (Arc::new(Log::default()), stage.lab.address(host));
                let (stop, next) = (Arc::clone(&pooled.stop), Arc::clone(&pooled.next));
                pooled.clients.push(Arc::clone(&log));
                let client = async move { write(&log, &stop, &next, address, limit).await };
                pooled.tasks.push(tokio::spawn(client));
            }
        }
        Ok(pooled)
    }

    /// Every client is acknowledged by `server`, `count` times from now on.
    async fn served_by(&self, server: IpAddr, count: usize) -> io::Result<()> {
        let from = clock::now();
        let served = |log: &Arc<Log>| {
            let acks = log.acks();
            acks.iter().filter(|ack| ack.server == server && ack.at > from).count() >= count
        };
        let what = format!("every pooled client writes at {server}");
        let all = until(&what, LIMIT, async || self.clients.iter().all(served)).await;
        all.map_err(|error| wrong(format!("{error}; errors: {:?}", self.errors())))
    }

    fn errors(&self) -> Vec<String> {
        self.clients.iter().flat_map(|log| log.errors()).collect()
    }

    /// From the last acknowledgement by `old`, to whom it may be, until the last client had its
    /// first by `new` after `from`; none was by `old` after the first by `new`.
    fn recovered(&self, old: IpAddr, new: IpAddr, from: Instant) -> io::Result<Duration> {
        let logs: Vec<Vec<Ack>> = self.clients.iter().map(|log| log.acks()).collect();
        let by = |acks: &[Ack], server| -> Vec<Instant> {
            let since = acks.iter().filter(|ack| ack.server == server && ack.at > from);
            since.map(|ack| ack.at).collect()
        };
        let firsts = logs.iter().map(|acks| by(acks, new).into_iter().min());
        let firsts = firsts.collect::<Option<Vec<Instant>>>();
        let firsts = firsts.ok_or_else(|| wrong("a client never came to the new primary"))?;
        let (first, last) = (firsts.iter().min(), firsts.iter().max());
        let late = logs.iter().flat_map(|acks| by(acks, old)).filter(|at| Some(at) > first).count();
        check(late == 0, || format!("{late} acknowledged by {old} after the first by {new}"))?;
        let before = logs.iter().flatten().filter(|ack| ack.server == old && Some(&ack.at) < first);
        let old =
            before.map(|ack| ack.at).max().ok_or_else(|| wrong("nothing was written before"))?;
        Ok(last.map_or(Duration::ZERO, |last| last.since(old)))
    }

    /// Stop the clients, each after the transaction that is under way.
    async fn stop(&mut self) -> io::Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks.drain(..) {
            tokio::time::timeout(LIMIT, task).await.map_err(io::Error::other)??;
        }
        Ok(())
    }
}

/// One client: it writes one id a transaction, and notes what comes of it.
async fn write(log: &Log, stop: &AtomicBool, next: &AtomicI64, pooler: IpAddr, limit: Duration) {
    while !stop.load(Ordering::Relaxed) {
        let failed = match tokio::time::timeout(limit, connected(pooler)).await {
            Ok(Ok((client, connection))) => {
                let failed = write_on(&client, log, stop, next, limit).await.err();
                connection.abort();
                failed
            }
            Ok(Err(error)) => Some(error),
            Err(_) => Some(format!("connect: not within {limit:?}")),
        };
        if let Some(error) = failed {
            log.errors.lock().expect("no client panics").push(error);
            tokio::time::sleep(PACE).await;
        }
    }
}

async fn connected(pooler: IpAddr) -> Result<(Client, Connection), String> {
    let config = format!("host={pooler} port={POOL_PORT} user=postgres dbname=app");
    let connected = tokio_postgres::connect(&config, NoTls).await;
    let (client, connection) = connected.map_err(|error| format!("connect: {error:?}"))?;
    Ok((client, tokio::spawn(connection)))
}

async fn write_on(
    client: &Client,
    log: &Log,
    stop: &AtomicBool,
    next: &AtomicI64,
    limit: Duration,
) -> Result<(), String> {
    while !stop.load(Ordering::Relaxed) {
        let id = next.fetch_add(1, Ordering::Relaxed);
        let server = tokio::time::timeout(limit, transaction(client, id)).await;
        let server = server.map_err(|_| format!("{id}: not within {limit:?}"))?;
        let server = server.map_err(|error| format!("{id}: {error:?}"))?;
        let ack = Ack { id, server, at: clock::now() };
        log.acks.lock().expect("no client panics").push(ack);
        tokio::time::sleep(PACE).await;
    }
    Ok(())
}

/// The simple protocol only: a transaction pool of this version knows no prepared statement. Every
/// other one takes several round trips, so that some are open when clients are held back.
async fn transaction(client: &Client, id: i64) -> Result<IpAddr, tokio_postgres::Error> {
    let insert = format!(
        "INSERT INTO writes (id, writer) VALUES ({id}, 'pooled') RETURNING host(inet_server_addr())"
    );
    let answers = if id % 2 == 0 {
        client.simple_query(&insert).await?
    } else {
        client.simple_query("BEGIN").await?;
        let answers = client.simple_query(&insert).await?;
        client.simple_query("SELECT pg_sleep(0.02)").await?;
        client.simple_query("COMMIT").await?;
        answers
    };
    let server = answers.iter().find_map(|answer| match answer {
        SimpleQueryMessage::Row(row) => row.get(0)?.parse().ok(),
        _ => None,
    });
    Ok(server.unwrap_or(IpAddr::from([0, 0, 0, 0])))
}

async fn pooled(stage: &mut Stage) -> io::Result<()> {
    stage.pin("us-east")?;
    // Nobody gives up: what is held back must go on by itself.
    let mut pooled = Pooled::start(stage, &["eu-db", "us-db"], LIMIT).await?;
    let mut longest = Duration::ZERO;
    let mut old = stage.server("eu-west");
    for target in ["us-east", "eu-west"].repeat(ROUNDS) {
        pooled.served_by(old, WARM_UP_WRITES).await?;
        stage.ready_to_move(target).await?;
        let (from, new) = (clock::now(), stage.server(target));
        stage.moved_by("switchover", target).await?;
        pooled.served_by(new, 1).await?;
        let errors = pooled.errors();
        check(errors.is_empty(), || format!("{} errors to {target}: {errors:?}", errors.len()))?;
        let took = pooled.recovered(old, new, from)?;
        println!("   to {target}: the last of {} clients after {took:.1?}", pooled.clients.len());
        longest = longest.max(took);
        told(stage, took).await?;
        everybody_was_held_back(&stage.newest_plan().await?)?;
        old = new;
    }
    pooled.stop().await?;
    let errors = pooled.errors();
    check(errors.is_empty(), || format!("{} errors: {errors:?}", errors.len()))?;
    each_once(stage, &pooled).await?;
    stage.figure("last_client_ms", longest.as_secs_f64() * 1000.0);
    stage.each_once("eu-west").await
}

/// The report knows when the last client could go on: no later than the clients themselves, but for
/// the way of the agents' word.
async fn told(stage: &Stage, took: Duration) -> io::Result<()> {
    let known = async || {
        let plan = stage.newest_plan().await.ok()?;
        let after = |found: Option<v1::Recovered>| {
            let wall = found?.wall_ms.checked_sub(plan.opened_wall_ms)?;
            Some(Duration::from_millis(wall))
        };
        Some((after(plan.first_write.clone())?, after(plan.last_client.clone())?))
    };
    let what = "the report knows when the first write and the last client could go on";
    until(what, LIMIT, async || known().await.is_some()).await?;
    let (write, client) = known().await.ok_or_else(|| wrong("the report lost what it knew"))?;
    check(write.max(client) <= took + TOLD_LATE_MAX, || {
        format!("clients went on after {took:.1?}; told: {write:.1?} and {client:.1?}")
    })
}

/// The source stopped when both poolers had paused.
fn everybody_was_held_back(plan: &v1::Plan) -> io::Result<()> {
    let row = plan.steps.iter().find(|step| step.name == "stop-lease");
    let note = row.map_or("", |row| row.note.as_str());
    check(note.ends_with("; paused: pool-eu, pool-us"), || format!("stop-lease: {note:?}"))
}

/// What was sent was acknowledged and is there, once, and nothing else of theirs.
async fn each_once(stage: &Stage, pooled: &Pooled) -> io::Result<()> {
    let server = stage.server("eu-west");
    let sent: BTreeSet<i64> = (FROM..pooled.next.load(Ordering::Relaxed)).collect();
    let acked: Vec<i64> =
        pooled.clients.iter().flat_map(|log| log.acks()).map(|ack| ack.id).collect();
    let there: BTreeSet<i64> = ids(server).await?.into_iter().filter(|id| *id >= FROM).collect();
    let twice = doubled(server).await?;
    check(twice.is_empty(), || format!("ids that are there twice: {twice:?}"))?;
    check(acked.len() == sent.len() && acked.iter().all(|id| sent.contains(id)), || {
        format!("{} sent, {} acknowledged", sent.len(), acked.len())
    })?;
    check(there == sent, || {
        format!("sent and there differ: {:?}", there.symmetric_difference(&sent))
    })
}

async fn pooled_failover(stage: &mut Stage) -> io::Result<()> {
    let pooled = Pooled::start(stage, &["us-db"], GIVE_UP).await?;
    let (old, new) = (stage.server("eu-west"), stage.server("us-east"));
    pooled.served_by(old, WARM_UP_WRITES).await?;
    let from = clock::now();
    stage.lab.net.cut_region(EU)?;
    stage.serves("us-east", 2, stage.dead_after() + LIMIT).await?;
    pooled.served_by(new, 1).await?;
    let took = pooled.recovered(old, new, from)?;
    println!("   the last of {} pooled clients after {took:.1?}", pooled.clients.len());
    stage.figure("last_client_ms", took.as_secs_f64() * 1000.0);
    stage.lab.net.heal()?;
    // The pooler of the region that was lost leads to the new primary too.
    let address = stage.server("us-east");
    until("the other pooler leads there", LIMIT, async || {
        let pooler = stage.server("eu-west");
        let Ok((client, _connection)) = connected(pooler).await else { return false };
        let who = "SELECT host(inet_server_addr())";
        let answers = tokio::time::timeout(GIVE_UP, client.simple_query(who)).await;
        let Ok(Ok(answers)) = answers else { return false };
        answers.iter().any(|answer| match answer {
            SimpleQueryMessage::Row(row) => row.get(0) == Some(&address.to_string()),
            _ => false,
        })
    })
    .await
}
