//! Events to the configured webhook, at least once each. Knows a URL and a queue; never what an
//! event means.
//!
//! The leader posts in order and goes on from the last event that was taken. A new leader starts
//! with the events that State still has, so that one lost with its leader is repeated.

use arbiter_core::{Event, EventKind};
use serde::Serialize;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// Limit of one post.
const POST_LIMIT: Duration = Duration::from_secs(5);
/// First pause after a failed post; doubled up to [`BACK_OFF_MAX`].
const BACK_OFF_MIN: Duration = Duration::from_millis(200);
/// Longest pause after a failed post.
const BACK_OFF_MAX: Duration = Duration::from_secs(30);
/// Events that wait at most; the oldest are dropped first, and that is logged.
const WAITING_MAX: usize = 1024;

/// What is posted: one JSON object an event.
#[derive(Serialize)]
struct Body<'a> {
    cluster: &'a str,
    #[serde(flatten)]
    event: &'a Event,
}

/// The queue and its worker.
#[derive(Clone, Debug)]
pub struct Notifier {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    url: Option<String>,
    cluster: String,
    waiting: Mutex<VecDeque<Event>>,
    wake: Notify,
    /// Log index up to which everything worth telling was taken. Arbiters tell each other, so that
    /// a new leader repeats little; it may be old, never too new.
    posted: Arc<AtomicU64>,
}

/// The log index of the entry that made an event, whose id is `index.n`; none for what the leader
/// saw itself.
fn entry_of(event: &Event) -> Option<u64> {
    event.id.split_once('.').and_then(|(index, _)| index.parse().ok())
}

/// Whether people are told: the rest is history.
fn worth_telling(event: &Event) -> bool {
    !matches!(
        event.kind,
        EventKind::StepEnded | EventKind::EvidenceRecorded | EventKind::AgentBound
    )
}

impl Notifier {
    /// Post to `url`, or nowhere. The worker ends when every handle is dropped.
    /// Events of entries up to `posted` were taken already; it rises as more are.
    pub fn start(url: Option<String>, cluster: &str, posted: Arc<AtomicU64>) -> Self {
        let shared = Arc::new(Shared {
            url,
            cluster: cluster.to_owned(),
            waiting: Mutex::default(),
            wake: Notify::new(),
            posted,
        });
        if shared.url.is_some() {
            let weak = Arc::downgrade(&shared);
            tokio::spawn(async move {
                let mut back_off = BACK_OFF_MIN;
                while let Some(shared) = weak.upgrade() {
                    back_off = shared.turn(back_off).await;
                }
            });
        }
        Self { shared }
    }

    /// Queue events, in order.
    pub fn post(&self, events: impl IntoIterator<Item = Event>) {
        if self.shared.url.is_none() {
            return;
        }
        let posted = self.shared.posted.load(Ordering::Relaxed);
        let news = |event: &Event| entry_of(event).is_none_or(|entry| entry > posted);
        let mut waiting = self.shared.waiting();
        waiting.extend(events.into_iter().filter(worth_telling).filter(news));
        let surplus = waiting.len().saturating_sub(WAITING_MAX);
        if surplus > 0 {
            tracing::error!(surplus, "the webhook is behind: the oldest events are dropped");
            waiting.drain(..surplus);
        }
        drop(waiting);
        self.shared.wake.notify_one();
    }

    /// Forget what waits: this arbiter leads no more, and the next leader posts it.
    pub fn clear(&self) {
        self.shared.waiting().clear();
    }

    /// How many events wait.
    pub fn waiting(&self) -> usize {
        self.shared.waiting().len()
    }
}

