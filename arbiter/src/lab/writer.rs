//! Writers that log every acknowledged id with one clock. Knows SQL clients; never the arbiter.
//!
//! One follows DNS, as an application would; one is pinned to a server and stays connected. Their
//! logs show whether two regions ever acknowledged at once, how long nobody did, and what was lost.

use crate::clock;
use crate::dns_client;
use arbiter_core::Instant;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio_postgres::NoTls;

/// Pause between two writes.
const PACE: Duration = Duration::from_millis(5);
/// Limit of a connection attempt.
const CONNECT_LIMIT: Duration = Duration::from_millis(200);
/// Limit of one write; after it the outcome is unknown and the connection is dropped.
const WRITE_LIMIT: Duration = Duration::from_millis(1000);
/// Pause after a failure.
const RETRY_PAUSE: Duration = Duration::from_millis(10);

/// Where a writer writes.
#[derive(Clone, Debug)]
pub enum Aim {
    /// Whatever the name leads to, asked anew at each connection and while a write hangs.
    Name {
        /// The name.
        name: String,
        /// The DNS server.
        server: SocketAddr,
        /// Port of the database.
        port: u16,
    },
    /// One server.
    Pinned(SocketAddr),
}

/// An acknowledged write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    /// The id written.
    pub id: i64,
    /// The id of the transaction, as the server numbers them.
    pub transaction: u64,
    /// When it was sent.
    pub sent: Instant,
    /// When it was acknowledged.
    pub at: Instant,
    /// By whom.
    pub server: IpAddr,
}

/// A running writer.
#[derive(Debug)]
pub struct Writer {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    name: String,
    stop: AtomicBool,
    next_id: AtomicU64,
    acks: Mutex<Vec<Ack>>,
    errors: AtomicU64,
    unknown: Mutex<Vec<i64>>,
}

impl Writer {
    /// Start a writer named `name` in the namespace at `netns`, writing ids from `first_id`.
    /// It runs on a thread of its own until [`Writer::stop`].
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub fn start(
        name: &str,
        netns: std::path::PathBuf,
        aim: Aim,
        first_id: u64,
    ) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            name: name.into(),
            stop: AtomicBool::new(false),
            next_id: AtomicU64::new(first_id),
            acks: Mutex::new(Vec::new()),
            errors: AtomicU64::new(0),
            unknown: Mutex::new(Vec::new()),
        });
        let inner = Arc::clone(&shared);
        std::thread::Builder::new().name(format!("writer-{name}")).spawn(move || {
            if let Err(error) = write_in(&netns, &inner, &aim) {
                tracing::error!(writer = inner.name, %error, "the writer cannot run");
            }
        })?;
        Ok(Self { shared })
    }

    /// Every acknowledgement so far, in order.
    pub fn acks(&self) -> Vec<Ack> {
        self.shared.acks.lock().expect("no writer panics").clone()
    }

    /// The number of acknowledgements so far.
    pub fn count(&self) -> usize {
        self.shared.acks.lock().expect("no writer panics").len()
    }

    /// The newest acknowledgement.
    pub fn last(&self) -> Option<Ack> {
        self.shared.acks.lock().expect("no writer panics").last().copied()
    }

    /// Writes that failed or whose outcome is unknown.
    pub fn errors(&self) -> u64 {
        self.shared.errors.load(Ordering::Relaxed)
    }

    /// Ids whose outcome is unknown: sent, not acknowledged.
    pub fn unknown(&self) -> Vec<i64> {
        self.shared.unknown.lock().expect("no writer panics").clone()
    }

    /// Stop writing.
    pub fn stop(&self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.stop();
    }
}

fn write_in(netns: &std::path::Path, shared: &Shared, aim: &Aim) -> std::io::Result<()> {
    let file = std::fs::File::open(netns)?;
    nix::sched::setns(file, nix::sched::CloneFlags::CLONE_NEWNET)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        while !shared.stop.load(Ordering::Relaxed) {
            if connected(shared, aim).await.is_none() {
                shared.errors.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(RETRY_PAUSE).await;
            }
        }
    });
    Ok(())
}

