//! A port with few connections at once, none of which may keep its place for nothing. Knows bytes;
//! never what is asked.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Sleep, sleep};

/// Connections at once; more wait until one ends.
pub const CONNECTIONS_MAX: usize = 128;
/// How long a connection may last without a byte of an answer: a question that does not come, comes
/// drop by drop, or whose answer is not read.
pub const UNANSWERED_MAX: Duration = Duration::from_secs(10);
/// Pause after a failed accept, as when files run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// The listener.
pub(super) struct Limited {
    listener: TcpListener,
    places: Arc<Semaphore>,
}

impl Limited {
    pub fn new(listener: TcpListener) -> Self {
        Self { listener, places: Arc::new(Semaphore::new(CONNECTIONS_MAX)) }
    }
}

impl axum::serve::Listener for Limited {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        loop {
            let place = self.places.clone().acquire_owned().await.ok();
            match self.listener.accept().await {
                Ok((stream, address)) => {
                    let unanswered = Box::pin(sleep(UNANSWERED_MAX));
                    return (Connection { stream, unanswered, _place: place }, address);
                }
                Err(error) => {
                    tracing::warn!(%error, "the operations port does not accept");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// One connection, which ends by itself.
pub(super) struct Connection {
    stream: TcpStream,
    unanswered: Pin<Box<Sleep>>,
    /// Its place, free again when it ends.
    _place: Option<OwnedSemaphorePermit>,
}

impl Connection {
    /// What to say while nothing moves: to wait, or that it took too long.
    fn waiting<T>(&mut self, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        ready!(self.unanswered.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match Pin::new(&mut this.stream).poll_read(context, buffer) {
            Poll::Pending => this.waiting(context),
            done => done,
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        match Pin::new(&mut this.stream).poll_write(context, bytes) {
            Poll::Pending => this.waiting(context),
            done => {
                this.unanswered = Box::pin(sleep(UNANSWERED_MAX));
                done
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}
