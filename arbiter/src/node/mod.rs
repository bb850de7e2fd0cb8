//! A node: an arbiter put together from its file. Consensus, the leader's loop, the faces, what it
//! looks at, and the webhook. Knows how the parts are joined; none of what they do.

mod audit_out;
mod bulkhead;
mod people;

use crate::leader::Leader;
use crate::notify::{Notifier, Receivers};
use crate::policy_file;
use crate::probes::{Lookout, Round};
use crate::raft::{self, RaftHandle, RaftOptions};
use crate::server::{self, Face, Listening};
use crate::tls::{self, Files, Role, Tls, TlsError};
use arbiter_core::ClusterSpec;
use bulkhead::Bulkhead;
use cluster_config::Cluster;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use thiserror::Error;
use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// Threads of a node that run tasks: its work is small and passes through many of them, and waking
/// another thread for each costs a commit more than it gains. What waits for a disk is elsewhere.
const WORKERS: usize = 1;
/// Open files below which not every connection has one.
const FILES_MIN: u64 = (server::PEOPLE_MAX + server::PROCESSES_MAX + 1024) as u64;
/// Resolving the address to listen on.
const RESOLVE_LIMIT: Duration = Duration::from_secs(5);
/// How often everything is looked at where no group says otherwise, and at most.
const PROBE_EVERY: Duration = Duration::from_secs(1);
const PROBE_EVERY_MIN: Duration = Duration::from_millis(200);

/// Why a node does not start. The text says what to do.
#[derive(Debug, Error)]
pub enum NodeError {
    /// The file names no such arbiter.
    #[error("the cluster file has no arbiter {name:?}; it has {known}")]
    NoSuchArbiter {
        /// The name asked for.
        name: String,
        /// The names there are.
        known: String,
    },
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {why}; free it, or correct the cluster file")]
    Listen {
        /// Which.
        address: String,
        /// Why.
        why: String,
    },
    /// Hosts would talk in plaintext without leave.
    #[error(
        "{0} leads to an address beyond loopback, and there is no TLS; add a table [tls], or set \
         insecure_plaintext = true in [cluster] if that is meant"
    )]
    Plaintext(String),
    /// Its certificates.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The data directory.
    #[error("data directory {dir}: {why}; make it writable")]
    DataDir {
        /// Which.
        dir: String,
        /// Why.
        why: String,
    },
    /// What is to join has been somewhere.
    #[error(
        "data directory {0} is not empty: an arbiter joins with nothing on its disk. Give it an \
         empty --data-dir and a node id that none ever had, or leave --join out to go on as who it is"
    )]
    NotEmpty(String),
    /// The process.
    #[error("cannot start: {0}")]
    Runtime(String),
    /// Consensus.
    #[error(transparent)]
    Raft(#[from] raft::OpenError),
}

/// What to start.
pub struct NodeOptions {
    /// The cluster file.
    pub cluster: Cluster,
    /// This arbiter's name in it.
    pub name: String,
    /// Where everything durable is.
    pub data_dir: PathBuf,
}

/// A running node; stops when dropped.
pub struct Node {
    /// Consensus.
    pub raft: RaftHandle,
    /// The leader's part.
    pub leader: Arc<Leader>,
    /// Where gRPC is served.
    pub grpc: SocketAddr,
    /// Where the operations port is.
    pub http: Option<SocketAddr>,
    face: Arc<Face>,
    tasks: JoinSet<()>,
    listening: Vec<Listening>,
    /// Where people are answered. Last: what runs there ends before it does.
    _people: Bulkhead,
}

/// What a start that joins leaves in its data directory, so that it may be started again.
const JOINS: &str = "joins";

/// Refuses the disk of an arbiter that was a member anywhere.
///
/// # Errors
/// [`NodeError::NotEmpty`], or that the directory cannot be used.
pub fn joins(data_dir: &std::path::Path, name: &str) -> Result<(), NodeError> {
    let failed = |error: std::io::Error| NodeError::DataDir {
        dir: data_dir.display().to_string(),
        why: error.to_string(),
    };
    std::fs::create_dir_all(data_dir).map_err(failed)?;
    let mark = data_dir.join(JOINS);
    if mark.exists() {
        return Ok(());
    }
    if std::fs::read_dir(data_dir).map_err(failed)?.next().is_some() {
        return Err(NodeError::NotEmpty(data_dir.display().to_string()));
    }
    std::fs::write(mark, name).map_err(failed)
}

