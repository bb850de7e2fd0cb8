//! Clients that ask which region is active, and set the mode, all the time, at any arbiter. Knows
//! the API; never what goes wrong meanwhile.

use super::schedule::Chance;
use crate::history::History;
use crate::history::register::Action;
use arbiter::clock;
use arbiter::lab::cluster::GROUP;
use arbiter::lab::operator::Operator;
use arbiter_core::Instant;
use arbiter_proto::v1;
use arbiter_proto::v1::admin_client::AdminClient;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinSet;
use tonic::transport::Channel;

/// Pause of a reader between two questions, in milliseconds.
const PAUSE_MS: (u64, u64) = (50, 600);
/// Readers.
const READERS: u64 = 3;
/// How long an operator's call may hold the schedule up.
pub const ASK_LIMIT: Duration = Duration::from_secs(3);
/// Arbiters.
const ARBITERS: usize = 3;

/// An epoch that was read, and when it was asked for and answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Asked.
    pub asked: Instant,
    /// Answered.
    pub answered: Instant,
    /// The epoch.
    pub epoch: u64,
    /// The active region.
    pub region: String,
}

/// What the clients heard; clones are the same.
#[derive(Clone, Default)]
pub struct Heard {
    /// Every call.
    pub history: History<Action>,
    seen: Arc<Mutex<Vec<Seen>>>,
    stop: Arc<AtomicBool>,
}

impl Heard {
    /// Every epoch that was read.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Nobody asks any more.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Starts the readers; they end when the set is dropped or all is stopped.
    pub fn start(&self, operator: &Operator, seed: u64) -> JoinSet<()> {
        let mut readers = JoinSet::new();
        for number in 0..READERS {
            let (heard, operator) = (self.clone(), operator.clone());
            readers.spawn(async move {
                let mut chance = Chance::new(seed.wrapping_add(number));
                while !heard.stop.load(Ordering::Relaxed) {
                    let pause = chance.range(PAUSE_MS.0, PAUSE_MS.1);
                    tokio::time::sleep(Duration::from_millis(pause)).await;
                    let arbiter = operator.only(chance.range(0, ARBITERS as u64 - 1) as usize);
                    heard.read(&arbiter, &format!("reader-{number}"), number == 0).await;
                }
            });
        }
        readers
    }

    async fn read(&self, arbiter: &Operator, by: &str, whole: bool) {
        let (invoked, asked) = (self.history.begins(), clock::now());
        let (action, epoch, region) = if whole {
            let Some(status) = arbiter.status().await.filter(|status| !status.stale) else {
                return;
            };
            let Some(group) = status.groups.into_iter().find(|group| group.group == GROUP) else {
                return;
            };
            let v1::GroupStatus { mode, epoch, active, .. } = group;
            (Action::Status { mode, epoch, region: active.clone() }, epoch, active)
        } else {
            let Some(active) = arbiter.active(GROUP).await.filter(|active| !active.stale) else {
                return;
            };
            let v1::ActiveRegion { epoch, region, .. } = active;
            (Action::Region { epoch, region: region.clone() }, epoch, region)
        };
        let answered = clock::now();
        self.history.ends(by, invoked, action);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.push(Seen { asked, answered, epoch, region });
    }

    /// Sets the mode, if that can be done soon.
    pub async fn set_mode(&self, operator: &Operator, mode: &str) {
        let invoked = self.history.begins();
        let action = Action::SetMode(mode.to_owned());
        let request = v1::SetModeRequest {
            asked: Operator::asked("chaos"),
            group: GROUP.into(),
            mode: mode.into(),
            expected_epoch: 0,
            for_ms: 0,
        };
        let call = async |mut client: AdminClient<Channel>, request| client.set_mode(request).await;
        match tokio::time::timeout(ASK_LIMIT, operator.admin(request, call)).await {
            Ok(Ok(_)) => self.history.ends("mode", invoked, action),
            // Several arbiters were asked: one of them may have it on its way still.
            Ok(Err(_)) | Err(_) => self.history.may_happen("mode", invoked, action),
        }
    }
}
