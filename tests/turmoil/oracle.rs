//! What must hold of Raft at every instant, and what is known of the whole. Knows every arbiter's
//! State; changes none.
//!
//! - Election Safety: at most one leader a term.
//! - State Machine Safety: what was applied at an index is the same everywhere and for ever.
//! - Leader Completeness, as clients see it: what was acknowledged is in the State of all at the
//!   end, and a confirmed read shows no State from before what was acknowledged when it began.

use super::node::Place;
use super::rng::Rng;
use arbiter_core::{LogId, RequestId};
use arbiter_tests::history::History;
use arbiter_tests::history::group::Action;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::watch;

/// How far the run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// The cluster begins.
    Beginning,
    /// Clients ask, and faults strike.
    Faults,
    /// Nothing new is asked, and nothing strikes.
    Quiet,
}

/// What is known; clones know the same.
#[derive(Clone)]
pub struct Oracle {
    /// What clients asked and heard.
    pub history: History<Action>,
    inner: Rc<Inner>,
}

struct Inner {
    places: Vec<Rc<Place>>,
    phase: watch::Sender<Phase>,
    now: Cell<Duration>,
    acknowledged: Cell<u64>,
    acks: RefCell<BTreeMap<String, u64>>,
    terms: RefCell<BTreeMap<u64, &'static str>>,
    applied: RefCell<BTreeMap<u64, (LogId, u64)>>,
    looked: RefCell<BTreeMap<&'static str, u64>>,
    broken: RefCell<Option<String>>,
    lines: RefCell<Vec<String>>,
    hash: Cell<u64>,
    print: bool,
}