/// Start a node.
///
/// # Errors
/// [`NodeError`].
#[cfg(feature = "rocksdb")]
pub async fn start(options: NodeOptions) -> Result<Node, NodeError> {
    tls::install();
    let NodeOptions { cluster, name, data_dir } = options;
    let arbiter = cluster.arbiters.get(&name).ok_or_else(|| NodeError::NoSuchArbiter {
        name: name.clone(),
        known: cluster.arbiters.keys().cloned().collect::<Vec<_>>().join(", "),
    })?;
    let listen = arbiter.listen.as_ref().unwrap_or(&arbiter.address);
    let (grpc, insecure) = plaintext(&cluster, listen).await?;
    let tls = certificates(&cluster, &name)?;
    // Ports first: what cannot be listened on is said before anything is opened.
    let grpc = bind(grpc).await?;
    let http = match &arbiter.http {
        Some(address) => Some(bind(resolve(address).await?).await?),
        None => None,
    };
    std::fs::create_dir_all(&data_dir).map_err(|error| NodeError::DataDir {
        dir: data_dir.display().to_string(),
        why: error.to_string(),
    })?;
    let voters = raft::voters(&policy_file::to_spec(&cluster));
    let raft = RaftHandle::open(RaftOptions {
        cluster_id: cluster.id.clone(),
        name: name.clone(),
        node_id: arbiter.node_id,
        data_dir: data_dir.clone(),
        timing: policy_file::timing(&cluster.timing),
        voters: voters.clone(),
        tls: tls.clone(),
    })
    .await?;
    let socket = socket(arbiter.socket.as_deref(), &data_dir)?;
    let leader = Leader::new(raft.clone());
    let posted = Arc::new(AtomicU64::new(people::kept(&data_dir)));
    let receivers =
        Receivers { webhook: cluster.webhook.clone(), alertmanager: cluster.alertmanager.clone() };
    let notifier = Notifier::start(receivers, &cluster.id, posted.clone());
    let face = Face::new(
        raft.clone(),
        leader.clone(),
        cluster.id.clone(),
        voters,
        insecure,
        tls.clone(),
        notifier,
    );
    let mut tasks = JoinSet::new();
    tasks.spawn(leader.clone().run());
    if let Some(tls) = tls {
        tasks.spawn(tls.watch());
    }
    tasks.spawn(look_around(face.clone()));
    tasks.spawn(people::tell(face.clone()));
    tasks.spawn(people::warn(face.clone()));
    tasks.spawn(people::keep(posted, data_dir.clone()));
    tasks.spawn(server::audit::carry(face.clone()));
    tasks.spawn(audit_out::copy(raft.clone(), name.clone(), cluster.audit.clone(), data_dir));
    let failed = |error: std::io::Error| NodeError::Runtime(error.to_string());
    let people = Bulkhead::new("people").map_err(failed)?;
    let served = server::serve_grpc(&face, &raft, grpc, socket, people.handle()).map_err(failed)?;
    let grpc = served.address;
    let mut listening = vec![served];
    if let Some(listener) = http {
        let served = server::serve_http(face.clone(), listener, people.handle()).map_err(failed)?;
        listening.push(served);
    }
    let http = listening.get(1).map(|served| served.address);
    tracing::info!(%name, %grpc, "an arbiter runs");
    Ok(Node { raft, leader, grpc, http, face, tasks, listening, _people: people })
}

/// Run a node until the process is asked to stop.
///
/// # Errors
/// [`NodeError`].
#[cfg(feature = "rocksdb")]
pub fn run(options: NodeOptions) -> Result<(), NodeError> {
    crate::telemetry::init();
    more_files();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .enable_all()
        .build()
        .map_err(|error| NodeError::Runtime(error.to_string()))?;
    runtime.block_on(async {
        let node = start(options).await?;
        asked_to_stop().await;
        tracing::info!("stopping");
        node.stop().await;
        Ok(())
    })
}

