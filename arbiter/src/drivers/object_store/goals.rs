//! What makes each goal true of one bucket. Knows the order of requests; never of steps.

use super::canary::{Canaries, Canary};
use super::fence::{Fence, not_above};
use super::{ObjectStore, Seen};
use crate::clock;
use crate::drivers::bucket::{Bucket, Provider};
use crate::drivers::{Done, DriverError};
use arbiter_core::{EvidenceKind, Goal, Token};
use std::time::Duration;

/// How long a write may still be refused after the fence was lifted: a policy takes its time to
/// reach all of S3, a stored access policy up to 30 s.
const LIFT_GRACE: Duration = Duration::from_secs(60);
/// Written with no other purpose than to be refused; below the prefix of the canaries.
const PROBE: &str = "fence-probe";

impl ObjectStore {
    /// Remember what was asked.
    pub(super) fn asked(&self, goal: Goal, token: Token) {
        let mut memory = self.inner.memory();
        if memory.goal.is_none_or(|(before, at, _)| (before, at) != (goal, token)) {
            memory.goal = Some((goal, token, clock::now()));
        }
    }

    /// The fence lifted, a canary written, replication turned to the other region.
    pub(super) async fn activate(&self, token: Token) -> Result<Done, DriverError> {
        let inner = &self.inner;
        let bucket = inner.open().await?;
        let canaries = self.canaries(&bucket).await?;
        let region = &inner.settings.region;
        not_above(canaries.of(region).map(Canary::token), token)?;
        // Where another region wrote at a higher epoch, this order is an old one.
        if let Some(other) = canaries.arrived(region).map(Canary::token)
            && other.epoch > token.epoch
        {
            return Err(DriverError::StaleEpoch { seen: other });
        }
        let lifted = Fence::lift(&bucket, &inner.settings, token).await;
        let (_, lifted) = lifted.inspect_err(|_| inner.bucket.forget())?;
        if lifted {
            inner.memory().lifted = Some(clock::now());
        }
        inner.write_canary(token, false).await.map_err(|error| self.still_refused(error))?;
        self.keep(token);
        inner.turn_towards_peer(token).await;
        self.done(None, false).await
    }

    /// Refused right after the fence was lifted heals by itself.
    fn still_refused(&self, error: DriverError) -> DriverError {
        let lately = self.inner.memory().lifted;
        let lately = lately.is_some_and(|at| clock::now().since(at) < LIFT_GRACE);
        match error {
            DriverError::Refused(why) if lately => {
                DriverError::Retry(format!("the fence is lifted, and not everywhere yet: {why}"))
            }
            other => other,
        }
    }

    /// Writes denied; of a source that drains, its last canary before; of a target, that canary
    /// arrived.
    pub(super) async fn quiet(&self, goal: Goal, token: Token) -> Result<Done, DriverError> {
        let inner = &self.inner;
        if goal != Goal::Fenced {
            // One that is on its way must not overtake the last. A fence does not wait for it.
            let _turn = inner.writing.lock().await;
            *self.keeper() = None;
        }
        *self.keeper() = None;
        let bucket = inner.open().await?;
        // A canary that cannot be read keeps no fence from being made; a bucket that does not
        // answer is not asked twice.
        let known = match Canary::read(&bucket, &inner.key()).await {
            Err(fault) if fault.is_silent() => {
                return Err(inner.error("reading its canary", &fault));
            }
            read => read.ok().flatten(),
        };
        not_above(known.as_ref().map(Canary::token), token)?;
        if inner.settings.place.provider() == Provider::Azure
            && inner.settings.access_policies.is_empty()
        {
            return self.unfenceable(goal).await;
        }
        let drained = goal == Goal::Drained && self.drain(&bucket, token).await?;
        let held = Fence::hold(&bucket, &inner.settings, token).await;
        held.inspect_err(|_| inner.bucket.forget())?;
        self.prove(&bucket, token).await?;
        if goal == Goal::Standby {
            inner.turn_from_peer().await;
        }
        if goal == Goal::Drained && !drained {
            self.arrived_last(&bucket, token).await?;
        }
        self.done(Some(EvidenceKind::ProviderAsserted), drained).await
    }

