//! One connection per peer and lane, made lazily and kept. Knows addresses and deadlines; never a
//! message.

use super::types::Member;
use crate::tls::Dialer;
use arbiter_core::Timing;
use arbiter_proto::v1::raft_client::RaftClient;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tonic::transport::Channel;

/// Largest message either way. An entry is at most [`super::PROPOSAL_BYTES_MAX`].
pub const MESSAGE_BYTES_MAX: usize = 8 << 20;
/// Deadlines missed one after the other before the connection is given up for a new one: after a
/// cut TCP waits ever longer before it tries again, a new connection does not.
const MISSES_MAX: u32 = 3;
/// Kept alive at the TCP level too, for what sits between the regions.
const TCP_KEEPALIVE: Duration = Duration::from_secs(10);
/// HTTP/2 pings on an otherwise idle connection.
const PING_EVERY: Duration = Duration::from_secs(5);

/// What shares a connection. Bulk data must not delay heartbeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// Entries, votes.
    Log,
    /// Heartbeats.
    Heartbeat,
    /// Snapshots.
    Snapshot,
}

/// Every connection to peers.
pub struct Channels {
    timing: Timing,
    dialer: Dialer,
    links: Mutex<BTreeMap<(String, String, Lane), Arc<Link>>>,
}

/// One connection, replaced when it is stuck.
pub struct Link {
    dial: Box<dyn Fn() -> Channel + Send + Sync>,
    client: Mutex<RaftClient<Channel>>,
    misses: AtomicU32,
}

impl Channels {
    /// None yet.
    pub fn new(timing: Timing, dialer: Dialer) -> Self {
        Self { timing, dialer, links: Mutex::default() }
    }

    /// The connection to `member`; nothing is sent before the first call.
    ///
    /// # Errors
    /// Its address is none.
    pub fn link(&self, member: &Member, lane: Lane) -> Result<Arc<Link>, tonic::transport::Error> {
        let key = (member.name.clone(), member.address.clone(), lane);
        let mut links = locked(&self.links);
        if let Some(link) = links.get(&key) {
            return Ok(link.clone());
        }
        let dial = self.dial(member)?;
        let client = Mutex::new(client(dial()));
        let link = Arc::new(Link { dial, client, misses: AtomicU32::new(0) });
        links.insert(key, link.clone());
        Ok(link)
    }

    /// How it is dialled, each time anew. Nobody is taken for `member` but who bears its name.
    fn dial(
        &self,
        member: &Member,
    ) -> Result<Box<dyn Fn() -> Channel + Send + Sync>, tonic::transport::Error> {
        let endpoint = Dialer::endpoint(&member.address)?
            .connect_timeout(self.timing.heartbeat.max(2 * self.timing.rtt))
            .tcp_nodelay(true)
            .tcp_keepalive(Some(TCP_KEEPALIVE))
            .http2_keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(self.timing.election_min)
            .keep_alive_while_idle(true);
        let (dialer, member) = (self.dialer.clone(), member.clone());
        Ok(Box::new(move || dialer.lazy(&member.address, &endpoint, Some(&member.name))))
    }
}

impl Link {
    /// To call with.
    pub fn client(&self) -> RaftClient<Channel> {
        locked(&self.client).clone()
    }

    /// A call was answered, well or not: the connection works. True when it had not.
    pub fn answered(&self) -> bool {
        self.misses.swap(0, Ordering::Relaxed) > 0
    }

    /// A call was not answered in time. True when it is the first.
    pub fn missed(&self) -> bool {
        let before = self.misses.fetch_add(1, Ordering::Relaxed);
        if (before + 1).is_multiple_of(MISSES_MAX) {
            *locked(&self.client) = client((self.dial)());
        }
        before == 0
    }
}

fn client(channel: Channel) -> RaftClient<Channel> {
    RaftClient::new(channel)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
