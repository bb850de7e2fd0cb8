//! Everything that a client can do wrong, at once, to one arbiter. Knows what it sends and how
//! often that was refused; never what the arbiter is.

use super::super::stage::check;
use super::client::{Clients, call};
use crate::raw::Raw;
use prost::bytes::Bytes;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tonic::Status;

const ASK: &str = "/arbiter.v1.Query/GetActiveRegion";
const STATUS: &str = "/arbiter.v1.Query/GetStatus";
const CHANGE: &str = "/arbiter.v1.Admin/SetMode";
/// Connections that ask without end, and calls at once on each.
const ASKING: usize = 4;
const ASKED_AT_ONCE: usize = 100;
/// Connections that send what is no TLS, one after the other, and those that send nothing at all.
const BABBLING: usize = 4;
const SILENT: usize = 400;
/// Calls whose answers are never read, and those whose messages never end.
const DEAF: usize = 256;
const ENDLESS: usize = 8;
/// Bytes of a message that is too large.
const LARGE: usize = 1 << 20;
/// Pause of who is cut off, before it comes again.
const AGAIN_AFTER: Duration = Duration::from_millis(20);
/// The same of who asks and is refused: together that is thousands of calls a second.
const ASKS_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// How often each kind of abuse had each end.
#[derive(Debug, Default)]
pub struct Told(Mutex<BTreeMap<(&'static str, String), u64>>);

/// The abuse.
pub struct Abuse {
    told: Arc<Told>,
    tasks: JoinSet<()>,
}

impl Told {
    fn count(&self, kind: &'static str, end: String) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry((kind, end)).or_default() += 1;
    }

    fn answered(&self, kind: &'static str, answer: Result<(), Status>) {
        let end = match answer {
            Ok(()) => "answered".to_owned(),
            Err(status) => {
                let reason = status.metadata().get("arbiter-reason");
                let reason = reason.and_then(|reason| reason.to_str().ok()).map(str::to_owned);
                reason.unwrap_or_else(|| format!("{:?}", status.code()))
            }
        };
        self.count(kind, end);
    }

    fn of(&self, kind: &str) -> u64 {
        let told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.iter().filter(|((of, _), _)| *of == kind).map(|(_, count)| count).sum()
    }

    fn ended(&self, end: &str) -> u64 {
        let told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.iter().filter(|((_, how), _)| how == end).map(|(_, count)| count).sum()
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let all = told.iter().map(|((kind, end), count)| format!("{kind} {end} {count}"));
        f.write_str(&all.collect::<Vec<_>>().join(", "))
    }
}

impl Abuse {
    /// It goes on until it is ended.
    pub fn begin(clients: &Clients) -> Self {
        let told = Arc::new(Told::default());
        let mut tasks = JoinSet::new();
        for number in 0..ASKING {
            let path = if number % 2 == 0 { ASK } else { STATUS };
            tasks.spawn(asks(clients.clone(), "asks", path, told.clone()));
        }
        tasks.spawn(asks(clients.clone(), "changes", CHANGE, told.clone()));
        tasks.spawn(garbles(clients.clone(), told.clone()));
        tasks.spawn(too_large(clients.clone(), told.clone()));
        for _ in 0..ENDLESS {
            tasks.spawn(endless(clients.clone(), told.clone()));
        }
        tasks.spawn(deaf(clients.clone(), told.clone()));
        for _ in 0..BABBLING {
            tasks.spawn(babbles(clients.address.clone(), told.clone()));
        }
        for _ in 0..SILENT {
            tasks.spawn(says_nothing(clients.address.clone(), told.clone()));
        }
        Self { told, tasks }
    }

    /// No longer; what was told.
    ///
    /// # Errors
    /// A kind of abuse that never came to anything.
    pub async fn end(mut self) -> io::Result<Arc<Told>> {
        self.tasks.shutdown().await;
        for kind in ["asks", "changes", "garbles", "large", "endless", "deaf", "babbles", "silent"]
        {
            check(self.told.of(kind) > 0, || format!("{kind}: nothing came of it: {}", self.told))?;
        }
        for end in ["answered", "too-busy", "too-large", "role-not-allowed"] {
            let seen = self.told.ended(end) > 0;
            check(seen, || format!("nobody was told {end}: {}", self.told))?;
        }
        Ok(self.told)
    }
}

/// As fast as it is answered, many at once, by a viewer.
async fn asks(clients: Clients, kind: &'static str, path: &'static str, told: Arc<Told>) {
    let Ok(channel) = clients.channel("app") else { return };
    let mut asking = JoinSet::new();
    for _ in 0..ASKED_AT_ONCE {
        let (channel, told) = (channel.clone(), told.clone());
        asking.spawn(async move {
            loop {
                let answer = call(&channel, path, Vec::new()).await;
                let refused = answer.is_err();
                told.answered(kind, answer);
                if refused {
                    sleep(ASKS_AGAIN_AFTER).await;
                }
            }
        });
    }
    while asking.join_next().await.is_some() {}
}

/// What is no message, to every service, and to services that there are not.
async fn garbles(clients: Clients, told: Arc<Told>) {
    const PATHS: [&str; 6] = [
        ASK,
        CHANGE,
        "/arbiter.v1.Raft/Append",
        "/arbiter.v1.Agent/Session",
        "/arbiter.v1.Query/Nothing",
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    ];
    let Ok(channel) = clients.channel("app") else { return };
    for turn in 0_usize.. {
        let bytes = vec![0xff; turn % 300];
        let answer = timeout(Duration::from_secs(1), call(&channel, PATHS[turn % 6], bytes)).await;
        told.answered("garbles", answer.unwrap_or_else(|_| Err(Status::cancelled("given up"))));
    }
}

async fn too_large(clients: Clients, told: Arc<Told>) {
    let Ok(channel) = clients.channel("app") else { return };
    loop {
        told.answered("large", call(&channel, ASK, vec![0x0a; LARGE]).await);
    }
}

/// A message that has no end, as far as its receiver can know.
async fn endless(clients: Clients, told: Arc<Told>) {
    let Ok(channel) = clients.channel("app") else { return };
    let path = tonic::codegen::http::uri::PathAndQuery::from_static(ASK);
    loop {
        let mut client = tonic::client::Grpc::new(channel.clone());
        if client.ready().await.is_err() {
            sleep(AGAIN_AFTER).await;
            continue;
        }
        let messages =
            tokio_stream::iter(std::iter::repeat_with(|| Bytes::from_static(&[0; 4096])));
        let request = tonic::Request::new(messages);
        let answer = client.client_streaming(request, path.clone(), Raw).await;
        told.answered("endless", answer.map(drop));
    }
}

/// Calls on a connection that lets no byte of an answer come.
async fn deaf(clients: Clients, told: Arc<Told>) {
    let window = |endpoint: tonic::transport::Endpoint| endpoint.initial_stream_window_size(0);
    let Ok(channel) = clients.shaped("app", window) else { return };
    let mut calls = JoinSet::new();
    for _ in 0..DEAF {
        let (channel, told) = (channel.clone(), told.clone());
        calls.spawn(async move {
            loop {
                let limit = Duration::from_secs(3);
                match timeout(limit, call(&channel, STATUS, Vec::new())).await {
                    Ok(answer) => told.answered("deaf", answer),
                    Err(_) => told.count("deaf", "hung up".to_owned()),
                }
                sleep(AGAIN_AFTER).await;
            }
        });
    }
    while calls.join_next().await.is_some() {}
}

/// What is no TLS; again as soon as it is cut off.
async fn babbles(address: String, told: Arc<Told>) {
    loop {
        let end = async {
            let mut stream = TcpStream::connect(&address).await?;
            stream.write_all(&[0x5a; 4096]).await?;
            stream.read(&mut [0; 64]).await
        };
        let end = timeout(Duration::from_secs(5), end).await;
        let end = if matches!(end, Ok(Ok(_) | Err(_))) { "cut off" } else { "waits" };
        told.count("babbles", end.to_owned());
    }
}

/// Keeps a connection for as long as it is let.
async fn says_nothing(address: String, told: Arc<Told>) {
    loop {
        let end = async {
            let mut stream = TcpStream::connect(&address).await?;
            stream.read(&mut [0; 64]).await
        };
        let closed: io::Result<usize> = end.await;
        told.count("silent", if closed.is_ok() { "cut off" } else { "reset" }.to_owned());
        sleep(AGAIN_AFTER).await;
    }
}
