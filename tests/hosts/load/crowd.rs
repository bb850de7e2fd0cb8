//! Agents and watchers that do nothing wrong. Knows how long each waited; never why.

use super::super::stage::{LIMIT, until, wrong};
use super::client::Clients;
use super::{AGENTS, GROUPS, WATCHERS, agent};
use crate::puppet::Puppet;
use arbiter::clock;
use arbiter_core::Instant;
use arbiter_proto::v1;
use arbiter_proto::v1::agent_client::AgentClient;
use arbiter_proto::v1::query_client::QueryClient;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::interval;
use tokio_stream::wrappers::ReceiverStream;

/// Watchers that share a connection, as those behind one gateway do.
const WATCHERS_OF_ONE: usize = 10;
/// Pause of a watcher that was turned away.
const AGAIN_AFTER: Duration = Duration::from_millis(200);
/// Reports on their way.
const QUEUE_MAX: usize = 16;

/// What all of them have seen.
#[derive(Debug, Default)]
struct Seen {
    watching: AtomicUsize,
    told: AtomicUsize,
    renewed: AtomicU64,
    slowest_ns: AtomicU64,
    ended: AtomicUsize,
}

/// The crowd.
pub struct Crowd {
    seen: Arc<Seen>,
    tasks: JoinSet<()>,
}

/// What it has seen in the end.
pub struct Outcome {
    /// Longest that an agent waited for the answer to a Report, or still waits.
    pub slowest: Duration,
    /// Streams of agents that ended.
    pub ended: usize,
    /// Watchers that were told that us-east is active.
    pub told: usize,
    renewed: u64,
}

impl Crowd {
    /// Everybody comes, and is answered once.
    ///
    /// # Errors
    /// If not everybody is in time.
    pub async fn gather(clients: &Clients, renewal: Duration) -> io::Result<Self> {
        let seen = Arc::new(Seen::default());
        let mut tasks = JoinSet::new();
        for number in 0..AGENTS {
            let (name, region) = agent(number);
            let group = format!("crowd-{}", number / 2 % GROUPS);
            let (instance, active) = (format!("i-{number}"), region == "eu-west");
            let puppet = Puppet::new(&clients.cluster, &name, &group, &instance, active);
            let client = AgentClient::new(clients.channel(&name)?);
            tasks.spawn(renew(puppet, client, renewal, seen.clone()));
        }
        for _ in 0..WATCHERS / WATCHERS_OF_ONE {
            let channel = clients.channel("app")?;
            for _ in 0..WATCHERS_OF_ONE {
                tasks.spawn(watch(QueryClient::new(channel.clone()), seen.clone()));
            }
        }
        until("every watcher and agent is answered", LIMIT, async || {
            let renewed = seen.renewed.load(Ordering::Relaxed);
            seen.watching.load(Ordering::Relaxed) == WATCHERS && renewed >= 3 * AGENTS as u64
        })
        .await?;
        // From here on nobody has a reason to be turned away.
        seen.slowest_ns.store(0, Ordering::Relaxed);
        seen.ended.store(0, Ordering::Relaxed);
        Ok(Self { seen, tasks })
    }

    /// Everybody goes, once the news is with the watchers.
    ///
    /// # Errors
    /// None of its own.
    pub async fn end(mut self) -> io::Result<Outcome> {
        let seen = self.seen.clone();
        let told = || seen.told.load(Ordering::Relaxed);
        // What is missing then is seen in the outcome.
        let _ = until("everybody is told", LIMIT, async || told() == WATCHERS).await;
        self.tasks.shutdown().await;
        if seen.renewed.load(Ordering::Relaxed) == 0 {
            return Err(wrong("no agent was ever answered"));
        }
        Ok(Outcome {
            slowest: Duration::from_nanos(seen.slowest_ns.load(Ordering::Relaxed)),
            ended: seen.ended.load(Ordering::Relaxed),
            told: told(),
            renewed: seen.renewed.load(Ordering::Relaxed),
        })
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { slowest, ended, told, renewed } = self;
        write!(
            f,
            "{renewed} renewals, the slowest {slowest:.0?}; {ended} streams of agents ended; "
        )?;
        write!(f, "{told} watchers told")
    }
}

/// Each stream's end is counted: then a new one begins.
async fn renew(
    mut puppet: Puppet,
    client: AgentClient<tonic::transport::Channel>,
    renewal: Duration,
    seen: Arc<Seen>,
) {
    loop {
        session(&mut puppet, client.clone(), renewal, &seen).await;
        seen.ended.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(renewal).await;
    }
}

async fn session(
    puppet: &mut Puppet,
    mut client: AgentClient<tonic::transport::Channel>,
    renewal: Duration,
    seen: &Seen,
) -> Option<()> {
    let (up, reports) = mpsc::channel(QUEUE_MAX);
    // Since when the oldest Report without an answer waits, and its number.
    let mut waits: Option<(u64, Instant)> = None;
    up.try_send(puppet.report()).ok()?;
    let mut down = client.session(ReceiverStream::new(reports)).await.ok()?.into_inner();
    let mut due = interval(renewal);
    loop {
        tokio::select! {
            directive = down.message() => {
                let directive = directive.ok()??;
                let answers = directive.answers;
                if let Some((asked, since)) = waits && answers >= Some(asked) {
                    waits = None;
                    seen.renewed.fetch_add(1, Ordering::Relaxed);
                    waited(seen, since);
                }
                if puppet.heed(directive)? {
                    up.try_send(puppet.report()).ok()?;
                }
            }
            _ = due.tick() => {
                up.try_send(puppet.report()).ok()?;
                match waits {
                    Some((_, since)) => waited(seen, since),
                    None => waits = Some((puppet.sequence(), clock::now())),
                }
            }
        }
    }
}

fn waited(seen: &Seen, since: Instant) {
    let waited = clock::now().since(since).as_nanos();
    let waited = u64::try_from(waited).unwrap_or(u64::MAX);
    seen.slowest_ns.fetch_max(waited, Ordering::Relaxed);
}

async fn watch(mut client: QueryClient<tonic::transport::Channel>, seen: Arc<Seen>) {
    // Who comes when too many do is turned away, and comes again.
    let mut answers = loop {
        match client.watch_active_region(v1::GetActiveRegionRequest::default()).await {
            Ok(answers) => break answers.into_inner(),
            Err(_) => tokio::time::sleep(AGAIN_AFTER).await,
        }
    };
    seen.watching.fetch_add(1, Ordering::Relaxed);
    while let Ok(Some(answer)) = answers.message().await {
        if answer.region == "us-east" {
            seen.told.fetch_add(1, Ordering::Relaxed);
            return;
        }
    }
}
