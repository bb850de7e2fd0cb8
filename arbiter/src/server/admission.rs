//! Admission of calls: how many are under way at once, of each caller and in all, and how large one
//! may be. What is too much is refused at once, so that what is let in is answered in time. Calls of
//! agents, and of arbiters for themselves, are not counted. Knows paths and names; reads no message.

use super::refusal;
use crate::clock;
use crate::tls::Caller;
use arbiter_core::Instant;
use bytes::Bytes;
use http_body::Frame;
use http_body_util::{BodyExt, Limited};
use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tonic::body::Body;
use tonic::{Code, Status};

/// An answer that was not read for this long gives way when its place is needed.
pub const UNREAD_MAX: Duration = Duration::from_secs(10);

/// Calls that share a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pool {
    /// Small ones that change nothing.
    Questions,
    /// Small ones that change something: each passes through the log.
    Changes,
    /// With a whole State or cluster file in them.
    Large,
    /// Streams that last until who asked goes away.
    Streams,
}

/// What a pool takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Calls under way at once.
    pub calls: usize,
    /// The same, of one caller with a certificate: nobody takes all the places.
    pub of_one: usize,
    /// Bytes of one request.
    pub bytes: usize,
}

impl Pool {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::Questions, Self::Changes, Self::Large, Self::Streams];

    /// For metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Questions => "questions",
            Self::Changes => "changes",
            Self::Large => "large",
            Self::Streams => "streams",
        }
    }

    /// Of the call at `path`; none for what is not counted.
    pub fn of(path: &str) -> Option<Self> {
        let (service, call) = path.trim_start_matches('/').split_once('/')?;
        match (service, call) {
            ("arbiter.v1.Query", "WatchActiveRegion" | "ListAudit") => Some(Self::Streams),
            ("arbiter.v1.Query", _) | ("grpc.health.v1.Health", "Check") => Some(Self::Questions),
            ("arbiter.v1.Admin", "Initialize" | "ApplyPolicy" | "Restore" | "Backup") => {
                Some(Self::Large)
            }
            ("arbiter.v1.Admin", _) => Some(Self::Changes),
            ("arbiter.v1.Agent" | "arbiter.v1.Vantage" | "arbiter.v1.Raft", _) => None,
            _ => Some(Self::Streams),
        }
    }

    /// What it takes.
    pub const fn limits(self) -> Limits {
        match self {
            Self::Questions => Limits { calls: 512, of_one: 128, bytes: 16 << 10 },
            Self::Changes => Limits { calls: 64, of_one: 16, bytes: 64 << 10 },
            Self::Large => Limits { calls: 4, of_one: 2, bytes: 16 << 20 },
            Self::Streams => Limits { calls: 2048, of_one: 1536, bytes: 64 << 10 },
        }
    }
}

/// The calls under way.
#[derive(Debug, Default)]
pub struct Admission {
    held: Mutex<Held>,
    refused: AtomicU64,
}

#[derive(Debug, Default)]
struct Held {
    next: u64,
    calls: BTreeMap<u64, Call>,
    totals: BTreeMap<Pool, usize>,
    of_one: BTreeMap<(Pool, String), usize>,
}

#[derive(Debug)]
struct Call {
    pool: Pool,
    /// Whose, where that is known.
    name: Option<String>,
    /// Its answer, since it began to be sent.
    answer: Option<(Instant, Shared)>,
}

type Shared = Arc<Mutex<Option<Body>>>;

/// A call that was let in; its place is free again when this is dropped.
#[derive(Debug)]
pub struct Place {
    admission: Arc<Admission>,
    id: u64,
}

impl Admission {
    /// Let a call in.
    ///
    /// # Errors
    /// `too-busy`: as many are under way as may be.
    pub fn admit(self: &Arc<Self>, pool: Pool, caller: &Caller) -> Result<Place, Status> {
        let name = caller.is_verified().then(|| caller.name.clone());
        let limits = pool.limits();
        let mut held = self.held();
        if held.is_full(pool, name.as_ref()).is_some() {
            held.let_go_of_unread(clock::now());
        }
        if let Some(full) = held.is_full(pool, name.as_ref()) {
            drop(held);
            self.refused.fetch_add(1, Ordering::Relaxed);
            return Err(too_busy(caller, full, limits));
        }
        let id = held.next;
        held.next += 1;
        *held.totals.entry(pool).or_default() += 1;
        if let Some(name) = &name {
            *held.of_one.entry((pool, name.clone())).or_default() += 1;
        }
        held.calls.insert(id, Call { pool, name, answer: None });
        drop(held);
        Ok(Place { admission: self.clone(), id })
    }

