//! Late writes: objects that were written in a region after another became active. Knows objects
//! and when they were changed; never which of them is right.
//!
//! A listing does not tell a write from a replica that arrived, so that the headers of each changed
//! object are read: bounded, and said where the bound was met.

use super::LIST_LIMIT;
use crate::clock;
use crate::drivers::bucket::{Ask, Bucket, Fault, Place};
use arbiter_core::{Epoch, LateObject, LateObjects, Loss, Position, WallMillis};

/// Objects that one listing reads at most.
const LISTED_MAX: usize = 10_000;
/// Changed objects whose headers are read at most.
const ASKED_MAX: usize = 100;
/// Keys that are shown at most.
const SHOWN_MAX: usize = 20;
/// Characters of a key that are shown.
const KEY_CHARS_MAX: usize = 200;

/// What was written late.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LateWrites {
    /// Keys and when they were written, oldest first; wall clock of the provider.
    pub keys: Vec<(String, WallMillis)>,
    /// Objects that were changed since, and not looked at.
    pub unknown: usize,
    /// Every object was listed.
    pub whole: bool,
}

impl LateWrites {
    /// Objects below no `besides` that were changed after `since` and are no replicas. S3 tells of
    /// whole seconds: what was changed in the same second counts.
    ///
    /// # Errors
    /// The fault of the first request that fails.
    pub async fn list(bucket: &Bucket, since: WallMillis, besides: &str) -> Result<Self, Fault> {
        let (objects, whole) = bucket.list(None, LISTED_MAX, LIST_LIMIT).await?;
        let changed = objects.into_iter().filter_map(|object| {
            let at = u64::try_from(object.last_modified.timestamp_millis()).ok()?;
            let key = object.location.to_string();
            let own = key.strip_prefix(besides).is_some_and(|rest| rest.starts_with('/'));
            (at / 1000 >= since.0 / 1000 && !own).then_some((at, key))
        });
        let mut changed: Vec<(u64, String)> = changed.collect();
        changed.sort();
        let unknown = changed.len().saturating_sub(ASKED_MAX);
        let mut keys = Vec::new();
        for (at, key) in changed.into_iter().take(ASKED_MAX) {
            if !is_replica(bucket, &key).await? {
                keys.push((key, WallMillis(at)));
            }
        }
        Ok(Self { keys, unknown, whole })
    }

    /// As the plan's report has it, of the region that lost the active role before `epoch`.
    pub fn loss(&self, epoch: Epoch, since: WallMillis, place: &Place) -> Loss {
        let listed = self.keys.iter().map(|(key, at)| LateObject { key: key.clone(), at: *at });
        Loss {
            count: Some(self.keys.len() as u64),
            kept: place.to_string(),
            late: Some(Box::new(LateObjects {
                epoch,
                since,
                listed: listed.collect(),
                unknown: self.unknown as u64,
                whole: self.whole,
                read: place.reads("KEY"),
            })),
            ..Loss::nothing(Position::default(), clock::wall())
        }
    }
}

/// Whether replication brought it: S3 and Azure say so in its headers. One that is gone meanwhile
/// is none of ours to tell of.
async fn is_replica(bucket: &Bucket, key: &str) -> Result<bool, Fault> {
    match bucket.ask(Ask::head(key)).await {
        Ok(answer) => Ok(answer.header("x-amz-replication-status") == "REPLICA"
            || !answer.header("x-ms-or-policy-id").is_empty()),
        Err(fault) if fault.is_missing_object() => Ok(true),
        Err(fault) => Err(fault),
    }
}

impl std::fmt::Display for LateWrites {
    /// For people: how many, and the first of them.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let clip = |key: &String| key.chars().take(KEY_CHARS_MAX).collect::<String>();
        let keys: Vec<String> =
            self.keys.iter().take(SHOWN_MAX).map(|(key, _)| clip(key)).collect();
        write!(f, "{}", self.keys.len())?;
        if !keys.is_empty() {
            write!(f, ": {}", keys.join(", "))?;
        }
        if self.keys.len() > SHOWN_MAX {
            write!(f, ", …")?;
        }
        if self.unknown > 0 {
            write!(f, "; {} more were changed, by a write or by replication", self.unknown)?;
        }
        if !self.whole {
            write!(f, "; only the first {LISTED_MAX} objects were listed")?;
        }
        Ok(())
    }
}
