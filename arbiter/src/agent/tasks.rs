//! Work that takes time: drivers, gates and the disk. Each ends with an event for the machine.
//!
//! Knows how to run one thing and to drop it. Never knows why it is asked.

use super::store::Store;
use crate::drivers::{Done, Driver, DriverError};
use arbiter_core::agent::{AgentEvent, Failure, Reached};
use arbiter_core::{Arming, ClusterId, Condition, Fact, Goal, GroupId, InstanceId, Terms, Token};
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Longest observation; what takes longer is unknown.
const OBSERVE_LIMIT: Duration = Duration::from_secs(5);
/// Longest verification.
const VERIFY_LIMIT: Duration = Duration::from_secs(10);
/// Longest attempt at a goal: a driver that is stuck must not be so for ever.
const ENSURE_LIMIT: Duration = Duration::from_secs(600);
/// Longest change of a gate.
const GATE_LIMIT: Duration = Duration::from_secs(10);

/// One instance of one group.
pub type Key = (GroupId, InstanceId);

/// Runs drivers, one goal at a time for each instance.
pub struct Tasks {
    drivers: BTreeMap<Key, Arc<dyn Driver>>,
    ensuring: BTreeMap<Key, JoinHandle<()>>,
    events: mpsc::Sender<AgentEvent>,
}

impl Tasks {
    /// Tasks that tell `events`.
    pub fn new(drivers: BTreeMap<Key, Arc<dyn Driver>>, events: mpsc::Sender<AgentEvent>) -> Self {
        Self { drivers, ensuring: BTreeMap::new(), events }
    }

    /// The drivers of `group`.
    pub fn of_group(&self, group: &GroupId) -> Vec<Arc<dyn Driver>> {
        let mine = self.drivers.iter().filter(|((of, _), _)| of == group);
        mine.map(|(_, driver)| driver.clone()).collect()
    }

    fn spawn(&self, work: impl Future<Output = AgentEvent> + Send + 'static) -> JoinHandle<()> {
        let events = self.events.clone();
        tokio::spawn(async move {
            // The loop is gone: so are we, soon.
            let _ = events.send(work.await).await;
        })
    }

    /// Look at an instance.
    pub fn observe(&self, (group, instance): Key) {
        let Some(driver) = self.drivers.get(&(group.clone(), instance.clone())).cloned() else {
            return;
        };
        self.spawn(async move {
            let fact = match timeout(OBSERVE_LIMIT, driver.observe()).await {
                Ok(Ok(fact)) => fact,
                Ok(Err(error)) => unknown(error.to_string()),
                Err(_) => unknown(format!("no answer within {OBSERVE_LIMIT:?}")),
            };
            AgentEvent::Observed { group, instance, fact }
        });
    }

    /// Make a goal true. What was asked of the instance before is dropped first, all of it.
    pub fn ensure(&mut self, key: Key, attempt: u64, goal: Goal, token: Token, terms: Terms) {
        let Some(driver) = self.drivers.get(&key).cloned() else { return };
        let before = self.ensuring.remove(&key);
        let (group, instance) = key.clone();
        let task = self.spawn(async move {
            if let Some(before) = before {
                before.abort();
                let _ = before.await;
            }
            tracing::info!(%group, %instance, %goal, %token, "ensuring");
            let work = timeout(ENSURE_LIMIT, driver.ensure(goal, token, &terms));
            let result = match work.await {
                Ok(result) => result.map(reached).map_err(failure),
                Err(_) => Err(Failure::Retry(format!("not reached within {ENSURE_LIMIT:?}"))),
            };
            match &result {
                Ok(_) => tracing::info!(%group, %instance, %goal, %token, "reached"),
                Err(why) => tracing::warn!(%group, %instance, %goal, %token, ?why, "not reached"),
            }
            AgentEvent::EnsureEnded { group, instance, attempt, result }
        });
        self.ensuring.insert(key, task);
    }

    /// Drop what is asked of an instance.
    pub fn cancel(&mut self, key: &Key) {
        if let Some(task) = self.ensuring.get(key) {
            // Left in the map: the next one waits until it is really gone.
            task.abort();
        }
    }

