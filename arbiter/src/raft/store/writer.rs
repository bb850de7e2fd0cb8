//! The one thread that writes, and makes what it wrote durable. Knows changes and who waits for
//! them; never what they mean.
//!
//! Everything goes through one queue, so the order on disk is the order in which it was asked for:
//! a vote never overtakes an entry. The thread takes all that queued up meanwhile, writes it as one
//! and syncs once for it: group commit. Callers do not wait for RocksDB, so followers receive an
//! entry while the leader still writes it.

use super::engine::{Change, Job, LOG, Waiting, stopped};
use super::key;
use super::rocks::{Store, say};
use super::watermark::Watermark;
use crate::raft::codec;
use crate::raft::frame;
use rocksdb::{WriteBatch, WriteOptions};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

/// Jobs waiting; beyond it callers wait, which is what a stalled disk should cause.
const QUEUE_MAX: usize = 4096;
/// Bytes gathered into one write; one job alone may be larger.
const WRITE_BYTES_MAX: usize = 8 << 20;
/// Between two looks whether a write that stalls may go on: a memtable is flushed in about as long.
const STALL_LOOK: Duration = Duration::from_millis(5);
/// The thread needs little.
const STACK_BYTES: usize = 512 << 10;

/// The queue and the number of the last job in it, from 1.
type Queue = Option<(SyncSender<Job>, u64)>;

/// A change that may wait for the next write, and the job that it may not be written before.
type Along = Arc<Mutex<Option<(u64, Change)>>>;

/// Queues changes.
pub struct Writer {
    queue: Mutex<Queue>,
    along: Along,
    written: Arc<AtomicU64>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Writer {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system has no thread left.
    pub fn start(store: Arc<Store>, watermark: Watermark) -> io::Result<Self> {
        let (queue, jobs) = sync_channel(QUEUE_MAX);
        let written = Arc::new(AtomicU64::new(0));
        let along = Along::default();
        let (done, taken) = (written.clone(), along.clone());
        let mut hand = Hand { store, watermark, written: done, along: taken, broken: None };
        let thread = Builder::new()
            .name("wal-writer".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || hand.run(&jobs))?;
        let queue = Mutex::new(Some((queue, 0)));
        Ok(Self { queue, along, written, thread: Mutex::new(Some(thread)) })
    }

    /// Goes along with the next write, after all that is queued before it, or with none if there is
    /// none: for what costs little when it is old. A newer one replaces one that still waits.
    pub fn along(&self, change: Change) {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let last = queue.as_ref().map_or(0, |(_, last)| *last);
        *self.along.lock().unwrap_or_else(PoisonError::into_inner) = Some((last, change));
    }

    /// Waits, blocking, until `changes` are durable.
    ///
    /// # Errors
    /// The disk's; nothing may be acknowledged any more.
    pub fn now(&self, changes: Vec<Change>) -> io::Result<()> {
        let (sender, receiver) = sync_channel(1);
        self.queue(changes, Waiting::Call(sender));
        receiver.recv().unwrap_or_else(|_| Err(stopped()))
    }

    /// Number of the last job that can be read from the database.
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Acquire)
    }

    /// Queues `changes`. The number of the job.
    pub fn queue(&self, changes: Vec<Change>, waiting: Waiting) -> u64 {
        // Held while sending: numbers are in the order of the queue.
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let (sender, last) = queue.as_mut().expect("present until dropped");
        *last += 1;
        let number = *last;
        if let Err(returned) = sender.send(Job { number, changes, waiting }) {
            returned.0.waiting.done(Err(stopped()));
        }
        number
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.queue.lock().unwrap_or_else(PoisonError::into_inner).take());
        let thread = self.thread.lock().ok().and_then(|mut thread| thread.take());
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }
}

/// What the thread owns.
struct Hand {
    store: Arc<Store>,
    watermark: Watermark,
    written: Arc<AtomicU64>,
    along: Along,
    // After a failed sync the kernel may report the next as good although the pages are gone
    // (fsyncgate), so nothing is tried again.
    broken: Option<String>,
}

impl Hand {
    fn run(&mut self, jobs: &Receiver<Job>) {
        let mut waiting = Vec::new();
        while let Ok(first) = jobs.recv() {
            let mut batch = WriteBatch::default();
            let mut next = Some(first);
            let mut sync = false;
            let mut last = 0;
            while let Some(job) = next {
                last = job.number;
                sync |= !matches!(job.waiting, Waiting::None);
                self.gather(&mut batch, job.changes);
                waiting.push(job.waiting);
                let room = waiting.len() < QUEUE_MAX && batch.size_in_bytes() < WRITE_BYTES_MAX;
                next = room.then(|| jobs.try_recv().ok()).flatten();
            }
            self.gather(&mut batch, self.along(last).into_iter().collect());
            if self.broken.is_none() {
                match self.write(batch, sync) {
                    Ok(()) => self.written.store(last, Ordering::Release),
                    Err(error) => self.broken = Some(error.to_string()),
                }
            }
            for waiting in waiting.drain(..) {
                waiting.done(match &self.broken {
                    None => Ok(()),
                    Some(text) => Err(io::Error::other(text.clone())),
                });
            }
        }
    }

    /// What goes along with a write up to job `last`: never before what it speaks of.
    fn along(&self, last: u64) -> Option<Change> {
        let mut along = self.along.lock().unwrap_or_else(PoisonError::into_inner);
        along.take_if(|(after, _)| *after <= last).map(|(_, change)| change)
    }

    fn gather(&self, batch: &mut WriteBatch, changes: Vec<Change>) {
        for change in changes {
            match change {
                Change::Entry(entry) => {
                    let framed = frame::seal(&codec::entry_to(&entry));
                    batch.put_cf(self.store.family(LOG), key(entry.log_id.index), framed);
                }
                Change::Put(family, key, framed) => {
                    batch.put_cf(self.store.family(family), key, framed);
                }
                Change::Forget(from, to) => {
                    batch.delete_range_cf(self.store.family(LOG), key(from), key(to));
                }
            }
        }
    }

    fn write(&self, batch: WriteBatch, sync: bool) -> io::Result<()> {
        let mut options = WriteOptions::default();
        options.set_sync(sync);
        // Where its background work failed for want of space, RocksDB would let a write wait for
        // ever; so it is asked to say that it stalls, and a stall ends with that failure.
        options.set_no_slowdown(true);
        let again = batch.data().to_vec();
        let mut written = self.store.db.write_opt(batch, &options);
        while let Err(error) = written {
            if error.kind() != rocksdb::ErrorKind::Incomplete {
                return Err(self.store.error("write", &error));
            }
            if let Some(failed) = self.store.background_failure() {
                return Err(failed);
            }
            std::thread::sleep(STALL_LOOK);
            written = self.store.db.write_opt(WriteBatch::from_data(&again), &options);
        }
        if sync {
            // Nobody else writes: what the database counts is what this sync covered.
            let sequence = self.store.db.latest_sequence_number();
            self.watermark
                .note(sequence)
                .map_err(|error| say(&self.store.dir, "watermark", &error.to_string()))?;
        }
        Ok(())
    }
}
