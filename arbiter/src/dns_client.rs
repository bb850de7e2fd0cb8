//! A small DNS client: one question or update, one server, one answer, within limits.
//!
//! Knows messages, TSIG signatures, UDP and TCP. Never knows what a record means to a group, and
//! never recurses: it asks the servers that it is told, and for an alias that leads away from them
//! this host's resolver.

mod resolve;

pub use resolve::{Led, Looked, Servers, follow, look_up, token_at};

use crate::clock;
use arbiter_core::GroupId;
use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::tsig::TsigError;
use hickory_proto::rr::{Name, RecordType, TSigner};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

/// Limit of opening one TCP connection.
pub const CONNECT_LIMIT: Duration = Duration::from_millis(1_000);
/// Limit of one answer over TCP.
pub const ANSWER_LIMIT: Duration = Duration::from_millis(2_000);
/// Limit of one answer over UDP, before it is asked again.
pub const DATAGRAM_LIMIT: Duration = Duration::from_millis(400);
/// Questions sent over UDP before TCP is tried.
pub const DATAGRAMS_MAX: u32 = 2;
/// Addresses tried of one server name.
const ADDRESSES_MAX: usize = 4;
/// Answers to somebody else's questions skipped on one socket.
const STRAYS_MAX: u32 = 16;
/// Largest datagram read, in bytes.
const DATAGRAM_BYTES_MAX: usize = 4096;

/// Why there is no answer. Named by what is known: in both cases nothing about the question.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DnsError {
    /// Nobody answered within the limit.
    #[error("{0}")]
    Unreachable(String),
    /// What came cannot be understood, or is not signed as it must be.
    #[error("{0}")]
    Garbled(String),
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// As received.
    pub message: Message,
    /// Its signature was asked for and holds.
    pub verified: bool,
}

impl Answer {
    /// What the server found wrong with our signature, if it said so. It cannot sign that.
    pub fn tsig_error(&self) -> Option<TsigError> {
        self.message.signature.as_ref().and_then(|record| record.data.error)
    }
}

/// The name of the TXT record that holds the token of `group` in `zone`, where none is configured.
pub fn token_name(group: &GroupId, zone: &str) -> String {
    format!("_arbiter.{}.{}", group.as_str().to_ascii_lowercase(), zone)
}

/// A question that is not to be recursed for.
pub fn question(name: Name, kind: RecordType) -> Message {
    let mut message = Message::query();
    message.metadata.recursion_desired = false;
    message.add_query(Query::query(name, kind));
    message
}

/// Addresses of `host:port`.
///
/// # Errors
/// `Unreachable` when the name cannot be resolved, or not within [`CONNECT_LIMIT`].
pub async fn addresses(server: &str) -> Result<Vec<SocketAddr>, DnsError> {
    if let Ok(address) = server.parse() {
        return Ok(vec![address]);
    }
    let found = timeout(CONNECT_LIMIT, tokio::net::lookup_host(server)).await;
    let unknown = |why: String| DnsError::Unreachable(format!("DNS server {server}: {why}"));
    match found {
        Ok(Ok(addresses)) => Ok(addresses.take(ADDRESSES_MAX).collect()),
        Ok(Err(error)) => Err(unknown(error.to_string())),
        Err(_) => Err(unknown(format!("not resolved within {CONNECT_LIMIT:?}"))),
    }
}

/// One TCP connection to one server. After an error it is of no use.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    server: String,
}

impl Connection {
    /// Open a connection to `host:port`.
    ///
    /// # Errors
    /// `Unreachable`, within [`CONNECT_LIMIT`] for each address.
    pub async fn open(server: &str) -> Result<Self, DnsError> {
        let mut why = "it has no address".to_owned();
        for address in addresses(server).await? {
            match timeout(CONNECT_LIMIT, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    // Small messages, each waited for: nothing to gather.
                    let _ = stream.set_nodelay(true);
                    return Ok(Self { stream, server: server.to_owned() });
                }
                Ok(Err(error)) => why = error.to_string(),
                Err(_) => why = format!("no connection within {CONNECT_LIMIT:?}"),
            }
        }
        Err(DnsError::Unreachable(format!("DNS server {server}: {why}")))
    }

    /// The server it leads to.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// Send `messages` at once and wait for the answer of each, in the order of the messages.
    ///
    /// # Errors
    /// `Unreachable` when an answer is missing after [`ANSWER_LIMIT`]: whether the server acted on
    /// the messages is then unknown. `Garbled` when an answer's signature does not hold.
    pub async fn exchange(
        &mut self,
        messages: Vec<Message>,
        key: Option<&TSigner>,
    ) -> Result<Vec<Answer>, DnsError> {
        let mut sent = Vec::new();
        let mut bytes = Vec::new();
        for message in messages {
            let wire = Wire::new(message, key)?;
            let length = u16::try_from(wire.bytes.len())
                .map_err(|_| DnsError::Garbled("the message exceeds 65535 bytes".to_owned()))?;
            bytes.extend_from_slice(&length.to_be_bytes());
            bytes.extend_from_slice(&wire.bytes);
            sent.push((wire, None));
        }
        match timeout(ANSWER_LIMIT, self.round(&bytes, &mut sent)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(self.lost(&error.to_string())),
            Err(_) => return Err(self.lost(&format!("no answer within {ANSWER_LIMIT:?}"))),
        }
        let server = self.server.clone();
        sent.into_iter()
            .map(|(wire, answer)| wire.check(&answer.unwrap_or_default(), &server))
            .collect()
    }

    async fn round(
        &mut self,
        bytes: &[u8],
        sent: &mut [(Wire, Option<Vec<u8>>)],
    ) -> io::Result<()> {
        self.stream.write_all(bytes).await?;
        let limit = sent.len() + STRAYS_MAX as usize;
        for _ in 0..limit {
            if sent.iter().all(|(_, answer)| answer.is_some()) {
                return Ok(());
            }
            let length = self.stream.read_u16().await?;
            let mut answer = vec![0; usize::from(length)];
            self.stream.read_exact(&mut answer).await?;
            let matching = |(wire, got): &&mut (Wire, _)| Option::is_none(got) && wire.is(&answer);
            if let Some((_, place)) = sent.iter_mut().find(matching) {
                *place = Some(answer);
            }
        }
        Err(io::Error::other("answers to other questions only"))
    }

    fn lost(&self, why: &str) -> DnsError {
        DnsError::Unreachable(format!("DNS server {}: {why}", self.server))
    }
}

