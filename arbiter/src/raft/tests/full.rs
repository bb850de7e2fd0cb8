//! A full disk stops the node with a clear message, and nothing acknowledged is lost.

use super::kit;
use crate::raft::handle::{RaftHandle, RaftOptions};
use crate::raft::timing::VoterAt;
use arbiter_core::{Command, Profile};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// Size of the disk that fills, and after somebody made room.
const SMALL: &str = "size=12m";
const LARGE: &str = "size=96m";

/// A file system of its own; unmounted when dropped.
struct Disk(PathBuf);

impl Disk {
    fn mount(at: &Path) -> nix::Result<Self> {
        mount(Some("tmpfs"), at, Some("tmpfs"), MsFlags::empty(), Some(SMALL))?;
        Ok(Self(at.to_owned()))
    }

    fn enlarge(&self) {
        mount(Some("tmpfs"), &self.0, Some("tmpfs"), MsFlags::MS_REMOUNT, Some(LARGE))
            .expect("remounted");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}

fn options(dir: &Path) -> RaftOptions {
    let name = "alone".to_owned();
    let address = "127.0.0.1:1".to_owned();
    RaftOptions {
        cluster_id: kit::CLUSTER.to_owned(),
        name: name.clone(),
        node_id: 1,
        data_dir: dir.join("data"),
        timing: Profile::Metro.timing(),
        voters: vec![VoterAt { name, node_id: 1, address, witness: false }],
        tls: None,
    }
}

#[test]
fn a_full_disk_stops_the_node_and_loses_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let disk = match Disk::mount(dir.path()) {
        Ok(disk) => disk,
        Err(error) => {
            eprintln!("left out: a full disk needs root and a mount of its own ({error})");
            return;
        }
    };
    let mut child = kit::child("raft::tests::full::child_fills_its_disk", dir.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("this binary starts");
    let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let acknowledged: Vec<String> = lines
        .map(|line| line.expect("text"))
        .filter_map(|line| line.strip_prefix("done ").map(str::to_owned))
        .collect();
    let mut said = String::new();
    child.stderr.take().expect("piped").read_to_string(&mut said).expect("text");
    let status = child.wait().expect("it ends");
    assert!(!status.success(), "it must not go on: {said}");
    assert!(said.contains("no space left"), "says why: {said}");
    assert!(said.contains("free some space"), "says what to do: {said}");
    assert!(acknowledged.len() > 10, "it worked until then: {acknowledged:?}");
    disk.enlarge();
    kit::runtime().block_on(async {
        let handle = RaftHandle::open(options(dir.path())).await.expect("it starts again");
        let mut leader = handle.leader();
        leader.wait_for(|now| now.acting).await.expect("it leads");
        let last: u64 = acknowledged.last().and_then(|i| i.parse().ok()).expect("an index");
        let applied = handle.state().applied_index();
        assert!(applied >= last, "entry {last} was acknowledged, {applied} is there");
        handle.shutdown().await;
    });
}

#[test]
#[ignore = "a child that a_full_disk_stops_the_node_and_loses_nothing starts; alone it returns"]
fn child_fills_its_disk() {
    let Some(dir) = kit::child_dir() else { return };
    kit::runtime().block_on(async {
        let handle = RaftHandle::open(options(&dir)).await.expect("it starts");
        let _ = handle.initialize(&kit::harmless("first")).await;
        for turn in 0.. {
            let mut proposal =
                kit::proposal(&format!("r{turn}"), Command::RaiseVersion { version: 0 });
            proposal.reason = "x".repeat(60_000);
            let result = handle.propose(&proposal).await.expect("only a full disk stops it");
            let index = handle.state().applied_index();
            let _ = result;
            let mut out = std::io::stdout().lock();
            out.write_all(format!("done {index}\n").as_bytes()).expect("the parent reads");
            out.flush().expect("the parent reads");
        }
    });
}
