//! Services on Kubernetes: Deployments and StatefulSets scaled up where a region is active, down to
//! a minimum where it stands by and to nothing where it is fenced, and CronJobs suspended but where
//! it is active.
//!
//! Knows what is asked of each, and what is waited for. Never knows other instances, the stored
//! token, or when to try again. A fence is the API's word: pods that a node still runs though the
//! API lost sight of them are beyond it.

pub(crate) mod api;
pub(crate) mod capacity;
mod change;
pub(crate) mod gitops;
mod login;
mod look;
pub(crate) mod objects;
pub(crate) mod quantity;
mod rehearsal;
pub(super) mod secrets;
pub(crate) mod settings;
mod wants;

pub(super) use change::conditioned;
pub(super) use objects::{TOKEN, token as token_of};

use super::{Declaration, Done, Driver, DriverError, Kind};
use crate::clock;
use api::{Api, Fault};
use arbiter_core::{
    Condition, Control, EvidenceKind, Fact, Goal, Instance, InstanceId, Instant, Layer, Terms,
    Token,
};
use async_trait::async_trait;
use change::Change;
use cluster_config::Fence;
use look::{Look, Rooms};
use settings::{Capacity, Settings};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// How old a look may be that nothing is decided on: an API server is not asked every second.
pub const LOOK_AGE_MAX: Duration = Duration::from_secs(5);
/// Longest look of an observation; the agent gives one 5 s.
const LOOK_LIMIT: Duration = Duration::from_millis(4500);
/// Time between two looks at nodes and pods, which may be many.
const ROOM_EVERY: Duration = Duration::from_secs(60);
/// Longest of them.
const ROOM_LIMIT: Duration = Duration::from_secs(60);
/// Wait between two looks at what is on its way.
const POLL: Duration = Duration::from_millis(500);
/// Looks of one call; then it says what is missing, and is asked again.
const POLLS_MAX: u32 = 4;

/// Services on Kubernetes.
pub const KIND: Kind = Kind {
    config: cluster_config::Kind {
        name: "kubernetes",
        layer: "workload",
        control: "api",
        evidence: &[cluster_config::EvidenceKind::ProviderAsserted],
        fence: Fence::BestEffort,
        waits: false,
        address: false,
        settings: settings::SETTINGS,
    },
    open: |opening| Ok(Box::new(Kubernetes::open(opening.id, opening.instance)?)),
    rehearse: None,
};

/// The driver of one namespace's services.
pub struct Kubernetes {
    settings: Settings,
    api: Arc<Api>,
    memory: Mutex<Memory>,
    rooms: Arc<RoomLook>,
}

/// What this process saw, and since when it waits.
#[derive(Default)]
struct Memory {
    /// When the newest look began, and what it said.
    look: Option<(Instant, Result<Arc<Look>, Fault>)>,
    /// The order to serve that is being carried out, and since when.
    serving: Option<(Token, Instant)>,
}

/// The newest look at nodes and pods.
#[derive(Default)]
struct RoomLook {
    looking: AtomicBool,
    kept: Mutex<Option<(Instant, Rooms)>>,
}

impl Kubernetes {
    /// The driver of `instance`.
    ///
    /// # Errors
    /// `Refused` for a setting that is missing or wrong, with the remedy.
    pub fn open(id: &InstanceId, instance: &Instance) -> Result<Self, DriverError> {
        let settings = Settings::read(id, instance)?;
        let api = Arc::new(Api::new(settings.access.clone()));
        Ok(Self { settings, api, memory: Mutex::default(), rooms: Arc::default() })
    }

    fn memory(&self) -> std::sync::MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn look(&self) -> Result<Arc<Look>, Fault> {
        let began = clock::now();
        let look = Look::take(&self.api, &self.settings).await.map(Arc::new);
        self.keep(began, look.clone());
        look
    }

    /// Keep it, unless a look that began later is kept.
    fn keep(&self, began: Instant, look: Result<Arc<Look>, Fault>) {
        let mut memory = self.memory();
        if memory.look.as_ref().is_none_or(|(before, _)| *before <= began) {
            memory.look = Some((began, look));
        }
    }

    /// What was read a moment ago.
    fn recent(&self) -> Option<Result<Arc<Look>, Fault>> {
        let memory = self.memory();
        let (began, look) = memory.look.as_ref()?;
        (clock::now().since(*began) < LOOK_AGE_MAX).then(|| look.clone())
    }

    fn fact(&self, look: &Look) -> Fact {
        look.fact(&self.settings, self.rooms.kept().as_ref())
    }

    /// Since when this order to serve is being carried out.
    fn serving_since(&self, token: Token) -> Instant {
        let mut memory = self.memory();
        let same = memory.serving.filter(|(known, _)| *known == token);
        memory.serving.insert(same.unwrap_or((token, clock::now()))).1
    }

