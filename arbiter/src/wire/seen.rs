//! What arbiters see from where they stand.

use super::parts::{token, token_back};
use arbiter_core::{GroupId, Instant, RegionId, ServiceSeen, SignalSeen};
use arbiter_proto::v1 as pb;
use std::time::Duration;

/// What a vantage point sees of a public name, heard at `now`.
pub fn service_from_proto(seen: &pb::ServiceSeen, now: Instant) -> ServiceSeen {
    ServiceSeen {
        at: now,
        region: seen.region.as_deref().map(RegionId::from),
        token: seen.token.map(token_back),
        reached: seen.reached,
        detail: seen.detail.clone(),
    }
}

/// What one probe found `age` ago, on its way to the leader.
pub fn probe_to_proto(
    group: &GroupId,
    probe: &str,
    up: Option<bool>,
    detail: &str,
    age: Duration,
) -> pb::ProbeSeen {
    pb::ProbeSeen {
        group: group.0.clone(),
        probe: probe.to_owned(),
        up,
        detail: detail.to_owned(),
        age_ns: u64::try_from(age.as_nanos()).unwrap_or(u64::MAX),
    }
}

/// One signal, for people.
pub fn signal_to_proto(seen: &SignalSeen) -> pb::Signal {
    pb::Signal {
        region: seen.region.0.clone(),
        name: seen.name.clone(),
        kind: seen.kind.clone(),
        says: seen.says.to_owned(),
        seen_by: seen.seen_by.0.clone(),
        value: seen.word().to_owned(),
        heard: seen.age.is_some(),
        age_ms: seen.age.map_or(0, |age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
        detail: seen.detail.clone(),
        counts: seen.counts,
    }
}

/// What is seen of a public name, on its way to the leader.
pub fn service_to_proto(group: &GroupId, seen: &ServiceSeen) -> pb::ServiceSeen {
    pb::ServiceSeen {
        group: group.0.clone(),
        region: seen.region.as_ref().map(|region| region.0.clone()),
        token: seen.token.map(token),
        reached: seen.reached,
        detail: seen.detail.clone(),
    }
}
