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

/// The same on a disk in memory.
#[cfg(feature = "simulated")]
mod memory {
    use super::{LogStore, StateCell, StateMachine, StorageError, StoreBuilder, Suite, TypeConfig};
    use crate::raft::memory::{MemoryDisk, open};
    use crate::raft::tests::kit;
    use openraft::RaftLogReader;
    use openraft::storage::{IOFlushed, RaftLogStorage};
    use openraft::type_config::TypeConfigExt;
    use std::time::Duration;

    struct Builder;

    impl StoreBuilder<TypeConfig, LogStore, StateMachine, MemoryDisk> for Builder {
        async fn build(
            &self,
        ) -> Result<(MemoryDisk, LogStore, StateMachine), StorageError<TypeConfig>> {
            let disk = MemoryDisk::default();
            let opened = open(&disk, kit::CLUSTER, 1, 7).expect("a new disk opens");
            let machine = StateMachine::new(StateCell::new(), opened.snapshots);
            Ok((disk, opened.log, machine))
        }
    }

    #[test]
    fn the_suite_of_openraft_passes_in_memory() {
        kit::runtime().block_on(async { Suite::test_all(Builder).await }).expect("it passes");
    }

    #[test]
    fn a_crash_loses_what_was_not_synced_and_nothing_else() {
        kit::runtime().block_on(async {
            let disk = MemoryDisk::default();
            let mut log = open(&disk, kit::CLUSTER, 1, 7).expect("it opens").log;
            kit::append(&mut log, vec![kit::entry(1, 0, 8), kit::entry(1, 1, 8)])
                .await
                .expect("kept");
            disk.set_hangs(true);
            let (sender, receiver) = TypeConfig::oneshot();
            let entries = vec![kit::entry(1, 2, 8)];
            log.append(entries, IOFlushed::signal(sender)).await.expect("it is readable");
            assert_eq!(kit::read_all(&mut log).await.expect("readable").len(), 3);
            while disk.unsynced() == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            assert_eq!(disk.crash(0), 1, "one batch is lost");
            drop(log);
            assert!(receiver.await.map_or(true, |told| told.is_err()), "and never acknowledged");
            let mut log = open(&disk, kit::CLUSTER, 1, 7).expect("it opens again").log;
            assert_eq!(log.try_get_log_entries(0..9).await.expect("readable").len(), 2);
            let other = open(&disk, kit::CLUSTER, 2, 7).err().map(|error| error.to_string());
            assert!(other.is_some_and(|why| why.contains("node 1")), "it is another's");
        });
    }
}
