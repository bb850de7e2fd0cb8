//! What keeps a row of a plan from its end, until it is taken off. Knows the parts of a lab; never
//! what a plan makes of it.

use super::kubernetes::http::Instead;
use super::leader::host_of;
use super::stage::{Stage, wrong};
use super::together::REDIS_PORT;
use arbiter::lab::cluster::ARBITERS;
use arbiter::lab::demo::column;
use arbiter::lab::postgres;
use nix::sys::signal::Signal;
use std::io;
use std::path::PathBuf;

/// Longer than a row is held: a frozen agent's lease must not end meanwhile. A source that killed
/// itself could have written what the target has not, and would not return as its standby.
pub const LEASE: &str = "lease = \"15s\"\n";

/// Who loses, who gains, who leads.
pub struct Move {
    /// The source.
    pub here: &'static str,
    /// The target.
    pub there: &'static str,
    /// The leading arbiter.
    pub leader: String,
}

/// What keeps a row from its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// The agent of the source does not answer.
    SourceAgent,
    /// The agent of the target does not answer.
    TargetAgent,
    /// The target's server cannot write the file that promotes it.
    Promotion,
    /// The target's server refuses writes.
    Writes,
    /// Nobody reaches the target's Redis.
    Redis,
    /// The target's bucket answers every request with this status.
    Bucket(u16),
    /// The target's Kubernetes API answers every write with this status.
    Kubernetes(u16),
    /// The pods that the target starts never become available.
    Pods,
    /// The DNS server is away.
    Dns,
    /// An arbiter that does not lead cannot reach the databases.
    Vantage,
    /// Nothing can: the row is one entry of the log, decided where it is written.
    Nothing,
}

impl Hold {
    /// Put it on.
    ///
    /// # Errors
    /// If it cannot be.
    pub async fn put_on(self, stage: &mut Stage, ways: &Move) -> io::Result<()> {
        match self {
            Hold::SourceAgent => signal(stage, ways.here, Signal::SIGSTOP),
            Hold::TargetAgent => signal(stage, ways.there, Signal::SIGSTOP),
            // What promotes is a file of this name. It leads where none can be made.
            Hold::Promotion => {
                std::os::unix::fs::symlink("/nowhere/promote", promotion(stage, ways))?;
            }
            Hold::Writes => read_only(stage, ways.there, "on").await?,
            Hold::Redis => stage.lab.net.cut_port(server(ways.there), REDIS_PORT)?,
            Hold::Bucket(status) => stage.services(ways.there).refuse(status).await?,
            Hold::Kubernetes(status) => {
                let instead = Instead::Status(status, None);
                stage.services(ways.there).cluster.spoil("PATCH", "", u32::MAX, instead);
            }
            Hold::Pods => {
                stage.services(ways.there).cluster.held().unready.insert("web".to_owned());
            }
            Hold::Dns => stage.lab.bind.stop(),
            Hold::Vantage => stage.lab.net.cut_port(host_of(ways.follower()?)?, postgres::PORT)?,
            Hold::Nothing => {}
        }
        Ok(())
    }

    /// Take it off.
    ///
    /// # Errors
    /// If it cannot be.
    pub async fn take_off(self, stage: &mut Stage, ways: &Move) -> io::Result<()> {
        match self {
            Hold::SourceAgent => signal(stage, ways.here, Signal::SIGCONT),
            Hold::TargetAgent => signal(stage, ways.there, Signal::SIGCONT),
            Hold::Promotion => std::fs::remove_file(promotion(stage, ways))?,
            Hold::Writes => read_only(stage, ways.there, "off").await?,
            Hold::Redis => stage.lab.net.heal_host(server(ways.there))?,
            Hold::Bucket(_) => stage.services(ways.there).refuse(0).await?,
            Hold::Kubernetes(_) => stage.services(ways.there).cluster.mend(),
            Hold::Pods => stage.services(ways.there).cluster.held().unready.clear(),
            Hold::Dns => stage.lab.bind.restart(&stage.lab.net)?,
            Hold::Vantage => stage.lab.net.heal_host(host_of(ways.follower()?)?)?,
            Hold::Nothing => {}
        }
        Ok(())
    }
}

impl Move {
    /// An arbiter that does not lead.
    ///
    /// # Errors
    /// If there is none.
    pub fn follower(&self) -> io::Result<&'static str> {
        let other = ARBITERS.iter().find(|known| known.0 != self.leader && known.0 != "arbiter-eu");
        other.map(|known| known.0).ok_or_else(|| wrong("no arbiter follows"))
    }
}

fn signal(stage: &Stage, region: &str, signal: Signal) {
    let agent = if region == "eu-west" { "agent-eu" } else { "agent-us" };
    stage.lab.agents[agent].signal(signal);
}

fn server(region: &str) -> &'static str {
    if region == "eu-west" { "eu-db" } else { "us-db" }
}

/// The file by which the target's server would be promoted.
fn promotion(stage: &Stage, ways: &Move) -> PathBuf {
    let target = usize::from(ways.there != "eu-west");
    stage.lab.servers[0][target].data_dir.join("promote")
}

async fn read_only(stage: &Stage, region: &str, how: &str) -> io::Result<()> {
    let server = stage.server(region);
    let set = format!("ALTER SYSTEM SET default_transaction_read_only = {how}");
    column(server, &set).await?;
    column(server, "SELECT pg_reload_conf()::int::int8").await.map(drop)
}
