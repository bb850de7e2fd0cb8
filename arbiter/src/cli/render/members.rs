//! `arbiter members list`: the voters of the cluster.

use super::{Look, next_line, or_dash, row, span};
use arbiter_proto::v1 as pb;

pub(in crate::cli) fn members(status: &pb::Status, look: Look) -> String {
    let name = or_dash(&status.cluster_id);
    let (leader, term) = (or_dash(&status.leader), status.term);
    let mut out = format!("cluster {name}   leader {leader}   term {term}\n");
    if status.stale {
        let stale = look.paint("STALE");
        out.push_str(&format!("{stale}: no quorum confirms this ({} old)\n", span(status.age_ms)));
    }
    let mut rows = vec![row(&["ARBITER", "NODE", "REGION", "ADDRESS", "ROLE", "HEARD"])];
    for voter in &status.voters {
        rows.push(vec![
            voter.name.clone(),
            voter.node_id.to_string(),
            voter.region.clone(),
            voter.address.clone(),
            or_dash(&voter.role),
            format!("{} ago", span(voter.last_heard_ms)),
        ]);
    }
    out.push('\n');
    out.push_str(&look.columns(&rows));
    out.push('\n');
    for line in about(status) {
        out.push_str(&format!("{line}\n"));
    }
    let next = if status.cluster_id.is_empty() {
        "arbiter members initialize --config FILE"
    } else {
        "arbiter status"
    };
    out + &next_line(next)
}

/// What else is to be known of the members; nothing where all is as it should be.
pub(super) fn about(status: &pb::Status) -> Vec<String> {
    let mut found = Vec::new();
    if !status.restored_from.is_empty() {
        found.push(format!("restored from a backup of {}", status.restored_from));
    }
    if !status.state_version_held_by.is_empty() {
        let (version, held) = (status.state_version, &status.state_version_held_by);
        found.push(format!("state version {version}, held down by {held}"));
    }
    if !status.members_drift.is_empty() {
        let (node, drift) = (&status.node, &status.members_drift);
        found.push(format!("the cluster file of {node} differs: {drift}; correct its [arbiters]"));
    }
    found
}