/// Ask over UDP, again when nothing comes, and over TCP when the answer is truncated or missing.
///
/// # Errors
/// `Unreachable` within `DATAGRAMS_MAX` × [`DATAGRAM_LIMIT`] + [`CONNECT_LIMIT`] +
/// [`ANSWER_LIMIT`] for the first address; `Garbled` for what is no answer.
pub async fn ask(server: &str, message: Message) -> Result<Answer, DnsError> {
    let address = *addresses(server)
        .await?
        .first()
        .ok_or_else(|| DnsError::Unreachable(format!("DNS server {server} has no address")))?;
    for _ in 0..DATAGRAMS_MAX {
        let wire = Wire::new(message.clone(), None)?;
        match timeout(DATAGRAM_LIMIT, datagram(address, &wire)).await {
            Ok(Ok(bytes)) => {
                let answer = wire.check(&bytes, server)?;
                if answer.message.truncation {
                    break;
                }
                return Ok(answer);
            }
            // A refused port is said at once; TCP may still be open.
            Ok(Err(_)) => break,
            Err(_) => {}
        }
    }
    let mut answers = Connection::open(server).await?.exchange(vec![message], None).await?;
    answers.pop().ok_or_else(|| DnsError::Garbled(format!("DNS server {server}: no answer")))
}

async fn datagram(server: SocketAddr, wire: &Wire) -> io::Result<Vec<u8>> {
    let local: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(local).await?;
    socket.connect(server).await?;
    socket.send(&wire.bytes).await?;
    let mut buffer = [0; DATAGRAM_BYTES_MAX];
    for _ in 0..STRAYS_MAX {
        let length = socket.recv(&mut buffer).await?;
        if wire.is(&buffer[..length]) {
            return Ok(buffer[..length].to_vec());
        }
    }
    Err(io::Error::other("answers to other questions only"))
}

/// A message as sent, and what its answer must match.
pub(crate) struct Wire {
    bytes: Vec<u8>,
    question: Vec<Query>,
    op_code: OpCode,
    verifier: Option<hickory_proto::rr::TSigVerifier>,
}

impl Wire {
    pub(crate) fn new(mut message: Message, key: Option<&TSigner>) -> Result<Self, DnsError> {
        let garbled = |error| DnsError::Garbled(format!("cannot write the message: {error}"));
        let verifier = match key {
            // TSIG dates its signatures, and compares dates: only the wall clock will do.
            Some(key) => message.finalize(key, clock::wall().0 / 1000).map_err(garbled)?,
            None => None,
        };
        let bytes = message.to_vec().map_err(garbled)?;
        let op_code = message.op_code;
        Ok(Self { bytes, question: message.queries, op_code, verifier })
    }

    /// Whether `answer` carries the id of this message.
    fn is(&self, answer: &[u8]) -> bool {
        answer.len() >= 12 && answer[..2] == self.bytes[..2]
    }

    pub(crate) fn check(mut self, bytes: &[u8], server: &str) -> Result<Answer, DnsError> {
        let garbled = |why: String| DnsError::Garbled(format!("DNS server {server}: {why}"));
        let message = Message::from_vec(bytes).map_err(|error| garbled(error.to_string()))?;
        let echoed = message.queries.is_empty() || message.queries == self.question;
        let response = message.metadata.message_type == MessageType::Response;
        if !response || message.op_code != self.op_code || !echoed {
            return Err(garbled("what came answers another question".to_owned()));
        }
        let verified = match &mut self.verifier {
            None => false,
            Some(verifier) => match verifier.verify(bytes) {
                Ok(_) => true,
                // Errors about the signature itself cannot be signed; success must be.
                Err(_) if message.response_code != ResponseCode::NoError => false,
                Err(error) => return Err(garbled(format!("its answer is not signed: {error}"))),
            },
        };
        Ok(Answer { message, verified })
    }
}
