//! Which arbiter is asked. Knows addresses and time limits; never what is asked.
//!
//! Any arbiter answers or forwards, so all are tried at once and the first good answer wins. A
//! mutating call keeps its request id from one arbiter to the next: asked twice is done once.

use super::exit::{Fail, trailer, try_another};
use crate::tls::{self, Dialer, Files, Tls};
use arbiter_proto::v1 as pb;
use cluster_config::Cluster;
use futures::stream::{FuturesUnordered, StreamExt};
use pb::admin_client::AdminClient;
use pb::query_client::QueryClient;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tonic::Status;
use tonic::transport::Channel;

/// A host that does not answer within this is taken as unreachable.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);
/// Longest wait for an answer to a question.
const ASK_LIMIT: Duration = Duration::from_secs(4);
/// Longest wait for a committed change, an election on the way included.
const CHANGE_LIMIT: Duration = Duration::from_secs(12);
/// Rounds over all arbiters before a change is given up, and the pause between them.
const CHANGE_ROUNDS_MAX: u32 = 4;
const ROUND_PAUSE: Duration = Duration::from_millis(700);

/// Where packages put an arbiter's socket on its host.
const SOCKET: &str = "/run/region-arbiter-node/arbiter.sock";
/// For an arbiter's certificate, where no cluster file says how long after its end it counts.
const GRACE: Duration = Duration::from_secs(7 * 24 * 3600);

/// Reasons of an arbiter that answers, and misses the others.
const NO_QUORUM: [&str; 2] = ["no-leader", "no-quorum"];

/// Where arbiters are found.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct Where {
    /// Arbiters to ask, host:port, separated by commas; unix:/PATH asks as root on its host.
    #[arg(long, env = "ARBITER_ENDPOINTS", value_delimiter = ',', value_name = "HOST:PORT")]
    pub(super) endpoints: Vec<String>,
    /// The cluster file; its arbiters are asked.
    #[arg(long, env = "ARBITER_CONFIG", value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    #[command(flatten)]
    pub(super) shows: Shows,
}

/// What is shown of who asks.
#[derive(clap::Args, Clone, Debug, Default)]
pub(super) struct Shows {
    /// Your certificate, as `arbiter pki issue` makes it.
    #[arg(long, env = "ARBITER_CERTIFICATE", value_name = "FILE")]
    certificate: Option<PathBuf>,
    /// Its private key [default: the certificate's name with .key].
    #[arg(long, env = "ARBITER_KEY", value_name = "FILE", requires = "certificate")]
    key: Option<PathBuf>,
    /// The authority of arbiters [default: ca.pem beside the certificate].
    #[arg(long, env = "ARBITER_CA", value_name = "FILE", requires = "certificate")]
    ca: Option<PathBuf>,
}

impl Shows {
    /// Read anew by each command.
    fn tls(&self, cluster: Option<&Cluster>) -> Result<Option<std::sync::Arc<Tls>>, Fail> {
        let Some(certificate) = &self.certificate else { return Ok(None) };
        let files = Files {
            ca: self.ca.clone().unwrap_or_else(|| certificate.with_file_name(tls::CA_FILE)),
            key: self.key.clone().unwrap_or_else(|| certificate.with_extension("key")),
            certificate: certificate.clone(),
        };
        let keys = cluster.and_then(|cluster| cluster.tls.as_ref());
        let grace = keys.map_or(GRACE, |keys| keys.expiry_grace);
        tls::install();
        match Tls::of_person(files, grace) {
            Ok(tls) => Ok(Some(tls)),
            Err(error) => Err(Fail::error(error.to_string(), "arbiter pki show FILE")),
        }
    }
}

/// Options of nearly every command.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct Common {
    #[command(flatten)]
    pub(super) at: Where,
    /// The failover group.
    #[arg(long, default_value = "default", env = "ARBITER_GROUP")]
    pub(super) group: String,
    /// Print JSON.
    #[arg(long)]
    pub(super) json: bool,
}

/// Who asks for a change, and why.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct Why {
    /// Why; recorded with the change.
    #[arg(long, default_value = "")]
    pub(super) reason: String,
    /// Who asks; recorded with the change.
    #[arg(long, env = "USER", default_value = "operator")]
    pub(super) by: String,
}

impl Why {
    /// A new request, with an id of its own.
    pub(super) fn asked(&self) -> Result<pb::Asked, Fail> {
        let mut bytes = [0u8; 16];
        getrandom::fill(&mut bytes)
            .map_err(|error| Fail::error(format!("no random numbers: {error}"), ""))?;
        let request_id: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(pb::Asked { request_id, reason: self.reason.clone(), by: self.by.clone() })
    }
}

/// One arbiter, dialled when first used.
#[derive(Clone)]
pub(super) struct Node {
    pub(super) endpoint: String,
    channel: Channel,
}

