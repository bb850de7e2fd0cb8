//! Who leads, as this node knows. Knows openraft's metrics; decides nothing.

use super::types::{Raft, TypeConfig};
use crate::clock;
use arbiter_core::{ArbiterId, Instant};
use openraft::async_runtime::watch::WatchReceiver;
use openraft::{RaftMetrics, ServerState};
use tokio::sync::watch;

/// Who leads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leadership {
    /// Raft term that this node is in.
    pub term: u64,
    /// Name of the leader; none: not known.
    pub leader: Option<ArbiterId>,
    /// `host:port` of its gRPC face.
    pub address: Option<String>,
    /// Raft node id of the leader.
    pub node_id: Option<u64>,
    /// This node leads in `term`. A leader that is cut off does not learn that it no longer does:
    /// whatever has an effect needs a ReadIndex as well.
    pub mine: bool,
    /// And has applied its first entry, so that its State holds all that was committed before.
    pub acting: bool,
    /// When this node first knew of this leader in this term: never before the election.
    pub since: Instant,
}

impl Leadership {
    fn from(metrics: &RaftMetrics<TypeConfig>) -> Self {
        let term = metrics.current_term;
        let node_id = metrics.current_leader;
        let membership = metrics.membership_config.membership();
        let member = node_id.and_then(|id| membership.get_node(&id));
        let mine = metrics.state == ServerState::Leader && node_id == Some(metrics.id);
        let applied = metrics.last_applied.map(|at| at.leader_id.term);
        Self {
            term,
            leader: member.map(|member| ArbiterId(member.name.clone())),
            address: member.map(|member| member.address.clone()),
            node_id,
            mine,
            acting: mine && applied == Some(term),
            since: Instant::default(),
        }
    }

    fn same_reign(&self, other: &Self) -> bool {
        (self.term, self.node_id, self.mine) == (other.term, other.node_id, other.mine)
    }
}

/// Follows the metrics of `raft` until it stops. `fatal` is called once if it stopped by itself.
pub fn follow(
    raft: &Raft,
    fatal: impl FnOnce(String) + Send + 'static,
) -> watch::Receiver<Leadership> {
    let (sender, receiver) = watch::channel(Leadership::default());
    let mut metrics = raft.metrics();
    tokio::spawn(async move {
        loop {
            // The guard is dropped before anything is awaited: held, it would stop openraft.
            let (mut now, stopped) = {
                let metrics = metrics.borrow_watched();
                let stopped = metrics.running_state.as_ref().err().map(ToString::to_string);
                (Leadership::from(&metrics), stopped)
            };
            if let Some(why) = stopped {
                sender.send_replace(Leadership::default());
                return fatal(why);
            }
            sender.send_if_modified(|known| {
                now.since = if known.same_reign(&now) { known.since } else { clock::now() };
                let changed = *known != now;
                *known = now;
                changed
            });
            if metrics.changed().await.is_err() {
                sender.send_replace(Leadership::default());
                return fatal("openraft has stopped".to_owned());
            }
        }
    });
    receiver
}
