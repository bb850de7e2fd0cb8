//! Three nodes over loopback, in one process.

use super::isolated::Door;
use super::kit;
use crate::raft::handle::{ProposeError, RaftHandle, RaftOptions};
use crate::raft::members::{InitializeError, TransferError};
use crate::raft::timing::VoterAt;
use arbiter_core::{ClusterId, ClusterSpec, Command, Profile, RegionId, RegionKind, Timing, Voter};
use openraft::async_runtime::watch::WatchReceiver;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::TcpListenerStream;

/// Nothing here takes longer, on a machine that others use too.
pub(super) const LIMIT: Duration = Duration::from_secs(60);

struct Node {
    handle: RaftHandle,
    server: JoinHandle<()>,
}

pub(super) struct Cluster {
    dir: TempDir,
    voters: Vec<VoterAt>,
    nodes: Vec<Option<Node>>,
    /// In whose place a later one stands in its own file.
    instead: BTreeMap<usize, usize>,
}

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future).await.unwrap_or_else(|_| panic!("not in time: {what}"))
}

/// Polls until `done` answers; for what nobody announces.
async fn until<T>(what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    within(what, async {
        loop {
            if let Some(found) = done() {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
}

pub(super) fn timing() -> Timing {
    Profile::Regional.timing()
}

impl Cluster {
    pub(super) async fn start() -> Self {
        Self::reached_by(Vec::new()).await
    }

    /// Each voter is reached at the address that `doors` has for it, else at its own.
    pub(super) async fn reached_by(mut doors: Vec<Door>) -> Self {
        let mut listeners = Vec::new();
        let mut voters = Vec::new();
        for (node_id, name) in [(1, "eu"), (2, "us"), (3, "w")] {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let inner = listener.local_addr().expect("bound");
            let door = doors.iter_mut().find(|door| door.node_id == node_id);
            let address = door.map_or(inner, |door| door.lead_to(inner)).to_string();
            voters.push(VoterAt { name: name.into(), node_id, address, witness: node_id == 3 });
            listeners.push(listener);
        }
        let dir = tempfile::tempdir().expect("a directory");
        let mut cluster =
            Self { dir, voters, nodes: vec![None, None, None], instead: BTreeMap::new() };
        for (at, listener) in listeners.into_iter().enumerate() {
            cluster.start_node(at, listener).await;
        }
        cluster
    }

    /// The voters as the file of one has them: a later one was begun with a file that names it in
    /// the place of another.
    fn file_of(&self, at: usize) -> Vec<VoterAt> {
        let mut file = self.voters[..3].to_vec();
        if let Some(replaced) = self.instead.get(&at) {
            file[*replaced] = self.voters[at].clone();
        }
        file
    }

    /// Starts one more on an empty disk, whose file names it in the place of `replaced`.
    pub(super) async fn join(&mut self, name: &str, node_id: u64, replaced: usize) -> usize {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound").to_string();
        let witness = self.voters[replaced].witness;
        self.voters.push(VoterAt { name: name.into(), node_id, address, witness });
        self.nodes.push(None);
        let at = self.nodes.len() - 1;
        self.instead.insert(at, replaced);
        self.start_node(at, listener).await;
        at
    }

    pub(super) fn voter(&self, at: usize) -> VoterAt {
        self.voters[at].clone()
    }

    /// Has a node lead.
    pub(super) async fn lead(&self, at: usize) {
        let name = self.voters[at].name.clone();
        within("transfer", async {
            while self.leader().await != at {
                let _ = self.handle(self.leader().await).transfer_leader(&name).await;
            }
        })
        .await;
    }

    /// Has a node keep a snapshot of what it has applied, and waits for it.
    pub(super) async fn snapshot(&self, at: usize) {
        let handle = self.handle(at);
        let applied = handle.state().applied_index();
        handle.inner.raft.trigger().snapshot().await.expect("it runs");
        until("a snapshot", || (handle.status().snapshot >= Some(applied)).then_some(())).await;
    }

    /// Why peers refuse a node, once they do.
    pub(super) async fn refusal(&self, at: usize) -> String {
        until("its refusal", || self.handle(at).status().refused).await
    }

    pub(super) fn data_dir(&self, at: usize) -> PathBuf {
        self.dir.path().join(&self.voters[at].name)
    }

    async fn start_node(&mut self, at: usize, listener: TcpListener) {
        let options = RaftOptions {
            cluster_id: kit::CLUSTER.to_owned(),
            name: self.voters[at].name.clone(),
            node_id: self.voters[at].node_id,
            data_dir: self.data_dir(at),
            timing: timing(),
            voters: self.file_of(at),
            tls: None,
        };
        // A node that was just stopped may hold its lock a moment longer.
        let handle = within("open", async {
            loop {
                match RaftHandle::open(options.clone()).await {
                    Ok(handle) => return handle,
                    Err(error) if error.to_string().contains("in use") => {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                    Err(error) => panic!("{error}"),
                }
            }
        })
        .await;
        let serving = tonic::transport::Server::builder()
            .add_service(handle.service())
            .serve_with_incoming(TcpListenerStream::new(listener));
        let server = tokio::spawn(async move { drop(serving.await) });
        self.nodes[at] = Some(Node { handle, server });
    }

    pub(super) async fn restart(&mut self, at: usize) {
        let listener = TcpListener::bind(&self.voters[at].address).await.expect("its port is free");
        self.start_node(at, listener).await;
    }

    pub(super) async fn stop(&mut self, at: usize) {
        let node = self.nodes[at].take().expect("it runs");
        node.server.abort();
        let _ = node.server.await;
        node.handle.shutdown().await;
    }

    pub(super) fn handle(&self, at: usize) -> &RaftHandle {
        &self.nodes[at].as_ref().expect("it runs").handle
    }

    fn spec(&self) -> ClusterSpec {
        let mut spec = ClusterSpec::default();
        for voter in &self.voters {
            let region = RegionId::from(format!("region-{}", voter.name));
            let kind = if voter.witness { RegionKind::Witness } else { RegionKind::Data };
            spec.regions.insert(region.clone(), kind);
            let address = voter.address.clone();
            let voter =
                (voter.name.as_str().into(), Voter { node_id: voter.node_id, region, address });
            spec.voters.insert(voter.0, voter.1);
        }
        spec
    }

    pub(super) async fn initialize(&self) {
        let cluster_id = ClusterId::from(kit::CLUSTER);
        let command = Command::Initialize { cluster_id, spec: self.spec() };
        let proposal = kit::proposal("init", command);
        let result = within("initialize", self.handle(0).initialize(&proposal)).await;
        result.expect("every voter answers").expect("the core accepts it");
    }

    /// Where the acting leader is.
    pub(super) async fn leader(&self) -> usize {
        until("a leader", || {
            self.nodes.iter().position(|node| {
                node.as_ref().is_some_and(|node| node.handle.leader().borrow().acting)
            })
        })
        .await
    }

    /// Proposes at whoever leads until it is done.
    pub(super) async fn propose(&self, request: &str) {
        let proposal = kit::harmless(request);
        within("propose", async {
            loop {
                let leader = self.leader().await;
                if self.handle(leader).propose(&proposal).await.is_ok() {
                    return;
                }
            }
        })
        .await;
    }

    /// Waits until each running node has applied what the leader has, and compares.
    pub(super) async fn agree(&self) {
        let leader = self.leader().await;
        let applied = self.handle(leader).state().applied_index();
        for node in self.nodes.iter().flatten() {
            let mut index = node.handle.state().watch_index();
            within("replication", index.wait_for(|at| *at >= applied)).await.expect("it runs");
        }
        let wanted = self.handle(leader).state().get();
        for node in self.nodes.iter().flatten() {
            assert_eq!(node.handle.state().get(), wanted, "{}", node.handle.name());
        }
    }

    pub(super) async fn end(mut self) {
        for at in 0..self.nodes.len() {
            if self.nodes[at].is_some() {
                self.stop(at).await;
            }
        }
    }
}

#[test]
fn three_nodes_elect_replicate_read_and_transfer() {
    kit::runtime().block_on(async {
        let cluster = Cluster::start().await;
        let none = cluster.handle(0).propose(&kit::harmless("early")).await;
        assert!(matches!(none, Err(ProposeError::NotLeader { leader: None })), "{none:?}");
        cluster.initialize().await;
        let again = cluster.handle(0).initialize(&kit::harmless("again")).await;
        assert_eq!(again, Err(InitializeError::Already));
        for turn in 0..50 {
            cluster.propose(&format!("r{turn}")).await;
        }
        cluster.agree().await;
        reads(&cluster).await;
        for (at, name) in [(2, "w"), (1, "us"), (0, "eu")] {
            within("transfer", async {
                loop {
                    let leader = cluster.leader().await;
                    match cluster.handle(leader).transfer_leader(name).await {
                        Ok(()) => return,
                        Err(TransferError::NotLeader(_) | TransferError::NotTaken(..)) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            })
            .await;
            assert_eq!(cluster.leader().await, at);
        }
        let status = cluster.handle(0).status();
        assert_eq!((status.role, status.peers.len()), ("leader", 3));
        assert!(status.peers.values().all(|peer| peer.voter && peer.lag.is_some()), "{status:?}");
        cluster.end().await;
    });
}

async fn reads(cluster: &Cluster) {
    let leader = cluster.leader().await;
    let handle = cluster.handle(leader);
    let before = handle.read_rounds();
    let confirmed = futures::future::join_all((0..1000).map(|_| handle.read_index())).await;
    let term = handle.leader().borrow().term;
    for read in confirmed {
        let read = read.expect("a quorum answers");
        assert_eq!(read.term, term);
        assert!(handle.state().applied_index() >= read.index);
    }
    // How many rounds end while the thousand are still asking is the scheduler's; unshared they
    // would be a thousand.
    let rounds = handle.read_rounds() - before;
    assert!(rounds <= 50, "a thousand readers share rounds, these took {rounds}");
    let follower = cluster.handle((leader + 1) % 3).read_index().await;
    assert!(follower.is_err(), "a follower confirms nothing: {follower:?}");
    let stale = handle.propose_in(term - 1, &kit::harmless("stale")).await;
    assert!(matches!(stale, Err(ProposeError::NotLeader { .. })), "{stale:?}");
    handle.propose_in(term, &kit::harmless("now")).await.expect("its term").ok();
}

#[test]
fn the_leader_is_lost_and_returns_and_no_entry_is_lost() {
    kit::runtime().block_on(async {
        let mut cluster = Cluster::start().await;
        cluster.initialize().await;
        cluster.propose("before").await;
        let first = cluster.leader().await;
        let term = cluster.handle(first).leader().borrow().term;
        cluster.stop(first).await;
        cluster.propose("without it").await;
        let second = cluster.leader().await;
        assert!(cluster.handle(second).leader().borrow().term > term);
        cluster.restart(first).await;
        cluster.agree().await;
        cluster.end().await;
    });
}

#[test]
fn a_node_too_far_behind_gets_a_snapshot() {
    kit::runtime().block_on(async {
        let mut cluster = Cluster::start().await;
        cluster.initialize().await;
        let leader = cluster.leader().await;
        let behind = (leader + 1) % 3;
        cluster.stop(behind).await;
        for turn in 0..30 {
            cluster.propose(&format!("r{turn}")).await;
        }
        for node in cluster.nodes.iter().flatten() {
            let applied = node.handle.state().applied_index();
            let raft = &node.handle.inner.raft;
            raft.trigger().snapshot().await.expect("it runs");
            until("a snapshot", || (node.handle.status().snapshot >= Some(applied)).then_some(()))
                .await;
            raft.trigger().purge_log(applied).await.expect("it runs");
            let purged = || raft.metrics().borrow_watched().purged.map(|at| at.index);
            until("a purge", || (purged() >= Some(applied)).then_some(())).await;
        }
        cluster.propose("after").await;
        cluster.restart(behind).await;
        cluster.agree().await;
        until("it to come by snapshot", || cluster.handle(behind).status().snapshot).await;
        // And the snapshot is durable there.
        cluster.stop(behind).await;
        cluster.restart(behind).await;
        cluster.agree().await;
        cluster.end().await;
    });
}

#[test]
fn a_wiped_disk_under_an_old_id_is_refused() {
    kit::runtime().block_on(async {
        let mut cluster = Cluster::start().await;
        cluster.initialize().await;
        cluster.propose("before").await;
        cluster.agree().await;
        let wiped = (cluster.leader().await + 1) % 3;
        let known = cluster.handle(wiped).identity().incarnation;
        cluster.stop(wiped).await;
        let gone = cluster.dir.path().join("gone");
        std::fs::rename(cluster.data_dir(wiped), gone).expect("another disk in its place");
        cluster.restart(wiped).await;
        assert_ne!(cluster.handle(wiped).identity().incarnation, known);
        let why = until("its refusal", || cluster.handle(wiped).status().refused).await;
        assert!(why.contains("under a new id"), "says what to do: {why}");
        cluster.propose("two are a quorum").await;
        let status = cluster.handle(wiped).status();
        assert_eq!((status.initialized, status.applied), (false, None), "{status:?}");
        vote_of_a_stranger(&cluster, wiped).await;
        cluster.end().await;
    });
}

/// Even one that asks for votes by itself gets none.
async fn vote_of_a_stranger(cluster: &Cluster, wiped: usize) {
    use arbiter_proto::v1 as pb;
    let asked = cluster.leader().await;
    let me = cluster.handle(wiped).identity();
    let address = format!("http://{}", cluster.voters[asked].address);
    let mut client = pb::raft_client::RaftClient::connect(address).await.expect("it answers");
    let ask = pb::RaftVoteRequest {
        peers: Some(pb::Peers {
            cluster_id: kit::CLUSTER.to_owned(),
            from: me.node_id,
            to: cluster.voters[asked].node_id,
            from_incarnation: me.incarnation,
            to_incarnation: 0,
        }),
        vote: Some(pb::RaftVote { term: 99, voted_for: Some(me.node_id), committed: false }),
        last: Some(pb::LogPosition { term: 98, index: 1_000 }),
        leadership_transfer: true,
    };
    let refused = client.vote(ask.clone()).await.expect_err("its disk is not the one pinned");
    assert_eq!(refused.code(), tonic::Code::PermissionDenied, "{refused}");
    let mut unknown = ask.clone();
    unknown.peers.as_mut().expect("set").from = 7;
    unknown.vote.as_mut().expect("set").voted_for = Some(7);
    let refused = client.vote(unknown.clone()).await.expect_err("the log knows no node 7");
    assert_eq!(refused.code(), tonic::Code::PermissionDenied, "{refused}");
    let append = pb::AppendRequest {
        peers: unknown.peers,
        vote: unknown.vote.map(|vote| pb::RaftVote { committed: true, ..vote }),
        ..Default::default()
    };
    let refused = client.append(append).await.expect_err("nor one that leads");
    assert_eq!(refused.code(), tonic::Code::PermissionDenied, "{refused}");
    let mut elsewhere = ask.clone();
    elsewhere.peers.as_mut().expect("set").to = me.node_id;
    let refused = client.vote(elsewhere).await.expect_err("it is not the one meant");
    assert_eq!(refused.code(), tonic::Code::FailedPrecondition, "{refused}");
    let mut other = ask;
    other.peers.as_mut().expect("set").cluster_id = "another".to_owned();
    let refused = client.pre_vote(other).await.expect_err("it is of another cluster");
    assert_eq!(refused.code(), tonic::Code::FailedPrecondition, "{refused}");
}
