//! Objects below prefixes that the user names, counted and summed, so that both sides can be
//! compared before a failback.
//!
//! Knows listings, and how seldom they are asked. The leader compares. Replication is behind by a
//! while, and the two sides are listed at two times: so a sum is told only once it has not changed
//! for longer than the lag and than both sides take to list anew. Of a prefix that is written all
//! the time nothing is told. Contents are not read: a sum is of keys and sizes.

use super::{Inner, LIST_LIMIT};
use crate::clock;
use crate::drivers::bucket::{Bucket, Fault};
use arbiter_core::{CHECKSUM, Fact, Instant};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Objects of ours that a listing may meet besides those that count.
const OURS_MAX: usize = 64;

/// What is known of them.
#[derive(Default)]
pub(super) struct Counts(Arc<Mutex<Known>>);

#[derive(Default)]
struct Known {
    running: bool,
    /// When they were asked for last, however that ended.
    asked: Option<Instant>,
    found: BTreeMap<String, Reading>,
    failed: Option<String>,
}

/// What was listed under one name.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Reading {
    sum: String,
    /// When it was first listed so.
    since: Instant,
    /// When it was last.
    at: Instant,
}

impl Reading {
    /// `sum`, listed at `at`, after `before`.
    fn after(before: Option<&Self>, sum: String, at: Instant) -> Self {
        let same = before.filter(|before| before.sum == sum);
        Self { sum, since: same.map_or(at, |before| before.since), at }
    }

    /// Whether it is comparable at `now`: the other side was listed after the last change here had
    /// come there, and this one after the last change there had.
    fn has_settled(&self, now: Instant, every: Duration, lag_max: Duration) -> bool {
        self.is_fresh(now, every) && self.at.since(self.since) >= every * 2 + lag_max
    }

    fn is_fresh(&self, now: Instant, every: Duration) -> bool {
        now.since(self.at) < every * 2
    }
}

impl Counts {
    fn known(&self) -> MutexGuard<'_, Known> {
        lock(&self.0)
    }

    /// Add what was found, and begin to list anew where that is due. Nobody waits for it.
    pub fn tell(&self, inner: &Arc<Inner>, fact: &mut Fact) {
        let (set, now) = (&inner.settings, clock::now());
        if set.checksums.is_empty() {
            return;
        }
        let begin = {
            let mut known = self.known();
            for (name, reading) in &known.found {
                let told = if reading.has_settled(now, set.checksum_every, set.lag_max) {
                    (format!("{CHECKSUM}{name}"), format!("settled {}", reading.sum))
                } else if reading.is_fresh(now, set.checksum_every) {
                    let since = super::facts::span(now.since(reading.since));
                    (format!("objects.{name}"), format!("{}, as they are for {since}", reading.sum))
                } else {
                    continue;
                };
                fact.detail.extend([told]);
            }
            fact.faults.extend(known.failed.clone());
            let due = known.asked.is_none_or(|asked| now.since(asked) >= set.checksum_every);
            let begin = due && !known.running;
            if begin {
                (known.running, known.asked) = (true, Some(now));
            }
            begin
        };
        if begin {
            let (ended, inner) = (Ended(self.0.clone()), inner.clone());
            tokio::spawn(async move {
                let found = list(&inner).await;
                ended.with(found);
            });
        }
    }
}

/// Every name's sum, and when it was listed: nothing that came later is in it.
async fn list(inner: &Inner) -> Result<BTreeMap<String, (String, Instant)>, String> {
    let set = &inner.settings;
    let failed = |name: &str, why: &dyn std::fmt::Display| {
        format!("the objects of checksum.{name} are not compared: {why}")
    };
    let mut found = BTreeMap::new();
    for (name, prefix) in &set.checksums {
        let at = clock::now();
        let bucket = inner.open().await.map_err(|error| failed(name, &error))?;
        let sum = sum(&bucket, prefix, &set.canary_prefix, set.checksum_objects).await;
        let sum = sum.map_err(|fault| failed(name, &inner.error("listing objects", &fault)))?;
        found.insert(name.clone(), (sum, at));
    }
    Ok(found)
}

async fn sum(
    bucket: &Bucket,
    prefix: &str,
    besides: &str,
    count_max: usize,
) -> Result<String, Fault> {
    let prefix = Some(prefix).filter(|prefix| !prefix.is_empty());
    let (objects, whole) = bucket.list(prefix, count_max + OURS_MAX, LIST_LIMIT).await?;
    let mut counted: Vec<(String, u64)> = objects
        .into_iter()
        .map(|object| (object.location.to_string(), object.size))
        .filter(|(key, _)| !key.strip_prefix(besides).is_some_and(|rest| rest.starts_with('/')))
        .collect();
    counted.sort();
    let whole = whole && counted.len() <= count_max;
    counted.truncate(count_max);
    let bytes: u64 = counted.iter().map(|(_, size)| size).sum();
    let line = |sum, (key, size): &(String, u64)| {
        crc32c::crc32c_append(sum, format!("{key}\n{size}\n").as_bytes())
    };
    let list = counted.iter().fold(0, line);
    let first = if whole { "" } else { "the first " };
    Ok(format!("{first}{} objects, {bytes} bytes, list {list:08x}", counted.len()))
}

fn lock(known: &Mutex<Known>) -> MutexGuard<'_, Known> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Notes that they are listed no more, however that ended.
struct Ended(Arc<Mutex<Known>>);

impl Ended {
    fn with(&self, found: Result<BTreeMap<String, (String, Instant)>, String>) {
        let mut known = lock(&self.0);
        match found {
            Ok(found) => {
                let read = |(name, (sum, at)): (String, (String, Instant))| {
                    let reading = Reading::after(known.found.get(&name), sum, at);
                    (name, reading)
                };
                let found = found.into_iter().map(read).collect();
                (known.found, known.failed) = (found, None);
            }
            Err(why) => known.failed = Some(why),
        }
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        lock(&self.0).running = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_settles_after_the_lag_and_two_listings_and_is_forgotten_unless_listed_anew() {
        let second = Duration::from_secs;
        let (every, lag) = (second(10), second(5));
        let began = clock::now();
        let read = |before: Option<&Reading>, sum: &str, after| {
            Reading::after(before, sum.to_owned(), began + second(after))
        };
        let mut reading = read(None, "a", 0);
        for (after, settled) in [(10, false), (20, false), (30, true), (40, true)] {
            reading = read(Some(&reading), "a", after);
            assert_eq!(reading.has_settled(began + second(after), every, lag), settled, "{after}");
        }
        assert!(reading.has_settled(began + second(59), every, lag));
        assert!(!reading.has_settled(began + second(60), every, lag), "it is old");
        let changed = read(Some(&reading), "b", 50);
        assert!(!changed.has_settled(began + second(50), every, lag));
        assert_eq!(changed.since, began + second(50));
    }
}
