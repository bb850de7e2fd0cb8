//! Linearizable reads. Knows rounds and who waits for them; never what is read.
//!
//! Whoever asks is answered by a round that *began* after it asked: those who come while one is
//! under way wait together for the next. A thousand agents cost one round.

use super::types::Raft;
use openraft::ReadPolicy;
use openraft::errors::{LinearizableReadError, RaftError};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};

/// Waiting for the next round; beyond it callers wait to be queued.
const WAITING_MAX: usize = 16_384;

/// What a round confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Confirmed {
    /// The term in which this node led at some instant after the call.
    pub term: u64,
    /// State here is applied at least up to this index.
    pub index: u64,
}

/// Why nothing was confirmed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ReadError {
    /// Ask the leader, where it is known by name and address.
    #[error("this arbiter does not lead{}", who_does(.0.as_ref().map(|(name, _)| name)))]
    NotLeader(Option<(String, String)>),
    /// No quorum answered in time: nothing may be assumed.
    #[error("no quorum of arbiters answered")]
    NoQuorum,
    /// This node is stopping.
    #[error("this arbiter is stopping: {0}")]
    Stopped(String),
}

/// The end of a sentence that says who leads instead, where that is known.
pub(super) fn who_does(leader: Option<&String>) -> String {
    leader.map(|name| format!("; {name} does")).unwrap_or_default()
}

type Waiter = oneshot::Sender<Result<Confirmed, ReadError>>;

/// Gathers readers into rounds.
#[derive(Clone)]
pub struct Reads {
    queue: mpsc::Sender<Waiter>,
    rounds: Arc<AtomicU64>,
}

impl Reads {
    /// Starts the task that makes the rounds; it ends when every handle is gone.
    pub fn start(raft: Raft, limit: Duration) -> Self {
        let (queue, mut waiting) = mpsc::channel(WAITING_MAX);
        let rounds = Arc::new(AtomicU64::new(0));
        let made = rounds.clone();
        tokio::spawn(async move {
            let mut round: Vec<Waiter> = Vec::new();
            while waiting.recv_many(&mut round, WAITING_MAX).await > 0 {
                made.fetch_add(1, Ordering::Relaxed);
                let result = confirm(&raft, limit).await;
                for waiter in round.drain(..) {
                    // Who went away needs no answer.
                    let _ = waiter.send(result.clone());
                }
            }
        });
        Self { queue, rounds }
    }

    /// How many rounds were made.
    pub fn rounds(&self) -> u64 {
        self.rounds.load(Ordering::Relaxed)
    }

    /// Confirms that this node leads now, and that State holds all that was committed before.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn confirm(&self) -> Result<Confirmed, ReadError> {
        let (sender, receiver) = oneshot::channel();
        let stopped = || ReadError::Stopped("its reads have ended".to_owned());
        self.queue.send(sender).await.map_err(|_| stopped())?;
        receiver.await.map_err(|_| stopped())?
    }
}

async fn confirm(raft: &Raft, limit: Duration) -> Result<Confirmed, ReadError> {
    // Never by the leader's lease: in this version a restarted follower forgets that it granted it.
    let round = raft.ensure_linearizable(ReadPolicy::ReadIndex);
    match tokio::time::timeout(limit, round).await {
        Err(_) => Err(ReadError::NoQuorum),
        Ok(Ok(read)) => {
            Ok(Confirmed { term: read.committed_leader_id().term, index: read.index() })
        }
        Ok(Err(RaftError::Fatal(fatal))) => Err(ReadError::Stopped(fatal.to_string())),
        Ok(Err(RaftError::APIError(LinearizableReadError::QuorumNotEnough(_)))) => {
            Err(ReadError::NoQuorum)
        }
        Ok(Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(to)))) => {
            Err(ReadError::NotLeader(to.leader_node.map(|node| (node.name, node.address))))
        }
    }
}
