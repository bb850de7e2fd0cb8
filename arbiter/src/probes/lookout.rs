//! Looking at everything that policy names, again and again, each look on its own: one that hangs
//! holds up no other. Knows when a look is due and what it found; never who is told.

use super::{Memory, Seen, kind, run_once, service};
use crate::clock;
use crate::dns_client::Servers;
use arbiter_core::{ClusterSpec, GroupId, Instant, ProbeSpec, ServiceSeen};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::{AbortHandle, JoinSet};

/// Probes of one cluster.
const PROBES_MAX: usize = 1024;

/// What looks that ended together found.
#[derive(Debug, Default)]
pub struct Round {
    /// Of probes, by group and name.
    pub probes: Vec<(GroupId, String, Seen)>,
    /// Of public names, by group.
    pub services: Vec<(GroupId, ServiceSeen)>,
}

/// What is looked at: a probe by its name, or the public name of a group.
type Target = (GroupId, Option<String>);

enum Found {
    Probe(GroupId, String, Seen),
    Service(GroupId, Option<ServiceSeen>),
}

/// The looks that are under way, at most one at each target.
#[derive(Default)]
pub struct Lookout {
    looks: JoinSet<Found>,
    under_way: BTreeMap<Target, AbortHandle>,
    servers: BTreeMap<GroupId, Arc<Servers>>,
    known: BTreeMap<(GroupId, String), Known>,
}

/// What is kept of one probe between looks.
struct Known {
    probe: ProbeSpec,
    memory: Arc<Memory>,
    /// The last look, and what it saw: told again until the next one is due.
    last: Option<(Instant, Seen)>,
}

impl Lookout {
    /// Begin a look at everything that `spec` names and that is not looked at already.
    pub fn begin(&mut self, spec: &ClusterSpec) {
        self.under_way.retain(|_, look| !look.is_finished());
        let named = spec.groups.iter().flat_map(|(id, group)| {
            group.probes.iter().map(move |(name, probe)| (id, name, probe))
        });
        let named: BTreeMap<_, _> = named.take(PROBES_MAX).map(|(i, n, p)| ((i, n), p)).collect();
        self.known.retain(|(id, name), known| named.get(&(id, name)) == Some(&&known.probe));
        let now = clock::now();
        for ((id, name), probe) in named {
            self.probe(id, name, probe, now);
        }
        self.servers.retain(|id, _| spec.groups.contains_key(id));
        for (id, group) in &spec.groups {
            let listed = service::servers(group);
            if listed.is_empty() {
                continue;
            }
            let kept = self.servers.get(id).filter(|servers| servers.listed() == listed);
            let servers = kept.cloned().unwrap_or_else(|| Arc::new(Servers::new(listed)));
            self.servers.insert(id.clone(), servers.clone());
            let (id, group) = (id.clone(), group.clone());
            self.look((id.clone(), None), async move {
                let seen = service::look(&id, &group, &servers).await;
                Found::Service(id, seen)
            });
        }
    }

    /// Look at one probe where that is due, else tell again what was seen last.
    fn probe(&mut self, id: &GroupId, name: &str, probe: &ProbeSpec, now: Instant) {
        let key = (id.clone(), name.to_owned());
        let known = self.known.entry(key).or_insert_with(|| Known {
            probe: probe.clone(),
            memory: Arc::default(),
            last: None,
        });
        let every = kind(&probe.kind).and_then(|kind| kind.every).map(|every| every(probe));
        let last = known.last.clone().zip(every);
        let again =
            last.filter(|((at, _), every)| now.since(*at) < *every).map(|((at, seen), _)| {
                let age = now.since(at);
                Seen { age, ..seen }
            });
        let memory = known.memory.clone();
        let target = (id.clone(), Some(name.to_owned()));
        let (id, name, probe) = (id.clone(), name.to_owned(), probe.clone());
        self.look(target, async move {
            let seen = match again {
                Some(seen) => seen,
                None => run_once(&probe, &memory).await,
            };
            Found::Probe(id, name, seen)
        });
    }

    /// Keep what was seen of a probe; what is told again is no look.
    fn keep(&mut self, group: &GroupId, name: &str, seen: &Seen) {
        let Some(known) = self.known.get_mut(&(group.clone(), name.to_owned())) else { return };
        if seen.age == Duration::ZERO {
            known.last = Some((clock::now(), seen.clone()));
        }
    }

    fn look(&mut self, target: Target, look: impl Future<Output = Found> + Send + 'static) {
        if !self.under_way.contains_key(&target) {
            self.under_way.insert(target, self.looks.spawn(look));
        }
    }

    /// What was found since, as soon as there is something; dropped, it loses nothing.
    pub async fn found(&mut self) -> Round {
        let mut round = Round::default();
        match self.looks.join_next().await {
            Some(found) => round.take(found),
            None => std::future::pending().await,
        }
        while let Some(found) = self.looks.try_join_next() {
            round.take(found);
        }
        for (group, name, seen) in &round.probes {
            self.keep(group, name, seen);
        }
        round
    }
}

impl Round {
    fn take(&mut self, found: Result<Found, tokio::task::JoinError>) {
        match found {
            Ok(Found::Probe(group, name, seen)) => self.probes.push((group, name, seen)),
            Ok(Found::Service(group, Some(seen))) => self.services.push((group, seen)),
            Ok(Found::Service(_, None)) => {}
            Err(error) => tracing::error!(%error, "a look ended before it was done"),
        }
    }
}