    /// A container whose writers hold no named access policy: it is said to be open, never fenced.
    async fn unfenceable(&self, goal: Goal) -> Result<Done, DriverError> {
        if goal == Goal::Standby {
            return self.done(None, false).await;
        }
        Err(DriverError::Refused(format!(
            "{}: nothing here can deny writes: issue your writers' tokens by stored access policies \
             and name them in access_policies",
            self.inner.settings.place
        )))
    }

    /// Of a source: the last canary, before writes are denied. Says whether it is a source: the
    /// region that wrote the newest canary here. What is written between the last canary and the
    /// fence, which is one request, is not marked by it.
    async fn drain(&self, bucket: &Bucket, token: Token) -> Result<bool, DriverError> {
        let inner = &self.inner;
        let canaries = self.canaries(bucket).await?;
        let region = &inner.settings.region;
        if !canaries.was_active(region) {
            return Ok(false);
        }
        let fenced = Fence::read(bucket, &inner.settings).await?.holds();
        if !fenced {
            // Whatever this process wrote last, what stands there is what is followed.
            inner.memory().own = canaries.of(region).cloned();
            inner.write_canary(token, true).await?;
        }
        Ok(true)
    }

    /// Of a target: the last canary of the source is here.
    async fn arrived_last(&self, bucket: &Bucket, token: Token) -> Result<(), DriverError> {
        let canaries = self.canaries(bucket).await?;
        let place = &self.inner.settings.place;
        let last = canaries.arrived(&self.inner.settings.region);
        match last {
            Some(last) if last.last && last.token().epoch == token.epoch => Ok(()),
            Some(last) => Err(DriverError::Retry(format!(
                "{place}: the last canary of {} has not arrived; the newest is {:.0?} old",
                last.region,
                last.age()
            ))),
            None => {
                Err(DriverError::Retry(format!("{place}: no canary of the source has arrived")))
            }
        }
    }

    /// A write of our own must be refused: the provider says that the policy is stored, and this is
    /// how it is seen to be obeyed. Where `admin_role` is left alone, that may be ours.
    async fn prove(&self, bucket: &Bucket, token: Token) -> Result<(), DriverError> {
        let inner = &self.inner;
        if inner.settings.place.provider() != Provider::S3 {
            inner.memory().proof = "as the provider says";
            return Ok(());
        }
        let key = format!("{}/{PROBE}", inner.settings.canary_prefix);
        let proof = match bucket.write(&key, token.to_string().into_bytes()).await {
            Err(fault) if fault.is_denied() => "a write of ours was refused",
            Err(fault) => return Err(inner.error("trying its fence", &fault)),
            Ok(()) if inner.settings.admin_role.is_some() => {
                "as the provider says; ours is the role that it leaves alone"
            }
            Ok(()) => {
                return Err(DriverError::Retry(format!(
                    "{}: the fence is stored, and a write is still accepted",
                    inner.settings.place
                )));
            }
        };
        inner.memory().proof = proof;
        Ok(())
    }

    async fn canaries(&self, bucket: &Bucket) -> Result<Canaries, DriverError> {
        let read = Canaries::read(bucket, &self.inner.settings.canary_prefix).await;
        read.map_err(|fault| self.inner.error("reading canaries", &fault))
    }

    /// What is seen now, that the goal is reached.
    async fn done(&self, evidence: Option<EvidenceKind>, clean: bool) -> Result<Done, DriverError> {
        let inner = self.inner.clone();
        let bucket = inner.open().await?;
        let fence = Fence::read(&bucket, &inner.settings).await?;
        let seen = Seen { fence, canaries: self.canaries(&bucket).await? };
        self.looks.note(seen.clone());
        Ok(Done { evidence, clean, end: None, facts: inner.fact(&seen) })
    }
}
