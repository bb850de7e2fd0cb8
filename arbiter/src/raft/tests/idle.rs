//! Three nodes, each in a process of its own: what an idle one costs, and what a commit takes.

use super::kit;
use crate::clock;
use crate::raft::handle::{RaftHandle, RaftOptions};
use crate::raft::timing::VoterAt;
use arbiter_core::Profile;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

/// What Raft alone may hold; the whole arbiter has 30 MiB.
const RSS_ANON_KIB_MAX: u64 = 12 << 10;
/// What a node that spins would use of a core, in percent. The figure that it is held to, 2 %, is
/// measured by the bench `idle`: here other tests share the cores and their caches.
const CPU_PERCENT_SPINNING: f64 = 20.0;
/// How long it is watched.
const WATCHED: Duration = Duration::from_secs(5);
/// Commits timed.
const COMMITS: usize = 200;
/// The kernel's clock tick (`USER_HZ`).
const TICKS_PER_SECOND: f64 = 100.0;

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn rss_anon_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find(|line| line.starts_with("RssAnon")).expect("Linux says it");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number")
}

fn cpu_ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let fields: Vec<&str> = stat.rsplit(") ").next().expect("its fields").split(' ').collect();
    [fields[11], fields[12]].iter().filter_map(|ticks| ticks.parse::<u64>().ok()).sum()
}

#[test]
fn an_idle_node_is_small_and_does_not_spin() {
    let dir = tempfile::tempdir().expect("a directory");
    let ports: Vec<u16> = (0..3)
        .map(|_| TcpListener::bind("127.0.0.1:0").expect("a port"))
        .collect::<Vec<_>>()
        .iter()
        .map(|listener| listener.local_addr().expect("bound").port())
        .collect();
    let ports = ports.iter().map(u16::to_string).collect::<Vec<_>>().join(",");
    // The first initializes, so the others are started before it.
    let mut nodes = Vec::new();
    for node in [3, 2, 1] {
        let child = kit::child("raft::tests::idle::child_serves", dir.path())
            .env("RAFT_TEST_NODE", node.to_string())
            .env("RAFT_TEST_PORTS", &ports)
            .stdout(Stdio::piped())
            .spawn()
            .expect("this binary starts");
        nodes.push(Killed(child));
    }
    let first = nodes.last_mut().expect("three").0.stdout.take().expect("piped");
    let ready = BufReader::new(first)
        .lines()
        .map(|line| line.expect("text"))
        .find(|line| line.contains("commit p50"))
        .expect("it leads and commits");
    let before: Vec<u64> = nodes.iter().map(|node| cpu_ticks(node.0.id())).collect();
    std::thread::sleep(WATCHED);
    for (node, before) in nodes.iter().zip(before) {
        let ticks = (cpu_ticks(node.0.id()) - before) as f64;
        let percent = ticks / TICKS_PER_SECOND / WATCHED.as_secs_f64() * 100.0;
        let kib = rss_anon_kib(node.0.id());
        eprintln!("RssAnon {kib} KiB, {percent:.1} % of a core; {ready}");
        assert!(kib <= RSS_ANON_KIB_MAX, "{kib} KiB");
        assert!(percent <= CPU_PERCENT_SPINNING, "{percent} %");
    }
}

#[test]
#[ignore = "a child process that an_idle_node_is_small_and_does_not_spin starts; alone it returns at once"]
fn child_serves() {
    let Some(dir) = kit::child_dir() else { return };
    let variable = |name| std::env::var(name).expect("set by the parent");
    let node: u64 = variable("RAFT_TEST_NODE").parse().expect("a number");
    let ports = variable("RAFT_TEST_PORTS");
    kit::runtime().block_on(serve(&dir, node, &ports));
}

async fn serve(dir: &Path, node_id: u64, ports: &str) {
    let voters: Vec<VoterAt> = ports
        .split(',')
        .zip(1..)
        .map(|(port, node_id)| VoterAt {
            name: format!("node-{node_id}"),
            node_id,
            address: format!("127.0.0.1:{port}"),
            witness: false,
        })
        .collect();
    let me = voters[node_id as usize - 1].clone();
    let handle = RaftHandle::open(RaftOptions {
        cluster_id: kit::CLUSTER.to_owned(),
        name: me.name,
        node_id,
        data_dir: dir.join(node_id.to_string()),
        timing: Profile::Wan.timing(),
        voters,
        tls: None,
    })
    .await
    .expect("it starts");
    let address = me.address.parse().expect("an address");
    let server = tonic::transport::Server::builder().add_service(handle.service()).serve(address);
    let server = tokio::spawn(server);
    if node_id == 1 {
        lead(&handle).await;
    }
    server.await.expect("it serves").expect("its port is free");
}

async fn lead(handle: &RaftHandle) {
    while handle.initialize(&kit::harmless("first")).await.is_err() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut took = Vec::new();
    for turn in 0..COMMITS {
        let start = clock::now();
        let done = handle.propose(&kit::harmless(&format!("r{turn}"))).await;
        done.expect("it leads").ok();
        took.push(clock::now().since(start));
    }
    took.sort();
    println!("\ncommit p50 {:?}, p99 {:?}", took[COMMITS / 2], took[COMMITS * 99 / 100]);
}
