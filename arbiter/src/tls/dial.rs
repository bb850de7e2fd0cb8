//! Connections to arbiters: over TLS, in plaintext, or through the socket on an arbiter's host.
//! Knows addresses and handshakes; never what is asked.

use super::reload::Tls;
use crate::dial;
use hyper_util::rt::TokioIo;
use nix::sys::socket::{setsockopt, sockopt};
use rustls::pki_types::ServerName;
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::codegen::Service;
use tonic::transport::{Channel, Endpoint, Error, Uri};

/// TCP's own sign of life, for what sits between the regions.
const KEEPALIVE_SECONDS: u32 = 10;
/// Names a socket instead of `host:port`.
const SOCKET: &str = "unix:";

/// How arbiters are dialled.
#[derive(Clone, Debug, Default)]
pub struct Dialer {
    tls: Option<Arc<Tls>>,
}

impl Dialer {
    /// With these certificates; without any, in plaintext.
    pub fn new(tls: Option<Arc<Tls>>) -> Self {
        Self { tls }
    }

    /// Where `address` is: `host:port`, or `unix:/path`.
    ///
    /// # Errors
    /// It is neither.
    pub fn endpoint(address: &str) -> Result<Endpoint, Error> {
        // What stands for a socket is never resolved: see `lazy`.
        let place = if address.starts_with(SOCKET) { "localhost" } else { address };
        // Never https: the connector below makes TLS, for it alone reads certificates anew.
        Endpoint::from_shared(format!("http://{place}"))
    }

    /// A connection to `address`, opened when it is used first, and again when it is lost. Where
    /// the name of the arbiter there is known, no other is taken for it.
    pub fn lazy(&self, address: &str, endpoint: &Endpoint, arbiter: Option<&str>) -> Channel {
        if let Some(path) = address.strip_prefix(SOCKET) {
            return endpoint.connect_with_connector_lazy(Socket(PathBuf::from(path)));
        }
        match self.secured(arbiter) {
            Some(secured) => endpoint.connect_with_connector_lazy(secured),
            None => dial::lazily(endpoint),
        }
    }

    /// A connection to `host:port`, now.
    ///
    /// # Errors
    /// There is none, or whoever is there is no arbiter of this cluster.
    pub async fn connect(&self, endpoint: &Endpoint) -> Result<Channel, Error> {
        match self.secured(None) {
            Some(secured) => endpoint.connect_with_connector(secured).await,
            None => endpoint.connect().await,
        }
    }

    fn secured(&self, arbiter: Option<&str>) -> Option<Secured> {
        let arbiter = arbiter.map(str::to_owned);
        self.tls.clone().map(|tls| Secured { tls, arbiter })
    }
}

/// Dials with the certificates of the moment.
#[derive(Clone)]
struct Secured {
    tls: Arc<Tls>,
    arbiter: Option<String>,
}

type Dialling<T> = Pin<Box<dyn Future<Output = io::Result<TokioIo<T>>> + Send>>;

impl Service<Uri> for Secured {
    type Response = TokioIo<Lasting>;
    type Error = io::Error;
    type Future = Dialling<Lasting>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let Self { tls, arbiter } = self.clone();
        Box::pin(async move {
            let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
            let stream = TcpStream::connect((host, uri.port_u16().unwrap_or(0))).await?;
            stream.set_nodelay(true)?;
            keep_alive(&stream)?;
            let replaced = Box::pin(tls.replaced());
            // No host name counts: the verifier reads the role.
            let name = ServerName::try_from("arbiter").map_err(io::Error::other)?;
            let stream = TlsConnector::from(tls.client(arbiter)).connect(name, stream).await?;
            Ok(TokioIo::new(Lasting { stream, replaced }))
        })
    }
}

/// Lasts as long as the certificates that it was made with: the other end always knows the newest,
/// and hears of an authority that is gone.
struct Lasting {
    stream: TlsStream<TcpStream>,
    replaced: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl AsyncRead for Lasting {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match Pin::new(&mut this.stream).poll_read(context, buffer) {
            Poll::Pending => {
                ready!(this.replaced.as_mut().poll(context));
                let text = "the certificate was replaced: dialled again with the new one";
                Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionAborted, text)))
            }
            done => done,
        }
    }
}

impl AsyncWrite for Lasting {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

fn keep_alive(stream: &TcpStream) -> io::Result<()> {
    setsockopt(stream, sockopt::KeepAlive, &true)?;
    Ok(setsockopt(stream, sockopt::TcpKeepIdle, &KEEPALIVE_SECONDS)?)
}

/// Dials the socket on this host.
#[derive(Clone)]
struct Socket(PathBuf);

impl Service<Uri> for Socket {
    type Response = TokioIo<UnixStream>;
    type Error = io::Error;
    type Future = Dialling<UnixStream>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let path = self.0.clone();
        Box::pin(async move { Ok(TokioIo::new(UnixStream::connect(path).await?)) })
    }
}
