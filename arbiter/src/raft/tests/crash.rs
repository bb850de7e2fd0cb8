//! kill -9 under load, again and again on one store, with a model of what was acknowledged.

use super::kit;
use crate::raft::machine::StateMachine;
use crate::raft::state::StateCell;
use crate::raft::store::LogStore;
use crate::raft::types::{Entry, Vote};
use openraft::storage::{RaftLogStorage, RaftSnapshotBuilder, RaftStateMachine};
use openraft::{EntryPayload, RaftLogReader};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::Stdio;

/// Lives of the child; each ends by SIGKILL.
const KILLS: usize = 15;

/// What the child told of: done, or about to be done.
#[derive(Default)]
struct Model {
    entries: BTreeMap<u64, (u64, usize)>,
    vote: u64,
    purged: u64,
}

impl Model {
    fn note(&mut self, line: &str) {
        let words: Vec<u64> = line.split(' ').skip(1).filter_map(|w| w.parse().ok()).collect();
        match (line.split(' ').next(), words.as_slice()) {
            // Acknowledged.
            (Some("entry"), [term, index, bytes]) => {
                self.entries.insert(*index, (*term, *bytes as usize));
            }
            (Some("vote"), [term]) => self.vote = *term,
            // About to be done: from now on these may be gone.
            (Some("truncate"), [last]) => self.entries.retain(|index, _| index <= last),
            (Some("purge"), [upto]) => {
                self.purged = *upto;
                self.entries.retain(|index, _| index > upto);
            }
            _ => {}
        }
    }

    fn check(&self, vote: Option<Vote>, found: &[Entry]) {
        let term = vote.map_or(0, |vote| vote.leader_id.term);
        assert!(term >= self.vote, "vote of term {} lost, {term} found", self.vote);
        let found: BTreeMap<u64, &Entry> = found.iter().map(|e| (e.log_id.index, e)).collect();
        for (index, (term, bytes)) in &self.entries {
            let entry = found.get(index).unwrap_or_else(|| panic!("entry {index} lost"));
            assert_eq!(**entry, kit::entry(*term, *index, *bytes), "entry {index} differs");
        }
    }
}

#[test]
fn what_was_acknowledged_survives_kill_9_under_load() {
    let dir = tempfile::tempdir().expect("a directory");
    let runtime = kit::runtime();
    let mut model = Model::default();
    let mut acknowledged = 0;
    for life in 0..KILLS {
        let mut child = kit::child("raft::tests::crash::child_writes_until_killed", dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this binary starts");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        // A different point in each life, and always in the middle of something.
        let last = 40 + life * 37 % 300;
        for line in lines.by_ref().take(last) {
            model.note(&line.expect("text"));
        }
        child.kill().expect("it still runs");
        child.wait().expect("it ends");
        // What it had told before it died.
        for line in lines {
            model.note(&line.expect("text"));
        }
        acknowledged += model.entries.len();
        runtime.block_on(async {
            let mut opened = kit::open_store(dir.path()).expect("it opens after kill -9");
            let vote = opened.log.read_vote().await.expect("readable");
            let found = kit::read_all(&mut opened.log).await.expect("readable");
            model.check(vote, &found);
        });
    }
    assert!(acknowledged > 100, "the load was no load: {acknowledged}");
}

#[test]
#[ignore = "a child that what_was_acknowledged_survives_kill_9_under_load starts; alone it returns"]
fn child_writes_until_killed() {
    if let Some(dir) = kit::child_dir() {
        kit::runtime().block_on(write_for_ever(&dir));
    }
}

fn say(line: String) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("{line}\n").as_bytes()).expect("the parent reads");
    out.flush().expect("the parent reads");
}

async fn write_for_ever(dir: &Path) {
    let opened = kit::open_store(dir).expect("it opens");
    let mut log = opened.log;
    let mut machine = StateMachine::new(StateCell::new(), opened.snapshots);
    let state = log.get_log_state().await.expect("readable");
    let mut last = state.last_log_id.map_or(0, |at| at.index);
    let mut next = state.last_log_id.map_or(0, |at| at.index + 1);
    let vote = log.read_vote().await.expect("readable");
    let mut term = vote.map_or(0, |vote| vote.leader_id.term) + 1;
    for turn in 0_u64.. {
        if turn % 7 == 0 {
            term += 1;
            log.save_vote(&Vote::new_committed(term, 1)).await.expect("saved");
            say(format!("vote {term}"));
        }
        if turn % 11 == 10 && last > 3 {
            last -= 3;
            say(format!("truncate {last}"));
            let at = log.try_get_log_entries(last..=last).await.expect("readable");
            log.truncate_after(at.first().map(|e| e.log_id)).await.expect("truncated");
            next = last + 1;
        }
        if turn % 23 == 22 {
            snapshot_and_purge(&mut log, &mut machine, last.saturating_sub(8)).await;
        }
        let bytes = (turn * 997 % 9000) as usize;
        let batch: Vec<Entry> =
            (next..next + 1 + turn % 4).map(|index| kit::entry(term, index, bytes)).collect();
        next += batch.len() as u64;
        last = next - 1;
        kit::append(&mut log, batch.clone()).await.expect("appended");
        for entry in batch {
            say(format!("entry {term} {} {bytes}", entry.log_id.index));
        }
    }
}

/// As openraft does: first a durable snapshot, then the purge of what it holds.
async fn snapshot_and_purge(log: &mut LogStore, machine: &mut StateMachine, upto: u64) {
    let found = log.try_get_log_entries(upto..=upto).await.expect("readable");
    let Some(at) = found.first().map(|entry| entry.log_id) else { return };
    let blank = Entry { log_id: at, payload: EntryPayload::Blank };
    let entries = futures::stream::iter([Ok((blank, None))]);
    machine.apply(entries).await.expect("applied");
    let mut builder = machine.try_create_snapshot_builder(true).await.expect("forced");
    let built = builder.build_snapshot().await.expect("built");
    assert_eq!(built.meta.last_log_id, Some(at));
    say(format!("purge {upto}"));
    log.purge(at).await.expect("purged");
}
