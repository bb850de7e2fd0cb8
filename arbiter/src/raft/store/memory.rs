//! A disk in memory that outlives its node, and loses what was not synced when the node crashes.
//! Knows tables, batches and how long a sync takes; never what a command means.
//!
//! What is written goes through one queue in batches, each whole or not at all, and is durable once
//! synced: as with RocksDB's write-ahead log. A crash keeps the batches up to some point, never one
//! without those before it.

use super::engine::{Change, Disk, Engine, Job, LOG, META, Scan, Waiting, stopped};
use super::{IDENTITY, LogStore, Opened, Snapshots, VOTE, check, identity_stored, key};
use crate::raft::codec;
use crate::raft::frame;
use crate::raft::identity::Identity;
use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::sleep;

/// Between two looks whether a disk that hangs goes on.
const HANG_LOOK: Duration = Duration::from_millis(5);

type Tables = BTreeMap<(&'static str, Vec<u8>), Vec<u8>>;

/// What a disk says is durable although it is not: to show that somebody would notice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lie {
    /// It never lies.
    #[default]
    None,
    /// A vote is called durable before it is.
    Votes,
    /// An entry is.
    Entries,
}

/// A disk; clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct MemoryDisk {
    image: Arc<Mutex<Image>>,
}

#[derive(Debug, Default)]
struct Image {
    durable: Tables,
    /// What a process reads.
    written: Tables,
    /// Not yet durable, in order.
    unsynced: Vec<Vec<Edit>>,
    sync: Duration,
    hangs: bool,
    lie: Lie,
    /// How often it crashed: what a former life still holds writes nothing.
    life: u64,
}

/// One change of one table: a key gets a value, or a range of the log goes.
#[derive(Clone, Debug)]
enum Edit {
    Put(&'static str, Vec<u8>, Vec<u8>),
    Forget(u64, u64),
}

fn edit(change: Change) -> Edit {
    match change {
        Change::Entry(entry) => {
            let framed = frame::seal(&codec::entry_to(&entry));
            Edit::Put(LOG, key(entry.log_id.index).to_vec(), framed)
        }
        Change::Put(family, key, framed) => Edit::Put(family, key.to_vec(), framed),
        Change::Forget(from, to) => Edit::Forget(from, to),
    }
}

fn apply(tables: &mut Tables, edits: &[Edit]) {
    for edit in edits {
        match edit {
            Edit::Put(family, key, value) => {
                tables.insert((*family, key.clone()), value.clone());
            }
            Edit::Forget(from, to) => {
                let (from, to) = (key(*from).to_vec(), key(*to).to_vec());
                tables.retain(|(family, key), _| *family != LOG || *key < from || *key >= to);
            }
        }
    }
}

impl MemoryDisk {
    /// How long a sync takes from now on.
    pub fn set_sync(&self, time: Duration) {
        self.lock().sync = time;
    }

    /// Whether no sync ends until told otherwise.
    pub fn set_hangs(&self, hangs: bool) {
        self.lock().hangs = hangs;
    }

    /// What it says falsely from now on.
    pub fn set_lie(&self, lie: Lie) {
        self.lock().lie = lie;
    }

    /// Batches that are not durable.
    pub fn unsynced(&self) -> usize {
        self.lock().unsynced.len()
    }

    /// The node is gone: of what was not synced the first `kept` batches were durable by chance.
    /// How many were lost.
    pub fn crash(&self, kept: usize) -> usize {
        let mut image = self.lock();
        let unsynced = std::mem::take(&mut image.unsynced);
        let kept = kept.min(unsynced.len());
        for batch in &unsynced[..kept] {
            apply(&mut image.durable, batch);
        }
        image.written = image.durable.clone();
        image.hangs = false;
        image.life += 1;
        unsynced.len() - kept
    }

    fn lock(&self) -> MutexGuard<'_, Image> {
        self.image.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, family: &'static str, key: &[u8]) -> Option<Vec<u8>> {
        self.lock().written.get(&(family, key.to_vec())).cloned()
    }

    fn scan(&self, from: u64) -> Scan<'static> {
        let image = self.lock();
        let from = (LOG, key(from).to_vec());
        let rest = image.written.range(from..).take_while(|((family, _), _)| *family == LOG);
        let found: Vec<_> = rest
            .map(|((_, key), value)| Ok((key.clone().into_boxed_slice(), value.clone().into())))
            .collect();
        Box::new(found.into_iter())
    }
}

