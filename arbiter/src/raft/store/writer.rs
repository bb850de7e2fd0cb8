//! The one thread that makes writes durable. Knows what waits for a sync; never what was written.
//!
//! Callers write into the database, so that it can be read, and queue what is to happen once it is
//! durable. The thread takes all that queued up meanwhile and syncs once for it: group commit.

use super::watermark::Watermark;
use super::{Store, say};
use crate::raft::types::TypeConfig;
use openraft::storage::IOFlushed;
use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::{Builder, JoinHandle};

/// Waiting for one sync; beyond it callers wait, which is what a stalled disk should cause.
const QUEUE_MAX: usize = 4096;
/// The thread needs little.
const STACK_BYTES: usize = 256 << 10;

enum Waiting {
    Append(IOFlushed<TypeConfig>),
    Call(SyncSender<io::Result<()>>),
    Task(tokio::sync::oneshot::Sender<io::Result<()>>),
}

impl Waiting {
    fn done(self, result: io::Result<()>) {
        // A caller that went away needs no answer.
        match self {
            Self::Append(callback) => callback.io_completed(result),
            Self::Call(sender) => drop(sender.send(result)),
            Self::Task(sender) => drop(sender.send(result)),
        }
    }
}

/// Queues what waits for a sync.
pub struct Writer {
    queue: Option<SyncSender<Waiting>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Writer {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system has no thread left.
    pub fn start(store: Arc<Store>, watermark: Watermark) -> io::Result<Self> {
        let (queue, waiting) = sync_channel(QUEUE_MAX);
        let thread = Builder::new()
            .name("wal-writer".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || run(&store, &watermark, &waiting))?;
        Ok(Self { queue: Some(queue), thread: Mutex::new(Some(thread)) })
    }

    /// Calls back once everything written so far is durable.
    pub fn append(&self, callback: IOFlushed<TypeConfig>) {
        self.queue(Waiting::Append(callback));
    }

    /// Waits, blocking, until everything written so far is durable.
    ///
    /// # Errors
    /// The disk's; nothing may be acknowledged any more.
    pub fn sync(&self) -> io::Result<()> {
        let (sender, receiver) = sync_channel(1);
        self.queue(Waiting::Call(sender));
        receiver.recv().unwrap_or_else(|_| Err(stopped()))
    }

    /// Waits until everything written so far is durable.
    ///
    /// # Errors
    /// The disk's; nothing may be acknowledged any more.
    pub async fn synced(&self) -> io::Result<()> {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        self.queue(Waiting::Task(sender));
        receiver.await.unwrap_or_else(|_| Err(stopped()))
    }

    fn queue(&self, waiting: Waiting) {
        let queue = self.queue.as_ref().expect("present until dropped");
        if let Err(returned) = queue.send(waiting) {
            returned.0.done(Err(stopped()));
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.queue.take());
        let thread = self.thread.lock().ok().and_then(|mut thread| thread.take());
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }
}

fn stopped() -> io::Error {
    io::Error::other("the log writer has stopped")
}

fn run(store: &Store, watermark: &Watermark, waiting: &Receiver<Waiting>) {
    // After a failed sync the kernel may report the next as good although the pages are gone
    // (fsyncgate), so it is never tried again.
    let mut broken: Option<String> = None;
    let mut batch = Vec::new();
    while let Ok(first) = waiting.recv() {
        batch.push(first);
        batch.extend(waiting.try_iter().take(QUEUE_MAX));
        if broken.is_none() {
            broken = sync(store, watermark).err().map(|error| error.to_string());
        }
        for waiting in batch.drain(..) {
            waiting.done(match &broken {
                None => Ok(()),
                Some(text) => Err(io::Error::other(text.clone())),
            });
        }
    }
}

fn sync(store: &Store, watermark: &Watermark) -> io::Result<()> {
    // Read before the sync: what is counted here has been written, so the sync covers it.
    let sequence = store.db.latest_sequence_number();
    store.db.flush_wal(true).map_err(|error| store.error("sync", &error))?;
    watermark.note(sequence).map_err(|error| say(&store.dir, "watermark", &error.to_string()))
}