impl Shared {
    fn waiting(&self) -> std::sync::MutexGuard<'_, VecDeque<Event>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Post the oldest event, or wait for one; returns the pause to make after the next failure.
    async fn turn(&self, back_off: Duration) -> Duration {
        let Some(event) = self.waiting().front().cloned() else {
            let _ = tokio::time::timeout(POST_LIMIT, self.wake.notified()).await;
            return BACK_OFF_MIN;
        };
        match self.send(&event).await {
            Ok(()) => {
                let mut waiting = self.waiting();
                if waiting.front().is_some_and(|first| first.id == event.id) {
                    waiting.pop_front();
                    self.taken(&event, waiting.front());
                }
                BACK_OFF_MIN
            }
            Err(why) => {
                tracing::warn!(event = event.id, why, "the webhook did not take an event");
                tokio::time::sleep(back_off).await;
                (back_off * 2).min(BACK_OFF_MAX)
            }
        }
    }

    /// An entry counts when its last event was taken.
    fn taken(&self, event: &Event, next: Option<&Event>) {
        let Some(entry) = entry_of(event) else { return };
        if next.and_then(entry_of) != Some(entry) {
            self.posted.fetch_max(entry, Ordering::Relaxed);
        }
    }

    async fn send(&self, event: &Event) -> Result<(), String> {
        let Some(url) = &self.url else { return Ok(()) };
        let client = reqwest::Client::builder().timeout(POST_LIMIT).no_proxy().build();
        let client = client.map_err(|error| error.without_url().to_string())?;
        let body = Body { cluster: &self.cluster, event };
        // The URL may carry a secret: it never reaches an error.
        let answer = client.post(url).json(&body).send().await;
        let answer = answer.map_err(|error| error.without_url().to_string())?;
        if answer.status().is_success() {
            return Ok(());
        }
        Err(format!("status {}", answer.status().as_u16()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arbiter_core::WallMillis;
    use axum::extract::State;
    use axum::http::StatusCode;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::sync::mpsc;

    fn event(id: &str, kind: EventKind) -> Event {
        Event {
            id: id.into(),
            kind,
            group: Some("default".into()),
            plan: None,
            message: "the plan halted".into(),
            next: "arbiter plan resume".into(),
            wall: WallMillis(1),
        }
    }

    #[derive(Clone)]
    struct Receiver {
        refusals: Arc<AtomicUsize>,
        taken: mpsc::UnboundedSender<serde_json::Value>,
    }

    async fn take(
        State(receiver): State<Receiver>,
        axum::Json(body): axum::Json<serde_json::Value>,
    ) -> StatusCode {
        let left = receiver.refusals.load(Ordering::SeqCst);
        if left > 0 {
            receiver.refusals.store(left - 1, Ordering::SeqCst);
            return StatusCode::INTERNAL_SERVER_ERROR;
        }
        receiver.taken.send(body).map_or(StatusCode::GONE, |()| StatusCode::OK)
    }

    #[tokio::test]
    async fn a_refused_event_is_posted_again_and_order_is_kept() {
        crate::tls::install();
        let (taken, mut seen) = mpsc::unbounded_channel();
        let receiver = Receiver { refusals: Arc::new(AtomicUsize::new(2)), taken };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/events", listener.local_addr().unwrap());
        let router = axum::Router::new().route("/events", axum::routing::post(take));
        let router = router.with_state(receiver);
        tokio::spawn(async move { axum::serve(listener, router).await });
        let posted = Arc::new(AtomicU64::new(6));
        let notifier = Notifier::start(Some(url), "demo", posted.clone());
        notifier.post([
            event("6.0", EventKind::PlanHalted),
            event("7.0", EventKind::PlanHalted),
            event("8.0", EventKind::StepEnded),
            event("9.0", EventKind::PlanEnded),
        ]);
        for wanted in ["7.0", "9.0"] {
            let limit = Duration::from_secs(20);
            let body = tokio::time::timeout(limit, seen.recv()).await.unwrap().unwrap();
            assert_eq!(body["id"], wanted);
            assert_eq!(body["cluster"], "demo");
            assert_eq!(body["next"], "arbiter plan resume");
        }
        let limit = crate::clock::now() + Duration::from_secs(20);
        while posted.load(Ordering::SeqCst) < 9 && crate::clock::now() < limit {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(posted.load(Ordering::SeqCst), 9);
    }
}
