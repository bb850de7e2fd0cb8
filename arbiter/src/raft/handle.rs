//! Raft as the rest of the arbiter sees it. Knows proposals, reads and leadership; never what a
//! command means.

use super::channel::Channels;
use super::identity::Identity;
use super::leadership::{self, Leadership};
use super::machine::{SnapshotStore, StateMachine};
use super::network::Network;
use super::reads::{Confirmed, ReadError, Reads, who_does};
use super::service::{Heard, RaftService};
use super::state::{Applied, StateCell};
use super::timing::{self, VoterAt, WindowsDoNotFit, election_windows};
use super::types::{Command, Raft, TypeConfig};
use crate::tls::{Dialer, Tls};
use arbiter_core::{Proposal, Rejected, Timing};
use arbiter_proto::v1::raft_server::RaftServer;
use openraft::errors::ClientWriteError;
use openraft::impls::ProgressResponder;
use openraft::storage::RaftLogStorage;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use thiserror::Error;
use tokio::sync::{broadcast, watch};

/// Largest proposal accepted: one entry must fit an AppendEntries with room to spare.
pub const PROPOSAL_BYTES_MAX: usize = 4 << 20;

/// How to start.
#[derive(Clone, Debug)]
pub struct RaftOptions {
    /// The cluster's configured name; every message carries it.
    pub cluster_id: String,
    /// This arbiter's configured name.
    pub name: String,
    /// Its Raft node id; never used again for another disk.
    pub node_id: u64,
    /// Where everything durable is.
    pub data_dir: PathBuf,
    /// Timers of the Raft group: the same on every voter.
    pub timing: Timing,
    /// The configured voters, this one too: the same on every voter.
    pub voters: Vec<VoterAt>,
    /// For connections to peers; none: plaintext.
    pub tls: Option<Arc<Tls>>,
}

/// Why Raft does not start. Nothing here helps but what the text says.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The store.
    #[cfg(feature = "rocksdb")]
    #[error(transparent)]
    Store(#[from] super::store::StoreError),
    /// The timers.
    #[error(transparent)]
    Windows(#[from] WindowsDoNotFit),
    /// This node is not among the voters.
    #[error("node {0} is not among the voters of the configuration")]
    NotAVoter(u64),
    /// openraft refuses the timers.
    #[error("timers: {0}")]
    Config(String),
    /// openraft cannot start from what is stored.
    #[error("cannot start from what is stored: {0}")]
    Start(String),
}

/// Why a proposal was not applied, by what the caller does next.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ProposeError {
    /// Ask the leader, where it is known by name and address.
    #[error("this arbiter does not lead{}", who_does(.leader.as_ref().map(|(name, _)| name)))]
    NotLeader {
        /// Name and address.
        leader: Option<(String, String)>,
    },
    /// It may or may not be applied: ask again with the same request id, or look at State.
    #[error("not known whether it was done: {0}")]
    Unknown(String),
    /// Never applied: make it smaller.
    #[error("a command of {bytes} bytes is over the limit of {PROPOSAL_BYTES_MAX}")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// This node is stopping.
    #[error("this arbiter is stopping: {0}")]
    Fatal(String),
}

/// A running Raft node; clones are the same node.
#[derive(Clone)]
pub struct RaftHandle {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) options: RaftOptions,
    pub(super) identity: Arc<Identity>,
    pub(super) raft: Raft,
    pub(super) channels: Arc<Channels>,
    pub(super) heard: Arc<Heard>,
    pub(super) leadership: watch::Receiver<Leadership>,
    cell: StateCell,
    reads: Reads,
    closing: Arc<AtomicBool>,
    /// Members change one at a time.
    pub(super) changing: tokio::sync::Mutex<()>,
}

impl RaftHandle {
    /// Opens what is stored in `options.data_dir`, or makes a new store there, verifies it, and
    /// starts. A new node waits for [`Self::initialize`] or for a leader that knows it.
    ///
    /// # Errors
    /// [`OpenError`].
    #[cfg(feature = "rocksdb")]
    pub async fn open(options: RaftOptions) -> Result<Self, OpenError> {
        let (dir, cluster, node) =
            (options.data_dir.clone(), options.cluster_id.clone(), options.node_id);
        // Reads the whole log: seconds, perhaps, and the runtime has other things to do.
        let opened = tokio::task::spawn_blocking(move || super::store::open(&dir, &cluster, node))
            .await
            .map_err(|error| OpenError::Start(error.to_string()))??;
        Self::start(options, opened.identity, opened.log, opened.snapshots).await
    }

