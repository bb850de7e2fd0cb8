//! PgBouncer: clients are held back while a switchover drains, and led to the new primary.
//!
//! # Layout
//! - `settings.rs`: its console, its file, the regions' servers. `console.rs`: conversations.
//!   `file.rs`: the text of the file. `marker.rs`: which pauses are ours. `look.rs`: what is seen.
//!   `hold.rs`: how clients are held back. `lead.rs`: how they are led, and go on.
//!
//! Its processes are not ours, and nothing is fenced through it: who gives up on it must not think
//! that nobody writes.

mod console;
pub(crate) mod file;
mod hold;
mod lead;
mod look;
mod marker;
pub(crate) mod settings;
#[cfg(test)]
mod tests;

use super::{Declaration, Done, Driver, DriverError, Kind};
use arbiter_core::{Control, Fact, Goal, Instance, InstanceId, Layer, Terms, Token};
use async_trait::async_trait;
use console::{Session, Unreachable};
use file::Entry;
use marker::Marker;
use settings::{Place, Settings};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;

/// See [`super::KINDS`].
pub const KIND: Kind = Kind {
    config: cluster_config::Kind {
        name: "pgbouncer",
        layer: "pooler",
        control: "api",
        evidence: &[],
        fence: cluster_config::Fence::BestEffort,
        waits: false,
        address: true,
        settings: settings::SETTINGS,
    },
    open: |opening| Ok(Box::new(PgBouncer::open(opening.id, opening.instance)?)),
    rehearse: None,
};

/// Limit of one attempt to hold clients back: no plan waits longer for one.
const HOLD_LIMIT: Duration = Duration::from_secs(60);
/// Limit of one attempt to lead them elsewhere.
const LEAD_LIMIT: Duration = Duration::from_secs(30);

/// The driver of one pooler.
pub struct PgBouncer {
    set: Settings,
    marker: Marker,
    session: Mutex<Option<Arc<Session>>>,
    /// Where the last order had clients led.
    ordered: std::sync::Mutex<Option<Place>>,
}

impl PgBouncer {
    /// The driver of `instance`; nothing is asked yet.
    ///
    /// # Errors
    /// `Refused`, naming a setting and the remedy.
    pub fn open(id: &InstanceId, instance: &Instance) -> Result<Self, DriverError> {
        let set = Settings::read(id, instance)?;
        let marker = Marker::beside(&set.databases_file);
        Ok(Self { set, marker, session: Mutex::default(), ordered: Default::default() })
    }

    /// The text of the file.
    fn text(&self) -> Result<String, DriverError> {
        let file = &self.set.databases_file;
        std::fs::read_to_string(file).map_err(|error| {
            DriverError::Refused(format!(
                "databases_file {} cannot be read: {error}",
                file.display()
            ))
        })
    }

    /// The entries that lead to the primary.
    fn entries(&self) -> Result<Vec<Entry>, DriverError> {
        let entries = file::entries(&self.text()?).map_err(|why| self.not_understood(&why))?;
        Ok(entries.into_iter().filter(|entry| self.is_led(&entry.name)).collect())
    }

    fn is_led(&self, name: &str) -> bool {
        self.set.databases.as_ref().is_none_or(|led| led.contains(name))
    }

    fn not_understood(&self, why: &str) -> DriverError {
        let file = self.set.databases_file.display();
        DriverError::Refused(format!("databases_file {file}: {why}"))
    }
}

impl From<Unreachable> for DriverError {
    fn from(why: Unreachable) -> Self {
        Self::Retry(why.to_string())
    }
}

#[async_trait]
impl Driver for PgBouncer {
    fn declares(&self) -> Declaration {
        Declaration { control: Control::Api, evidence: Vec::new(), layer: Layer::Pooler }
    }

    async fn observe(&self) -> Result<Fact, DriverError> {
        Ok(self.look().await)
    }

    async fn ensure(&self, goal: Goal, _: Token, terms: &Terms) -> Result<Done, DriverError> {
        match goal {
            Goal::Active => self.lead(terms).await?,
            Goal::Drained => self.hold().await?,
            Goal::Standby | Goal::Fenced => {
                let why = format!("a pooler holds clients back or leads them; never {goal}");
                return Err(DriverError::Refused(why));
            }
        }
        Ok(Done { facts: self.look().await, ..Done::default() })
    }

    fn limit(&self, goal: Goal) -> Duration {
        if goal == Goal::Drained { HOLD_LIMIT } else { LEAD_LIMIT }
    }

    async fn verify(&self, _: Token) -> Result<Fact, DriverError> {
        self.observe().await
    }
}