    /// How many calls are under way, of each pool that has any.
    pub fn under_way(&self) -> BTreeMap<Pool, usize> {
        self.held().totals.clone()
    }

    /// How many were refused since this arbiter began.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Which limit is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Full {
    /// That of one caller.
    One,
    /// That of all.
    All,
}

impl Held {
    fn is_full(&self, pool: Pool, name: Option<&String>) -> Option<Full> {
        let limits = pool.limits();
        let of_one = name.and_then(|name| self.of_one.get(&(pool, name.clone())));
        if of_one.is_some_and(|of_one| *of_one >= limits.of_one) {
            return Some(Full::One);
        }
        let total = self.totals.get(&pool).copied().unwrap_or_default();
        (total >= limits.calls).then_some(Full::All)
    }

    /// Who does not read gives way to who asks. Streams have limits of their own.
    fn let_go_of_unread(&mut self, now: Instant) {
        let unread: Vec<u64> = self
            .calls
            .iter()
            .filter(|(_, call)| call.pool != Pool::Streams)
            .filter(|(_, call)| {
                call.answer.as_ref().is_some_and(|(since, _)| now.since(*since) >= UNREAD_MAX)
            })
            .map(|(id, _)| *id)
            .collect();
        for id in unread {
            if let Some((_, body)) = self.end(id).and_then(|call| call.answer) {
                body.lock().unwrap_or_else(PoisonError::into_inner).take();
            }
        }
    }

    /// A call that gave way has ended already.
    fn end(&mut self, id: u64) -> Option<Call> {
        let call = self.calls.remove(&id)?;
        less_one(&mut self.totals, &call.pool);
        if let Some(name) = &call.name {
            less_one(&mut self.of_one, &(call.pool, name.clone()));
        }
        Some(call)
    }
}

fn less_one<K: Ord>(counts: &mut BTreeMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

impl Place {
    /// The answer keeps the place until it is read.
    pub fn answer(self, body: Body) -> Body {
        let body = Arc::new(Mutex::new(Some(body)));
        if let Some(call) = self.admission.held().calls.get_mut(&self.id) {
            call.answer = Some((clock::now(), body.clone()));
        }
        Body::new(Answer { body, _place: self })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let ended = self.admission.held().end(self.id);
        // Not under the lock: what a body holds may end with it.
        drop(ended);
    }
}

/// The body of an answer, on its way.
struct Answer {
    body: Shared,
    _place: Place,
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let mut body = self.body.lock().unwrap_or_else(PoisonError::into_inner);
        match body.as_mut() {
            Some(body) => Pin::new(body).poll_frame(context),
            None => Poll::Ready(Some(Err(not_read()))),
        }
    }

    fn is_end_stream(&self) -> bool {
        let body = self.body.lock().unwrap_or_else(PoisonError::into_inner);
        body.as_ref().is_some_and(Body::is_end_stream)
    }
}

/// `body`, no longer than a request of this pool may be. A stream of questions is one request.
pub fn bounded(pool: Pool, body: Body) -> Body {
    let most = pool.limits().bytes;
    Body::new(Limited::new(body, most).map_err(move |error| match error.downcast::<Status>() {
        Ok(status) => *status,
        Err(error) if error.is::<http_body_util::LengthLimitError>() => too_large(most),
        Err(error) => Status::unknown(error.to_string()),
    }))
}

fn too_busy(caller: &Caller, full: Full, limits: Limits) -> Status {
    let text = match full {
        Full::One => format!("{} calls of {caller} are under way here already", limits.of_one),
        Full::All => format!("{} calls like it are under way here already", limits.calls),
    };
    let next = "ask again, or another arbiter: --endpoints HOST:PORT";
    refusal::refusal(Code::ResourceExhausted, "too-busy", text, next)
}

fn too_large(most: usize) -> Status {
    let text = format!("the request is larger than the {most} bytes that such a call may have");
    refusal::refusal(Code::ResourceExhausted, "too-large", text, "make it smaller")
}

fn not_read() -> Status {
    let text = format!("the answer was not read for {} s", UNREAD_MAX.as_secs());
    refusal::refusal(Code::Aborted, "not-read", text, "ask again, and read the answer")
}

#[cfg(test)]
mod tests;
