//! Connections to other arbiters, one cached for each address. Knows addresses and limits; never
//! what is asked.

use super::permit::{CALLER, assertion};
use crate::tls::{Dialer, caller};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

/// Says that a call was forwarded by an arbiter: it is never forwarded again.
pub const FORWARDED: &str = "arbiter-forwarded";
/// Connections kept; a cluster has three arbiters, so more means that addresses changed.
const CHANNELS_MAX: usize = 16;
/// Opening a connection.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);
/// How often an idle connection is tried, and how long it may take to answer.
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(2);
const KEEP_ALIVE_LIMIT: Duration = Duration::from_secs(2);

/// The connections.
pub struct Peers {
    dialer: Dialer,
    channels: Mutex<BTreeMap<String, Channel>>,
}

impl Peers {
    /// None yet.
    pub fn new(dialer: Dialer) -> Self {
        Self { dialer, channels: Mutex::default() }
    }

    /// A connection to `host:port`, opened when it is used first.
    ///
    /// # Errors
    /// `Unavailable` for what is no address.
    pub fn channel(&self, address: &str) -> Result<Channel, Status> {
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(channel) = channels.get(address) {
            return Ok(channel.clone());
        }
        let endpoint = Dialer::endpoint(address).map_err(|_| {
            Status::new(Code::Unavailable, format!("{address:?} is no address of an arbiter"))
        })?;
        let endpoint = endpoint
            .connect_timeout(CONNECT_LIMIT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(KEEP_ALIVE_EVERY)
            .keep_alive_timeout(KEEP_ALIVE_LIMIT)
            .keep_alive_while_idle(true);
        let channel = self.dialer.lazy(address, &endpoint, None);
        if channels.len() >= CHANNELS_MAX {
            channels.clear();
        }
        channels.insert(address.to_owned(), channel.clone());
        Ok(channel)
    }
}

/// `message`, marked as forwarded, with a time limit.
pub fn forwarded<T>(message: T, limit: Duration) -> Request<T> {
    let mut request = marked(message);
    request.set_timeout(limit);
    request
}

/// `message`, marked as forwarded, for whoever asks here: the other arbiter takes this one's word.
pub fn marked<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert(FORWARDED, MetadataValue::from_static("1"));
    let asserted = caller().as_ref().and_then(assertion);
    if let Some(asserted) = asserted.and_then(|asserted| MetadataValue::try_from(asserted).ok()) {
        request.metadata_mut().insert(CALLER, asserted);
    }
    request
}

/// Whether an arbiter forwarded it.
pub fn is_forwarded<T>(request: &Request<T>) -> bool {
    request.metadata().contains_key(FORWARDED)
}
