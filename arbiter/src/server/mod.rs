//! The faces of an arbiter: gRPC for agents, operators and other arbiters; HTTP for load balancers
//! and metrics. They translate, relay and call; they never decide.
//!
//! # Layout
//! - [`refusal`]: statuses; `peers`: connections to other arbiters
//! - `incoming`, `connection`, `local`: connections
//! - `interceptor`: what stands before any service: `permit` and `table`, who may call what, and
//!   `admission`, how much at once; `pace`: how often an agent is heard
//! - `query`, `admin`, `agent`, `vantage`: a gRPC service each
//! - `status`: what `arbiter status` shows, as a pure function; `report`: what a plan did
//! - `audit`: what was refused on its way into the audit log, and the log itself
//! - `http`, `metrics`, `limited`: the operations port

mod active;
mod admin;
mod admission;
mod agent;
pub mod audit;
mod certificates;
mod connection;
mod drills;
pub(crate) mod http;
mod incoming;
mod interceptor;
mod limited;
mod local;
mod metrics;
mod pace;
mod peers;
mod permit;
mod query;
pub mod refusal;
mod relay;
mod report;
mod serve;
mod status;
mod table;
mod vantage;

pub use connection::Origin;
pub use incoming::{PEOPLE_MAX, PROCESSES_MAX};
pub use limited::{CONNECTIONS_MAX, UNANSWERED_MAX};
pub use local::{NAME as SOCKET_NAME, listen as listen_locally};
pub use metrics::Metrics;
pub use peers::Peers;
pub use permit::{Permit, Refused};
pub use serve::{Listening, router, serve_grpc, serve_http};
pub use table::{TABLE, roles};
pub use vantage::tell;

use crate::clock;
use crate::leader::{Leader, Route};
use crate::notify::Notifier;
use crate::raft::RaftHandle;
use crate::tls::{Dialer, Tls};
use admission::Admission;
use arbiter_core::{Instant, State};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tonic::transport::Channel;
use tonic::{Request, Status};

/// Time limit of a question that is forwarded.
const ASK_LIMIT: Duration = Duration::from_secs(3);
/// Time limit of a change that is forwarded.
const CHANGE_LIMIT: Duration = Duration::from_secs(10);

/// What every face needs.
pub struct Face {
    /// Consensus.
    pub raft: RaftHandle,
    /// The leader's part.
    pub leader: Arc<Leader>,
    /// Other arbiters, for what may not wait behind people's calls.
    pub peers: Peers,
    /// The same, for people's calls: connections of their own.
    pub forwards: Peers,
    /// This arbiter's certificates; none: plaintext.
    pub tls: Option<Arc<Tls>>,
    /// Who may call what.
    pub permit: Arc<Permit>,
    /// How much at once.
    admission: Arc<Admission>,
    /// This cluster's configured name, before State has one.
    pub cluster_id: String,
    /// The voters as the file of this arbiter has them.
    pub voters: Vec<crate::raft::VoterAt>,
    /// Plaintext off loopback.
    pub insecure: bool,
    /// Index of the last entry whose events were posted, as far as this arbiter knows.
    pub posted: Arc<AtomicU64>,
    /// Who is told of events.
    pub notifier: Notifier,
    /// Calls that were refused, on their way into the audit log.
    notes: audit::Notes,
    /// When a quorum last confirmed what this arbiter shows, in nanoseconds after boot.
    confirmed: AtomicU64,
}

/// Who answers a call.
enum Answerer {
    /// This arbiter, which leads.
    Here,
    /// The leader, over this connection.
    There(Channel),
}

impl Face {
    /// A face of the arbiter that `raft` is.
    pub fn new(
        raft: RaftHandle,
        leader: Arc<Leader>,
        cluster_id: String,
        voters: Vec<crate::raft::VoterAt>,
        insecure: bool,
        tls: Option<Arc<Tls>>,
        notifier: Notifier,
    ) -> Arc<Self> {
        Arc::new(Self {
            raft,
            leader,
            peers: Peers::new(Dialer::new(tls.clone())),
            forwards: Peers::new(Dialer::new(tls.clone())),
            admission: Arc::default(),
            permit: Arc::new(Permit::new(cluster_id.clone(), tls.clone())),
            tls,
            cluster_id,
            voters,
            insecure,
            posted: notifier.posted(),
            notifier,
            notes: audit::Notes::default(),
            confirmed: AtomicU64::new(0),
        })
    }

    /// Who answers `request`: a forwarded one only the leader itself.
    fn answerer<T>(&self, request: &Request<T>) -> Result<Answerer, Status> {
        let route = self.leader.route().borrow().clone();
        match route {
            Route::Here(_) => Ok(Answerer::Here),
            _ if peers::is_forwarded(request) => Err(refusal::not_leader()),
            Route::To { address, .. } => Ok(Answerer::There(self.forwards.channel(&address)?)),
            Route::Nowhere => Err(refusal::no_leader()),
        }
    }

    /// A quorum round: what State says after it was so at some instant after the call.
    async fn confirm(&self) -> Result<(), Status> {
        match self.raft.read_index().await {
            Ok(_) => {
                self.confirmed_now();
                Ok(())
            }
            Err(error) => Err(refusal::unread(&error)),
        }
    }

    /// What is shown here was confirmed by a quorum just now.
    fn confirmed_now(&self) {
        self.confirmed.fetch_max(clock::now().0, Ordering::Relaxed);
    }

    /// How long ago it was.
    fn confirmed_age(&self) -> Duration {
        clock::now().since(Instant(self.confirmed.load(Ordering::Relaxed)))
    }

    fn state(&self) -> Arc<State> {
        self.raft.state().get()
    }
}

/// The group asked for; the empty name means `default`.
fn group_name(asked: &str) -> String {
    if asked.is_empty() { "default".to_owned() } else { asked.to_owned() }
}
