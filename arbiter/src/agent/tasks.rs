//! Work that takes time: drivers, gates and the disk. Each ends with an event for the machine.
//!
//! Knows how to run one thing and to drop it. Never knows why it is asked.

use super::rehearsal::Rehearsals;
use super::store::Store;
use crate::drivers::{Done, Driver, DriverError};
use arbiter_core::agent::{AgentEvent, Failure, Reached};
use arbiter_core::{
    Arming, ClusterId, CommitWait, Condition, Fact, Goal, GroupId, InstanceId, Terms, Token,
};
use futures::FutureExt;
use std::collections::BTreeMap;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Longest observation; what takes longer is unknown.
const OBSERVE_LIMIT: Duration = Duration::from_secs(5);
/// Longest verification.
const VERIFY_LIMIT: Duration = Duration::from_secs(10);
/// Longest change of whom commits wait for.
const COMMITS_LIMIT: Duration = Duration::from_secs(10);
/// Longest change of a gate.
const GATE_LIMIT: Duration = Duration::from_secs(10);

/// What is said of work that ended in a panic.
const PANICKED: &str = "the driver panicked; see the agent's log";

/// One instance of one group.
pub type Key = (GroupId, InstanceId);

/// Runs drivers, one goal at a time for each instance.
pub struct Tasks {
    drivers: BTreeMap<Key, Arc<dyn Driver>>,
    rehearsals: Rehearsals,
    ensuring: BTreeMap<Key, JoinHandle<()>>,
    waiting: BTreeMap<Key, JoinHandle<()>>,
    /// Changes of gates that may still go on, and which way.
    gating: BTreeMap<GroupId, (bool, JoinHandle<()>)>,
    events: mpsc::Sender<AgentEvent>,
}

impl Tasks {
    /// Tasks that tell `events`.
    pub fn new(drivers: BTreeMap<Key, Arc<dyn Driver>>, events: mpsc::Sender<AgentEvent>) -> Self {
        Self {
            rehearsals: Rehearsals::begin(&drivers),
            drivers,
            ensuring: BTreeMap::new(),
            waiting: BTreeMap::new(),
            gating: BTreeMap::new(),
            events,
        }
    }

    /// The drivers of `group`.
    pub fn of_group(&self, group: &GroupId) -> Vec<Arc<dyn Driver>> {
        let mine = self.drivers.iter().filter(|((of, _), _)| of == group);
        mine.map(|(_, driver)| driver.clone()).collect()
    }

    /// Run `work` and tell what came of it; `lost` where it panicked: what is never told of is
    /// waited for, and never tried again.
    fn spawn(
        &self,
        lost: AgentEvent,
        work: impl Future<Output = AgentEvent> + Send + 'static,
    ) -> JoinHandle<()> {
        let events = self.events.clone();
        tokio::spawn(async move {
            let event = AssertUnwindSafe(work).catch_unwind().await.unwrap_or(lost);
            // The loop is gone: so are we, soon.
            let _ = events.send(event).await;
        })
    }

    /// Look at an instance.
    pub fn observe(&self, (group, instance): Key) {
        let Some(driver) = self.drivers.get(&(group.clone(), instance.clone())).cloned() else {
            return;
        };
        let (at, what) = ((group.clone(), instance.clone()), unknown(PANICKED.into()));
        let lost = AgentEvent::Observed { group: at.0, instance: at.1, fact: what };
        let rehearsed = self.rehearsals.reader();
        self.spawn(lost, async move {
            let mut fact = match timeout(OBSERVE_LIMIT, driver.observe()).await {
                Ok(Ok(fact)) => fact,
                Ok(Err(error)) => unknown(error.to_string()),
                Err(_) => unknown(format!("no answer within {OBSERVE_LIMIT:?}")),
            };
            let key = (group, instance);
            rehearsed(&key, &mut fact);
            let (group, instance) = key;
            AgentEvent::Observed { group, instance, fact }
        });
    }

