//! Connections to the gRPC port: over TLS, in plaintext, or through the socket on this host. Knows
//! handshakes and who is at the other end; never what is asked.

use crate::tls::{Certificate, NoIdentity, Tls};
use futures::Stream;
use futures::stream::{FuturesUnordered, StreamExt, unfold};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

/// Longest a handshake may take.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(3);
/// Handshakes under way at once; more wait to be accepted.
const HANDSHAKES_MAX: usize = 1024;
/// Pause after a failed accept, as when files run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// From whom a connection is. Every call on it has this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Anybody.
    Plaintext,
    /// Whoever holds the key of this certificate, which an authority of ours signed.
    Certificate(Result<Certificate, NoIdentity>),
    /// This user of this host, as the kernel says.
    Socket {
        /// Its id.
        uid: u32,
    },
}

/// One connection.
pub struct Wire {
    stream: Box<dyn Bytes>,
    origin: Origin,
}

trait Bytes: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Bytes for T {}

type Handshake = Pin<Box<dyn Future<Output = Option<Wire>> + Send>>;

struct Doors {
    listener: TcpListener,
    socket: Option<UnixListener>,
    tls: Option<Arc<Tls>>,
    handshakes: FuturesUnordered<Handshake>,
}

/// Every connection that is to be served. Dropped, it closes both doors.
pub fn incoming(
    listener: TcpListener,
    socket: Option<UnixListener>,
    tls: Option<Arc<Tls>>,
) -> impl Stream<Item = io::Result<Wire>> {
    let doors = Doors { listener, socket, tls, handshakes: FuturesUnordered::new() };
    unfold(doors, |mut doors| async move {
        let wire = doors.next().await;
        Some((Ok(wire), doors))
    })
}

impl Doors {
    async fn next(&mut self) -> Wire {
        loop {
            let room = self.handshakes.len() < HANDSHAKES_MAX;
            tokio::select! {
                accepted = self.listener.accept(), if room => match accepted {
                    Ok((stream, _)) => if let Some(wire) = self.tcp(stream) {
                        return wire;
                    },
                    Err(error) => not_accepted(&error).await,
                },
                accepted = from(self.socket.as_ref()) => match accepted {
                    Ok(stream) => if let Some(wire) = local(stream) {
                        return wire;
                    },
                    Err(error) => not_accepted(&error).await,
                },
                Some(done) = self.handshakes.next() => if let Some(wire) = done {
                    return wire;
                },
            }
        }
    }

    /// At once where it is plaintext; else a handshake begins.
    fn tcp(&mut self, stream: TcpStream) -> Option<Wire> {
        // An answer that waits for a full packet waits for nothing.
        let _ = stream.set_nodelay(true);
        let Some(tls) = &self.tls else {
            return Some(Wire { stream: Box::new(stream), origin: Origin::Plaintext });
        };
        // With the certificates of this moment: they may have been read anew.
        let acceptor = TlsAcceptor::from(tls.server());
        self.handshakes.push(Box::pin(async move {
            let stream = match timeout(HANDSHAKE_LIMIT, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => stream,
                Ok(Err(error)) => {
                    tracing::debug!(%error, "a handshake failed");
                    return None;
                }
                Err(_) => return None,
            };
            let origin = Origin::Certificate(certificate(&stream));
            Some(Wire { stream: Box::new(stream), origin })
        }));
        None
    }
}

fn certificate(stream: &TlsStream<TcpStream>) -> Result<Certificate, NoIdentity> {
    let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
    Certificate::of_chain(chain)
}

async fn from(socket: Option<&UnixListener>) -> io::Result<UnixStream> {
    match socket {
        Some(socket) => Ok(socket.accept().await?.0),
        None => std::future::pending().await,
    }
}

fn local(stream: UnixStream) -> Option<Wire> {
    let uid = stream.peer_cred().ok()?.uid();
    Some(Wire { stream: Box::new(stream), origin: Origin::Socket { uid } })
}

async fn not_accepted(error: &io::Error) {
    tracing::warn!(%error, "the gRPC port does not accept");
    sleep(ACCEPT_PAUSE).await;
}

impl Connected for Wire {
    type ConnectInfo = Origin;

    fn connect_info(&self) -> Origin {
        self.origin.clone()
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}
