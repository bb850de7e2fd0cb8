//! Connections to the gRPC port: over TLS, in plaintext, or through the socket on this host. People's
//! are kept apart from those of agents and arbiters. Knows handshakes and who is at the other end;
//! never what is asked.

use super::connection::{Connection, Origin};
use crate::clock;
use crate::tls::{Certificate, Role, Tls};
use arbiter_core::Instant;
use futures::stream::{FuturesUnordered, StreamExt};
use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Longest a handshake may take.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(3);
/// Handshakes under way at once; more wait to be accepted.
const HANDSHAKES_MAX: usize = 1024;
/// The same, with one address; more are closed, so that it leaves room for others.
const HANDSHAKES_OF_ONE_MAX: usize = 256;
/// Connections of people at once; more are closed.
pub const PEOPLE_MAX: usize = 2048;
/// Connections of agents and arbiters, and of whoever speaks plaintext; more are closed.
pub const PROCESSES_MAX: usize = 8192;
/// Connections on their way to be served.
const QUEUE_MAX: usize = 64;
/// Pause after a failed accept, as when files run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
/// Least time between two warnings about connections that were closed.
const WARN_EVERY: Duration = Duration::from_secs(1);

type Shaken = (IpAddr, Option<Connection>);
type Handshake = Pin<Box<dyn Future<Output = Shaken> + Send>>;

/// What is listened on.
pub struct Doors {
    listener: TcpListener,
    socket: Option<UnixListener>,
    tls: Option<Arc<Tls>>,
    handshakes: FuturesUnordered<Handshake>,
    shaking: BTreeMap<IpAddr, usize>,
    processes: Side,
    people: Side,
}

/// Where connections of one kind go.
struct Side {
    kind: &'static str,
    places: Arc<Semaphore>,
    queue: mpsc::Sender<Connection>,
    warned: Option<Instant>,
}

/// Connections that are to be served.
pub struct Accepted {
    /// Of agents and arbiters, and of whoever speaks plaintext.
    pub processes: mpsc::Receiver<Connection>,
    /// Of people.
    pub people: mpsc::Receiver<Connection>,
}

impl Doors {
    /// What [`Doors::run`] lets in arrives at the other half.
    pub fn new(
        listener: TcpListener,
        socket: Option<UnixListener>,
        tls: Option<Arc<Tls>>,
    ) -> (Self, Accepted) {
        let (processes, of_processes) = Side::new("agents and arbiters", PROCESSES_MAX);
        let (people, of_people) = Side::new("people", PEOPLE_MAX);
        let (handshakes, shaking) = (FuturesUnordered::new(), BTreeMap::new());
        let doors = Self { listener, socket, tls, handshakes, shaking, processes, people };
        (doors, Accepted { processes: of_processes, people: of_people })
    }

    /// Let in, for ever. Dropped, it closes both doors.
    pub async fn run(mut self) {
        loop {
            let room = self.handshakes.len() < HANDSHAKES_MAX;
            tokio::select! {
                accepted = self.listener.accept(), if room => match accepted {
                    Ok((stream, from)) => self.tcp(stream, from.ip()).await,
                    Err(error) => not_accepted(&error).await,
                },
                accepted = local(self.socket.as_ref()) => match accepted {
                    Ok(stream) => if let Ok(credentials) = stream.peer_cred() {
                        let origin = Origin::Socket { uid: credentials.uid() };
                        self.people.serve(Connection::new(stream, origin)).await;
                    },
                    Err(error) => not_accepted(&error).await,
                },
                Some((from, shaken)) = self.handshakes.next() => {
                    if let Some(count) = self.shaking.get_mut(&from) {
                        *count -= 1;
                        if *count == 0 {
                            self.shaking.remove(&from);
                        }
                    }
                    match shaken {
                        Some(connection) if is_process(connection.origin()) => self.processes.serve(connection).await,
                        Some(connection) => self.people.serve(connection).await,
                        None => {}
                    }
                },
            }
        }
    }

    /// Served at once where it is plaintext; else a handshake begins.
    async fn tcp(&mut self, stream: TcpStream, from: IpAddr) {
        // An answer that waits for a full packet waits for nothing.
        let _ = stream.set_nodelay(true);
        let Some(tls) = &self.tls else {
            return self.processes.serve(Connection::new(stream, Origin::Plaintext)).await;
        };
        let shaking = self.shaking.entry(from).or_default();
        if *shaking >= HANDSHAKES_OF_ONE_MAX {
            return;
        }
        *shaking += 1;
        // With the certificates of this moment: they may have been read anew.
        let acceptor = TlsAcceptor::from(tls.server());
        self.handshakes.push(Box::pin(async move {
            match timeout(HANDSHAKE_LIMIT, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => {
                    let origin = certificate(&stream);
                    (from, Some(Connection::new(stream, origin)))
                }
                Ok(Err(error)) => {
                    tracing::debug!(%error, "a handshake failed");
                    (from, None)
                }
                Err(_) => (from, None),
            }
        }));
    }
}

impl Side {
    fn new(kind: &'static str, most: usize) -> (Self, mpsc::Receiver<Connection>) {
        let (queue, served) = mpsc::channel(QUEUE_MAX);
        (Self { kind, places: Arc::new(Semaphore::new(most)), queue, warned: None }, served)
    }

    async fn serve(&mut self, connection: Connection) {
        let Ok(place) = self.places.clone().try_acquire_owned() else {
            let now = clock::now();
            if self.warned.is_none_or(|warned| now.since(warned) >= WARN_EVERY) {
                self.warned = Some(now);
                tracing::warn!(of = self.kind, "connections are closed: there are too many");
            }
            return;
        };
        // Nobody receives only when this arbiter stops.
        let _ = self.queue.send(connection.at(place)).await;
    }
}

fn certificate(stream: &TlsStream<TcpStream>) -> Origin {
    let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
    Origin::Certificate(Certificate::of_chain(chain))
}

/// Agents and arbiters: lives depend on what they ask.
fn is_process(origin: &Origin) -> bool {
    let Origin::Certificate(Ok(certificate)) = origin else { return false };
    certificate.identity.as_ref().is_ok_and(|identity| Role::is_process(identity.role))
}

async fn local(socket: Option<&UnixListener>) -> io::Result<UnixStream> {
    match socket {
        Some(socket) => Ok(socket.accept().await?.0),
        None => std::future::pending().await,
    }
}

async fn not_accepted(error: &io::Error) {
    tracing::warn!(%error, "the gRPC port does not accept");
    sleep(ACCEPT_PAUSE).await;
}