async fn target(aim: &Aim) -> Option<SocketAddr> {
    match aim {
        Aim::Pinned(address) => Some(*address),
        Aim::Name { name, server, port } => {
            let servers = dns_client::Servers::new(vec![server.to_string()]);
            let led = dns_client::follow(name, &servers).await.ok()?;
            Some(SocketAddr::new(*led.addresses.first()?, *port))
        }
    }
}

/// Write on one connection until it fails; none when it failed.
async fn connected(shared: &Shared, aim: &Aim) -> Option<()> {
    let server = target(aim).await?;
    let config = format!(
        "host={} port={} user=postgres dbname=postgres application_name={}",
        server.ip(),
        server.port(),
        shared.name
    );
    let connecting = tokio_postgres::connect(&config, NoTls);
    let (client, connection) = tokio::time::timeout(CONNECT_LIMIT, connecting).await.ok()?.ok()?;
    let driver = tokio::spawn(connection);
    let outcome = write_on(shared, aim, server, &client).await;
    driver.abort();
    outcome
}

async fn write_on(
    shared: &Shared,
    aim: &Aim,
    server: SocketAddr,
    client: &tokio_postgres::Client,
) -> Option<()> {
    let sql = "INSERT INTO writes (id, writer) VALUES ($1, $2) \
               RETURNING pg_current_xact_id()::text::int8";
    let insert = tokio::time::timeout(WRITE_LIMIT, client.prepare(sql)).await.ok()?.ok()?;
    while !shared.stop.load(Ordering::Relaxed) {
        let id = shared.next_id.fetch_add(1, Ordering::Relaxed) as i64;
        let sent = clock::now();
        let row: [&(dyn tokio_postgres::types::ToSql + Sync); 2] = [&id, &shared.name];
        let write = client.query_one(&insert, &row);
        let done = tokio::select! {
            biased;
            done = tokio::time::timeout(WRITE_LIMIT, write) => done.ok().and_then(Result::ok),
            // An application whose name moved does not wait for the old server.
            () = moved(aim, server) => None,
        };
        let Some(written) = done else {
            shared.unknown.lock().expect("no writer panics").push(id);
            return None;
        };
        let transaction = written.get::<_, i64>(0) as u64;
        let ack = Ack { id, transaction, sent, at: clock::now(), server: server.ip() };
        shared.acks.lock().expect("no writer panics").push(ack);
        tokio::time::sleep(PACE).await;
    }
    Some(())
}

/// Returns when the name leads elsewhere than to `server`; never for a pinned writer.
async fn moved(aim: &Aim, server: SocketAddr) {
    loop {
        tokio::time::sleep(CONNECT_LIMIT / 4).await;
        if matches!(aim, Aim::Pinned(_)) {
            continue;
        }
        if target(aim).await.is_some_and(|now| now != server) {
            return;
        }
    }
}

/// What the logs of all writers show.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// From the last acknowledgement that the follower had from the old to its first from the new;
    /// none: it did not move.
    pub outage: Option<Duration>,
    /// Acknowledgements by `old` after the first by `new`.
    pub overlapping: usize,
    /// Last acknowledgement by `old`.
    pub last_old: Option<Instant>,
    /// First acknowledgement by `new`, no earlier than `from`.
    pub first_new: Option<Instant>,
}

/// Compare the acknowledgements of two servers, counting from `from` on: those of the writer that
/// follows DNS, and those of all writers.
pub fn verdict(follower: &[Ack], all: &[Ack], old: IpAddr, new: IpAddr, from: Instant) -> Verdict {
    let first_by_new =
        |acks: &[Ack]| acks.iter().filter(|a| a.server == new && a.at >= from).map(|a| a.at).min();
    // What counts is when the acknowledgement arrived, by the one clock.
    let first_new = first_by_new(all);
    let overlapping =
        first_new.map_or(0, |first| all.iter().filter(|a| a.server == old && a.at > first).count());
    let last_old = all.iter().filter(|a| a.server == old).map(|a| a.at).max();
    let outage = first_by_new(follower).and_then(|first| {
        let served = follower.iter().filter(|a| a.server == old && a.at < first);
        served.map(|a| a.at).max().map(|last| first.since(last))
    });
    Verdict { outage, overlapping, last_old, first_new }
}
