//! The leader's loop: what is heard and seen goes into the View, `decide` says what to propose, and
//! Reports are answered. It runs on every arbiter and acts on the one that leads.
//!
//! Knows State, View and consensus. It never knows gRPC, a database or DNS, and decides nothing
//! itself: the core does.

mod answer;
mod fence;
mod members;
mod propose;
mod seat;
mod sessions;

pub use members::followed;
pub use sessions::{Outbox, StreamId};

use crate::clock;
use crate::raft::{Leadership, RaftHandle};
use arbiter_core::leader::{Applied, Cut, Seat, SeatEvent, StreamEnd, StreamId as Stream};
use arbiter_core::{
    AgentId, ArbiterId, Instant, OpenPlan, OpenRequest, Reason, Report, State, View,
    preferred_leader, preflight,
};
use seat::Held;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use thiserror::Error;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;

/// The loop decides at least this often, for what only time changes.
pub const TICK: Duration = Duration::from_millis(50);
/// How often leadership is reconsidered.
const PREFER_EVERY: Duration = Duration::from_secs(1);

/// Where Reports go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Route {
    /// Nobody is known to lead.
    #[default]
    Nowhere,
    /// Here, in this term.
    Here(u64),
    /// To the arbiter that leads.
    To {
        /// Its name.
        leader: ArbiterId,
        /// `host:port` of its gRPC face.
        address: String,
        /// Its term.
        term: u64,
    },
}

/// Why a Report is not taken in.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ReportRefused {
    /// Not here: follow the route.
    #[error("this arbiter does not lead")]
    NotLeader,
    /// No retry helps until somebody mends it: a code, a sentence and what to do next.
    #[error("{text}; {next}")]
    Wrong {
        /// Machine-readable, such as `wrong-cluster`.
        code: &'static str,
        /// Why.
        text: String,
        /// What to do.
        next: String,
    },
}

/// The leader's part of an arbiter.
pub struct Leader {
    me: ArbiterId,
    raft: RaftHandle,
    /// The critical section of design §5: who holds it may read State, the lease book and the
    /// sessions together. State only grows, so what one holder saw, the next sees too.
    held: Mutex<Held>,
    route: watch::Sender<Route>,
    decide_wake: Notify,
    answer_wake: Notify,
    /// External fences that run here, whatever term asked for them.
    cutting: Mutex<BTreeSet<Cut>>,
}

impl Leader {
    /// The loop of the arbiter that `raft` is; [`Leader::run`] drives it.
    pub fn new(raft: RaftHandle) -> Arc<Self> {
        Arc::new(Self {
            me: ArbiterId::from(raft.name()),
            raft,
            held: Mutex::default(),
            route: watch::Sender::default(),
            decide_wake: Notify::new(),
            answer_wake: Notify::new(),
            cutting: Mutex::default(),
        })
    }

    /// Run until dropped.
    pub async fn run(self: Arc<Self>) {
        let mut tasks = JoinSet::new();
        tasks.spawn(self.clone().follow_loop());
        tasks.spawn(self.clone().decide_loop());
        tasks.spawn(self.clone().answer_loop());
        tasks.spawn(self.clone().prefer_loop());
        tasks.spawn(self.clone().members_loop());
        while tasks.join_next().await.is_some() {}
    }

    /// Where Reports go, now and at each change.
    pub fn route(&self) -> watch::Receiver<Route> {
        self.route.subscribe()
    }

    /// Look at State and View together; none when this arbiter does not lead.
    pub fn look<T>(&self, look: impl FnOnce(&State, &View, Instant) -> T) -> Option<T> {
        let held = self.lock();
        let seat = held.seat.as_ref()?;
        Some(self.raft.state().with(|state| look(state, &seat.view, clock::now())))
    }

    /// Write into the View what was seen; false when this arbiter does not lead.
    pub fn see(&self, write: impl FnOnce(&mut View, Instant)) -> bool {
        let seen = self.see_quietly(write);
        if seen {
            self.decide_wake.notify_one();
        }
        seen
    }

    fn see_quietly(&self, write: impl FnOnce(&mut View, Instant)) -> bool {
        let mut held = self.lock();
        let Some(seat) = held.seat.as_mut() else { return false };
        write(&mut seat.view, clock::now());
        true
    }

