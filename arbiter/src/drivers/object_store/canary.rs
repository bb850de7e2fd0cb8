//! Canaries: one small object a region, written again and again where the region is active, and
//! read where it was replicated to. Lag is the age of the newest one that has arrived.
//!
//! Knows what is in one. Never knows who is active. The ages come from the wall clocks of two
//! hosts: they are for people and for a fault, and decide nothing.
//!
//! Each region writes one key over and over: replication need not carry deletions over, so that
//! keys of their own would pile up in the replica.

use crate::clock;
use crate::drivers::bucket::{Bucket, Fault, REQUEST_LIMIT, Seen};
use arbiter_core::{RegionId, Token};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Greatest size of a canary, in bytes.
const BYTES_MAX: u64 = 4096;
/// Canaries that are read at most: one a region.
const COUNT_MAX: usize = 16;

/// What is in one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Canary {
    /// The region that wrote it.
    pub region: RegionId,
    /// One higher with each that the region writes.
    pub number: u64,
    /// The token that it was written at, as `epoch.revision`.
    token: String,
    /// Wall clock when it was written, in milliseconds since 1970.
    pub at: u64,
    /// Wall clock when the region became active at this epoch, likewise.
    pub since: u64,
    /// The region wrote it when it was drained, right before its fence.
    pub last: bool,
}

impl Canary {
    /// The one after `before`, at `token`.
    pub fn next(region: &RegionId, before: Option<&Self>, token: Token, last: bool) -> Self {
        let at = clock::wall().0;
        let same = before.filter(|before| before.token().epoch == token.epoch);
        Self {
            region: region.clone(),
            number: before.map_or(0, |before| before.number).saturating_add(1),
            token: token.to_string(),
            at,
            since: same.map_or(at, |before| before.since),
            last,
        }
    }

    /// The token that it was written at; the lowest where it holds none.
    pub fn token(&self) -> Token {
        self.token.parse().unwrap_or_default()
    }

    /// How long ago it was written, by this host's wall clock; zero where that is behind.
    pub fn age(&self) -> Duration {
        Duration::from_millis(clock::wall().0.saturating_sub(self.at))
    }

    /// Write it, in place of the region's last.
    ///
    /// # Errors
    /// The fault of the write.
    pub async fn write(&self, bucket: &Bucket, key: &str) -> Result<(), Fault> {
        let bytes = serde_json::to_vec(self).map_err(|_| Fault::garbage("no JSON"))?;
        bucket.write(key, bytes).await
    }

    /// Read the one at `key`; none where there is none, or what is there is none.
    ///
    /// # Errors
    /// The fault of the read.
    pub async fn read(bucket: &Bucket, key: &str) -> Result<Option<Self>, Fault> {
        match bucket.read(key, BYTES_MAX, None, REQUEST_LIMIT).await? {
            Seen::Read(read) => Ok(serde_json::from_slice(&read.bytes).ok()),
            Seen::Missing | Seen::Same | Seen::Large => Ok(None),
        }
    }
}

/// The canaries in one bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Canaries(Vec<Canary>);

impl Canaries {
    /// Read what has arrived below `prefix`.
    ///
    /// # Errors
    /// The fault of the first request that fails.
    pub async fn read(bucket: &Bucket, prefix: &str) -> Result<Self, Fault> {
        let (objects, _) = bucket.list(Some(prefix), COUNT_MAX, REQUEST_LIMIT).await?;
        let mut found = Vec::new();
        for object in objects.iter().filter(|object| object.size <= BYTES_MAX) {
            let Some(canary) = Canary::read(bucket, object.location.as_ref()).await? else {
                continue;
            };
            // One that stands under another's name was put there by somebody else.
            if object.location.filename() == Some(canary.region.as_str()) {
                found.push(canary);
            }
        }
        Ok(Self(found))
    }

    /// The one of `region`.
    pub fn of(&self, region: &RegionId) -> Option<&Canary> {
        self.0.iter().find(|canary| canary.region == *region)
    }

    /// The newest of other regions than `region`: what replication last brought.
    pub fn arrived(&self, region: &RegionId) -> Option<&Canary> {
        let others = self.0.iter().filter(|canary| canary.region != *region);
        others.max_by_key(|canary| (canary.token(), canary.number))
    }

    /// Whether `region` was active last, as far as anything here tells.
    pub fn was_active(&self, region: &RegionId) -> bool {
        let own = self.of(region).map(Canary::token);
        own.is_some() && own >= self.arrived(region).map(Canary::token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canary(region: &str, number: u64, epoch: u64) -> Canary {
        let (at, since) = (clock::wall().0, 0);
        let token = Token::new(epoch, 1).to_string();
        Canary { region: region.into(), number, token, at, since, last: false }
    }

    #[test]
    fn the_newest_of_the_others_is_what_arrived() {
        let (eu, us) = (RegionId::from("eu"), RegionId::from("us"));
        let all = [canary("eu", 70, 2), canary("us", 3, 3), canary("ap", 90, 1)];
        let all = Canaries(all.to_vec());
        assert_eq!(all.arrived(&eu).unwrap().number, 3);
        assert!(all.was_active(&us) && !all.was_active(&eu));
        assert!(!Canaries::default().was_active(&eu));
    }

    #[test]
    fn one_follows_another_and_an_epoch_begins_anew() {
        let region = RegionId::from("eu");
        let first = Canary::next(&region, None, Token::new(2, 9), false);
        let first = Canary { since: 5, ..first };
        let second = Canary::next(&region, Some(&first), Token::new(2, 11), true);
        assert_eq!((first.number, second.number, second.since), (1, 2, 5));
        let later = Canary::next(&region, Some(&second), Token::new(4, 20), false);
        assert_eq!((later.number, later.since), (3, later.at));
        let ahead = Canary { at: u64::MAX, ..later };
        assert_eq!(ahead.age(), Duration::ZERO);
    }
}
