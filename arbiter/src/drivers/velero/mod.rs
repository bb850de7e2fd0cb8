//! State of a Kubernetes cluster in backups: Velero's newest, watched where it would be needed, and
//! restored where a region becomes active.
//!
//! Knows the objects of `velero.io/v1`. Never takes a backup, and never deletes one. A restore
//! brings back what is missing and overwrites nothing (Velero's default).

pub(crate) mod backup;
mod rehearsal;
pub(crate) mod restore;

use super::kubernetes::api::{Api, Fault};
use super::kubernetes::settings::{CONTEXT, KUBECONFIG_FILE, Reader};
use super::{Declaration, Done, Driver, DriverError, Kind, Opening};
use crate::clock;
use arbiter_core::{Condition, Control, Fact, Goal, Instant, Layer, Terms, Token};
use async_trait::async_trait;
use backup::Seen;
use cluster_config::{Fence, may};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// How old a look may be that nothing is decided on: backups are taken daily.
pub const LOOK_AGE_MAX: Duration = Duration::from_secs(30);
/// Longest look of an observation; the agent gives one 5 s.
const LOOK_LIMIT: Duration = Duration::from_millis(4500);
/// Where the settings name no `backup_age_max`: a day, and two hours for one to be taken.
const BACKUP_AGE_MAX: Duration = Duration::from_secs(26 * 3600);
/// Wait between two looks at a restore.
const POLL: Duration = Duration::from_millis(500);
/// Looks of one call; then it says how far it is, and is asked again.
const POLLS_MAX: u32 = 4;

/// Backups of a cluster's state.
pub const KIND: Kind = Kind {
    config: cluster_config::Kind {
        name: "velero",
        layer: "workload",
        control: "api",
        evidence: &[],
        fence: Fence::BestEffort,
        waits: false,
        address: false,
        settings: &[
            KUBECONFIG_FILE,
            CONTEXT,
            may("namespace", "velero", "Where Velero runs; by default as the context says."),
            may("schedule", "daily", "Only backups of this Schedule; by default all."),
            may("backup_age_max", "26h", "A newest complete backup older than this is a fault."),
            may(
                "restore",
                "true",
                "true: when the region becomes active, the newest complete backup is restored, \
                 once an epoch. By default it is only watched.",
            ),
            may(
                "namespaces",
                "shop, shop-eu:shop",
                "Namespaces to restore, each under its name or, after a colon, another; by default \
                 all.",
            ),
            may(
                "rehearse",
                "shop",
                "Namespaces that a drill of kind rehearsal restores into scratch namespaces, and \
                 removes: ConfigMaps, Secrets, ServiceAccounts, PersistentVolumeClaims. By default \
                 none.",
            ),
            may(
                "rehearse_resources",
                "services, deployments.apps",
                "More kinds that a rehearsal restores, as Velero names them. Their controllers act \
                 on the copies: name none that reaches for what the original holds.",
            ),
        ],
    },
    open: |opening| Ok(Box::new(Velero::open(&opening)?)),
    rehearse: Some(rehearsal::open),
};

/// What an instance's settings say.
struct Settings {
    schedule: Option<String>,
    backup_age_max: Duration,
    restore: bool,
    /// Each namespace that is restored, and under which name.
    namespaces: BTreeMap<String, String>,
}

/// The driver of one Velero.
pub struct Velero {
    settings: Settings,
    api: Api,
    /// Name of what is kept of the restores of this instance.
    name: String,
    look: Mutex<Option<(Instant, Result<Seen, Fault>)>>,
}

impl Velero {
    fn open(opening: &Opening<'_>) -> Result<Self, DriverError> {
        let reader = Reader { id: opening.id, settings: &opening.instance.settings };
        let mut namespaces = BTreeMap::new();
        for part in reader.text("namespaces").unwrap_or_default().split(',').map(str::trim) {
            let (from, to) = part.split_once(':').unwrap_or((part, part));
            if !part.is_empty() {
                let from = reader.name("namespaces", from.trim())?;
                namespaces.insert(from, reader.name("namespaces", to.trim())?);
            }
        }
        let schedule = reader.text("schedule").map(|name| reader.name("schedule", name));
        let settings = Settings {
            schedule: schedule.transpose()?,
            backup_age_max: reader.duration("backup_age_max")?.unwrap_or(BACKUP_AGE_MAX),
            restore: reader.one_of("restore", &["true", "false"])? == Some("true"),
            namespaces,
        };
        if !settings.namespaces.is_empty() && !settings.restore {
            return Err(reader.fault("namespaces are restored only with restore = true: add it"));
        }
        let api = Api::new(reader.access()?);
        let name = plain(&format!("arbiter-{}-{}", opening.group, opening.id));
        Ok(Self { settings, api, name, look: Mutex::new(None) })
    }

