//! An idle node: its anonymous memory and its share of a core.

use arbiter::clock;
use arbiter_tests::hosts::stage::{Stage, wrong};
use std::io;
use std::time::Duration;

/// How long it is watched.
const WATCH: Duration = Duration::from_secs(20);
/// Kernel clock ticks in a second (`sysconf(_SC_CLK_TCK)` is 100 on every Linux in use).
const TICKS: f64 = 100.0;

/// Measure the arbiter that uses most; figures `rss_kib` and `cpu_percent`.
pub async fn run(stage: &mut Stage) -> io::Result<()> {
    stage.follower.stop();
    stage.pinned.iter().for_each(|(writer, _)| writer.stop());
    let pids: Vec<i32> = stage.lab.arbiters.values().map(|node| node.pid()).collect();
    let before: Vec<f64> = pids.iter().map(|pid| ticks(*pid)).collect::<io::Result<_>>()?;
    let started = clock::now();
    tokio::time::sleep(WATCH).await;
    let elapsed = clock::now().since(started).as_secs_f64();
    let (mut cpu, mut rss) = (0.0f64, 0.0f64);
    for (pid, before) in pids.iter().zip(before) {
        cpu = cpu.max((ticks(*pid)? - before) / TICKS / elapsed * 100.0);
        rss = rss.max(rss_anon_kib(*pid)?);
    }
    stage.figure("rss_kib", rss);
    stage.figure("cpu_percent", cpu);
    Ok(())
}

/// User and system time of a process, in ticks (proc(5), fields 14 and 15).
fn ticks(pid: i32) -> io::Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let rest = stat.rsplit(')').next().unwrap_or_default();
    let fields: Vec<f64> = rest.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    // The state letter, field 3, does not parse, so field 4 is the first here.
    match (fields.get(10), fields.get(11)) {
        (Some(user), Some(system)) => Ok(user + system),
        _ => Err(wrong(format!("/proc/{pid}/stat: {stat}"))),
    }
}

fn rss_anon_kib(pid: i32) -> io::Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let number = line.and_then(|text| text.split_whitespace().next()?.parse().ok());
    number.ok_or_else(|| wrong(format!("/proc/{pid}/status has no RssAnon")))
}
