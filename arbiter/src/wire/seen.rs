//! What arbiters see from where they stand.

use super::parts::token_back;
use arbiter_core::{Instant, RegionId, ServiceSeen};
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