    async fn look(&self) -> Result<Seen, Fault> {
        let began = clock::now();
        let seen = backup::look(&self.api, self.settings.schedule.as_deref()).await;
        self.keep(began, seen.clone());
        seen
    }

    fn keep(&self, began: Instant, seen: Result<Seen, Fault>) {
        *self.look.lock().unwrap_or_else(PoisonError::into_inner) = Some((began, seen));
    }

    fn recent(&self) -> Option<Result<Seen, Fault>> {
        let look = self.look.lock().unwrap_or_else(PoisonError::into_inner);
        let (began, seen) = look.as_ref()?;
        (clock::now().since(*began) < LOOK_AGE_MAX).then(|| seen.clone())
    }

    fn fact(&self, seen: &Seen) -> Fact {
        let mut fact = seen.fact(clock::wall(), self.settings.backup_age_max);
        // Without one the step would be refused.
        if self.settings.restore && seen.newest.is_none() {
            fact.obstacles.clone_from(&fact.faults);
        }
        fact
    }
}

/// `text` as an object may be named.
fn plain(text: &str) -> String {
    let keeps = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let lower = text.to_ascii_lowercase();
    let plain: String = lower.chars().map(|c| if keeps(c) { c } else { '-' }).collect();
    plain.trim_matches('-').to_owned()
}

#[async_trait]
impl Driver for Velero {
    fn declares(&self) -> Declaration {
        Declaration { control: Control::Api, evidence: Vec::new(), layer: Layer::Workload }
    }

    async fn observe(&self) -> Result<Fact, DriverError> {
        let seen = match self.recent() {
            Some(seen) => seen,
            None => {
                let began = clock::now();
                timeout(LOOK_LIMIT, self.look()).await.unwrap_or_else(|_| {
                    let slow = format!("Velero's backups are not read within {LOOK_LIMIT:?}");
                    self.keep(began, Err(Fault::Retry(slow.clone())));
                    Err(Fault::Retry(slow))
                })
            }
        };
        Ok(match seen {
            Ok(seen) => self.fact(&seen),
            Err(fault) => super::kubernetes::unreadable(fault.to_string()),
        })
    }

    /// Only a region that becomes active is restored into: epoch 1 is the region that was there
    /// first, and an abort resumes its source in the epoch in which that was restored.
    async fn ensure(&self, goal: Goal, token: Token, _: &Terms) -> Result<Done, DriverError> {
        if goal != Goal::Active || !self.settings.restore || token.epoch.0 <= 1 {
            let facts = self.look().await.map_or_else(
                |fault| super::kubernetes::unreadable(fault.to_string()),
                |seen| self.fact(&seen),
            );
            return Ok(Done { facts, ..Done::default() });
        }
        let mut far = String::new();
        for _ in 0..POLLS_MAX {
            let restore = restore::Restore {
                api: &self.api,
                name: &self.name,
                namespaces: &self.settings.namespaces,
                token,
            };
            match restore.advance(|| self.look()).await? {
                restore::Progress::Done => {
                    let facts = self.fact(&self.look().await?);
                    return Ok(Done { facts, ..Done::default() });
                }
                restore::Progress::Waiting(text) => far = text,
            }
            sleep(POLL).await;
        }
        Err(DriverError::Retry(far))
    }

    async fn verify(&self, _: Token) -> Result<Fact, DriverError> {
        let fact = self.fact(&self.look().await?);
        match fact.condition {
            Condition::Healthy => Ok(fact),
            _ => Err(DriverError::Retry(fact.faults.join("; "))),
        }
    }
}
