//! The floor of a commit: a fdatasync while two other processes do the same, and a unary gRPC echo
//! to another process. Those others are this program with `--part`, so they are the same build.

use crate::commit::{ROUNDS, micros};
use arbiter::clock;
use arbiter_tests::hosts::stage::wrong;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

/// Bytes of one fdatasync.
const BLOCK_BYTES: usize = 4096;
/// A part ends by itself after this, whatever becomes of who started it.
const PART_LIMIT: Duration = Duration::from_secs(60);

/// A part that runs; killed when dropped.
struct Part(Child);

impl Part {
    fn start(arguments: &[&str]) -> io::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("--part").args(arguments).stdin(Stdio::null()).stdout(Stdio::piped());
        command.spawn().map(Self)
    }

    /// Its first line: it is ready.
    fn first_line(&mut self) -> io::Result<String> {
        let out = self.0.stdout.take().ok_or_else(|| wrong("no output"))?;
        let mut line = String::new();
        BufReader::new(out).read_line(&mut line)?;
        Ok(line.trim().to_owned())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Be a part: `sync FILE` or `echo BYTES`.
///
/// # Errors
/// If the file or the port cannot be had.
pub fn part(arguments: &[String]) -> io::Result<()> {
    match arguments {
        [name, file] if name == "sync" => sync_on(Path::new(file)),
        [name, bytes] if name == "echo" => {
            let bytes = bytes.parse().map_err(io::Error::other)?;
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            runtime.block_on(async { tokio::time::timeout(PART_LIMIT, serve(bytes)).await })?
        }
        _ => Err(wrong("parts are: sync FILE, echo BYTES")),
    }
}

/// Each fdatasync of a block, in microseconds, as three nodes on `dir` would have it.
///
/// # Errors
/// The disk's.
pub fn syncs(dir: &Path) -> io::Result<Vec<f64>> {
    let mut others = Vec::new();
    for number in 0..2 {
        let file = dir.join(format!("sync-{number}"));
        let mut other = Part::start(&["sync", &file.to_string_lossy()])?;
        other.first_line()?;
        others.push(other);
    }
    let file = std::fs::File::create(dir.join("sync-own"))?;
    let mut times = Vec::with_capacity(ROUNDS);
    for round in 0..ROUNDS {
        let started = clock::now();
        sync_block(&file, round as u64)?;
        times.push(micros(clock::now().since(started)));
    }
    Ok(times)
}

fn sync_on(path: &Path) -> io::Result<()> {
    let file = std::fs::File::create(path)?;
    let started = clock::now();
    for round in 0.. {
        sync_block(&file, round)?;
        if round == 0 {
            say("syncing")?;
        }
        if clock::now().since(started) > PART_LIMIT {
            break;
        }
    }
    Ok(())
}

/// Append a block and make it durable.
fn sync_block(file: &std::fs::File, number: u64) -> io::Result<()> {
    file.write_all_at(&[0x5a; BLOCK_BYTES], number * BLOCK_BYTES as u64)?;
    file.sync_data()
}

fn say(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

fn name(bytes: usize) -> String {
    "x".repeat(bytes)
}

async fn serve(bytes: usize) -> io::Result<()> {
    let (reporter, service) = tonic_health::server::health_reporter();
    let name: &'static str = Box::leak(name(bytes).into_boxed_str());
    reporter.set_service_status(name, tonic_health::ServingStatus::Serving).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    say(&listener.local_addr()?.to_string())?;
    let incoming = tonic::transport::server::TcpIncoming::from(listener).with_nodelay(Some(true));
    let server = tonic::transport::Server::builder().add_service(service);
    server.serve_with_incoming(incoming).await.map_err(io::Error::other)
}

/// Each unary gRPC echo of `bytes` to another process on loopback, in microseconds.
///
/// # Errors
/// If the other process does not serve.
pub async fn echoes(bytes: usize) -> io::Result<Vec<f64>> {
    let mut server = Part::start(&["echo", &bytes.to_string()])?;
    let address = server.first_line()?;
    let channel = tonic::transport::Endpoint::from_shared(format!("http://{address}"))
        .map_err(io::Error::other)?
        .tcp_nodelay(true)
        .connect()
        .await
        .map_err(io::Error::other)?;
    let mut client = HealthClient::new(channel);
    let mut times = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let started = clock::now();
        let request = HealthCheckRequest { service: name(bytes) };
        client.check(request).await.map_err(io::Error::other)?;
        times.push(micros(clock::now().since(started)));
    }
    Ok(times)
}