/// As many open files as this process may have: each connection is one, and the usual limit of 1,024
/// is of the time of `select`.
#[cfg(feature = "rocksdb")]
fn more_files() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, most)| setrlimit(Resource::RLIMIT_NOFILE, most, most).map(|()| most));
    match raised {
        Ok(files) if files < FILES_MIN => {
            tracing::warn!(files, "few files may be open: raise the hard limit (LimitNOFILE)");
        }
        Ok(_) => {}
        Err(error) => tracing::warn!(%error, "the limit of open files stays as it is"),
    }
}

async fn asked_to_stop() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut term), Ok(mut int)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        // Without handlers the signals end the process, which loses nothing either.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
}

impl Node {
    /// What its services stand on; for those who stand in front of them.
    pub fn face(&self) -> &Face {
        &self.face
    }

    /// Stop in order: first the ports, then consensus.
    pub async fn stop(mut self) {
        self.listening.iter_mut().for_each(Listening::stop);
        self.tasks.shutdown().await;
        self.raft.shutdown().await;
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.raft.let_go();
    }
}

/// Those of an arbiter; none where everything is plaintext.
fn certificates(cluster: &Cluster, name: &str) -> Result<Option<Arc<Tls>>, TlsError> {
    let Some(keys) = &cluster.tls else { return Ok(None) };
    let files = Files::of(keys, name);
    Tls::open(files, &cluster.id, Role::Arbiter, name, keys.expiry_grace).map(Some)
}

/// Where root asks on this host. One that was not asked for is not worth a start that fails.
fn socket(named: Option<&str>, data_dir: &Path) -> Result<Option<UnixListener>, NodeError> {
    let default = data_dir.join(server::SOCKET_NAME);
    let path = named.map_or(default, PathBuf::from);
    match server::listen_locally(&path) {
        Ok(listener) => Ok(Some(listener)),
        Err(error) if named.is_none() => {
            tracing::warn!(path = %path.display(), %error, "no socket for root on this host");
            Ok(None)
        }
        Err(error) => {
            Err(NodeError::Listen { address: path.display().to_string(), why: error.to_string() })
        }
    }
}

async fn bind(address: SocketAddr) -> Result<TcpListener, NodeError> {
    TcpListener::bind(address)
        .await
        .map_err(|error| NodeError::Listen { address: address.to_string(), why: error.to_string() })
}

/// The address to listen on, and whether hosts talk in plaintext over it.
async fn plaintext(cluster: &Cluster, listen: &str) -> Result<(SocketAddr, bool), NodeError> {
    let address = resolve(listen).await?;
    let off_loopback = !address.ip().is_loopback();
    let plaintext = off_loopback && cluster.tls.is_none();
    if plaintext && !cluster.insecure_plaintext {
        return Err(NodeError::Plaintext(listen.to_owned()));
    }
    Ok((address, plaintext))
}

async fn resolve(address: &str) -> Result<SocketAddr, NodeError> {
    let failed = |why: String| NodeError::Listen { address: address.to_owned(), why };
    match timeout(RESOLVE_LIMIT, tokio::net::lookup_host(address)).await {
        Ok(Ok(mut found)) => found.next().ok_or_else(|| failed("it has no address".to_owned())),
        Ok(Err(error)) => Err(failed(error.to_string())),
        Err(_) => Err(failed("its name is not resolved".to_owned())),
    }
}

/// Look at everything that policy names, from here, and tell the leader of each as it is found, for
/// ever. Where nothing is found it is told that too: it hears that this arbiter lives.
async fn look_around(face: Arc<Face>) {
    let mut lookout = Lookout::default();
    let mut told = false;
    let mut due = pin!(sleep(Duration::ZERO));
    loop {
        tokio::select! {
            () = &mut due => {
                let state = face.raft.state().get();
                lookout.begin(&state.spec);
                due.set(sleep(probe_every(&state.spec)));
                if !std::mem::take(&mut told) {
                    server::tell(&face, Round::default()).await;
                }
            }
            round = lookout.found() => {
                server::tell(&face, round).await;
                told = true;
            }
        }
    }
}

/// As often as the quickest group renews.
fn probe_every(spec: &ClusterSpec) -> Duration {
    let renewals = spec.groups.values().map(|group| group.policy.timing.renewal);
    renewals.min().unwrap_or(PROBE_EVERY).max(PROBE_EVERY_MIN)
}
