//! A simulated arbiter: the real Raft, leader and gRPC faces, on a disk in memory. Knows how they
//! are joined, as `arbiter node` does; never what goes wrong with them.

use super::net;
use super::os;
use arbiter::dial;
use arbiter::leader::Leader;
use arbiter::notify::{Notifier, Receivers};
use arbiter::policy_file;
use arbiter::raft::memory::MemoryDisk;
use arbiter::raft::{self, RaftHandle, RaftOptions};
use arbiter::server::{self, Face};
use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// The arbiters, by name; the number after it is the node's id.
pub const ARBITERS: [&str; 3] = ["arbiter-eu", "arbiter-us", "arbiter-witness"];
/// The agents, by name.
pub const AGENTS: [&str; 2] = ["agent-eu", "agent-us"];
/// Name of the cluster.
pub const CLUSTER: &str = "simulated";

/// The cluster's file: one group with one resource that no evidence is needed of, so that a plan
/// depends on nothing but its agents' word.
pub fn file() -> String {
    let mut text = format!(
        "[cluster]\nid = \"{CLUSTER}\"\nprofile = \"regional\"\n\
         insecure_plaintext = true\n\n"
    );
    let regions = [("eu-west", "data"), ("us-east", "data"), ("witness", "witness")];
    for (number, (name, (region, kind))) in ARBITERS.iter().zip(regions).enumerate() {
        text += &format!(
            "[regions.{region}]\nkind = \"{kind}\"\n\n[arbiters.{name}]\nnode_id = {}\n\
             region = \"{region}\"\naddress = \"{name}:{}\"\n\n",
            number + 1,
            net::PORT
        );
    }
    text += "[groups.default]\ninitial_active = \"eu-west\"\nallow_automatic = false\n\n\
             [groups.default.resources.queue]\nkind = \"command\"\ncommand = \"/bin/true\"\n\n";
    for (agent, region) in AGENTS.into_iter().zip(["eu-west", "us-east"]) {
        text += &format!(
            "[agents.{agent}]\nregion = \"{region}\"\n\n\
             [groups.default.resources.queue.instances.queue-{agent}]\nagent = \"{agent}\"\n\n"
        );
    }
    text
}

/// Where an arbiter lives, over all its lives.
pub struct Place {
    /// Its name.
    pub name: &'static str,
    /// Its Raft node id.
    pub node_id: u64,
    /// What outlives a crash.
    pub disk: MemoryDisk,
    /// The life of its disk.
    pub incarnation: u64,
    /// How much faster its clock runs, in parts in a million.
    pub rate: i64,
    /// The present life, once it has begun.
    pub handle: RefCell<Option<RaftHandle>>,
}

type Failed = Box<dyn std::error::Error>;

impl Place {
    /// One life, until it is crashed.
    pub async fn live(self: Rc<Self>) -> Result<(), Failed> {
        os::rate(self.rate);
        dial::instead::of_this_thread(net::dial);
        let cluster =
            policy_file::parse(&file(), "cluster.toml").map_err(|faults| faults.to_string())?;
        let voters = raft::voters(&policy_file::to_spec(&cluster));
        let options = RaftOptions {
            cluster_id: cluster.id.clone(),
            name: self.name.to_owned(),
            node_id: self.node_id,
            data_dir: PathBuf::new(),
            timing: policy_file::timing(&cluster.timing),
            voters: voters.clone(),
            tls: None,
        };
        let handle = RaftHandle::open_memory(options, &self.disk, self.incarnation).await?;
        *self.handle.borrow_mut() = Some(handle.clone());
        let leader = Leader::new(handle.clone());
        let posted = Arc::new(AtomicU64::new(0));
        let notifier = Notifier::start(Receivers::default(), &cluster.id, posted);
        let (raft, tls) = (handle.clone(), None);
        let id = cluster.id.clone();
        let face = Face::new(raft, leader.clone(), id, voters, false, tls, notifier);
        tokio::spawn(leader.run());
        let listener = turmoil::net::TcpListener::bind(("0.0.0.0", net::PORT)).await?;
        let router = server::router(&face, &handle)?;
        router.serve_with_incoming(net::incoming(listener)).await?;
        Ok(())
    }

    /// Its present life ends, and this many of what it had not synced are kept by chance. How many
    /// are lost.
    pub fn die(&self, kept: usize) -> usize {
        if let Some(handle) = self.handle.borrow_mut().take() {
            handle.let_go();
        }
        self.disk.crash(kept)
    }
}
