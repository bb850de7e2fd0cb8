//! Listening: the gRPC port and the operations port, within limits. Knows sockets; never what is
//! asked.

use super::admin::Admin;
use super::agent::Agent;
use super::connection::Connection;
use super::incoming::Doors;
use super::interceptor::Interceptor;
use super::limited::Limited;
use super::query::Query;
use super::vantage::Vantage;
use super::{Face, http};
use crate::raft::RaftHandle;
use arbiter_proto::{FILE_DESCRIPTOR_SET, v1 as pb};
use futures::StreamExt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, UnixListener};
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::Router;
use tower::layer::util::{Identity, Stack};

/// Largest message of agents, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 4 << 20;
/// Largest of people, in bytes: a backup is one. What is smaller is bounded before it is read.
const ADMIN_BYTES_MAX: usize = 16 << 20;
/// Calls under way at once on one connection.
const CALLS_PER_CONNECTION_MAX: usize = 256;
/// Streams at once on one connection; agents relayed by another arbiter share one.
const STREAMS_PER_CONNECTION_MAX: u32 = 4096;
/// The same of people, and what they may send before it is taken in, in bytes: of one stream and of
/// all on one connection.
const PEOPLE_STREAMS_MAX: u32 = 1024;
const PEOPLE_STREAM_WINDOW: u32 = 64 << 10;
const PEOPLE_WINDOW: u32 = 256 << 10;
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
    /// Ended when it is dropped.
    tasks: JoinSet<()>,
}

impl Listening {
    /// No longer.
    pub fn stop(&mut self) {
        self.tasks.abort_all();
    }
}

/// Serve gRPC at `listener`, and to root at `socket`. People are let in, and answered, on the
/// runtime `people`; agents and arbiters on this one.
///
/// # Errors
/// The listener has no address, or the services cannot be described.
pub fn serve_grpc(
    face: &Arc<Face>,
    raft: &RaftHandle,
    listener: TcpListener,
    socket: Option<UnixListener>,
    people: &Handle,
) -> io::Result<Listening> {
    let address = listener.local_addr()?;
    let (listener, socket) = {
        // Whoever knocks is heard there.
        let (listener, socket) = (listener.into_std()?, socket.map(UnixListener::into_std));
        let _there = people.enter();
        let socket = socket.transpose()?.map(UnixListener::from_std).transpose()?;
        (TcpListener::from_std(listener)?, socket)
    };
    let (doors, accepted) = Doors::new(listener, socket, face.tls.clone());
    let (processes, asking) = (accepted.processes, accepted.people);
    let routes = routes(face, raft)?;
    let interceptor = Interceptor { face: face.clone(), people: Some(people.clone()) };
    let mut of_processes = server().layer(interceptor);
    let mut of_people = server()
        .max_concurrent_streams(PEOPLE_STREAMS_MAX)
        .initial_stream_window_size(PEOPLE_STREAM_WINDOW)
        .initial_connection_window_size(PEOPLE_WINDOW)
        .layer(Interceptor { face: face.clone(), people: None });
    let of_processes = of_processes.add_routes(routes.clone());
    let of_people = of_people.add_routes(routes);
    let mut tasks = JoinSet::new();
    tasks.spawn_on(doors.run(), people);
    tasks.spawn(async move {
        // Their runtime is this one from here on.
        let settled = ReceiverStream::new(processes).map(Connection::settled);
        closed(of_processes.serve_with_incoming(settled).await);
    });
    tasks.spawn_on(
        async move {
            let connections = ReceiverStream::new(asking).map(Ok::<_, io::Error>);
            closed(of_people.serve_with_incoming(connections).await);
        },
        people,
    );
    Ok(Listening { address, tasks })
}

fn closed(served: Result<(), tonic::transport::Error>) {
    if let Err(error) = served {
        tracing::error!(%error, "the gRPC port is closed");
    }
}

/// Every gRPC service behind the interceptor, for a caller that brings its own connections.
///
/// # Errors
/// The services cannot be described.
pub fn router(
    face: &Arc<Face>,
    raft: &RaftHandle,
) -> io::Result<Router<Stack<Interceptor, Identity>>> {
    let routes = routes(face, raft)?;
    Ok(server().layer(Interceptor { face: face.clone(), people: None }).add_routes(routes))
}

/// What holds for every connection.
fn server() -> Server {
    Server::builder()
        .timeout(CALL_LIMIT)
        .concurrency_limit_per_connection(CALLS_PER_CONNECTION_MAX)
        .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
        .http2_max_header_list_size(HEADER_BYTES_MAX)
        .http2_keepalive_interval(Some(KEEP_ALIVE_EVERY))
        .http2_keepalive_timeout(Some(KEEP_ALIVE_LIMIT))
}

/// Every service; starts what they report.
fn routes(face: &Arc<Face>, raft: &RaftHandle) -> io::Result<Routes> {
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
    let vantage = pb::vantage_server::VantageServer::new(Vantage::new(face.clone()));
    Ok(Routes::new(health)
        .add_service(reflection)
        .add_service(query)
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

/// Serve the operations port at `listener`, on the runtime `people`.
///
/// # Errors
/// The listener has no address.
pub fn serve_http(
    face: Arc<Face>,
    listener: TcpListener,
    people: &Handle,
) -> io::Result<Listening> {
    let address = listener.local_addr()?;
    let listener = listener.into_std()?;
    let listener = {
        let _there = people.enter();
        TcpListener::from_std(listener)?
    };
    let mut tasks = JoinSet::new();
    tasks.spawn_on(
        async move {
            if let Err(error) = axum::serve(Limited::new(listener), http::router(face)).await {
                tracing::error!(%error, "the operations port is closed");
            }
        },
        people,
    );
    Ok(Listening { address, tasks })
}