/// Opens what is on `disk`, verifies it, and starts the task that writes; call it on a runtime. A
/// new disk gets `incarnation`.
///
/// # Errors
/// What is there contradicts itself, or is another node's.
pub fn open(
    disk: &MemoryDisk,
    cluster_id: &str,
    node_id: u64,
    incarnation: u64,
) -> io::Result<Opened> {
    let known = check::identity(disk)?;
    let wanted = Identity { node_id, cluster_id: cluster_id.to_owned(), incarnation };
    let identity = known.unwrap_or_else(|| {
        let put = Edit::Put(META, IDENTITY.to_vec(), identity_stored(&wanted));
        let mut image = disk.lock();
        apply(&mut image.durable, std::slice::from_ref(&put));
        image.written = image.durable.clone();
        wanted.clone()
    });
    if (identity.node_id, &identity.cluster_id) != (wanted.node_id, &wanted.cluster_id) {
        return Err(io::Error::other(format!("the disk is of node {}", identity.node_id)));
    }
    let (tail, snapshot) = check::all(disk)?;
    let engine: Arc<dyn Engine> = Arc::new(Memory::start(disk.clone()));
    let snapshots = Arc::new(Snapshots::new(engine.clone(), snapshot));
    Ok(Opened { log: LogStore::new(engine, tail), snapshots, identity })
}

type Along = Arc<Mutex<Option<(u64, Change)>>>;

/// The queue to a disk.
struct Memory {
    disk: MemoryDisk,
    queue: Mutex<(mpsc::UnboundedSender<Job>, u64)>,
    along: Along,
    written: Arc<AtomicU64>,
}

impl Memory {
    fn start(disk: MemoryDisk) -> Self {
        let (sender, jobs) = mpsc::unbounded_channel();
        let (along, written) = (Along::default(), Arc::new(AtomicU64::new(0)));
        let life = disk.lock().life;
        let hand =
            Hand { disk: disk.clone(), life, along: along.clone(), written: written.clone() };
        tokio::spawn(hand.run(jobs));
        Self { disk, queue: Mutex::new((sender, 0)), along, written }
    }
}

impl Disk for MemoryDisk {
    fn get(&self, family: &'static str, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        Ok(Self::get(self, family, key))
    }

    fn scan(&self, from: u64) -> Scan<'_> {
        Self::scan(self, from)
    }
}

impl Disk for Memory {
    fn get(&self, family: &'static str, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        Ok(self.disk.get(family, key))
    }

    fn scan(&self, from: u64) -> Scan<'_> {
        self.disk.scan(from)
    }
}

impl Engine for Memory {
    fn queue(&self, changes: Vec<Change>, mut waiting: Waiting) -> u64 {
        let lies = match (self.disk.lock().lie, &waiting) {
            (Lie::Votes, Waiting::Task(_)) => {
                changes.iter().any(|change| matches!(change, Change::Put(META, VOTE, _)))
            }
            (Lie::Entries, Waiting::Append(_)) => true,
            _ => false,
        };
        if lies {
            std::mem::replace(&mut waiting, Waiting::None).done(Ok(()));
        }
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.1 += 1;
        let number = queue.1;
        if let Err(returned) = queue.0.send(Job { number, changes, waiting }) {
            returned.0.waiting.done(Err(stopped()));
        }
        number
    }

    fn along(&self, change: Change) {
        let last = self.queue.lock().unwrap_or_else(PoisonError::into_inner).1;
        *self.along.lock().unwrap_or_else(PoisonError::into_inner) = Some((last, change));
    }

    fn written(&self) -> u64 {
        self.written.load(Ordering::Acquire)
    }
}

/// What the task owns.
struct Hand {
    disk: MemoryDisk,
    life: u64,
    along: Along,
    written: Arc<AtomicU64>,
}

impl Hand {
    async fn run(self, mut jobs: mpsc::UnboundedReceiver<Job>) {
        while let Some(first) = jobs.recv().await {
            let (mut edits, mut waiting, mut last) = (Vec::new(), Vec::new(), 0);
            let mut next = Some(first);
            while let Some(job) = next {
                last = job.number;
                edits.extend(job.changes.into_iter().map(edit));
                waiting.push(job.waiting);
                next = jobs.try_recv().ok();
            }
            edits.extend(self.along(last).map(edit));
            let sync = waiting.iter().any(|one| !matches!(one, Waiting::None));
            let written = self.write(edits, sync).await;
            if written {
                self.written.store(last, Ordering::Release);
            }
            for one in waiting {
                one.done(if written { Ok(()) } else { Err(stopped()) });
            }
        }
    }

    /// What goes along with a write up to job `last`: never before what it speaks of.
    fn along(&self, last: u64) -> Option<Change> {
        let mut along = self.along.lock().unwrap_or_else(PoisonError::into_inner);
        along.take_if(|(after, _)| *after <= last).map(|(_, change)| change)
    }

    /// False: this life of the disk is over.
    async fn write(&self, edits: Vec<Edit>, sync: bool) -> bool {
        let Some(time) = self.alive(|image| {
            image.unsynced.push(edits.clone());
            image.sync
        }) else {
            return false;
        };
        if sync {
            sleep(time).await;
            while self.alive(|image| image.hangs) == Some(true) {
                sleep(HANG_LOOK).await;
            }
        }
        self.alive(|image| {
            apply(&mut image.written, &edits);
            if sync {
                for batch in std::mem::take(&mut image.unsynced) {
                    apply(&mut image.durable, &batch);
                }
            }
        })
        .is_some()
    }

    fn alive<T>(&self, with: impl FnOnce(&mut Image) -> T) -> Option<T> {
        let mut image = self.disk.lock();
        (image.life == self.life).then(|| with(&mut image))
    }
}
