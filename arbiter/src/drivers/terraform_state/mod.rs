//! Terraform state: lineage, serial and lock of what stands in each region's backend, compared.
//!
//! # Layout
//! - `settings.rs`: two backends, this region's and the other's. `backend.rs`: how each is read.
//!   `state.rs`: what is taken from a state. `compare.rs`: what differs.
//!
//! It is only watched: no order is ever sent, and no plan waits for a look. Of a state it keeps who
//! it is and which turn it is; what stands in it are secrets, and is never kept or shown.

mod backend;
mod compare;
pub(crate) mod settings;
pub(crate) mod state;

use super::bucket::looks::Looks;
use super::{Declaration, Done, Driver, DriverError, Kind};
use arbiter_core::{Condition, Control, Fact, Goal, Instance, InstanceId, Layer, Terms, Token};
use async_trait::async_trait;
use backend::Backend;
use compare::compare;
use settings::Settings;
use state::Found;
use std::sync::Arc;
use std::time::Duration;

/// See [`super::KINDS`].
pub const KIND: Kind = Kind {
    config: cluster_config::Kind {
        name: "terraform-state",
        layer: "watched",
        control: "api",
        evidence: &[],
        fence: cluster_config::Fence::BestEffort,
        waits: false,
        address: false,
        settings: settings::SETTINGS,
    },
    open: |opening| Ok(Box::new(TerraformState::open(opening.id, opening.instance)?)),
    rehearse: None,
};

/// Limit of one whole look at one backend.
const LOOK_LIMIT: Duration = Duration::from_secs(45);

/// The driver of one region's state.
pub struct TerraformState {
    own: Watched,
    peer: Option<Watched>,
    unused: Vec<String>,
}

/// A backend, and what was found there. Each is looked at by itself: the other region's may answer
/// nothing.
struct Watched {
    backend: Arc<Backend>,
    looks: Looks<Found>,
}

impl Watched {
    fn new(backend: Backend, every: Duration) -> Self {
        Self { backend: Arc::new(backend), looks: Looks::new(every, LOOK_LIMIT) }
    }

    async fn see(&self) -> Option<Result<Found, DriverError>> {
        let backend = self.backend.clone();
        self.looks.see(move || async move { backend.read().await }).await
    }
}

impl TerraformState {
    /// The driver of `instance`; nothing is asked yet.
    ///
    /// # Errors
    /// `Refused`, naming a setting and the remedy.
    pub fn open(id: &InstanceId, instance: &Instance) -> Result<Self, DriverError> {
        let Settings { own, peer, look_every, unused } = Settings::read(id, instance)?;
        let peer = peer.map(|peer| Watched::new(peer, look_every));
        Ok(Self { own: Watched::new(own, look_every), peer, unused })
    }
}

#[async_trait]
impl Driver for TerraformState {
    fn declares(&self) -> Declaration {
        Declaration { control: Control::Api, evidence: Vec::new(), layer: Layer::Watched }
    }

    async fn observe(&self) -> Result<Fact, DriverError> {
        let peer = async {
            match &self.peer {
                Some(peer) => Some((peer.backend.name(), peer.see().await)),
                None => None,
            }
        };
        let (own, peer) = futures::join!(self.own.see(), peer);
        let first = || DriverError::Retry("the first look goes on".to_owned());
        let own = own.ok_or_else(first)?;
        let mut fact = Fact { condition: Condition::Healthy, ..Fact::default() };
        for name in &self.unused {
            fact.faults.push(format!("the setting {name} says nothing here: take it out"));
        }
        compare(&mut fact, self.own.backend.name(), &own, peer);
        Ok(fact)
    }

    async fn ensure(&self, goal: Goal, _: Token, _: &Terms) -> Result<Done, DriverError> {
        Err(DriverError::Refused(format!("a Terraform state is only watched, never made {goal}")))
    }

    async fn verify(&self, _: Token) -> Result<Fact, DriverError> {
        self.observe().await
    }
}
