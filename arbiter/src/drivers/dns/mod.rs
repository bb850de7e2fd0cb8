//! Traffic: DNS records switched by compare-and-swap, whoever serves them (design §7).
//!
//! Knows the order read, judge, swap, read back, and what is reported. Never knows a protocol
//! (`rfc2136.rs`, `route53.rs`, `traffic_manager/`), the stored token, or when to try again.

pub(crate) mod cas;
mod kinds;
mod rfc2136;
mod route53;
pub(crate) mod settings;
pub(crate) mod text;
pub(crate) mod traffic_manager;
pub(crate) mod tsig;

use super::{Declaration, Done, Driver, DriverError, Opening};
use crate::clock;
use arbiter_core::{
    Condition, Control, Fact, Goal, Instance, Instant, Layer, RegionId, Terms, Token,
};
use async_trait::async_trait;
use cas::{Change, Seen, Verdict, judge};
use settings::{Reader, Settings};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Swaps of one `ensure`, where the authority refuses those that come too late.
const SWAPS_MAX: u32 = 3;

pub use kinds::{RFC2136, ROUTE53, TRAFFIC_MANAGER};

/// How long clients may keep an answer of `instance`, in seconds; none: it is of no kind that
/// writes records.
pub fn ttl_seconds(instance: &Instance) -> Option<u32> {
    let ours = [&RFC2136, &ROUTE53, &TRAFFIC_MANAGER];
    ours.into_iter().find(|kind| kind.config.name == instance.kind)?;
    let set = instance.settings.get("ttl").and_then(|text| text.parse().ok());
    Some(set.unwrap_or(settings::TTL_DEFAULT))
}

fn open_rfc2136(opening: Opening<'_>) -> Result<Box<dyn Driver>, DriverError> {
    let mut reader = Reader::new(opening.id, opening.instance);
    let own = rfc2136::Own::read(&mut reader)?;
    let settings = reader.common(opening.group, &opening.instance.region)?;
    let authority = rfc2136::Rfc2136::new(&settings, own)?;
    Ok(Box::new(Traffic::new(opening.instance.region.clone(), settings, authority)))
}

fn open_route53(opening: Opening<'_>) -> Result<Box<dyn Driver>, DriverError> {
    let mut reader = Reader::new(opening.id, opening.instance);
    let own = route53::Own::read(&mut reader)?;
    let settings = reader.common(opening.group, &opening.instance.region)?;
    let authority = route53::Route53::new(own);
    Ok(Box::new(Traffic::new(opening.instance.region.clone(), settings, authority)))
}

fn open_traffic_manager(opening: Opening<'_>) -> Result<Box<dyn Driver>, DriverError> {
    let mut reader = Reader::new(opening.id, opening.instance);
    let own = traffic_manager::Own::read(&mut reader)?;
    let settings = reader.zoneless(opening.group, opening.instance)?;
    let authority = traffic_manager::TrafficManager::new(own)?;
    Ok(Box::new(Traffic::new(opening.instance.region.clone(), settings, authority)))
}

/// What became of a swap that the authority answered.
#[derive(Debug)]
enum Swapped {
    /// It says that it is done.
    Yes,
    /// Something is no longer as it was read; what it said.
    Conflict(String),
}

/// Whoever serves the records and decides, alone, whether a change's conditions hold.
#[async_trait]
trait Authority: Send + Sync {
    /// Read everything that a change is conditioned on.
    async fn read(&self, settings: &Settings) -> Result<Seen, DriverError>;
    /// Make one change, all of it or nothing, only if everything is as in `change.from`. After an
    /// error it is unknown whether it was made.
    async fn swap(&self, settings: &Settings, change: &Change) -> Result<Swapped, DriverError>;
    /// Ask elsewhere, right before a swap, for what the authority itself cannot make a condition:
    /// whether `region` is to be named at `token`.
    async fn confirm(
        &self,
        settings: &Settings,
        region: &RegionId,
        token: Token,
    ) -> Result<(), DriverError> {
        let _ = (settings, region, token);
        Ok(())
    }
    /// Say `Retry` while what was accepted, and `seen`, does not serve everywhere, or may not stay.
    async fn settled(&self, settings: &Settings, seen: &Seen) -> Result<(), DriverError> {
        let _ = (settings, seen);
        Ok(())
    }
    /// Swaps of one `ensure`. One that loses against another change is judged anew, and then left
    /// to the executor.
    fn swaps_max(&self) -> u32 {
        SWAPS_MAX
    }
    /// Add what only this authority knows of itself.
    fn tell(&self, fact: &mut Fact) {
        let _ = fact;
    }
    /// How old a look may be that nothing is decided on, where the authority rations questions.
    fn look_age_max(&self) -> Duration {
        Duration::ZERO
    }
}

/// The driver over an authority.
struct Traffic<A> {
    region: RegionId,
    settings: Settings,
    authority: A,
    memory: Mutex<Memory>,
}

/// What this process did, for reporting only.
#[derive(Clone, Default)]
struct Memory {
    ordered: Option<(Token, RegionId)>,
    overwrote: String,
    looked: Option<(Instant, Seen)>,
    /// When a look failed after that, and why.
    failed: Option<(Instant, DriverError)>,
}

impl<A: Authority> Traffic<A> {
    fn new(region: RegionId, settings: Settings, authority: A) -> Self {
        Self { region, settings, authority, memory: Mutex::default() }
    }

