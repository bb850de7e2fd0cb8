//! One connection: who is at its other end, and on which runtime it lives. Knows bytes; never what
//! is asked.

use crate::tls::{Certificate, NoIdentity};
use std::io;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::OwnedSemaphorePermit;
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

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
pub struct Connection {
    stream: Box<dyn Bytes>,
    origin: Origin,
    /// Its place among those that are served, free again when it ends.
    _place: Option<OwnedSemaphorePermit>,
}

/// A stream that another runtime can take over.
pub trait Bytes: AsyncRead + AsyncWrite + Send + Unpin {
    /// Be told of by this runtime from now on.
    ///
    /// # Errors
    /// The kernel's.
    fn settle(&mut self) -> io::Result<()>;
}

impl Bytes for TcpStream {
    fn settle(&mut self) -> io::Result<()> {
        let same = self.as_fd().try_clone_to_owned()?;
        *self = Self::from_std(std::net::TcpStream::from(same))?;
        Ok(())
    }
}

impl Bytes for UnixStream {
    fn settle(&mut self) -> io::Result<()> {
        let same = self.as_fd().try_clone_to_owned()?;
        *self = Self::from_std(std::os::unix::net::UnixStream::from(same))?;
        Ok(())
    }
}

impl Bytes for TlsStream<TcpStream> {
    fn settle(&mut self) -> io::Result<()> {
        self.get_mut().0.settle()
    }
}

impl Connection {
    /// From `origin`.
    pub fn new(stream: impl Bytes + 'static, origin: Origin) -> Self {
        Self { stream: Box::new(stream), origin, _place: None }
    }

    /// At this place.
    pub fn at(self, place: OwnedSemaphorePermit) -> Self {
        Self { _place: Some(place), ..self }
    }

    /// From whom.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// On this runtime from now on.
    ///
    /// # Errors
    /// The kernel's.
    pub fn settled(mut self) -> io::Result<Self> {
        self.stream.settle()?;
        Ok(self)
    }
}

impl Connected for Connection {
    type ConnectInfo = Origin;

    fn connect_info(&self) -> Origin {
        self.origin.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
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