/// FNV-1a, so that a hash is the same on every machine.
fn hashed(mut hash: u64, bytes: &[u8]) -> u64 {
    for byte in bytes {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash
}

impl Oracle {
    /// Nothing has happened.
    pub fn new(places: Vec<Rc<Place>>, print: bool) -> Self {
        let inner = Inner {
            places,
            phase: watch::Sender::new(Phase::Beginning),
            now: Cell::default(),
            acknowledged: Cell::default(),
            acks: RefCell::default(),
            terms: RefCell::default(),
            applied: RefCell::default(),
            looked: RefCell::default(),
            broken: RefCell::default(),
            lines: RefCell::default(),
            hash: Cell::new(0xcbf2_9ce4_8422_2325),
            print,
        };
        Self { history: History::default(), inner: Rc::new(inner) }
    }

    /// Something happened: a line of the transcript.
    pub fn note(&self, what: &str) {
        let line = format!("{:>9.3} {what}", self.inner.now.get().as_secs_f64());
        self.inner.hash.set(hashed(self.inner.hash.get(), line.as_bytes()));
        if self.inner.print {
            println!("{line}");
        }
        self.inner.lines.borrow_mut().push(line);
    }

    /// Of every line of the transcript.
    pub fn hash(&self) -> u64 {
        self.inner.hash.get()
    }

    /// The first thing that did not hold.
    pub fn broken(&self) -> Option<String> {
        self.inner.broken.borrow().clone()
    }

    /// Something does not hold.
    pub fn breaks(&self, what: String) {
        self.note(&format!("BROKEN {what}"));
        self.inner.broken.borrow_mut().get_or_insert(what);
    }

    /// How far the run is.
    pub fn phase(&self) -> Phase {
        *self.inner.phase.borrow()
    }

    /// The next part of the run.
    pub fn enter(&self, phase: Phase) {
        self.note(&format!("{phase:?}").to_lowercase());
        self.inner.phase.send_replace(phase);
    }

    /// The cluster is active.
    pub fn begin(&self) {
        self.enter(Phase::Faults);
    }

    /// Waits until the cluster is active.
    pub async fn begun(&self) {
        let mut phase = self.inner.phase.subscribe();
        // The sender lives as long as this.
        let _ = phase.wait_for(|phase| *phase >= Phase::Faults).await;
    }

    /// Nothing new is to be asked.
    pub fn quiet(&self) -> bool {
        self.phase() >= Phase::Quiet
    }

    /// The highest index that any client was told of.
    pub fn acknowledged(&self) -> u64 {
        self.inner.acknowledged.get()
    }

    /// A client was told that `request` was done at `index`.
    pub fn wrote(&self, request: &str, index: u64) {
        self.inner.acknowledged.set(self.acknowledged().max(index));
        self.inner.acks.borrow_mut().insert(request.to_owned(), index);
    }

    /// A confirmed read that began when `acknowledged` was known shows State at `index`.
    pub fn read_at(&self, by: &str, arbiter: usize, acknowledged: u64, index: u64) {
        if index < acknowledged {
            let name = self.inner.places[arbiter].name;
            self.breaks(format!(
                "{by} read State at {index} from {name}, after {acknowledged} was acknowledged"
            ));
        }
        self.inner.acknowledged.set(self.acknowledged().max(index));
    }

    /// One of those that believe that they lead, by its place.
    pub fn believes_to_lead(&self, rng: &mut Rng) -> Option<usize> {
        let leads = |place: &Rc<Place>| {
            place.handle.borrow().as_ref().is_some_and(|handle| handle.leader().borrow().acting)
        };
        let all: Vec<usize> = self
            .inner
            .places
            .iter()
            .enumerate()
            .filter(|(_, p)| leads(p))
            .map(|(n, _)| n)
            .collect();
        (!all.is_empty()).then(|| all[rng.index(all.len())])
    }

    /// Looks at every arbiter.
    pub fn look(&self, now: Duration) {
        self.inner.now.set(now);
        for place in &self.inner.places {
            let handle = place.handle.borrow().clone();
            let Some(handle) = handle else { continue };
            let leader = handle.leader().borrow().clone();
            if leader.mine {
                self.leads(leader.term, place.name);
            }
            let applied = handle.state().applied_index();
            if self.inner.looked.borrow().get(place.name) == Some(&applied) || applied == 0 {
                continue;
            }
            self.inner.looked.borrow_mut().insert(place.name, applied);
            let (at, hash) = handle.state().with_applied(|state, at| {
                let bytes = serde_json::to_vec(state).expect("State is JSON");
                (at, hashed(0, &bytes))
            });
            if let Some(at) = at {
                self.applied(at, hash, place.name);
            }
        }
    }

    fn leads(&self, term: u64, name: &'static str) {
        let known = *self.inner.terms.borrow_mut().entry(term).or_insert_with(|| {
            self.note(&format!("{name} leads in term {term}"));
            name
        });
        if known != name {
            self.breaks(format!("{known} and {name} both lead in term {term}"));
        }
    }

    fn applied(&self, at: LogId, hash: u64, name: &str) {
        let known = *self.inner.applied.borrow_mut().entry(at.index).or_insert_with(|| {
            self.note(&format!("{name} applied {} of term {} {hash:016x}", at.index, at.term));
            (at, hash)
        });
        if known != (at, hash) {
            self.breaks(format!(
                "{name} applied {} of term {} with State {hash:016x}, known is term {} {:016x}",
                at.index, at.term, known.0.term, known.1
            ));
        }
    }

    /// The newest leader, by its place.
    pub fn newest_leader(&self) -> Option<usize> {
        let newest = self.inner.terms.borrow().values().next_back().copied()?;
        self.inner.places.iter().position(|place| place.name == newest)
    }

    /// How many leaders there were.
    pub fn terms(&self) -> usize {
        self.inner.terms.borrow().len()
    }

    /// How far the log went.
    pub fn last(&self) -> u64 {
        self.inner.applied.borrow().keys().last().copied().unwrap_or(0)
    }

    /// Whether all arbiters run and have applied the same, at least all that is known.
    pub fn agree(&self) -> bool {
        let state = |place: &Rc<Place>| {
            let handle = place.handle.borrow();
            handle.as_ref().map_or(0, |handle| handle.state().applied_index())
        };
        let all: Vec<u64> = self.inner.places.iter().map(state).collect();
        all.iter().all(|at| *at == all[0]) && all[0] >= self.last().max(self.acknowledged())
    }

    /// At the end: what was acknowledged is in the State of every arbiter.
    pub fn nothing_lost(&self) {
        for place in &self.inner.places {
            let Some(handle) = place.handle.borrow().clone() else { continue };
            let state = handle.state().get();
            for (request, index) in self.inner.acks.borrow().iter() {
                let kept = state.requests.get(&RequestId(request.clone()));
                if kept.map(|kept| kept.index) != Some(*index) {
                    self.breaks(format!(
                        "{request} was acknowledged at {index}, and {} has {kept:?}",
                        place.name
                    ));
                }
            }
        }
    }

    /// How many changes were acknowledged.
    pub fn acks(&self) -> usize {
        self.inner.acks.borrow().len()
    }
}
