//! What only a simulation asks of a node. Knows a disk in memory and voters by name; never what a
//! command means.

use super::handle::{OpenError, RaftHandle, RaftOptions};
use super::memory::{self, MemoryDisk};

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
}
