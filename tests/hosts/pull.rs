//! Traffic that asks who is active: the examples of `deploy/pull` as they are shipped, with the
//! lab's addresses.

use super::Case;
use super::stage::{LIMIT, LOOK_PAUSE, Stage, check, wrong};
use arbiter::clock;
use arbiter::lab::postgres::bin_dir;
use arbiter::lab::process::{Process, Spec};
use std::io;
use std::path::Path;
use std::process::Command;

const HAPROXY: &str = include_str!("../../deploy/pull/haproxy.cfg");
const README: &str = include_str!("../../deploy/pull/README.md");
/// Says who answered, if it accepts writes.
const WRITE: &str = "INSERT INTO writes VALUES (0, 'pull') RETURNING host(inet_server_addr())";

/// The cases of this file.
pub const CASES: &[Case] = &[Case::new(
    "pull",
    "HAProxy and libpq as shipped lead writes to the active region, and nowhere without a quorum",
    |stage| Box::pin(pull(stage)),
)
.mode("manual")];

/// An example's addresses, as hosts of the lab.
fn placed(text: &str) -> String {
    text.replace("10.0.", "10.77.")
}

/// The connection string of libpq that the README shows.
fn libpq() -> io::Result<String> {
    let line = README.lines().find(|line| line.starts_with("postgresql://"));
    let line = line.ok_or_else(|| wrong("the README has no connection string"))?;
    Ok(placed(line).replace("/app?", "/postgres?"))
}

async fn pull(stage: &mut Stage) -> io::Result<()> {
    let dir = stage.lab.options.dir.clone();
    let (config, log) = (dir.join("haproxy.cfg"), dir.join("haproxy.log"));
    std::fs::write(&config, placed(HAPROXY))?;
    let args = ["-db", "-f", &config.to_string_lossy()];
    let spec = Spec::new("haproxy", &args, log.clone());
    let proxy = Process::start(&stage.lab.net, "client", &spec)?;
    let haproxy =
        format!("postgresql://{}/postgres?connect_timeout=3", stage.lab.address("client"));
    let libpq = libpq()?;
    leads_to(stage, &haproxy, "eu-west").await?;
    leads_to(stage, &libpq, "eu-west").await?;
    stage.ready_to_move("us-east").await?;
    stage.moved_by("switchover", "us-east").await?;
    leads_to(stage, &haproxy, "us-east").await?;
    leads_to(stage, &libpq, "us-east").await?;
    // One arbiter of three is enough to be asked, and two are a quorum.
    stage.lab.arbiters.remove("arbiter-eu");
    leads_to(stage, &haproxy, "us-east").await?;
    // Without a quorum nobody confirms a region, though its server may still accept writes. HAProxy
    // says when the last check of it has failed: a write that failed before may have met one line.
    let before = emptied(&log)?;
    stage.lab.arbiters.remove("arbiter-witness");
    let what = "HAProxy has no server where no arbiter confirms a region";
    awaited(what, async || emptied(&log).is_ok_and(|now| now > before)).await?;
    let said = write(stage, &haproxy).await;
    check(said.is_err(), || format!("HAProxy led to {said:?} without a quorum"))?;
    drop(proxy);
    stage.lab.start_arbiter("arbiter-eu")?;
    stage.lab.start_arbiter("arbiter-witness")
}

/// How often HAProxy has said that us-east has no server.
fn emptied(log: &Path) -> io::Result<usize> {
    let said = std::fs::read_to_string(log)?;
    let empty = |line: &&str| line.contains("us-east") && line.contains("no server available");
    Ok(said.lines().filter(empty).count())
}

/// Wait until a write through `connection` is acknowledged by the server of `region`.
async fn leads_to(stage: &Stage, connection: &str, region: &str) -> io::Result<()> {
    let server = stage.server(region).to_string();
    let what = format!("{connection} leads to {region}");
    awaited(&what, async || write(stage, connection).await.is_ok_and(|by| by == server)).await
}

async fn awaited(what: &str, holds: impl AsyncFn() -> bool) -> io::Result<()> {
    let started = clock::now();
    while !holds().await {
        check(clock::now().since(started) < LIMIT, || format!("not within {LIMIT:?}: {what}"))?;
        tokio::time::sleep(LOOK_PAUSE).await;
    }
    Ok(())
}

/// Write by `psql` from where the clients are: the address of the server that acknowledged it.
async fn write(stage: &Stage, connection: &str) -> io::Result<String> {
    let mut psql = Command::new(bin_dir()?.join("psql"));
    psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", WRITE, connection]);
    psql.env("PGUSER", "postgres").current_dir(&stage.lab.options.dir);
    // A thread of its own is a host of the lab's as well.
    let ran = tokio::task::spawn_blocking(move || psql.output()).await;
    let output = ran.map_err(io::Error::other)??;
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let why = || String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { Ok(said) } else { Err(wrong(why())) }
}
