//! Stands between a driver and BIND: records each raw message, and can hold or lose some.

use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Opcode UPDATE in the third byte of a message.
const UPDATE: u8 = 5;
/// Response codes that say: a prerequisite does not hold (RFC 2136 §2.2).
const PREREQUISITE: [u8; 4] = [3, 6, 7, 8];

/// A relay to one server.
pub struct Relay {
    /// Its own `host:port`.
    pub server: String,
    shared: Arc<Shared>,
    _accepting: JoinSet<()>,
}

struct Shared {
    updates: Mutex<Vec<Vec<u8>>>,
    /// One permit lets one update pass.
    gate: Semaphore,
    lose_answers: Mutex<bool>,
}

fn is_update(message: &[u8]) -> bool {
    message.get(2).is_some_and(|flags| (flags >> 3) & 0xf == UPDATE)
}

impl Relay {
    /// Relay to `server`; updates pass freely unless `held`.
    pub async fn start(server: &str, held: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let own = listener.local_addr().expect("an address").to_string();
        let permits = if held { 0 } else { 1_000 };
        let shared = Arc::new(Shared {
            updates: Mutex::default(),
            gate: Semaphore::new(permits),
            lose_answers: Mutex::new(false),
        });
        let (to, passed) = (server.to_owned(), Arc::clone(&shared));
        let mut accepting = JoinSet::new();
        accepting.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(&to).await else { continue };
                let shared = Arc::clone(&passed);
                let (client_in, client_out) = client.into_split();
                let (server_in, server_out) = server.into_split();
                connections.spawn(up(client_in, server_out, Arc::clone(&shared)));
                connections.spawn(down(server_in, client_out, shared));
            }
        });
        Self { server: own, shared, _accepting: accepting }
    }

    /// Updates seen so far, without the length that TCP puts in front.
    pub fn updates(&self) -> Vec<Vec<u8>> {
        self.shared.updates.lock().expect("unpoisoned").clone()
    }

    /// Let one more update pass.
    pub fn release(&self) {
        self.shared.gate.add_permits(1);
    }

    /// From now on answers to updates are lost, and the connection with them; or no longer.
    pub fn lose_answers(&self, lose: bool) {
        *self.shared.lose_answers.lock().expect("unpoisoned") = lose;
    }
}

async fn message(stream: &mut OwnedReadHalf) -> Option<Vec<u8>> {
    let length = stream.read_u16().await.ok()?;
    let mut message = vec![0; usize::from(length)];
    stream.read_exact(&mut message).await.ok()?;
    Some(message)
}

async fn send(stream: &mut OwnedWriteHalf, message: &[u8]) -> Option<()> {
    let length = u16::try_from(message.len()).expect("came with a length of 16 bits");
    stream.write_all(&[&length.to_be_bytes(), message].concat()).await.ok()
}

async fn up(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, shared: Arc<Shared>) {
    while let Some(message) = message(&mut from).await {
        if is_update(&message) {
            shared.updates.lock().expect("unpoisoned").push(message.clone());
            shared.gate.acquire().await.expect("never closed").forget();
        }
        if send(&mut to, &message).await.is_none() {
            return;
        }
    }
}

async fn down(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, shared: Arc<Shared>) {
    while let Some(message) = message(&mut from).await {
        let lose = *shared.lose_answers.lock().expect("unpoisoned");
        if (is_update(&message) && lose) || send(&mut to, &message).await.is_none() {
            return;
        }
    }
}

/// Send recorded bytes to `server` again, over TCP and over UDP, and return both response codes.
pub async fn replay(server: &str, update: &[u8]) -> [u8; 2] {
    let (mut from, mut to) = TcpStream::connect(server).await.expect("up").into_split();
    send(&mut to, update).await.expect("sent");
    let tcp = message(&mut from).await.expect("answered");
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    socket.send_to(update, server).await.expect("sent");
    let mut udp = [0; 512];
    socket.recv(&mut udp).await.expect("answered");
    [tcp[3] & 0xf, udp[3] & 0xf]
}

/// Replay, and expect the server to refuse it for its prerequisites.
pub async fn refused_for_prerequisites(server: &str, update: &[u8], what: &str) {
    let codes = replay(server, update).await;
    assert!(codes.iter().all(|code| PREREQUISITE.contains(code)), "{what}: rcodes {codes:?}");
}