impl Node {
    fn new(endpoint: &str, dialer: &Dialer) -> Result<Self, Fail> {
        let dialled = Dialer::endpoint(endpoint).map_err(|_| {
            let what = format!("{endpoint:?} is not host:port");
            Fail::error(what, "write --endpoints as host:port,host:port")
        })?;
        let dialled = dialled.connect_timeout(CONNECT_LIMIT);
        let channel = dialer.lazy(endpoint, &dialled, None);
        Ok(Self { endpoint: endpoint.to_owned(), channel })
    }

    pub(super) fn query(&self) -> QueryClient<Channel> {
        QueryClient::new(self.channel.clone())
    }

    pub(super) fn admin(&self) -> AdminClient<Channel> {
        AdminClient::new(self.channel.clone())
    }
}

/// An arbiter's socket on this host: where the file says, else where packages put it.
fn socket(cluster: Option<&Cluster>) -> Option<String> {
    let arbiters = cluster.into_iter().flat_map(|cluster| cluster.arbiters.values());
    let named = arbiters.filter_map(|arbiter| arbiter.socket.as_deref());
    let mut known = named.chain([SOCKET]).filter(|path| Path::new(path).exists());
    known.next().map(|path| format!("unix:{path}"))
}

fn no_certificate() -> Fail {
    let what = "this cluster uses TLS, no certificate is given, and no arbiter's socket is here";
    Fail::error(what, "arbiter status --config FILE --certificate FILE")
}

/// What one arbiter said of the cluster.
pub(super) type Heard = (String, Result<pb::Status, String>);

/// The arbiters of one cluster.
pub(super) struct Arbiters {
    nodes: Vec<Node>,
    /// The one that answered last: asked first, so that a lost region costs its time limit once.
    good: AtomicUsize,
}

impl Arbiters {
    pub(super) fn find(at: &Where) -> Result<Self, Fail> {
        let mut endpoints = at.endpoints.clone();
        let mut cluster = None;
        if endpoints.is_empty()
            && let Some(file) = &at.config
        {
            let found = crate::policy_file::load(file)
                .map_err(|faults| Fail::error(faults.to_string(), "correct the cluster file"))?;
            endpoints = found.arbiters.values().map(|arbiter| arbiter.address.clone()).collect();
            cluster = Some(found);
        }
        let tls = at.shows.tls(cluster.as_ref())?;
        let needed = cluster.as_ref().is_some_and(|cluster| cluster.tls.is_some());
        if tls.is_none() && (needed || endpoints.is_empty()) {
            match socket(cluster.as_ref()) {
                Some(socket) => endpoints = vec![socket],
                None if needed => return Err(no_certificate()),
                None => {}
            }
        }
        if endpoints.is_empty() {
            let what = "no arbiters to ask: --endpoints, ARBITER_ENDPOINTS, --config and \
                        ARBITER_CONFIG are all unset";
            return Err(Fail::error(what, "arbiter status --config FILE"));
        }
        let dialer = Dialer::new(tls);
        let nodes = endpoints.iter().map(|endpoint| Node::new(endpoint.trim(), &dialer));
        Ok(Self { nodes: nodes.collect::<Result<_, _>>()?, good: AtomicUsize::new(0) })
    }

    /// Ask every arbiter; every answer and every failure, once one is confirmed by a quorum only
    /// those until then.
    pub(super) async fn statuses(&self, group: &str) -> Vec<Heard> {
        let mut asking: FuturesUnordered<_> = self
            .nodes
            .iter()
            .map(|node| async move {
                let request = pb::GetStatusRequest { group: group.to_owned() };
                let answer = limited(ASK_LIMIT, node.query().get_status(request)).await;
                (node.endpoint.clone(), answer.map_err(|status| failure(&status)))
            })
            .collect();
        let mut heard = Vec::new();
        while let Some(found) = asking.next().await {
            let confirmed = found.1.as_ref().is_ok_and(|status| !status.stale);
            let at = self.nodes.iter().position(|node| node.endpoint == found.0);
            heard.push(found);
            if confirmed {
                self.good.store(at.unwrap_or(0), Ordering::Relaxed);
                break;
            }
        }
        heard
    }

    /// The best view that is to be had; an error that names every endpoint's failure when none is.
    pub(super) async fn status(&self, group: &str) -> Result<pb::Status, Fail> {
        let heard = self.statuses(group).await;
        let failures = failures(&heard);
        let answers = heard.into_iter().filter_map(|(_, answer)| answer.ok());
        answers.min_by_key(|status| (status.stale, status.age_ms)).ok_or(failures)
    }

