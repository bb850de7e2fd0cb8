//! Object storage: one bucket of S3 or container of Azure Blob in each region, which the provider
//! replicates.
//!
//! # Layout
//! - `goals.rs`: what makes each goal true. `fence.rs`: the fence; `policy.rs` and `acl.rs`: its
//!   two forms; `rehearsal.rs`: proves that it could be made. `canary.rs`: how lag is measured.
//!   `direction.rs`, `replication.rs`: which way is replicated. `late.rs`: what was written too
//!   late. `count.rs`: what both sides must have alike. `facts.rs`: what is told.
//!
//! It knows the bucket of its own region and asks no other: what it knows of the other region is
//! what replication brought. It never knows the stored token, or when to try again. A fence is
//! best-effort: nothing proves the bucket of a dead region closed.

pub(crate) mod acl;
pub(crate) mod canary;
mod count;
mod direction;
mod facts;
mod fence;
mod goals;
mod late;
pub(crate) mod policy;
mod rehearsal;
pub(crate) mod replication;
pub(crate) mod settings;

pub use late::LateWrites;

use super::bucket::looks::Looks;
use super::bucket::{Bucket, Fault, Lazy};
use super::{Declaration, Done, Driver, DriverError, Kind};
use crate::clock;
use arbiter_core::{
    Control, Epoch, EvidenceKind, Fact, Goal, Instance, InstanceId, Instant, Layer, Loss, Terms,
    Token, WallMillis,
};
use async_trait::async_trait;
use canary::{Canaries, Canary};
use count::Counts;
use fence::Fence;
use settings::Settings;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use tokio::task::AbortHandle;
use tokio::time::sleep;

/// See [`super::KINDS`].
pub const KIND: Kind = Kind {
    config: cluster_config::Kind {
        name: "object-store",
        layer: "data",
        control: "api",
        evidence: &[cluster_config::EvidenceKind::ProviderAsserted],
        fence: cluster_config::Fence::BestEffort,
        waits: false,
        address: false,
        settings: settings::SETTINGS,
    },
    open: |opening| Ok(Box::new(ObjectStore::open(opening.id, opening.instance)?)),
    rehearse: None,
};

/// Limit of one whole look, the listing of late writes included.
const LOOK_LIMIT: Duration = Duration::from_secs(60);
/// Limit of a listing; each look at headers has the limit of a request.
const LIST_LIMIT: Duration = Duration::from_secs(30);
/// How often late writes are listed anew where writes are not denied.
const LATE_EVERY: Duration = Duration::from_secs(600);
/// How often the direction of replication is looked at where it is active.
const DIRECTION_EVERY: Duration = Duration::from_secs(60);

/// The driver of one bucket or container.
pub struct ObjectStore {
    inner: Arc<Inner>,
    looks: Looks<Seen>,
    counts: Counts,
    keeper: Mutex<Option<Keeper>>,
    /// Held by an order and by a rehearsal: what a rehearsal sends never arrives behind a fence.
    changing: tokio::sync::Mutex<()>,
    /// The server stored what a rehearsal sent: it is sent no other.
    unchecked: AtomicBool,
}

/// What its tasks share.
struct Inner {
    settings: Settings,
    bucket: Lazy,
    memory: Mutex<Memory>,
    /// Held while a canary is on its way, so that none overtakes the last one of a drain.
    writing: tokio::sync::Mutex<()>,
}

/// What this process did, for reporting, and for what is tried again.
#[derive(Clone, Default)]
struct Memory {
    /// The goal that was asked last, and since when.
    goal: Option<(Goal, Token, Instant)>,
    /// When the fence was lifted here.
    lifted: Option<Instant>,
    /// The canary that was written last.
    own: Option<Canary>,
    /// Why the last canary could not be written; empty: it was.
    canary_fault: String,
    /// Which way is replicated, in words.
    direction: String,
    /// What somebody must do about it.
    direction_fault: String,
    /// How the fence was found to hold.
    proof: &'static str,
    late: Option<Late>,
}

/// Late writes, as they were listed last.
#[derive(Clone)]
struct Late {
    since: WallMillis,
    held: bool,
    at: Instant,
    said: String,
    /// For the plan's report: only once nothing can be added to it.
    loss: Option<Box<Loss>>,
}

