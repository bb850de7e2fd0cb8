//! Traffic: DNS records switched by compare-and-swap, whoever serves them (design §7).
//!
//! Knows the order read, judge, swap, read back, and what is reported. Never knows a protocol
//! (`rfc2136.rs`, `route53.rs`), the stored token, or when to try again.

mod cas;
mod kinds;
mod rfc2136;
mod route53;
mod settings;
mod text;
mod tsig;

use super::{Declaration, Done, Driver, DriverError, Opening};
use crate::clock;
use arbiter_core::{Condition, Control, Fact, Goal, Instant, Layer, RegionId, Terms, Token};
use async_trait::async_trait;
use cas::{Change, Seen, Verdict, judge};
use settings::{Reader, Settings};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Reads of one `ensure`. One more than swaps: each is read back. A swap that loses against
/// another change is judged anew, and then left to the executor.
const READS_MAX: u32 = 4;

pub use kinds::{RFC2136, ROUTE53};

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
    /// Wait for nothing, but say `Retry` while what was accepted does not serve everywhere.
    async fn settled(&self) -> Result<(), DriverError> {
        Ok(())
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
        for left in (0..READS_MAX).rev() {
            let seen = self.read().await?;
            let change = match judge(&self.settings, &seen, region, token, terms) {
                Verdict::Done => {
                    self.authority.settled().await?;
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
        let seen = self.authority.read(&self.settings).await?;
        self.memory().looked = Some((clock::now(), seen.clone()));
        Ok(seen)
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
        let looked = self.memory().looked.clone();
        let now = clock::now();
        if let Some((at, seen)) = looked
            && now.since(at) < self.authority.look_age_max()
        {
            return Ok(self.fact(&seen));
        }
        Ok(self.fact(&self.read().await?))
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
        let fact = self.fact(&self.read().await?);
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
            Some(_) => self.authority.settled().await.map(|()| fact),
        }
    }
}