    /// A Report arrived on `stream`; its answer goes to `outbox`.
    ///
    /// # Errors
    /// [`ReportRefused`]; the View is as before.
    pub fn report(
        &self,
        stream: StreamId,
        outbox: &Outbox,
        report: Report,
    ) -> Result<(), ReportRefused> {
        let mut held = self.lock();
        if held.seat.is_none() {
            return Err(ReportRefused::NotLeader);
        }
        held.opens(stream, outbox);
        let ended = self.step_held(&mut held, SeatEvent::Report { stream: stream.0, report });
        drop(held);
        for (of, why) in ended {
            if let (true, StreamEnd::Wrong { code, text, next }) = (of == stream.0, why) {
                return Err(ReportRefused::Wrong { code, text, next });
            }
        }
        self.decide_wake.notify_one();
        Ok(())
    }

    /// `stream` ended.
    pub fn closed(&self, stream: StreamId, agent: &AgentId) {
        self.step(SeatEvent::Closed { stream: stream.0, agent: agent.clone() });
        self.decide_wake.notify_one();
    }

    /// One event, in the critical section.
    fn step(&self, event: SeatEvent) {
        self.step_held(&mut self.lock(), event);
    }

    fn step_held(&self, held: &mut Held, event: SeatEvent) -> Vec<(Stream, StreamEnd)> {
        let ended = self.raft.state().with_applied(|state, at| {
            let applied = Applied { state, index: at.map_or(0, |at| at.index) };
            held.step(applied, event, clock::now())
        });
        if held.round.is_some() {
            self.answer_wake.notify_one();
        }
        ended
    }

    /// The plan that would open now.
    ///
    /// # Errors
    /// Every closed gate; none at all: this arbiter does not lead.
    pub fn preflight(&self, request: &OpenRequest) -> Result<OpenPlan, Option<Vec<Reason>>> {
        self.look(|state, view, now| preflight(state, view, now, request))
            .ok_or(None)?
            .map_err(Some)
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        // A panic while it was held leaves a View that is at worst incomplete, as after an
        // election; the lease book is written before an answer leaves.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Follow elections.
    async fn follow_loop(self: Arc<Self>) {
        let mut leadership = self.raft.leader();
        loop {
            let now = leadership.borrow_and_update().clone();
            self.follow(&now);
            if leadership.changed().await.is_err() {
                return;
            }
        }
    }

    fn follow(&self, now: &Leadership) {
        let mut held = self.lock();
        let kept = held.seat.as_ref().is_some_and(|seat| now.mine && seat.view.term == now.term);
        if !kept {
            // It counts from now: nothing was handed over after this instant.
            let former = held.seat.take();
            let leads = now.acting.then(|| Seat::elected(now.term, clock::now(), former));
            if leads.is_some() {
                tracing::info!(term = now.term, "leading");
            }
            held.seat(leads);
        }
        let seated = held.seat.is_some();
        drop(held);
        let route = match (&now.leader, &now.address) {
            (Some(_), _) if seated => Route::Here(now.term),
            (Some(leader), Some(address)) if !now.mine => {
                Route::To { leader: leader.clone(), address: address.clone(), term: now.term }
            }
            _ => Route::Nowhere,
        };
        self.route.send_if_modified(|known| {
            let changed = *known != route;
            *known = route;
            changed
        });
        self.decide_wake.notify_one();
    }

    async fn decide_loop(self: Arc<Self>) {
        let mut applied = self.raft.state().watch_index();
        let mut proposals = JoinSet::new();
        loop {
            tokio::select! {
                () = self.decide_wake.notified() => {}
                changed = applied.changed() => if changed.is_err() { return },
                () = sleep(TICK) => {}
            }
            while proposals.try_join_next().is_some() {}
            self.turn(&mut proposals);
        }
    }

    async fn prefer_loop(self: Arc<Self>) {
        loop {
            sleep(PREFER_EVERY).await;
            let wanted = self.look(|state, view, now| preferred_leader(state, view, &self.me, now));
            if let Some(Some(to)) = wanted {
                tracing::info!(%to, "handing leadership over, to keep it out of active regions");
                if let Err(failed) = self.raft.transfer_leader(to.as_str()).await {
                    tracing::info!(%to, %failed, "leadership stays");
                }
            }
        }
    }
}
