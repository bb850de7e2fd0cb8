//! A voter that nobody reaches for a while, and that reaches the others: it campaigns in vain.

use super::cluster::{Cluster, timing};
use super::kit;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Elections that it could have begun meanwhile.
const ELECTIONS: u32 = 6;

/// What leads to a voter, unless it is shut.
pub(super) struct Door {
    pub node_id: u64,
    listener: Option<TcpListener>,
    open: watch::Sender<bool>,
}

impl Door {
    async fn before(node_id: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        Self { node_id, listener: Some(listener), open: watch::Sender::new(true) }
    }

    /// Where others reach it from now on.
    pub(super) fn lead_to(&mut self, inner: SocketAddr) -> SocketAddr {
        let listener = self.listener.take().expect("once");
        let address = listener.local_addr().expect("bound");
        tokio::spawn(pass(listener, inner, self.open.subscribe()));
        address
    }
}

/// Connections through an open door; all of them end when it is shut.
async fn pass(listener: TcpListener, inner: SocketAddr, mut open: watch::Receiver<bool>) {
    let mut passing = JoinSet::new();
    loop {
        tokio::select! {
            changed = open.changed() => {
                if changed.is_err() {
                    return;
                }
                if !*open.borrow() {
                    passing.shutdown().await;
                }
            }
            accepted = listener.accept() => {
                let Ok((mut outer, _)) = accepted else { continue };
                if *open.borrow() {
                    passing.spawn(async move {
                        if let Ok(mut inner) = TcpStream::connect(inner).await {
                            let _ = tokio::io::copy_bidirectional(&mut outer, &mut inner).await;
                        }
                    });
                }
            }
        }
    }
}

#[test]
fn a_voter_that_hears_nobody_raises_no_term() {
    kit::runtime().block_on(async {
        let door = Door::before(1).await;
        let open = door.open.clone();
        let cluster = Cluster::reached_by(vec![door]).await;
        cluster.initialize().await;
        cluster.propose("before").await;
        while cluster.leader().await == 0 {
            let leader = cluster.handle(0);
            let _ = leader.transfer_leader("w").await;
        }
        cluster.agree().await;
        let leader = cluster.leader().await;
        let term = cluster.handle(leader).leader().borrow().term;
        open.send_replace(false);
        tokio::time::sleep(timing().election_max * ELECTIONS).await;
        let alone = cluster.handle(0).status();
        assert_eq!(alone.term, term, "its peers hear a leader, and would not vote for it");
        open.send_replace(true);
        cluster.propose("after").await;
        cluster.agree().await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(cluster.leader().await, leader, "nothing was lost by its return");
        assert_eq!(cluster.handle(leader).leader().borrow().term, term);
        cluster.end().await;
    });
}
