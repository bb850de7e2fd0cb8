//! Events to those who are to know: a webhook and Alertmanagers, at least once each. Knows queues
//! and how far each has come; never what an event means.
//!
//! The leader posts in order and goes on from the last event that was taken. A new leader starts
//! with the events that State still has, so that one lost with its leader is repeated.
//!
//! # Layout
//! - `queue`: the events that wait for one receiver, and its worker
//! - `webhook`, `alertmanager`: how one receiver is told

mod alertmanager;
mod post;
mod queue;
mod webhook;

use crate::clock;
use crate::credentials::Credentials;
use alertmanager::Alertmanager;
use arbiter_core::{Event, EventKind, RegionId};
use queue::Queue;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use webhook::Webhook;

/// An event, and the region that it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// What happened.
    pub event: Event,
    /// The target of its plan, else the active region of its group; none for the cluster.
    pub region: Option<RegionId>,
}

/// Where what lasts is known from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// State.
    Log,
    /// What the leader sees, and no entry says.
    Seen,
}

/// What became of a test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// `webhook` or `alertmanager`.
    pub receiver: &'static str,
    /// Where it is: scheme, host and port; the rest may be a secret.
    pub place: String,
    /// Why it was not taken; none: it was.
    pub why: Option<String>,
    /// How long that took.
    pub took: Duration,
}

/// Who is to know.
#[derive(Clone, Debug, Default)]
pub struct Receivers {
    /// URL of the webhook.
    pub webhook: Option<String>,
    /// The Alertmanagers.
    pub alertmanager: Option<cluster_config::Alertmanager>,
}

/// How one receiver is told.
enum Receiver {
    Webhook(Webhook),
    Alertmanager(Box<Alertmanager>),
}

/// The queues and their workers.
#[derive(Clone)]
pub struct Notifier {
    queues: Arc<[Arc<Queue>]>,
    /// Log index up to which every receiver has taken everything worth telling. Arbiters tell each
    /// other, so that a new leader repeats little; it may be old, never too new.
    posted: Arc<AtomicU64>,
}

/// Whether people are told: the rest is history.
fn worth_telling(event: &Event) -> bool {
    !matches!(
        event.kind,
        EventKind::StepEnded | EventKind::EvidenceRecorded | EventKind::AgentBound
    )
}

impl Receivers {
    fn open(self, cluster: &str) -> Vec<Receiver> {
        let webhook = self.webhook.map(|url| Receiver::Webhook(Webhook::new(url, cluster)));
        let keys = self.alertmanager.into_iter();
        let each = keys.flat_map(|keys| {
            let credentials =
                Credentials::of(keys.bearer_file.as_ref(), keys.basic_auth_file.as_ref());
            let urls: Vec<String> = keys.urls().map(str::to_owned).collect();
            urls.into_iter().map(move |url| Alertmanager::new(&url, credentials.clone(), cluster))
        });
        let each = each.map(|one| Receiver::Alertmanager(Box::new(one)));
        webhook.into_iter().chain(each).collect()
    }
}

impl Receiver {
    fn name(&self) -> &'static str {
        match self {
            Self::Webhook(_) => "webhook",
            Self::Alertmanager(_) => "alertmanager",
        }
    }

    fn place(&self) -> String {
        match self {
            Self::Webhook(webhook) => webhook.place(),
            Self::Alertmanager(alertmanager) => alertmanager.place(),
        }
    }

    /// Tell it of one event.
    async fn send(&self, told: &Told) -> Result<(), String> {
        match self {
            Self::Webhook(webhook) => webhook.send(told).await,
            Self::Alertmanager(alertmanager) => alertmanager.send(told).await,
        }
    }

    /// Repeat what lasts, where that is due; none: it is not.
    async fn upkeep(&self) -> Option<Result<(), String>> {
        match self {
            Self::Webhook(_) => None,
            Self::Alertmanager(alertmanager) => alertmanager.upkeep().await,
        }
    }

    /// What of one source lasts now; whether that is news.
    fn stand(&self, of: Source, lasting: &[Told]) -> bool {
        match self {
            Self::Webhook(_) => false,
            Self::Alertmanager(alertmanager) => alertmanager.stand(of, lasting),
        }
    }

    /// Forget what lasts: another leader tells of it.
    fn forget(&self) {
        if let Self::Alertmanager(alertmanager) = self {
            alertmanager.forget();
        }
    }
}

impl Notifier {
    /// Tell `receivers`. Workers end when every handle is dropped.
    /// Events of entries up to `posted` were taken already; it rises as more are.
    pub fn start(receivers: Receivers, cluster: &str, posted: Arc<AtomicU64>) -> Self {
        let queues = receivers.open(cluster).into_iter().map(|one| Arc::new(Queue::new(one)));
        let queues: Arc<[Arc<Queue>]> = queues.collect();
        for queue in queues.iter() {
            queue::work(Arc::downgrade(queue), Arc::downgrade(&queues), posted.clone());
        }
        Self { queues, posted }
    }

    /// Log index up to which everything worth telling was taken.
    pub fn posted(&self) -> Arc<AtomicU64> {
        self.posted.clone()
    }

    /// Queue events, in order.
    pub fn post(&self, events: impl IntoIterator<Item = Told>) {
        let posted = self.posted.load(Ordering::Relaxed);
        let news = |told: &Told| queue::entry_of(&told.event).is_none_or(|entry| entry > posted);
        let events = events.into_iter().filter(|told| worth_telling(&told.event) && news(told));
        let events: Vec<Told> = events.collect();
        for queue in self.queues.iter() {
            queue.push(&events);
        }
    }

    /// What of one source lasts now: it is repeated until it is in no later call.
    pub fn stand(&self, of: Source, lasting: &[Told]) {
        for queue in self.queues.iter() {
            queue.stand(of, lasting);
        }
    }

    /// Forget what waits and what lasts: this arbiter leads no more, and the next leader posts it.
    pub fn clear(&self) {
        self.queues.iter().for_each(|queue| queue.clear());
    }

    /// How many events wait, where most do.
    pub fn waiting(&self) -> usize {
        self.queues.iter().map(|queue| queue.waiting()).max().unwrap_or_default()
    }

    /// Send a test to each receiver now, past its queue; `by` is who asked.
    pub async fn test(&self, by: &str) -> Vec<Delivery> {
        let told = &Told { event: test_event(by), region: None };
        let each = self.queues.iter().map(|queue| async move {
            let began = clock::now();
            let why = queue.receiver().send(told).await.err();
            let (receiver, place) = (queue.receiver().name(), queue.receiver().place());
            Delivery { receiver, place, why, took: clock::now().since(began) }
        });
        futures::future::join_all(each).await
    }
}

fn test_event(by: &str) -> Event {
    let wall = clock::wall();
    Event {
        id: format!("test-{}", wall.0),
        kind: EventKind::Test,
        group: None,
        plan: None,
        message: format!("a test, asked for by {by}: nothing has happened"),
        next: "arbiter status".to_owned(),
        wall,
    }
}

#[cfg(test)]
mod tests;
