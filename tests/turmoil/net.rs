//! The simulated network as gRPC sees it. Knows sockets; never what is asked.

use arbiter_tests::accepted::Accepted;
use futures::Stream;
use hyper_util::rt::TokioIo;
use std::io;
use std::time::Duration;
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

/// The connections that come to `listener`.
pub fn incoming(listener: TcpListener) -> impl Stream<Item = io::Result<Accepted<TcpStream>>> {
    futures::stream::unfold(listener, |listener| async move {
        let accepted = listener.accept().await.map(|(stream, _)| Accepted(stream));
        Some((accepted, listener))
    })
}
