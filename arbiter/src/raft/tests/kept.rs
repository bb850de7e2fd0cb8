//! A data directory of the release before is opened: log, vote, snapshot, identity and State.
//! `arbiter/tests/fixtures/v1` keeps one, made by the code of then.
//! `ARBITER_UPDATE=1 cargo test -p arbiter --lib raft::tests::kept` makes it where none is kept.

use super::cluster::Cluster;
use super::kit;
use crate::raft::offline;
use openraft::RaftLogReader;
use std::fs;
use std::path::{Path, PathBuf};

/// Entries after the snapshot, which are read from the log.
const AFTER: usize = 5;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/v1")
}

/// What RocksDB writes for people, or for itself while it runs, is no part of it.
fn is_kept(name: &str) -> bool {
    !["LOG", "LOCK", "OPTIONS"].iter().any(|own| name.starts_with(own))
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let to = to.join(&name);
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else if is_kept(&name) {
            fs::copy(entry.path(), to).expect("a copy");
        }
    }
}

async fn make(folder: &Path) {
    let mut cluster = Cluster::start().await;
    cluster.initialize().await;
    cluster.lead(0).await;
    for turn in 0..20 {
        cluster.propose(&format!("before-{turn}")).await;
    }
    cluster.snapshot(0).await;
    for turn in 0..AFTER {
        cluster.propose(&format!("after-{turn}")).await;
    }
    cluster.agree().await;
    let state = cluster.handle(0).state().get();
    let dir = cluster.data_dir(0);
    cluster.stop(0).await;
    copy(&dir, &folder.join("node"));
    let json = serde_json::to_string_pretty(&*state).expect("JSON");
    fs::write(folder.join("state.json"), json).expect("written");
    cluster.end().await;
}

#[test]
fn a_data_directory_of_the_release_before_is_opened() {
    kit::runtime().block_on(async {
        let folder = folder();
        if std::env::var_os("ARBITER_UPDATE").is_some() && !folder.join("node").exists() {
            make(&folder).await;
        }
        let dir = tempfile::tempdir().expect("a directory");
        copy(&folder.join("node"), dir.path());
        let (state, at, identity) = offline::read(dir.path()).await.expect("it is read");
        assert_eq!((identity.node_id, identity.cluster_id.as_str()), (1, kit::CLUSTER));
        let json = fs::read_to_string(folder.join("state.json")).expect("kept");
        let known: arbiter_core::State = serde_json::from_str(&json).expect("a State");
        assert_eq!(state, known, "snapshot and log lead to the State of then");
        assert!(state.requests.len() >= 20 + AFTER && at.term > 0);
        let mut opened = kit::open_store(dir.path()).expect("it goes on as a voter");
        let snapshot = opened.snapshots.current().expect("read").expect("one was kept");
        let taken = snapshot.meta.last_log_id.expect("of an entry").index;
        assert!(taken < at.index);
        assert_eq!(snapshot.meta.last_membership.membership().voter_ids().count(), 3);
        assert!(opened.log.read_vote().await.expect("read").is_some(), "its vote is kept");
        let entries = kit::read_all(&mut opened.log).await.expect("read");
        assert!(entries.last().is_some_and(|last| last.log_id.index == at.index));
    });
}
