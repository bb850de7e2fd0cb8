//! What only a simulation asks of a node. Knows a disk in memory and voters by name; never what a
//! command means.

use super::handle::{OpenError, RaftHandle, RaftOptions};
use super::memory::{self, MemoryDisk};
use openraft::async_runtime::watch::WatchReceiver;
use std::collections::BTreeSet;

impl RaftHandle {
    /// Opens what is stored on `disk`, as [`Self::open`] does in a directory; a new disk gets
    /// `incarnation`.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn open_memory(
        options: RaftOptions,
        disk: &MemoryDisk,
        incarnation: u64,
    ) -> Result<Self, OpenError> {
        let (cluster, node) = (options.cluster_id.clone(), options.node_id);
        let opened = memory::open(disk, &cluster, node, incarnation)
            .map_err(|error| OpenError::Start(error.to_string()))?;
        Self::start(options, opened.identity, opened.log, opened.snapshots).await
    }

    /// Makes exactly the members called `names` voters; the others go on as learners.
    ///
    /// # Errors
    /// In words; whether it is done then, members say.
    pub async fn set_voters(&self, names: &[&str]) -> Result<(), String> {
        let voters: BTreeSet<u64> = {
            let metrics = self.inner.raft.metrics();
            let known = metrics.borrow_watched().membership_config.clone();
            let named = known.membership().nodes();
            named
                .filter(|(_, node)| names.contains(&node.name.as_str()))
                .map(|(id, _)| *id)
                .collect()
        };
        let changed = self.inner.raft.change_membership(voters, true).await;
        changed.map(drop).map_err(|error| error.to_string())
    }

    /// Whether exactly the members called `names` vote, and no change is under way.
    pub fn voters_are(&self, names: &[&str]) -> bool {
        let metrics = self.inner.raft.metrics();
        let known = metrics.borrow_watched().membership_config.clone();
        let known = known.membership();
        let voters = known.voter_ids().filter_map(|id| known.get_node(&id));
        let voters: BTreeSet<&str> = voters.map(|node| node.name.as_str()).collect();
        known.get_joint_config().len() == 1 && voters == names.iter().copied().collect()
    }
}