/// One look.
#[derive(Clone)]
struct Seen {
    fence: Fence,
    canaries: Canaries,
}

/// The task that writes canaries; it ends with this.
struct Keeper(AbortHandle);

impl Drop for Keeper {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl ObjectStore {
    /// The driver of `instance`; nothing is asked yet.
    ///
    /// # Errors
    /// `Refused`, naming a setting and the remedy.
    pub fn open(id: &InstanceId, instance: &Instance) -> Result<Self, DriverError> {
        let settings = Settings::read(id, instance)?;
        let looks = Looks::new(settings.canary_every, LOOK_LIMIT);
        let bucket = Lazy::new(settings.place.clone());
        let (memory, writing) = (Mutex::default(), tokio::sync::Mutex::default());
        let inner = Arc::new(Inner { settings, bucket, memory, writing });
        let (changing, unchecked) = (tokio::sync::Mutex::default(), AtomicBool::default());
        let (counts, keeper) = (Counts::default(), Mutex::new(None));
        Ok(Self { inner, looks, counts, keeper, changing, unchecked })
    }

    /// Objects that were written here after `since`, for a report.
    ///
    /// # Errors
    /// Of the first request that fails.
    pub async fn late_writes(&self, since: WallMillis) -> Result<LateWrites, DriverError> {
        let bucket = self.inner.open().await?;
        let listed = LateWrites::list(&bucket, since, &self.inner.settings.canary_prefix).await;
        listed.map_err(|fault| self.inner.error("listing late writes", &fault))
    }

    fn keeper(&self) -> std::sync::MutexGuard<'_, Option<Keeper>> {
        self.keeper.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Write canaries from now on.
    fn keep(&self, token: Token) {
        let inner = Arc::downgrade(&self.inner);
        let every = self.inner.settings.canary_every;
        let task = tokio::spawn(keep(inner, token, every));
        *self.keeper() = Some(Keeper(task.abort_handle()));
    }
}

/// Until it is dropped, or its driver is.
async fn keep(inner: Weak<Inner>, token: Token, every: Duration) {
    let mut turned = clock::now();
    loop {
        sleep(every).await;
        let Some(inner) = inner.upgrade() else { return };
        // Why one was not written is a fault in the next Fact.
        let _ = inner.write_canary(token, false).await;
        if clock::now().since(turned) >= DIRECTION_EVERY {
            turned = clock::now();
            inner.turn_towards_peer(token).await;
        }
    }
}

impl Inner {
    fn memory(&self) -> std::sync::MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn open(&self) -> Result<Arc<Bucket>, DriverError> {
        self.bucket.get().await.map_err(|fault| self.error("opening it", &fault))
    }

    /// An error of a request for objects.
    fn error(&self, what: &str, fault: &Fault) -> DriverError {
        self.bucket.note(fault);
        let needs = "s3:ListBucket, s3:GetObject and s3:PutObject (Azure: Storage Blob Data Owner)";
        fault.error(&format!("{}: {what}", self.settings.place), needs)
    }

    fn key(&self) -> String {
        self.settings.canary_key(&self.settings.region)
    }

    /// Write the canary that follows the last one.
    async fn write_canary(&self, token: Token, last: bool) -> Result<Canary, DriverError> {
        let _turn = self.writing.lock().await;
        let written = self.write_next(token, last).await;
        let fault = written.as_ref().err().map_or(String::new(), ToString::to_string);
        self.memory().canary_fault = fault;
        written
    }

    async fn write_next(&self, token: Token, last: bool) -> Result<Canary, DriverError> {
        let bucket = self.open().await?;
        let known = self.memory().own.clone();
        let before = match known {
            Some(known) => Some(known),
            None => {
                let read = Canary::read(&bucket, &self.key()).await;
                read.map_err(|fault| self.error("reading its canary", &fault))?
            }
        };
        fence::not_above(before.as_ref().map(Canary::token), token)?;
        let next = Canary::next(&self.settings.region, before.as_ref(), token, last);
        let written = next.write(&bucket, &self.key()).await;
        written.map_err(|fault| self.error("writing a canary", &fault))?;
        self.memory().own = Some(next.clone());
        Ok(next)
    }

