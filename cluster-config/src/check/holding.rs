//! Whether a group that holds without a quorum can still be failed over from by itself. Knows kinds
//! by the evidence they give.

use super::data_regions;
use crate::fault::Book;
use crate::schema::{Cluster, Fence, Group, OnQuorumLoss};

/// I9: a lost region that holds proves nothing. By itself only what cuts it off from outside does.
pub(super) fn check(cluster: &Cluster, path: &str, group: &Group, book: &mut Book<'_>) {
    let policy = &group.policy;
    if policy.on_quorum_loss != OnQuorumLoss::Hold || !policy.allow_automatic {
        return;
    }
    let required =
        |r: &crate::schema::Resource| r.fence == Fence::Required && r.kind.layer == "data";
    if !group.resources.values().any(required) {
        return;
    }
    let mut regions = data_regions(cluster).into_iter();
    let Some(open) = regions.find(|region| !group.external_fence.contains_key(*region)) else {
        return;
    };
    let what = format!(
        "is \"hold\", so that the silence of {open} proves nothing, and mode automatic may be set"
    );
    let remedy = format!(
        "add [{path}.external_fence.{open}], or allow_automatic = false: operators then fail over, \
         and attest"
    );
    book.fault(&format!("{path}.on_quorum_loss"), what, remedy);
}
