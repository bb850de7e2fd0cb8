//! What arbiters see from where they stand, on its way to the leader's View. Knows names; judges
//! nothing.

use super::peers::forwarded;
use super::{Face, refusal};
use crate::leader::Route;
use crate::probes::Round;
use crate::tls::{Role, caller};
use crate::wire;
use arbiter_core::{ArbiterId, ClusterSpec, GroupId, Instant, View};
use arbiter_proto::v1 as pb;
use pb::vantage_client::VantageClient;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tonic::{Request, Response, Status};

/// Time limit of telling the leader.
const TELL_LIMIT: Duration = Duration::from_secs(1);
/// A leader without a quorum for this long confirms nothing to a follower.
const QUORUM_FRESH_MAX: Duration = Duration::from_secs(2);

/// The service.
pub struct Vantage {
    face: Arc<Face>,
}

impl Vantage {
    /// Of this face.
    pub fn new(face: Arc<Face>) -> Self {
        Self { face }
    }
}

#[tonic::async_trait]
impl pb::vantage_server::Vantage for Vantage {
    async fn observe(
        &self,
        request: Request<pb::Observations>,
    ) -> Result<Response<pb::Observed>, Status> {
        let seen = request.into_inner();
        let known = caller().and_then(|caller| caller.named(Role::Arbiter).map(str::to_owned));
        if let Some(known) = known.filter(|known| *known != seen.arbiter) {
            let text = format!("the certificate is of {known}, what it saw of {}", seen.arbiter);
            let next = "give each arbiter its own certificate: arbiter pki show FILE";
            return Err(refusal::refusal(
                tonic::Code::PermissionDenied,
                "not-this-arbiter",
                text,
                next,
            ));
        }
        if seen.cluster_id != self.face.cluster_id {
            let text = format!("this is cluster {}", self.face.cluster_id);
            return Err(refusal::precondition("wrong-cluster", text, "arbiter config check FILE"));
        }
        self.face.take_in(&seen).map(Response::new)
    }

    async fn note(&self, request: Request<pb::Notes>) -> Result<Response<pb::Noted>, Status> {
        let notes = request.into_inner();
        if notes.cluster_id != self.face.cluster_id {
            let text = format!("this is cluster {}", self.face.cluster_id);
            return Err(refusal::invalid("bad-notes", text, "arbiter config check FILE"));
        }
        let from = ArbiterId::from(notes.arbiter.as_str());
        if !self.face.state().spec.voters.contains_key(&from) {
            let text = format!("there is no arbiter {from}");
            return Err(refusal::precondition("no-such-voter", text, "arbiter members list"));
        }
        self.face.take_notes(notes).await.map(Response::new)
    }
}

impl Face {
    fn take_in(&self, seen: &pb::Observations) -> Result<pb::Observed, Status> {
        let from = ArbiterId::from(seen.arbiter.as_str());
        let state = self.state();
        if !state.spec.voters.contains_key(&from) {
            let text = format!("there is no arbiter {from}");
            return Err(refusal::precondition("no-such-voter", text, "arbiter members list"));
        }
        let mut term = 0;
        let taken = self.leader.see(|view, now| {
            term = view.term;
            write(view, &state.spec, &from, seen, now);
        });
        if !taken {
            return Err(refusal::not_leader());
        }
        self.posted.fetch_max(seen.posted_through, Ordering::Relaxed);
        let acked = self.raft.status().quorum_acked;
        if acked.is_none_or(|age| age > QUORUM_FRESH_MAX) {
            return Err(refusal::no_quorum());
        }
        Ok(pb::Observed { term, posted_through: self.posted.load(Ordering::Relaxed) })
    }
}

/// Only what policy names is kept, so that a View never outgrows it.
fn write(
    view: &mut View,
    spec: &ClusterSpec,
    from: &ArbiterId,
    seen: &pb::Observations,
    now: Instant,
) {
    view.vantage(from, now);
    for probe in &seen.probes {
        let group = GroupId::from(probe.group.as_str());
        if spec.groups.get(&group).is_some_and(|known| known.probes.contains_key(&probe.probe)) {
            let seen = now.before(Duration::from_nanos(probe.age_ns));
            view.probe(from, &group, &probe.probe, probe.up, probe.detail.clone(), seen);
        }
    }
    for service in &seen.services {
        let group = GroupId::from(service.group.as_str());
        if spec.groups.contains_key(&group) {
            view.service_seen(from, &group, wire::service_from_proto(service, now));
        }
    }
}

/// Tell the leader what this arbiter saw, wherever the leader is.
pub async fn tell(face: &Face, round: Round) {
    let probes = round.probes.iter();
    let services = round.services.iter();
    let seen = pb::Observations {
        cluster_id: face.cluster_id.clone(),
        arbiter: face.raft.name().to_owned(),
        probes: probes
            .map(|(group, name, seen)| {
                wire::probe_to_proto(group, name, seen.up, &seen.detail, seen.age)
            })
            .collect(),
        services: services.map(|(group, seen)| wire::service_to_proto(group, seen)).collect(),
        posted_through: face.posted.load(Ordering::Relaxed),
    };
    let route = face.leader.route().borrow().clone();
    let told = match route {
        Route::Here(_) => face.take_in(&seen),
        Route::To { address, .. } => tell_leader(face, &address, seen).await,
        Route::Nowhere => Err(refusal::no_leader()),
    };
    match told {
        Ok(observed) => {
            face.confirmed_now();
            face.posted.fetch_max(observed.posted_through, Ordering::Relaxed);
        }
        Err(status) => tracing::debug!(%status, "the leader was not told"),
    }
}

async fn tell_leader(
    face: &Face,
    address: &str,
    seen: pb::Observations,
) -> Result<pb::Observed, Status> {
    let mut client = VantageClient::new(face.peers.channel(address)?);
    client.observe(forwarded(seen, TELL_LIMIT)).await.map(Response::into_inner)
}
