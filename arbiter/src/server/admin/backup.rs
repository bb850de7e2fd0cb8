//! The State of the cluster in a file, as a quorum confirms it.

use crate::backup::Backup;
use crate::clock;
use crate::server::{Face, refusal};
use arbiter_proto::v1 as pb;
use tonic::Status;

impl Face {
    /// What was committed before the call is in it.
    pub(super) async fn take_backup(&self) -> Result<pb::BackupResponse, Status> {
        self.confirm().await?;
        let (state, at) = self.raft.state().with_applied(|state, at| (state.clone(), at));
        let at = at.filter(|_| state.cluster_id.is_some()).ok_or_else(refusal::not_initialized)?;
        let backup = Backup::of(state, at, clock::wall(), self.raft.name()).encode();
        Ok(pb::BackupResponse { backup: backup.into(), index: at.index, term: at.term })
    }
}
