//! Rehearsals of the local fence: every so often each driver proves, on what runs, that its fence
//! would work, without stopping anything and without touching what the deadman holds.
//!
//! Knows when, and what came of it; a driver and its holder know how.

use super::tasks::Key;
use crate::clock;
use crate::drivers::Driver;
use arbiter_core::{FENCE_FAULT, FENCE_PROVEN_MS, Fact, Instant};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// Before the first, so that what is just starting is up.
const FIRST_AFTER: Duration = Duration::from_secs(10);
/// Between two.
const EVERY: Duration = Duration::from_secs(600);
/// After one that proved nothing: it failed, or nothing ran, or was armed, yet.
const AGAIN_AFTER: Duration = Duration::from_secs(15);
/// Longest one.
const LIMIT: Duration = Duration::from_secs(20);

/// What came of one.
#[derive(Clone, Debug)]
struct Outcome {
    /// When it was last proven.
    proven: Option<Instant>,
    /// Why the last one failed.
    fault: Option<String>,
}

type Outcomes = Arc<Mutex<BTreeMap<Key, Outcome>>>;

/// Rehearses until it is dropped.
pub struct Rehearsals {
    outcomes: Outcomes,
    tasks: Vec<JoinHandle<()>>,
}

impl Rehearsals {
    /// Of these drivers, each by itself: one that hangs holds up no other.
    pub fn begin(drivers: &BTreeMap<Key, Arc<dyn Driver>>) -> Self {
        let outcomes = Outcomes::default();
        let each = drivers.iter().map(|(key, driver)| {
            tokio::spawn(rehearse(key.clone(), driver.clone(), outcomes.clone()))
        });
        Self { tasks: each.collect(), outcomes }
    }

    /// What `fact` is to say of it.
    pub fn reader(&self) -> impl Fn(&Key, &mut Fact) + Clone + Send + 'static {
        let outcomes = self.outcomes.clone();
        move |key, fact| {
            let known = outcomes.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned();
            let Some(known) = known else { return };
            if let Some(proven) = known.proven {
                let age = clock::now().since(proven).as_millis().to_string();
                fact.detail.insert(FENCE_PROVEN_MS.to_owned(), age);
            }
            if let Some(fault) = known.fault {
                fact.detail.insert(FENCE_FAULT.to_owned(), fault);
            }
        }
    }
}

impl Drop for Rehearsals {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

async fn rehearse(key: Key, driver: Arc<dyn Driver>, outcomes: Outcomes) {
    sleep(FIRST_AFTER).await;
    loop {
        let result = match timeout(LIMIT, driver.rehearse_fence()).await {
            Ok(Ok(proven)) => Ok(proven),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("no answer within {LIMIT:?}")),
        };
        let wait = if result == Ok(true) { EVERY } else { AGAIN_AFTER };
        if let Err(why) = &result {
            tracing::warn!(group = %key.0, instance = %key.1, %why, "the fence could not be proven");
        }
        record(&mut outcomes.lock().unwrap_or_else(PoisonError::into_inner), &key, result);
        sleep(wait).await;
    }
}

fn record(outcomes: &mut BTreeMap<Key, Outcome>, key: &Key, result: Result<bool, String>) {
    let before = outcomes.get(key).and_then(|known| known.proven);
    let known = match result {
        Ok(true) => Outcome { proven: Some(clock::now()), fault: None },
        // There is nothing to be fenced now, or the kind has no such proof.
        Ok(false) => Outcome { proven: before, fault: None },
        Err(why) => Outcome { proven: before, fault: Some(why) },
    };
    outcomes.insert(key.clone(), known);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_does_not_forget_when_it_was_last_proven() {
        let (mut outcomes, key) = (BTreeMap::new(), ("g".into(), "a".into()));
        record(&mut outcomes, &key, Ok(false));
        assert!(outcomes[&key].proven.is_none() && outcomes[&key].fault.is_none());
        record(&mut outcomes, &key, Ok(true));
        let proven = outcomes[&key].proven;
        assert!(proven.is_some());
        record(&mut outcomes, &key, Err("no way".into()));
        assert_eq!(
            (outcomes[&key].proven, outcomes[&key].fault.as_deref()),
            (proven, Some("no way"))
        );
        record(&mut outcomes, &key, Ok(true));
        assert!(outcomes[&key].fault.is_none());
    }
}
