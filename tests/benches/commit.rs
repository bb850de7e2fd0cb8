//! A committed command against its floor.

use crate::floor;
use crate::loopback::{GROUP, Loopback};
use arbiter::clock;
use arbiter::lab::operator::Operator;
use arbiter_proto::v1;
use arbiter_tests::hosts::stage::Figures;
use prost::Message;
use std::io;
use std::time::Duration;

/// Commands, echoes and fdatasyncs in a turn.
pub const ROUNDS: usize = 60;
/// Turns in a run: what a machine does besides moves all three alike.
const TURNS: usize = 10;

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
    let (mut commit, mut sync, mut echo) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..TURNS {
        commit.extend(commits(&trio.leader).await?);
        let dir = trio.dir.clone();
        let syncs = tokio::task::spawn_blocking(move || floor::syncs(&dir));
        sync.extend(syncs.await.map_err(io::Error::other)??);
        echo.extend(floor::echoes(request().encoded_len()).await?);
    }
    let (commit, sync, echo) = (median(commit), median(sync), median(echo));
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

/// The middle one.
fn median(mut micros: Vec<f64>) -> f64 {
    micros.sort_by(f64::total_cmp);
    micros[micros.len() / 2]
}

/// In microseconds.
pub fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

fn request() -> v1::SetModeRequest {
    v1::SetModeRequest {
        asked: Operator::asked("bench"),
        group: GROUP.into(),
        mode: "observe".into(),
        expected_epoch: 0,
        for_ms: 0,
    }
}

/// Commands that change nothing but go through the log all the same; each in microseconds.
async fn commits(operator: &Operator) -> io::Result<Vec<f64>> {
    let mut times = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let started = clock::now();
        let call = async |mut client: v1::admin_client::AdminClient<_>, request| {
            client.set_mode(request).await
        };
        operator.admin(request(), call).await.map_err(io::Error::other)?;
        times.push(micros(clock::now().since(started)));
    }
    Ok(times)
}