    async fn look(self: Arc<Self>) -> Result<Seen, DriverError> {
        let bucket = self.open().await?;
        let looked = async {
            let fence = Fence::read(&bucket, &self.settings).await?;
            let read = Canaries::read(&bucket, &self.settings.canary_prefix).await;
            let canaries = read.map_err(|fault| self.error("reading canaries", &fault))?;
            Ok(Seen { fence, canaries })
        };
        let seen: Seen = looked.await.inspect_err(|_: &DriverError| self.bucket.forget())?;
        self.look_for_late_writes(&bucket, &seen).await;
        Ok(seen)
    }

    /// Once where writes are denied, and again and again where they are not.
    async fn look_for_late_writes(&self, bucket: &Bucket, seen: &Seen) {
        let Some((epoch, since)) = self.switched(seen) else { return };
        let held = seen.fence.holds();
        let fresh = |late: &Late| {
            let again = !held && clock::now().since(late.at) >= LATE_EVERY;
            late.since == since && late.held == held && !again
        };
        if self.memory().late.as_ref().is_some_and(fresh) {
            return;
        }
        let listed = LateWrites::list(bucket, since, &self.settings.canary_prefix).await;
        let (said, loss) = match listed {
            Ok(late) => (late.to_string(), Some(late.loss(epoch, since, &self.settings.place))),
            Err(fault) => (format!("unknown: {fault}"), None),
        };
        let loss = loss.filter(|_| held).map(Box::new);
        self.memory().late = Some(Late { since, held, at: clock::now(), said, loss });
    }

    /// At which epoch another region became active after this one was, and when by the other's wall
    /// clock: its canary says so, once replication has brought it. None while this one is, or where
    /// nothing tells.
    fn switched(&self, seen: &Seen) -> Option<(Epoch, WallMillis)> {
        let quiet = self.memory().goal.is_some_and(|(goal, ..)| goal != Goal::Active);
        let own = seen.canaries.of(&self.settings.region)?;
        let other = seen.canaries.arrived(&self.settings.region)?;
        let newer = other.token().epoch > own.token().epoch;
        (quiet && newer).then_some((other.token().epoch, WallMillis(other.since)))
    }
}

#[async_trait]
impl Driver for ObjectStore {
    fn declares(&self) -> Declaration {
        let evidence = vec![EvidenceKind::ProviderAsserted];
        Declaration { control: Control::Api, evidence, layer: Layer::Data }
    }

    async fn observe(&self) -> Result<Fact, DriverError> {
        let inner = self.inner.clone();
        let mut fact = match self.looks.see(move || inner.look()).await {
            Some(Ok(seen)) => self.inner.fact(&seen),
            Some(Err(error)) => self.inner.unseen(&error),
            None => return Err(DriverError::Retry("the first look goes on".to_owned())),
        };
        self.counts.tell(&self.inner, &mut fact);
        Ok(fact)
    }

    async fn ensure(&self, goal: Goal, token: Token, _: &Terms) -> Result<Done, DriverError> {
        self.asked(goal, token);
        let _alone = self.changing.lock().await;
        match goal {
            Goal::Active => self.activate(token).await,
            Goal::Standby | Goal::Drained | Goal::Fenced => self.quiet(goal, token).await,
        }
    }

    async fn rehearse_fence(&self) -> Result<bool, DriverError> {
        let Ok(_alone) = self.changing.try_lock() else { return Ok(false) };
        if self.unchecked.load(Ordering::Acquire) {
            return Ok(false);
        }
        if self.inner.memory().goal.is_some_and(|(goal, ..)| goal != Goal::Active) {
            return Ok(false);
        }
        let bucket = self.inner.open().await?;
        let rehearsed = rehearsal::rehearse(&bucket, &self.inner.settings, &self.unchecked).await;
        rehearsed.inspect_err(|_| self.inner.bucket.forget())
    }

    async fn verify(&self, token: Token) -> Result<Fact, DriverError> {
        let written = self.inner.write_canary(token, false).await?;
        let bucket = self.inner.open().await?;
        let read = Canary::read(&bucket, &self.inner.key()).await;
        let read = read.map_err(|fault| self.inner.error("reading its canary", &fault))?;
        if read.is_none_or(|read| read.number < written.number) {
            let place = &self.inner.settings.place;
            return Err(DriverError::Retry(format!("{place}: a canary is not read back")));
        }
        let seen = self.inner.clone().look().await?;
        self.looks.note(seen.clone());
        Ok(self.inner.fact(&seen))
    }
}
