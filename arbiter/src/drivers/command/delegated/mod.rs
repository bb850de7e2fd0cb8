//! The kind `delegated`: a manager, such as Patroni, decides inside a region which server writes.
//! Agent and deadman hold the manager and all that it runs, on every host of the region; a script
//! tells it whether its region is active or stands by.
//!
//! Knows a script, a manager's processes and two files without which that starts and promotes
//! nothing. Never knows which manager it is. `goals.rs` brings it up, `fence.rs` kills and proves,
//! `gate.rs` keeps everybody else from starting it.

mod fence;
mod found;
mod gate;
mod goals;
mod settings;

use super::reply::{Reply, State};
use super::script::{Ask, Script};
use crate::drivers::{Declaration, Done, Driver, DriverError, Holder, Kind, Opening};
use arbiter_core::agent::GATE_MISSING;
use arbiter_core::{Condition, Control, EvidenceKind, Fact, Goal, Layer, Role, Terms, Token};
use async_trait::async_trait;
use found::Found;
use settings::Settings;
use std::sync::{Arc, Mutex, PoisonError};

/// See [`crate::drivers::KINDS`].
pub const KIND: Kind = Kind {
    config: cluster_config::Kind {
        name: "delegated",
        layer: "data",
        control: "delegated",
        evidence: &[
            cluster_config::EvidenceKind::Confirmed,
            cluster_config::EvidenceKind::LeaseExpired,
        ],
        fence: cluster_config::Fence::Required,
        waits: false,
        address: true,
        settings: settings::SETTINGS,
    },
    open: |opening| Ok(Box::new(Delegated::open(opening)?)),
    rehearse: None,
};

/// The driver of one node of a managed cluster.
pub struct Delegated {
    script: Script,
    set: Settings,
    holder: Arc<dyn Holder>,
    /// What the script last said of it.
    last: Mutex<Option<Reply>>,
    /// The drain of this source that was led to its end: where that is, however often it is asked.
    drain: Mutex<Option<(Token, Reply)>>,
}

impl Delegated {
    /// Open it.
    ///
    /// # Errors
    /// `Refused`, naming the setting that is missing or wrong.
    pub fn open(opening: Opening<'_>) -> Result<Self, DriverError> {
        let Opening { group, id, instance, holder } = opening;
        Ok(Self {
            script: Script::open(group, id, instance)?,
            set: Settings::read(id, instance)?,
            holder,
            last: Mutex::default(),
            drain: Mutex::default(),
        })
    }

    fn retry(&self, what: impl std::fmt::Display) -> DriverError {
        DriverError::Retry(format!("instance {}: {what}", self.script.id))
    }

    fn refuse(&self, what: impl std::fmt::Display) -> DriverError {
        DriverError::Refused(format!("instance {}: {what}", self.script.id))
    }

    fn found(&self) -> Result<Found, DriverError> {
        let Settings { manager, data_dir, server, .. } = &self.set;
        Found::look(manager, data_dir, server).map_err(|error| self.retry(error))
    }

    /// What the script finds in its environment, beside what every script does.
    fn env(&self, running: bool) -> Vec<(&'static str, String)> {
        vec![
            ("ARBITER_MANAGER", if running { "running" } else { "stopped" }.to_owned()),
            ("ARBITER_ADDRESS", format!("{}:{}", self.set.host, self.set.port)),
            ("ARBITER_START_FILE", self.start_file().display().to_string()),
            ("ARBITER_ACTIVE_FILE", self.active_file().display().to_string()),
        ]
    }

    fn remember(&self, reply: &Reply) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(reply.clone());
    }

    /// Of what does not run: where it was when it last did.
    fn at_rest(&self) -> Fact {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let fact = last.unwrap_or_default().fact(Layer::Data);
        let condition = if self.locked_out() { Condition::Stopped } else { Condition::Dead };
        Fact { condition, writable: false, upstream: None, obstacles: Vec::new(), ..fact }
    }

    async fn look(&self) -> Result<Fact, DriverError> {
        let Found { managers, others } = self.found()?;
        if !managers.is_empty() {
            let reply = self.script.ask(Ask::Observe, &self.env(true)).await?;
            if reply.state.is_none() {
                return Err(self.retry("the script says no state: it must print one for observe"));
            }
            self.remember(&reply);
            return Ok(reply.fact(Layer::Data));
        }
        let mut fact = self.at_rest();
        if !others.is_empty() {
            fact.condition = Condition::Dead;
            // A server without its manager goes on committing.
            fact.writable = fact.role != Role::Replica;
            fact.detail.insert("orphans".to_owned(), others.len().to_string());
        }
        Ok(fact)
    }
}

#[async_trait]
impl Driver for Delegated {
    fn declares(&self) -> Declaration {
        Declaration {
            control: Control::Delegated,
            evidence: vec![EvidenceKind::Confirmed, EvidenceKind::LeaseExpired],
            layer: Layer::Data,
        }
    }

    async fn observe(&self) -> Result<Fact, DriverError> {
        let mut fact = self.look().await?;
        if !self.holder.armed() {
            return Ok(fact);
        }
        // I4: what the deadman does not hold is held now, or counts as unarmed.
        let held = self.have_held().await.err().map(|error| error.to_string());
        let gated = self.must_be_gated().err().map(|error| error.to_string());
        if let Some(missing) = gated.or(held) {
            fact.detail.insert(GATE_MISSING.to_owned(), missing);
        }
        Ok(fact)
    }

    async fn ensure(&self, goal: Goal, token: Token, terms: &Terms) -> Result<Done, DriverError> {
        match goal {
            Goal::Active => self.active(token, terms).await,
            Goal::Standby => self.standby(token, terms).await,
            Goal::Drained => self.drained(token, terms).await,
            Goal::Fenced => self.fenced().await,
        }
    }

    async fn verify(&self, token: Token) -> Result<Fact, DriverError> {
        let reply = self.script.ask(Ask::Verify(token), &self.env(true)).await?;
        let state = reply.state.unwrap_or(State::Active);
        Ok(Reply { state: Some(state), ..reply }.fact(Layer::Data))
    }

    async fn rehearse_fence(&self) -> Result<bool, DriverError> {
        self.rehearsed_fence().await
    }

    async fn gate(&self, armed: bool) -> Result<(), DriverError> {
        if armed { self.put_gate_in().await } else { self.take_gate_out() }
    }

    async fn start_as_is(&self) -> Result<(), DriverError> {
        if !self.found()?.managers.is_empty() {
            return Ok(());
        }
        self.take_gate_out()?;
        self.holder.start(&self.manager(), true).await
    }

    async fn running(&self) -> Result<Vec<i32>, DriverError> {
        Ok(self.found()?.all().map(|process| process.pid).collect())
    }
}
