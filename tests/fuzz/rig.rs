//! A whole arbiter in this thread: the real Raft, leader and faces on a disk in memory, without a
//! socket, and with a time that passes when nothing else is to be done. Knows how the parts are
//! joined, as `arbiter node` does; never what is asked.

use super::worlds::behind;
use crate::accepted::Accepted;
use arbiter::clock;
use arbiter::dial;
use arbiter::fuzzing::raft::{crc32c, seal};
use arbiter::fuzzing::server::operations;
use arbiter::leader::{Leader, Route};
use arbiter::notify::{Notifier, Receivers};
use arbiter::raft::memory::MemoryDisk;
use arbiter::raft::{self, RaftHandle, RaftOptions};
use arbiter::server::{self, Face};
use arbiter_core::{GroupId, State};
use arbiter_proto::v1 as pb;
use hyper_util::rt::TokioIo;
use std::cell::Cell;
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::DuplexStream;
use tokio::runtime::Builder;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::transport::{Channel, Endpoint};

/// The cluster's name, in every world.
pub const CLUSTER: &str = "fuzz";
/// Raft node id of the arbiter.
pub const ME: u64 = 1;
/// Raft node id of the peer that speaks first.
pub const PEER: u64 = 2;
/// Life of its disk.
pub const DISK: u64 = 1;
/// Term of the log that it begins with.
pub const TERM: u64 = 3;
/// Bytes on their way over a connection.
const PIPE_BYTES: usize = 64 << 10;
/// Longest until an arbiter leads, of the time that passes here.
const ELECTION_LIMIT: Duration = Duration::from_secs(60);

/// How the arbiter stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stands {
    /// Its disk is empty.
    New,
    /// It leads; the others only learn, and none of them answers.
    Leads,
    /// Another leads, and does not answer.
    Follows,
}

/// The arbiter.
pub struct Rig {
    /// The way to its services.
    pub channel: Channel,
    face: Arc<Face>,
    raft: RaftHandle,
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.raft.let_go();
    }
}

/// Run `work` on a runtime of its own, whose time is the time of every clock here.
pub fn simulated(work: impl Future<Output = ()>) {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(async {
        BEGAN.set(Some(sleep(Duration::ZERO).deadline()));
        let _clocks = Clocks::taken();
        work.await;
    });
}

thread_local! {
    static BEGAN: Cell<Option<tokio::time::Instant>> = const { Cell::new(None) };
}

/// The clocks and connections of this thread, until it is dropped.
struct Clocks;

impl Clocks {
    fn taken() -> Self {
        clock::instead::of_this_thread(Some(|| {
            BEGAN.get().map_or(Duration::ZERO, |began| began.elapsed())
        }));
        dial::instead::of_this_thread(nobody);
        Self
    }
}

impl Drop for Clocks {
    fn drop(&mut self) {
        clock::instead::of_this_thread(None);
    }
}

/// Nobody answers anywhere.
fn nobody(endpoint: &Endpoint) -> Channel {
    endpoint.connect_with_connector_lazy(tower::service_fn(|_| async {
        Err::<TokioIo<DuplexStream>, _>(io::Error::from(io::ErrorKind::ConnectionRefused))
    }))
}

impl Rig {
    /// An arbiter of `state`, as its first node.
    pub async fn boot(state: &State, stands: Stands) -> Self {
        let voters = raft::voters(&state.spec);
        let me = voters.iter().find(|voter| voter.node_id == ME).expect("a first node").clone();
        let timing = state.spec.groups.values().next().expect("a group").policy.timing;
        let options = RaftOptions {
            cluster_id: CLUSTER.to_owned(),
            name: me.name.clone(),
            node_id: ME,
            data_dir: PathBuf::new(),
            timing,
            // It begins a cluster alone: nobody else answers.
            voters: if stands == Stands::New { vec![me] } else { voters.clone() },
            tls: None,
        };
        let opened = RaftHandle::open_memory(options, &MemoryDisk::default(), DISK).await;
        let raft = opened.expect("an empty disk is opened");
        // What peers say may stop it: that must not end this process.
        raft.let_go();
        let leader = Leader::new(raft.clone());
        let (id, notifier) =
            (CLUSTER.to_owned(), Notifier::start(Receivers::default(), CLUSTER, Arc::default()));
        let face = Face::new(raft.clone(), leader.clone(), id, voters, false, None, notifier);
        tokio::spawn(leader.run());
        tokio::spawn(server::audit::carry(face.clone()));
        let (accepted, connections) = mpsc::unbounded_channel();
        let router = server::router(&face, &raft).expect("the services are described");
        let connections = UnboundedReceiverStream::new(connections).map(Ok::<_, io::Error>);
        tokio::spawn(router.serve_with_incoming(connections));
        let rig = Self { channel: channel(accepted), face, raft };
        if stands != Stands::New {
            rig.receive(state, stands).await;
        }
        rig
    }

