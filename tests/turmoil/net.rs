//! The simulated network as gRPC sees it. Knows sockets; never what is asked.

use arbiter::server::Origin;
use futures::Stream;
use hyper_util::rt::TokioIo;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::transport::server::Connected;
use tonic::transport::{Channel, Endpoint, Uri};
use turmoil::net::{TcpListener, TcpStream};

/// gRPC port of every arbiter.
pub const PORT: u16 = 7400;
/// What a client waits for a connection and for an answer.
const CONNECT_LIMIT: Duration = Duration::from_millis(500);
pub const CALL_LIMIT: Duration = Duration::from_secs(2);
/// How often a client tries an idle connection: one that lost a segment never works again.
const KEEP_ALIVE: Duration = Duration::from_millis(700);

/// Opens connections over the simulated network.
pub fn dial(endpoint: &Endpoint) -> Channel {
    endpoint.connect_with_connector_lazy(tower::service_fn(|to: Uri| async move {
        let host = to.host().unwrap_or_default().to_owned();
        let stream = TcpStream::connect((host.as_str(), to.port_u16().unwrap_or(PORT))).await?;
        Ok::<_, io::Error>(TokioIo::new(stream))
    }))
}

/// A client's connection to an arbiter.
pub fn client(arbiter: &str) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{arbiter}:{PORT}")).expect("an address");
    let endpoint = endpoint
        .connect_timeout(CONNECT_LIMIT)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .keep_alive_while_idle(true);
    dial(&endpoint)
}

/// A connection that was accepted.
pub struct Accepted(TcpStream);

/// The connections that come to `listener`.
pub fn incoming(listener: TcpListener) -> impl Stream<Item = io::Result<Accepted>> {
    futures::stream::unfold(listener, |listener| async move {
        let accepted = listener.accept().await.map(|(stream, _)| Accepted(stream));
        Some((accepted, listener))
    })
}

impl Connected for Accepted {
    type ConnectInfo = Origin;

    fn connect_info(&self) -> Origin {
        Origin::Plaintext
    }
}

impl AsyncRead for Accepted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Accepted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