    /// Starts on a store that is open: the seam for a store of another make.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn start(
        options: RaftOptions,
        identity: Identity,
        log: impl RaftLogStorage<TypeConfig>,
        snapshots: Arc<dyn SnapshotStore>,
    ) -> Result<Self, OpenError> {
        let windows = election_windows(&options.timing, &options.voters)?;
        let window = *windows.get(&options.node_id).ok_or(OpenError::NotAVoter(options.node_id))?;
        let config = timing::config(&options.cluster_id, &options.timing, window)
            .validate()
            .map_err(|error| OpenError::Config(error.to_string()))?;
        let identity = Arc::new(identity);
        let channels = Arc::new(Channels::new(options.timing, Dialer::new(options.tls.clone())));
        let heard = Arc::new(Heard::default());
        let network = Network::new(identity.clone(), channels.clone(), heard.clone());
        let cell = StateCell::new();
        let machine = StateMachine::new(cell.clone(), snapshots);
        let raft = Raft::new(options.node_id, Arc::new(config), network, log, machine)
            .await
            .map_err(|error| OpenError::Start(error.to_string()))?;
        let closing = Arc::new(AtomicBool::new(false));
        let leadership = leadership::follow(&raft, on_stop(closing.clone()));
        let reads = Reads::start(raft.clone(), options.timing.election_max);
        let inner = Inner {
            options,
            identity,
            raft,
            channels,
            heard,
            leadership,
            cell,
            reads,
            closing,
            changing: tokio::sync::Mutex::default(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The replicated State as applied here.
    pub fn state(&self) -> &StateCell {
        &self.inner.cell
    }

    /// Each entry applied here from now on.
    pub fn events(&self) -> broadcast::Receiver<Applied> {
        self.inner.cell.subscribe()
    }

    /// Who leads, now and at each change.
    pub fn leader(&self) -> watch::Receiver<Leadership> {
        self.inner.leadership.clone()
    }

    /// This arbiter's configured name.
    pub fn name(&self) -> &str {
        &self.inner.options.name
    }

    /// The timers it was started with.
    pub fn timing(&self) -> &Timing {
        &self.inner.options.timing
    }

    /// Whose disk this is.
    pub fn identity(&self) -> &Identity {
        &self.inner.identity
    }

    /// The gRPC service for peers, to be mounted where they look for it.
    pub fn service(&self) -> RaftServer<RaftService> {
        let service = RaftService::new(
            self.inner.raft.clone(),
            self.inner.identity.clone(),
            self.inner.options.name.clone(),
            self.inner.heard.clone(),
            self.inner.options.voters.clone(),
        );
        RaftServer::new(service)
            .max_decoding_message_size(super::channel::MESSAGE_BYTES_MAX)
            .max_encoding_message_size(super::channel::MESSAGE_BYTES_MAX)
    }

    /// Proposes; answers once it is applied here: the index at which it was done, or why it was
    /// refused.
    ///
    /// # Errors
    /// [`ProposeError`].
    pub async fn propose(
        &self,
        proposal: &Proposal,
    ) -> Result<Result<u64, Rejected>, ProposeError> {
        self.write(proposal, None).await
    }

    /// The same, but only while this node leads in `term`: what was decided in one term is never
    /// proposed in another.
    ///
    /// # Errors
    /// [`ProposeError`].
    pub async fn propose_in(
        &self,
        term: u64,
        proposal: &Proposal,
    ) -> Result<Result<u64, Rejected>, ProposeError> {
        self.write(proposal, Some(term)).await
    }

    async fn write(
        &self,
        proposal: &Proposal,
        term: Option<u64>,
    ) -> Result<Result<u64, Rejected>, ProposeError> {
        let command = Command::encode(proposal);
        let bytes = command.0.len();
        if bytes > PROPOSAL_BYTES_MAX {
            return Err(ProposeError::TooLarge { bytes });
        }
        match tokio::time::timeout(self.write_limit(), self.submit(command, term)).await {
            Err(_) => Err(ProposeError::Unknown("no quorum answered in time".to_owned())),
            Ok(result) => result,
        }
    }

    async fn submit(
        &self,
        command: Command,
        term: Option<u64>,
    ) -> Result<Result<u64, Rejected>, ProposeError> {
        let (responder, done) = ProgressResponder::complete_only();
        let mut write = self.inner.raft.write(command).responder(responder);
        if let Some(term) = term {
            write = write.with_leader(term);
        }
        write.await.map_err(|fatal| ProposeError::Fatal(fatal.to_string()))?;
        match done.await {
            Ok(Ok(response)) => Ok(response.data),
            Ok(Err(error)) => Err(propose_error(error)),
            Err(_) => Err(ProposeError::Unknown("leadership changed meanwhile".to_owned())),
        }
    }

    /// Beyond an election nothing is gained by waiting: the caller must look again.
    fn write_limit(&self) -> Duration {
        2 * self.inner.options.timing.election_max
    }

    /// Confirms, by a quorum round that begins after this call, that this node leads, and that
    /// State holds everything committed before.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn read_index(&self) -> Result<Confirmed, ReadError> {
        self.inner.reads.confirm().await
    }

    /// How many quorum rounds [`Self::read_index`] took so far; for metrics.
    pub fn read_rounds(&self) -> u64 {
        self.inner.reads.rounds()
    }

    /// From now on its end is meant: where it is dropped together with its runtime.
    pub fn let_go(&self) {
        self.inner.closing.store(true, Ordering::SeqCst);
    }

    /// Stops, in order; what was acknowledged is durable already.
    pub async fn shutdown(&self) {
        self.let_go();
        if let Err(error) = self.inner.raft.shutdown().await {
            tracing::warn!("raft did not stop cleanly: {error}");
        }
    }
}

fn propose_error(error: ClientWriteError<TypeConfig>) -> ProposeError {
    match error {
        ClientWriteError::ForwardToLeader(to) => {
            let leader = to.leader_node.map(|node| (node.name, node.address));
            ProposeError::NotLeader { leader }
        }
        error => ProposeError::Unknown(error.to_string()),
    }
}

/// A Raft node that stopped by itself must take its process along: it may not go on as if it
/// still had a say, and a supervisor can start it anew.
fn on_stop(closing: Arc<AtomicBool>) -> impl FnOnce(String) + Send + 'static {
    move |why| {
        if !closing.load(Ordering::SeqCst) {
            tracing::error!("stopping: {why}");
            eprintln!("arbiter: stopping: {why}");
            std::process::abort();
        }
    }
}
