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
    let next = if status.cluster_id.is_empty() {
        "arbiter members initialize --config FILE"
    } else {
        "arbiter status"
    };
    out + &next_line(next)
}
