//! Redis 7 (and its heirs): observed over its own protocol, started and stopped as a process.
//!
//! It knows one server, its directory of data and its processes. It never knows of plans, peers
//! other than the one that an order names, or who may write: the executor and the [`Holder`] do.
//!
//! A server always comes up as a replica of nobody: it takes no write, and no replica can copy an
//! empty or older dataset from it before it was looked at. Only then it is promoted, or follows.
//! Positions count on one history only, which the replication id names: see [`info::Line`]. Before
//! a server follows another whose history lacks changes of its own, these are saved. One file for
//! each goal; `observe.rs` looks; the others are tools.

mod compare;
mod digest;
mod drain;
pub(crate) mod facts;
mod fence;
mod gate;
pub(crate) mod info;
pub(crate) mod lineage;
mod observe;
mod processes;
mod promote;
mod quarantine;
pub(crate) mod rdb;
mod rivals;
mod settings;
mod standby;
pub(crate) mod standing;
mod start;
mod stop;
mod talk;
mod upstream;
mod verify;

#[cfg(test)]
mod tests;

use super::{Declaration, Done, Driver, DriverError, Holder, Kind};
use arbiter_core::{Control, EvidenceKind, Fact, Goal, Instance, InstanceId, Instant};
use arbiter_core::{Layer, Terms, Token};
use async_trait::async_trait;
use info::Point;
use processes::{DirId, Process};
use settings::{Settings, Use};
use standing::Book;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

/// See [`super::KINDS`].
pub const KIND: Kind = Kind {
    config: cluster_config::Kind {
        name: "redis",
        layer: "data",
        control: "owned",
        evidence: &[
            cluster_config::EvidenceKind::Confirmed,
            cluster_config::EvidenceKind::LeaseExpired,
        ],
        fence: cluster_config::Fence::Required,
        waits: false,
        address: true,
        settings: settings::SETTINGS,
    },
    open: |opening| Ok(Box::new(Redis::open(opening.id, opening.instance, opening.holder)?)),
    rehearse: None,
};

/// The driver of one Redis instance.
pub struct Redis {
    set: Settings,
    holder: Arc<dyn Holder>,
    /// Kept so that a fence asks no disk where the data is.
    dir: Mutex<Option<DirId>>,
    /// What is known of the data while nothing runs.
    book: Arc<Book>,
    /// One change of the configuration at a time: each reads, and writes what it read.
    rewriting: Mutex<()>,
    /// Told to stop, by this process; where there is a start gate, that tells it too.
    asked_to_stop: AtomicBool,
    /// What was seen, and outlives what it was seen of.
    memory: Mutex<Memory>,
    /// What came of comparing it with its primary.
    comparisons: compare::Comparisons,
}

/// What was seen.
#[derive(Clone, Debug, Default)]
struct Memory {
    /// The process that this one started, from its own disk: its data is whole.
    from_disk: Option<Process>,
    /// Where the server was.
    seen: Option<Point>,
    /// What a replica last heard of its primary, and when.
    heard: Option<(Point, Instant)>,
    /// When somebody else was last seen to decide over the server.
    rival: Option<Instant>,
    /// Where the stream was, and when: how fast it is written.
    paced: Option<(Point, Instant)>,
    /// Bytes a second, as last measured.
    pace: Option<u64>,
}

impl Redis {
    /// Open instance `id`.
    ///
    /// # Errors
    /// `Refused`, naming the setting that is missing or wrong.
    pub fn open(
        id: &InstanceId,
        instance: &Instance,
        holder: Arc<dyn Holder>,
    ) -> Result<Self, DriverError> {
        let set = Settings::read(id, instance)?;
        Ok(Self {
            book: Arc::new(Book::new(set.data_dir.clone())),
            set,
            holder,
            dir: Mutex::default(),
            rewriting: Mutex::default(),
            asked_to_stop: AtomicBool::new(false),
            memory: Mutex::default(),
            comparisons: compare::Comparisons::default(),
        })
    }

    fn retry(&self, what: impl std::fmt::Display) -> DriverError {
        DriverError::Retry(format!("instance {}: {what}", self.set.id))
    }

    fn refuse(&self, what: impl std::fmt::Display) -> DriverError {
        DriverError::Refused(format!("instance {}: {what}", self.set.id))
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn is_cache(&self) -> bool {
        self.set.role == Use::Cache
    }

    /// Every live process of this server, whoever started it.
    fn processes(&self) -> Result<Vec<Process>, DriverError> {
        let mut known = self.dir.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        // Asked anew while nothing runs: the directory may have been swapped.
        let dir = match *known {
            Some(dir) => Some(dir),
            None => processes::dir_id(&self.set.data_dir),
        };
        let Some(dir) = dir else { return Ok(Vec::new()) };
        let found = processes::holding(dir).map_err(|error| self.retry(error))?;
        *known = (!found.is_empty()).then_some(dir);
        Ok(found)
    }
}

#[async_trait]
impl Driver for Redis {
    fn declares(&self) -> Declaration {
        Declaration {
            control: Control::Owned,
            evidence: vec![EvidenceKind::Confirmed, EvidenceKind::LeaseExpired],
            layer: Layer::Data,
        }
    }

    async fn observe(&self) -> Result<Fact, DriverError> {
        self.look().await
    }

    async fn ensure(&self, goal: Goal, token: Token, terms: &Terms) -> Result<Done, DriverError> {
        match goal {
            Goal::Active => self.active().await,
            Goal::Standby => self.standby(token, terms).await,
            Goal::Drained => self.drained(terms).await,
            Goal::Fenced => self.fenced(terms).await,
        }
    }

    async fn verify(&self, token: Token) -> Result<Fact, DriverError> {
        self.write(token).await
    }

    async fn rehearse_fence(&self) -> Result<bool, DriverError> {
        self.rehearsed_fence().await
    }

    async fn gate(&self, armed: bool) -> Result<(), DriverError> {
        if armed { self.put_gate_in().await } else { self.take_gate_out() }
    }

    async fn start_as_is(&self) -> Result<(), DriverError> {
        if !self.processes()?.is_empty() {
            return Ok(());
        }
        self.asked_to_stop.store(false, Ordering::SeqCst);
        self.come_back().await
    }

    async fn running(&self) -> Result<Vec<i32>, DriverError> {
        let found = self.processes()?;
        let server = processes::server(&found).is_some();
        Ok(if server { found.iter().map(|process| process.pid).collect() } else { Vec::new() })
    }
}
