//! Clients of one arbiter, by the name on their certificate. Knows TLS and raw calls; never what is
//! in a message.

use crate::raw::Raw;
use arbiter::lab::cluster::Lab;
use arbiter::tls::{self, Dialer, Files, Tls};
use std::io;
use std::path::PathBuf;
use std::time::Duration;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

/// Longest wait for a connection.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// Where certificates and the arbiter are.
#[derive(Clone, Debug)]
pub struct Clients {
    /// `host:port`.
    pub address: String,
    /// Name of the cluster.
    pub cluster: String,
    dir: PathBuf,
}

impl Clients {
    /// Of the arbiter with this number.
    pub fn of(lab: &Lab, index: usize) -> Self {
        tls::install();
        let cluster = lab.options.prefix.clone();
        Self { address: lab.endpoints()[index].clone(), cluster, dir: lab.options.dir.join("tls") }
    }

    /// A connection that shows the certificate of `name`.
    ///
    /// # Errors
    /// Without the certificate.
    pub fn channel(&self, name: &str) -> io::Result<Channel> {
        self.shaped(name, |endpoint| endpoint)
    }

    /// The same, with other settings.
    ///
    /// # Errors
    /// Without the certificate.
    pub fn shaped(&self, name: &str, shape: impl Fn(Endpoint) -> Endpoint) -> io::Result<Channel> {
        let files = Files::within(&self.dir, name);
        let tls = Tls::of_person(files, Duration::ZERO).map_err(io::Error::other)?;
        let endpoint = Dialer::endpoint(&self.address).map_err(io::Error::other)?;
        let endpoint = shape(endpoint.connect_timeout(CONNECT_LIMIT).tcp_nodelay(true));
        Ok(Dialer::new(Some(tls)).lazy(&self.address, &endpoint, None))
    }
}

/// One call with any bytes as its message.
///
/// # Errors
/// The refusal.
pub async fn call(channel: &Channel, path: &'static str, message: Vec<u8>) -> Result<(), Status> {
    let mut client = Grpc::new(channel.clone());
    client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let path = PathAndQuery::from_static(path);
    client.unary(Request::new(message.into()), path, Raw).await.map(drop)
}
