//! What arbiters see from where they stand.

use super::parts::{token, token_back};
use arbiter_core::{GroupId, Instant, RegionId, ServiceSeen};
use arbiter_proto::v1 as pb;

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

/// What one probe found, on its way to the leader.
pub fn probe_to_proto(
    group: &GroupId,
    probe: &str,
    up: Option<bool>,
    detail: &str,
) -> pb::ProbeSeen {
    pb::ProbeSeen { group: group.0.clone(), probe: probe.to_owned(), up, detail: detail.to_owned() }
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