    fn memory(&self) -> std::sync::MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fact(&self, seen: &Seen) -> Fact {
        let memory = self.memory().clone();
        let traffic = seen.fact(&self.settings, memory.ordered.as_ref());
        let mut fact = Fact {
            condition: Condition::Healthy,
            obstacles: seen.in_the_way.clone(),
            ..Fact::default()
        };
        if !memory.overwrote.is_empty() {
            fact.detail.insert("overwrote".to_owned(), memory.overwrote);
        }
        fact.detail.insert("zone".to_owned(), self.settings.zone.clone());
        fact.traffic = Some(traffic);
        self.authority.tell(&mut fact);
        fact
    }

    /// What was seen last; nothing when nothing was.
    fn last_fact(&self) -> Fact {
        let looked = self.memory().looked.clone();
        looked.map(|(_, seen)| self.fact(&seen)).unwrap_or_default()
    }

    /// Read, judge and swap until what is read back is as wanted. // I7
    async fn name(
        &self,
        region: &RegionId,
        token: Token,
        terms: &Terms,
    ) -> Result<Fact, DriverError> {
        // Drift is judged against what was ordered last, also where this process wrote nothing.
        self.memory().ordered = Some((token, region.clone()));
        let mut failed: Option<DriverError> = None;
        // Each swap is read back.
        for left in (0..=self.authority.swaps_max()).rev() {
            let seen = self.read().await?;
            let change = match judge(&self.settings, &seen, region, token, terms) {
                Verdict::Done => {
                    self.authority.settled(&self.settings, &seen).await?;
                    return Ok(self.fact(&seen));
                }
                Verdict::Stale(seen) => return Err(DriverError::StaleEpoch { seen }),
                Verdict::Refused(text) => return Err(DriverError::Refused(text)),
                Verdict::Swap(change) => change,
            };
            // What a server refuses for good is asked of it once.
            if left == 0 || matches!(failed, Some(DriverError::Refused(_))) {
                break;
            }
            self.authority.confirm(&self.settings, region, token).await?;
            failed = match self.authority.swap(&self.settings, &change).await {
                Ok(Swapped::Yes) => {
                    self.remember(&change);
                    None
                }
                Ok(Swapped::Conflict(said)) => Some(DriverError::Retry(format!(
                    "the authority finds {} other than it serves it: {said}; if this goes on, look \
                     for a wildcard, a secondary that lags, or somebody who keeps changing it",
                    self.settings.zone
                ))),
                Err(error) => Some(error),
            };
        }
        let unseen = "the change was accepted, but is not read back; it will be looked at again";
        Err(failed.unwrap_or_else(|| DriverError::Retry(unseen.to_owned())))
    }

    async fn read(&self) -> Result<Seen, DriverError> {
        let read = self.authority.read(&self.settings).await;
        let mut memory = self.memory();
        memory.failed = read.clone().err().map(|error| (clock::now(), error));
        if let Ok(seen) = &read {
            memory.looked = Some((clock::now(), seen.clone()));
        }
        read
    }

    fn remember(&self, change: &Change) {
        self.memory().overwrote = change.overwrites.clone();
        if !change.overwrites.is_empty() {
            tracing::warn!(zone = %self.settings.zone, was = %change.overwrites, "overwrote traffic");
        }
    }
}

#[async_trait]
impl<A: Authority> Driver for Traffic<A> {
    fn declares(&self) -> Declaration {
        Declaration { control: Control::Api, evidence: Vec::new(), layer: Layer::Traffic }
    }

    async fn observe(&self) -> Result<Fact, DriverError> {
        let Memory { looked, failed, .. } = self.memory().clone();
        let now = clock::now();
        let is_new = |at: Instant| now.since(at) < self.authority.look_age_max();
        match (looked, failed) {
            (_, Some((at, error))) if is_new(at) => Err(error),
            (Some((at, seen)), None) if is_new(at) => Ok(self.fact(&seen)),
            _ => Ok(self.fact(&self.read().await?)),
        }
    }

    /// Only `Active` changes anything: a region that is not active has no records to take away, as
    /// they name the other one, or will when that one's agent swaps them.
    async fn ensure(&self, goal: Goal, token: Token, terms: &Terms) -> Result<Done, DriverError> {
        let facts = match goal {
            Goal::Active => {
                let region = terms.names.as_ref().unwrap_or(&self.region);
                self.name(region, token, terms).await?
            }
            Goal::Standby | Goal::Drained | Goal::Fenced => self.last_fact(),
        };
        Ok(Done { facts, ..Done::default() })
    }

    async fn verify(&self, token: Token) -> Result<Fact, DriverError> {
        let seen = self.read().await?;
        let fact = self.fact(&seen);
        let traffic = fact.traffic.clone().unwrap_or_default();
        match traffic.token {
            Some(seen) if seen > token => Err(DriverError::StaleEpoch { seen }),
            Some(seen) if seen < token => Err(DriverError::Retry(format!(
                "{} still holds {seen}, not {token}",
                self.settings.token_name
            ))),
            None => {
                let name = &self.settings.token_name;
                Err(DriverError::Retry(format!("{name} holds no token")))
            }
            Some(_) if !traffic.drift.is_empty() => {
                Err(DriverError::Retry(format!("drift: {}", traffic.drift)))
            }
            Some(_) => self.authority.settled(&self.settings, &seen).await.map(|()| fact),
        }
    }
}