    /// Wait a little for what was asked for; say what is missing.
    async fn settle(&self, goal: Goal, token: Token) -> Result<Done, DriverError> {
        let since = self.serving_since(token);
        let mut missing = Vec::new();
        for _ in 0..POLLS_MAX {
            let look = self.look().await?;
            missing = match goal {
                Goal::Active => look.not_serving(&self.settings),
                Goal::Standby => Vec::new(),
                Goal::Drained | Goal::Fenced => look.left(&self.api).await?,
            };
            if missing.is_empty() {
                // Of what is not there nothing is known: it may stand elsewhere, by another name.
                let proven = goal == Goal::Fenced && look.is_whole();
                let evidence = proven.then_some(EvidenceKind::ProviderAsserted);
                return Ok(Done { evidence, facts: self.fact(&look), ..Done::default() });
            }
            sleep(POLL).await;
        }
        let text = missing.join("; ");
        let waited = clock::now().since(since);
        if goal == Goal::Active && waited >= self.settings.available_within {
            return Err(DriverError::Refused(format!(
                "{text}, {:.0} s after it was scaled up: look at its pods (kubectl describe pod)",
                waited.as_secs_f64()
            )));
        }
        Err(DriverError::Retry(text))
    }
}

impl RoomLook {
    fn kept(&self) -> Option<Rooms> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.as_ref().map(|(_, rooms)| rooms.clone())
    }

    fn is_due(&self) -> bool {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.as_ref().is_none_or(|(at, _)| clock::now().since(*at) >= ROOM_EVERY)
    }

    /// Look, if it is time, and let nobody wait for it.
    fn refresh(self: &Arc<Self>, api: &Arc<Api>) {
        if !self.is_due() || self.looking.swap(true, Ordering::AcqRel) {
            return;
        }
        let (this, api) = (self.clone(), api.clone());
        tokio::spawn(async move {
            let rooms = timeout(ROOM_LIMIT, capacity::rooms(&api)).await.unwrap_or_else(|_| {
                Err(Fault::Retry(format!("nodes and pods are not read within {ROOM_LIMIT:?}")))
            });
            let kept = Some((clock::now(), rooms));
            *this.kept.lock().unwrap_or_else(PoisonError::into_inner) = kept;
            this.looking.store(false, Ordering::Release);
        });
    }
}

/// What cannot be read is unknown, and why is what somebody has to mend.
pub(super) fn unreadable(why: String) -> Fact {
    let detail = BTreeMap::from([("error".to_owned(), why.clone())]);
    Fact { condition: Condition::Unknown, faults: vec![why], detail, ..Fact::default() }
}

/// One error for all: what no retry helps comes first.
fn worst(mut errors: Vec<DriverError>) -> Result<(), DriverError> {
    errors.sort_by_key(|error| !matches!(error, DriverError::Refused(_)));
    let more = errors.len().saturating_sub(1);
    let add = |text: String| if more == 0 { text } else { format!("{text} (and {more} more)") };
    match errors.into_iter().next() {
        None => Ok(()),
        Some(DriverError::Refused(text)) => Err(DriverError::Refused(add(text))),
        Some(DriverError::Retry(text)) => Err(DriverError::Retry(add(text))),
        Some(stale) => Err(stale),
    }
}

#[async_trait]
impl Driver for Kubernetes {
    fn declares(&self) -> Declaration {
        let evidence = vec![EvidenceKind::ProviderAsserted];
        Declaration { control: Control::Api, evidence, layer: Layer::Workload }
    }

    async fn observe(&self) -> Result<Fact, DriverError> {
        if self.settings.capacity != Capacity::Ignored {
            self.rooms.refresh(&self.api);
        }
        let look = match self.recent() {
            Some(look) => look,
            None => {
                let began = clock::now();
                let look = timeout(LOOK_LIMIT, self.look()).await;
                look.unwrap_or_else(|_| {
                    let slow = "the Kubernetes API does not answer all that is looked at within";
                    let slow = Err(Fault::Retry(format!("{slow} {LOOK_LIMIT:?}")));
                    self.keep(began, slow.clone());
                    slow
                })
            }
        };
        Ok(match look {
            Ok(look) => self.fact(&look),
            Err(fault) => unreadable(fault.to_string()),
        })
    }

    async fn ensure(&self, goal: Goal, token: Token, _: &Terms) -> Result<Done, DriverError> {
        let look = self.look().await?;
        if let Some((seen, _)) = look.order().filter(|(seen, _)| *seen > token) {
            return Err(DriverError::StaleEpoch { seen });
        }
        let namespace = &look.namespace;
        let change = Change { api: &self.api, namespace, settings: &self.settings, goal, token };
        let mut failed = Vec::new();
        for named in &self.settings.named {
            match change.bring(named, &look.owners).await {
                Ok(()) => {}
                Err(stale @ DriverError::StaleEpoch { .. }) => return Err(stale),
                Err(error) => failed.push(error),
            }
        }
        worst(failed)?;
        self.settle(goal, token).await
    }

    async fn rehearse_fence(&self) -> Result<bool, DriverError> {
        let look = self.look().await?;
        rehearsal::rehearse(&self.api, &look, &self.settings).await
    }

    async fn verify(&self, token: Token) -> Result<Fact, DriverError> {
        let look = self.look().await?;
        let missing = look.not_serving(&self.settings);
        if !look.carries(token, Goal::Active) || !missing.is_empty() {
            let why = format!("not everything serves at {token}: {}", missing.join("; "));
            return Err(DriverError::Retry(why));
        }
        Ok(self.fact(&look))
    }
}
