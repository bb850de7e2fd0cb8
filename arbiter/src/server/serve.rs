//! Listening: the gRPC port and the operations port, within limits. Knows sockets; never what is
//! asked.

use super::admin::Admin;
use super::agent::Agent;
use super::incoming::incoming;
use super::limited::Limited;
use super::permit::Permitting;
use super::query::Query;
use super::vantage::Vantage;
use super::{Face, http};
use crate::raft::RaftHandle;
use arbiter_proto::{FILE_DESCRIPTOR_SET, v1 as pb};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinHandle;
use tonic::transport::Server;
use tonic::transport::server::Router;
use tower::layer::util::{Identity, Stack};

/// Largest message of agents and operators, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 4 << 20;
/// Largest of operators, in bytes: a backup is one.
const ADMIN_BYTES_MAX: usize = 16 << 20;
/// Calls under way at once on one connection.
const CALLS_PER_CONNECTION_MAX: usize = 256;
/// Streams at once on one connection; agents relayed by another arbiter share one.
const STREAMS_PER_CONNECTION_MAX: u32 = 4096;
/// Longest a call may take until its answer begins.
const CALL_LIMIT: Duration = Duration::from_secs(15);
/// How often an idle connection is tried, and how long it may take to answer.
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(2);
const KEEP_ALIVE_LIMIT: Duration = Duration::from_secs(2);
/// Bytes of headers accepted.
const HEADER_BYTES_MAX: u32 = 16 << 10;

/// A port that is served.
pub struct Listening {
    /// Where.
    pub address: SocketAddr,
    /// Ends when serving does.
    pub task: JoinHandle<()>,
}

/// Serve gRPC at `listener`, and to root at `socket`.
///
/// # Errors
/// The listener has no address, or the services cannot be described.
pub fn serve_grpc(
    face: Arc<Face>,
    raft: &RaftHandle,
    listener: TcpListener,
    socket: Option<UnixListener>,
) -> io::Result<Listening> {
    let address = listener.local_addr()?;
    let incoming = Box::pin(incoming(listener, socket, face.tls.clone()));
    let router = router(face, raft)?;
    let task = tokio::spawn(async move {
        if let Err(error) = router.serve_with_incoming(incoming).await {
            tracing::error!(%error, "the gRPC port is closed");
        }
    });
    Ok(Listening { address, task })
}

/// Every gRPC service, behind the table of who may call what and within limits; starts what they
/// report.
///
/// # Errors
/// The services cannot be described.
pub fn router(
    face: Arc<Face>,
    raft: &RaftHandle,
) -> io::Result<Router<Stack<Permitting, Identity>>> {
    let permitting = Permitting(face.clone());
    let (reporter, health) = tonic_health::server::health_reporter();
    tokio::spawn(tell_health(face.clone(), reporter));
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .map_err(io::Error::other)?;
    let query = pb::query_server::QueryServer::new(Query::new(face.clone()));
    let admin = pb::admin_server::AdminServer::new(Admin::new(face.clone()));
    let agent = pb::agent_server::AgentServer::new(Agent::new(face.clone()));
    let vantage = pb::vantage_server::VantageServer::new(Vantage::new(face));
    Ok(Server::builder()
        .timeout(CALL_LIMIT)
        .concurrency_limit_per_connection(CALLS_PER_CONNECTION_MAX)
        .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
        .http2_max_header_list_size(HEADER_BYTES_MAX)
        .http2_keepalive_interval(Some(KEEP_ALIVE_EVERY))
        .http2_keepalive_timeout(Some(KEEP_ALIVE_LIMIT))
        .layer(permitting)
        .add_service(health)
        .add_service(reflection)
        .add_service(query.max_decoding_message_size(MESSAGE_BYTES_MAX))
        .add_service(admin.max_decoding_message_size(ADMIN_BYTES_MAX))
        .add_service(agent.max_decoding_message_size(MESSAGE_BYTES_MAX))
        .add_service(vantage.max_decoding_message_size(MESSAGE_BYTES_MAX))
        .add_service(raft.service()))
}

/// Serving means that a leader is known here.
async fn tell_health(face: Arc<Face>, reporter: tonic_health::server::HealthReporter) {
    let mut route = face.leader.route();
    loop {
        let known = *route.borrow_and_update() != crate::leader::Route::Nowhere;
        let status = if known {
            tonic_health::ServingStatus::Serving
        } else {
            tonic_health::ServingStatus::NotServing
        };
        for service in ["", "arbiter.v1.Query", "arbiter.v1.Admin", "arbiter.v1.Agent"] {
            reporter.set_service_status(service, status).await;
        }
        if route.changed().await.is_err() {
            return;
        }
    }
}

/// Serve the operations port at `listener`.
///
/// # Errors
/// The listener has no address.
pub fn serve_http(face: Arc<Face>, listener: TcpListener) -> io::Result<Listening> {
    let address = listener.local_addr()?;
    let task = tokio::spawn(async move {
        if let Err(error) = axum::serve(Limited::new(listener), http::router(face)).await {
            tracing::error!(%error, "the operations port is closed");
        }
    });
    Ok(Listening { address, task })
}