    /// What is known of `group`, for the epoch that a change expects.
    pub(super) async fn group(&self, group: &str) -> Result<pb::GroupStatus, Fail> {
        let status = self.status("").await?;
        if status.cluster_id.is_empty() {
            let next = "arbiter members initialize --config FILE";
            return Err(Fail::refused("not-initialized", "the cluster is not initialized", next));
        }
        let names: Vec<String> = status.groups.iter().map(|g| g.group.clone()).collect();
        status.groups.into_iter().find(|found| found.group == group).ok_or_else(|| {
            let why = format!("no group {group:?}; there is {}", names.join(", "));
            Fail::refused("unknown-group", why, "arbiter status")
        })
    }

    /// Ask a question of any arbiter.
    pub(super) async fn ask<T, F>(&self, call: impl Fn(Node) -> F) -> Result<T, Fail>
    where
        F: Future<Output = Result<tonic::Response<T>, Status>>,
    {
        self.round(ASK_LIMIT, &call).await?.map_err(|failed| unreachable(&failed))
    }

    /// Ask for a change. The caller's request id makes it safe to ask the next arbiter when it is
    /// not known what became of it.
    pub(super) async fn change<T, F>(&self, call: impl Fn(Node) -> F) -> Result<T, Fail>
    where
        F: Future<Output = Result<tonic::Response<T>, Status>>,
    {
        let mut failed = Vec::new();
        for round in 0..CHANGE_ROUNDS_MAX {
            if round > 0 {
                tokio::time::sleep(ROUND_PAUSE).await;
            }
            match self.round(CHANGE_LIMIT, &call).await? {
                Ok(answer) => return Ok(answer),
                Err(again) => failed = again,
            }
        }
        Err(unreachable(&failed))
    }

    /// One round: the first answer or refusal, else every endpoint's failure.
    async fn round<T, F>(
        &self,
        limit: Duration,
        call: &impl Fn(Node) -> F,
    ) -> Result<Result<T, Vec<(String, String)>>, Fail>
    where
        F: Future<Output = Result<tonic::Response<T>, Status>>,
    {
        let mut failed = Vec::new();
        let (count, first) = (self.nodes.len(), self.good.load(Ordering::Relaxed));
        for at in (0..count).map(|offset| (first + offset) % count) {
            let node = &self.nodes[at];
            match limited(limit, call(node.clone())).await {
                Ok(answer) => {
                    self.good.store(at, Ordering::Relaxed);
                    return Ok(Ok(answer));
                }
                Err(status) if try_another(&status) => {
                    failed.push((node.endpoint.clone(), failure(&status)));
                }
                Err(status) => return Err(status.into()),
            }
        }
        Ok(Err(failed))
    }
}

async fn limited<T>(
    limit: Duration,
    call: impl Future<Output = Result<tonic::Response<T>, Status>>,
) -> Result<T, Status> {
    match tokio::time::timeout(limit, call).await {
        Ok(answer) => answer.map(tonic::Response::into_inner),
        Err(_) => Err(Status::deadline_exceeded(format!("no answer within {limit:?}"))),
    }
}

/// One arbiter's failure in words: its own, or the innermost cause of the transport's.
fn failure(status: &Status) -> String {
    let reason = trailer(status, "arbiter-reason");
    let mut words = status.message().to_owned();
    let mut cause = std::error::Error::source(status);
    while let Some(inner) = cause {
        words = inner.to_string();
        cause = inner.source();
    }
    if words.contains("fatal alert") {
        words.push_str(": it does not take this certificate; look at it: arbiter pki show FILE");
    }
    if reason.is_empty() { words } else { format!("{reason}: {words}") }
}

/// Why nobody answered, endpoint by endpoint.
pub(super) fn failures(heard: &[Heard]) -> Fail {
    let failed = heard.iter().filter_map(|(endpoint, answer)| {
        answer.as_ref().err().map(|failure| (endpoint.clone(), failure.clone()))
    });
    let failed = failed.collect::<Vec<_>>();
    let unknown = failed.iter().find_map(|(_, why)| why.strip_prefix("unknown-group: "));
    match unknown {
        Some(why) => Fail::refused("unknown-group", why, "arbiter status"),
        None => unreachable(&failed),
    }
}

fn unreachable(failed: &[(String, String)]) -> Fail {
    let lines = failed.iter().map(|(endpoint, why)| format!("\n  {endpoint}: {why}"));
    let lines: String = lines.collect();
    // Somebody answered, and could not do it: then it is not the address that is wrong.
    let alone = |(_, why): &(String, String)| NO_QUORUM.iter().any(|word| why.starts_with(word));
    if failed.iter().any(alone) {
        let what = format!("no quorum: nothing is decided or changed now:{lines}");
        return Fail::error(what, "arbiter status");
    }
    let what = format!("no arbiter answered:{lines}");
    Fail::error(
        what,
        "start the arbiters, or name others with --endpoints; with TLS, give --certificate FILE",
    )
}
