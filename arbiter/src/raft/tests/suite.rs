//! openraft's own tests of a store.

use super::kit;
use crate::raft::machine::StateMachine;
use crate::raft::state::StateCell;
use crate::raft::store::LogStore;
use crate::raft::types::TypeConfig;
use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};
use tempfile::TempDir;

struct Builder;

impl StoreBuilder<TypeConfig, LogStore, StateMachine, TempDir> for Builder {
    async fn build(&self) -> Result<(TempDir, LogStore, StateMachine), StorageError<TypeConfig>> {
        let dir = TempDir::new().expect("a directory");
        let opened = kit::open_store(dir.path()).expect("a new store opens");
        let machine = StateMachine::new(StateCell::new(), opened.snapshots);
        Ok((dir, opened.log, machine))
    }
}

#[test]
fn the_suite_of_openraft_passes() {
    kit::runtime().block_on(async { Suite::test_all(Builder).await }).expect("the suite passes");
}