    /// Make a goal true. What was asked of the instance before is dropped first, all of it.
    pub fn ensure(&mut self, key: Key, attempt: u64, goal: Goal, token: Token, terms: Terms) {
        let Some(driver) = self.drivers.get(&key).cloned() else { return };
        let before = self.ensuring.remove(&key);
        let (group, instance) = key.clone();
        let result = Err(Failure::Retry(PANICKED.into()));
        let lost = AgentEvent::EnsureEnded {
            group: group.clone(),
            instance: instance.clone(),
            attempt,
            result,
        };
        let task = self.spawn(lost, async move {
            if let Some(before) = before {
                before.abort();
                let _ = before.await;
            }
            tracing::info!(%group, %instance, %goal, %token, "ensuring");
            let limit = driver.limit(goal);
            let work = timeout(limit, driver.ensure(goal, token, &terms));
            let result = match work.await {
                Ok(result) => result.map(reached).map_err(failure),
                Err(_) => Err(Failure::Retry(format!("not reached within {limit:?}"))),
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

    /// Have a primary wait for others. What was asked before is dropped first.
    pub fn commits(&mut self, key: Key, attempt: u64, wait: CommitWait) {
        let Some(driver) = self.drivers.get(&key).cloned() else { return };
        let before = self.waiting.remove(&key);
        let (group, instance) = key.clone();
        let result = Err(Failure::Retry(PANICKED.into()));
        let (of, id) = (group.clone(), instance.clone());
        let lost = AgentEvent::CommitWaitSet { group: of, instance: id, attempt, result };
        let task = self.spawn(lost, async move {
            if let Some(before) = before {
                before.abort();
                let _ = before.await;
            }
            tracing::info!(%group, %instance, ?wait, "commits are to wait");
            let result = match timeout(COMMITS_LIMIT, driver.commits(&wait)).await {
                Ok(result) => result.map_err(failure),
                Err(_) => Err(Failure::Retry(format!("no answer within {COMMITS_LIMIT:?}"))),
            };
            if let Err(why) = &result {
                tracing::warn!(%group, %instance, ?wait, %why, "commits do not wait yet");
            }
            AgentEvent::CommitWaitSet { group, instance, attempt, result }
        });
        self.waiting.insert(key, task);
    }

    /// Try a real write.
    pub fn verify(&self, (group, instance): Key, token: Token) {
        let Some(driver) = self.drivers.get(&(group.clone(), instance.clone())).cloned() else {
            return;
        };
        let result = Err(Failure::Retry(PANICKED.into()));
        let (of, id) = (group.clone(), instance.clone());
        let lost = AgentEvent::VerifyEnded { group: of, instance: id, token, result };
        self.spawn(lost, async move {
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

    /// Put the gates of `group` in, or take them out: one after the other, since each reads a file
    /// and writes what it read.
    pub fn gate(&mut self, group: GroupId, armed: bool) {
        let before = self.gating.remove(&group).filter(|(_, task)| !task.is_finished());
        let before = match before {
            Some(same) if same.0 == armed => {
                self.gating.insert(group, same);
                return;
            }
            other => other.map(|(_, task)| task),
        };
        let drivers = self.of_group(&group);
        let (key, lost) = (group.clone(), group.clone());
        let lost = AgentEvent::GateSet { group: lost, armed, ok: false };
        let task = self.spawn(lost, async move {
            if let Some(before) = before {
                before.abort();
                let _ = before.await;
            }
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
        self.gating.insert(key, (armed, task));
    }
}

impl Tasks {
    /// Tell that a write was not done.
    pub fn not_written(&self, write: Write) {
        if let Some(event) = written(write, false) {
            let lost = event.clone();
            self.spawn(lost, async move { event });
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

/// What cannot be seen is unknown, and never counts as healthy. What keeps an agent from looking
/// keeps it from acting too: it is told before that matters.
fn unknown(why: String) -> Fact {
    let detail = BTreeMap::from([("error".to_owned(), why.clone())]);
    Fact { condition: Condition::Unknown, detail, faults: vec![why], ..Fact::default() }
}

/// What is to be written to disk.
#[derive(Debug)]
pub enum Write {
    /// The cluster's name, or that none is known.
    Cluster(Option<ClusterId>),
    /// Where arbiters are.
    Arbiters(Vec<String>),
    /// A token.
    Token(Key, Token),
    /// Whether a group is armed.
    Arming(GroupId, Option<Arming>),
}

/// What the machine is told of a write.
fn written(write: Write, ok: bool) -> Option<AgentEvent> {
    match write {
        Write::Cluster(cluster) => Some(AgentEvent::ClusterPersisted { cluster, ok }),
        // Learned again with the next answer.
        Write::Arbiters(_) => None,
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
            Write::Arbiters(arbiters) => store.learn(arbiters),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drivers::Declaration;
    use async_trait::async_trait;

    /// A driver with a fault in each of its parts.
    struct Broken;

    #[async_trait]
    impl Driver for Broken {
        fn declares(&self) -> Declaration {
            panic!("declares")
        }

        async fn observe(&self) -> Result<Fact, DriverError> {
            panic!("observe")
        }

        async fn ensure(&self, _: Goal, _: Token, _: &Terms) -> Result<Done, DriverError> {
            panic!("ensure")
        }

        async fn verify(&self, _: Token) -> Result<Fact, DriverError> {
            panic!("verify")
        }

        async fn gate(&self, _: bool) -> Result<(), DriverError> {
            panic!("gate")
        }
    }

    #[tokio::test]
    async fn a_driver_that_panics_is_asked_again() {
        let (events, mut told) = mpsc::channel(8);
        let key: Key = ("g".into(), "db".into());
        let broken: Arc<dyn Driver> = Arc::new(Broken);
        let mut tasks = Tasks::new(BTreeMap::from([(key.clone(), broken)]), events);
        let token = Token::new(1, 1);
        tasks.observe(key.clone());
        let observed = told.recv().await.unwrap();
        assert!(matches!(observed, AgentEvent::Observed { fact, .. }
            if fact.condition == Condition::Unknown && fact.faults == [PANICKED]));
        tasks.ensure(key.clone(), 7, Goal::Fenced, token, Terms::default());
        let ensured = told.recv().await.unwrap();
        assert!(matches!(ensured, AgentEvent::EnsureEnded { attempt: 7, result, .. }
            if matches!(result, Err(Failure::Retry(_)))));
        tasks.verify(key.clone(), token);
        let verified = told.recv().await.unwrap();
        assert!(matches!(verified, AgentEvent::VerifyEnded { result, .. }
            if matches!(result, Err(Failure::Retry(_)))));
        tasks.gate(key.0, true);
        let gated = told.recv().await.unwrap();
        assert!(matches!(gated, AgentEvent::GateSet { armed: true, ok: false, .. }));
    }
}