    /// Try a real write.
    pub fn verify(&self, (group, instance): Key, token: Token) {
        let Some(driver) = self.drivers.get(&(group.clone(), instance.clone())).cloned() else {
            return;
        };
        self.spawn(async move {
            let result = match timeout(VERIFY_LIMIT, driver.verify(token)).await {
                Ok(result) => result.map_err(failure),
                Err(_) => Err(Failure::Retry(format!("no answer within {VERIFY_LIMIT:?}"))),
            };
            AgentEvent::VerifyEnded { group, instance, token, result }
        });
    }

    /// Start what nobody orders, in the role that its data says.
    pub fn start_as_is(&self, (group, instance): Key) {
        let Some(driver) = self.drivers.get(&(group.clone(), instance.clone())).cloned() else {
            return;
        };
        tokio::spawn(async move {
            if let Err(error) = driver.start_as_is().await {
                tracing::warn!(%group, %instance, %error, "not started");
            }
        });
    }

    /// Put the gates of `group` in, or take them out.
    pub fn gate(&self, group: GroupId, armed: bool) {
        let drivers = self.of_group(&group);
        self.spawn(async move {
            let mut ok = true;
            for driver in drivers {
                let done = timeout(GATE_LIMIT, driver.gate(armed)).await;
                let error = match done {
                    Ok(Ok(())) => continue,
                    Ok(Err(error)) => error.to_string(),
                    Err(_) => format!("not done within {GATE_LIMIT:?}"),
                };
                tracing::warn!(%group, armed, error, "the start gate could not be set");
                ok = false;
            }
            AgentEvent::GateSet { group, armed, ok }
        });
    }
}

impl Tasks {
    /// Tell that a write was not done.
    pub fn not_written(&self, write: Write) {
        if let Some(event) = written(write, false) {
            self.spawn(async move { event });
        }
    }
}

fn reached(done: Done) -> Reached {
    Reached { evidence: done.evidence, end: done.end, clean: done.clean, fact: done.facts }
}

fn failure(error: DriverError) -> Failure {
    match error {
        DriverError::Retry(why) => Failure::Retry(why),
        DriverError::Refused(why) => Failure::Refused(why),
        DriverError::StaleEpoch { seen } => Failure::Stale(seen),
    }
}

/// What cannot be seen is unknown, and never counts as healthy.
fn unknown(why: String) -> Fact {
    let detail = BTreeMap::from([("error".to_owned(), why)]);
    Fact { condition: Condition::Unknown, detail, ..Fact::default() }
}

/// What is to be written to disk.
#[derive(Debug)]
pub enum Write {
    /// The cluster's name.
    Cluster(ClusterId),
    /// A token.
    Token(Key, Token),
    /// Whether a group is armed.
    Arming(GroupId, Option<Arming>),
}

/// What the machine is told of a write.
fn written(write: Write, ok: bool) -> Option<AgentEvent> {
    match write {
        Write::Cluster(_) => None,
        Write::Token((group, instance), token) => {
            Some(AgentEvent::TokenStored { group, instance, token, ok })
        }
        Write::Arming(group, arming) => Some(AgentEvent::ArmingPersisted { group, arming, ok }),
    }
}

/// Write what comes, in order, on a thread of its own: a disk that hangs holds up nothing else.
pub fn write_all(
    mut store: Store,
    mut writes: mpsc::Receiver<Write>,
    to: mpsc::Sender<AgentEvent>,
) {
    while let Some(write) = writes.blocking_recv() {
        let outcome = match &write {
            Write::Cluster(cluster) => store.cluster(cluster.clone()),
            Write::Token((group, instance), token) => store.token(group, instance, *token),
            Write::Arming(group, arming) => store.arming(group, *arming),
        };
        if let Err(error) = &outcome {
            tracing::error!(%error, "the state directory cannot be written to");
        }
        if let Some(event) = written(write, outcome.is_ok())
            && to.blocking_send(event).is_err()
        {
            return;
        }
    }
}