    /// The State, as a snapshot from its peer; then it is as it is to stand.
    async fn receive(&self, state: &State, stands: Stands) {
        let parts = snapshot(state, stands);
        let mut client = pb::raft_client::RaftClient::new(self.channel.clone());
        client.snapshot(futures::stream::iter(parts)).await.expect("the snapshot is taken");
        let mut route = self.face.leader.route();
        let stands = route.wait_for(|route| match stands {
            Stands::Leads => matches!(route, Route::Here(_)),
            _ => matches!(route, Route::To { .. }),
        });
        timeout(ELECTION_LIMIT, stands).await.expect("it leads or follows").expect("it runs");
    }

    /// Its operations port.
    pub fn operations(&self) -> axum::Router {
        operations(self.face.clone())
    }

    /// What it holds.
    pub fn state(&self) -> Arc<State> {
        self.raft.state().get()
    }

    /// Whether there is such a group.
    pub fn knows(&self, group: &str) -> bool {
        self.state().group(&GroupId::from(group)).is_some()
    }
}

/// A snapshot of `state` from the peer, which led when it was made.
fn snapshot(state: &State, stands: Stands) -> Vec<pb::SnapshotPart> {
    use pb::snapshot_part::Part;
    let voters = raft::voters(&state.spec);
    let members = voters.iter().map(|voter| pb::Member {
        node_id: voter.node_id,
        name: voter.name.clone(),
        address: voter.address.clone(),
        incarnation: 0,
    });
    let voting = match stands {
        Stands::Leads => vec![ME],
        _ => voters.iter().map(|voter| voter.node_id).collect(),
    };
    let configs = vec![pb::VoterSet { node_ids: voting }];
    let membership = pb::Membership { configs, members: members.collect() };
    let begun = Some(pb::LogPosition { term: TERM, index: 1 });
    let last = Some(pb::LogPosition { term: TERM, index: behind(0).index });
    let meta = pb::SnapshotMeta {
        last,
        membership: Some(pb::StoredMembership { at: begun, membership: Some(membership) }),
        id: String::new(),
    };
    let json = serde_json::to_vec(state).expect("a State is JSON");
    let data = seal(&pb::StoredState { applied: last, state: json.into(), ..Default::default() });
    let head = pb::SnapshotHead {
        peers: Some(peers()),
        vote: Some(vote()),
        meta: Some(meta),
        bytes: data.len() as u64,
    };
    let tail = pb::SnapshotTail { crc32c: crc32c(&data) };
    let parts = [Part::Head(head), Part::Chunk(data.into()), Part::Tail(tail)];
    parts.map(|part| pb::SnapshotPart { part: Some(part) }).into()
}

/// The peer speaks to the arbiter.
pub fn peers() -> pb::Peers {
    let (cluster_id, from, to) = (CLUSTER.to_owned(), PEER, ME);
    pb::Peers { cluster_id, from, to, from_incarnation: 9, to_incarnation: DISK }
}

/// The peer leads.
pub fn vote() -> pb::RaftVote {
    pb::RaftVote { term: TERM, voted_for: Some(PEER), committed: true }
}

/// Connections to the arbiter, each told to `accepted`.
fn channel(accepted: mpsc::UnboundedSender<Accepted<DuplexStream>>) -> Channel {
    let endpoint = Endpoint::from_static("http://arbiter.test:7400");
    endpoint.connect_with_connector_lazy(tower::service_fn(move |_| {
        let (ours, theirs) = tokio::io::duplex(PIPE_BYTES);
        let sent = accepted.send(Accepted(theirs));
        async move {
            sent.map_err(|_| io::Error::from(io::ErrorKind::ConnectionRefused))?;
            Ok::<_, io::Error>(TokioIo::new(ours))
        }
    }))
}
