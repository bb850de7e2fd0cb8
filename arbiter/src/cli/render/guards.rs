//! Requests that take a second person, and records of the audit log, as text.

use super::{Look, or_dash, row, wall};
use arbiter_proto::v1 as pb;

/// What waits for a second person, and what was agreed to.
pub(in crate::cli) fn approvals(found: &pb::ListApprovalsResponse) -> String {
    let wanted = match found.two_person {
        true => "changes of the arbiters take two persons",
        false => "changes of the arbiters take one person: two_person is not set in [cluster]",
    };
    if found.approvals.is_empty() {
        return format!("nothing waits for a second person; {wanted}\nNEXT: arbiter status");
    }
    let mut rows = vec![row(&["REQUEST", "ASKED", "BY", "ACTION", "APPROVED BY"])];
    for one in &found.approvals {
        rows.push(vec![
            one.id.to_string(),
            wall(one.asked_wall_ms),
            one.by.clone(),
            one.action.clone(),
            or_dash(&one.approved_by),
        ]);
    }
    let waits = found.approvals.iter().find(|one| one.approved_by.is_empty());
    let next = match waits {
        Some(one) => {
            format!("another person than {}: arbiter approve {} --reason TEXT", one.by, one.id)
        }
        None => "who asked asks again".to_owned(),
    };
    format!("{}\nNEXT: {next}", Look::default().columns(&rows))
}

/// One record, one line.
pub(in crate::cli) fn record(record: &pb::AuditRecord) -> String {
    let mut line = format!(
        "{:>6}  {}  {:<16} {:<14}",
        record.seq,
        wall(record.wall_ms),
        record.who,
        record.result
    );
    line.push_str(&format!(" {}", record.what));
    for part in [&record.group, &record.detail] {
        if !part.is_empty() {
            line.push_str(&format!(" {part}"));
        }
    }
    if !record.reason.is_empty() {
        line.push_str(&format!(": {}", record.reason));
    }
    line
}
