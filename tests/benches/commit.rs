//! A committed command against its floor: three fdatasyncs at once and two gRPC echoes.

use crate::loopback::{GROUP, Loopback};
use arbiter::clock;
use arbiter::lab::operator::Operator;
use arbiter_proto::v1;
use arbiter_tests::hosts::stage::{Figures, wrong};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

/// Commands, echoes and fdatasyncs in a run.
const ROUNDS: usize = 300;
/// Bytes of one fdatasync.
const BLOCK_BYTES: usize = 4096;
/// Bytes that a request of the measured size carries.
const REQUEST_BYTES: usize = 64;

/// Measure; figures `commit_us`, `fdatasync_us`, `floor_us` and their ratio, all medians.
///
/// # Errors
/// If the nodes do not come up, or refuse.
pub fn run() -> io::Result<Figures> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(measure())
}

async fn measure() -> io::Result<Figures> {
    let trio = Loopback::begin().await?;
    let commit = commits(&trio.leader).await?;
    let dir = trio.dir.clone();
    let sync =
        tokio::task::spawn_blocking(move || syncs(&dir)).await.map_err(io::Error::other)??;
    let echo = echoes().await?;
    let floor = sync + 2.0 * echo;
    let figures = [
        ("commit_us", commit),
        ("fdatasync_us", sync),
        ("echo_us", echo),
        ("floor_us", floor),
        ("ratio", commit / floor),
    ];
    Ok(figures.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

fn median(mut micros: Vec<f64>) -> f64 {
    micros.sort_by(f64::total_cmp);
    micros[micros.len() / 2]
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

/// Commands that change nothing but go through the log all the same.
async fn commits(operator: &Operator) -> io::Result<f64> {
    let mut times = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let started = clock::now();
        let request = v1::SetModeRequest {
            asked: Operator::asked("bench"),
            group: GROUP.into(),
            mode: "observe".into(),
            expected_epoch: 0,
        };
        let call = async |mut client: v1::admin_client::AdminClient<_>, request| {
            client.set_mode(request).await
        };
        operator.admin(request, call).await.map_err(io::Error::other)?;
        times.push(micros(clock::now().since(started)));
    }
    Ok(median(times))
}

/// fdatasync of a block, while two others do the same on this file system, as three nodes would.
fn syncs(dir: &Path) -> io::Result<f64> {
    let stop = Arc::new(AtomicBool::new(false));
    let others: Vec<_> = (0..2)
        .map(|number| {
            let (stop, path) = (Arc::clone(&stop), dir.join(format!("sync-{number}")));
            std::thread::spawn(move || -> io::Result<()> {
                let file = std::fs::File::create(path)?;
                while !stop.load(Ordering::Relaxed) {
                    sync_block(&file, 0)?;
                }
                Ok(())
            })
        })
        .collect();
    let file = std::fs::File::create(dir.join("sync-own"))?;
    let mut times = Vec::with_capacity(ROUNDS);
    for round in 0..ROUNDS {
        let started = clock::now();
        sync_block(&file, round as u64)?;
        times.push(micros(clock::now().since(started)));
    }
    stop.store(true, Ordering::Relaxed);
    for other in others {
        other.join().map_err(|_| wrong("a thread panicked"))??;
    }
    Ok(median(times))
}

/// Append a block and make it durable.
fn sync_block(file: &std::fs::File, number: u64) -> io::Result<()> {
    file.write_all_at(&[0x5a; BLOCK_BYTES], number * BLOCK_BYTES as u64)?;
    file.sync_data()
}

/// A unary gRPC echo of the same size, in the same build, on loopback.
async fn echoes() -> io::Result<f64> {
    let name: &'static str = Box::leak("x".repeat(REQUEST_BYTES).into_boxed_str());
    let (reporter, service) = tonic_health::server::health_reporter();
    reporter.set_service_status(name, tonic_health::ServingStatus::Serving).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let incoming = tonic::transport::server::TcpIncoming::from(listener).with_nodelay(Some(true));
    let server = tonic::transport::Server::builder().add_service(service);
    let serving = tokio::spawn(server.serve_with_incoming(incoming));
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
        let request = HealthCheckRequest { service: name.into() };
        client.check(request).await.map_err(io::Error::other)?;
        times.push(micros(clock::now().since(started)));
    }
    serving.abort();
    Ok(median(times))
}
