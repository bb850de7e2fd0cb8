//! The audit log, approvals and overrides as messages. Knows words; judges nothing.

use arbiter_core::{Approval, AuditRecord, By, GroupId, Override, WallMillis};
use arbiter_proto::v1 as pb;

/// Who, for people.
pub(super) fn by_text(by: &By) -> String {
    match by {
        By::Policy => "policy".to_owned(),
        By::Operator(name) => name.clone(),
    }
}

/// A record as it is, so that its hash can be checked.
pub fn audit_to_proto(record: &AuditRecord) -> pb::AuditRecord {
    pb::AuditRecord {
        seq: record.seq,
        index: record.index,
        wall_ms: record.wall.0,
        who: record.who.clone(),
        what: record.what.clone(),
        detail: record.detail.clone(),
        group: record.group.as_ref().map_or(String::new(), |group| group.0.clone()),
        reason: record.reason.clone(),
        result: record.result.clone(),
        previous: record.previous.clone(),
        hash: record.hash.clone(),
    }
}

/// The same back: what a copy of the log holds.
pub fn audit_from_proto(record: pb::AuditRecord) -> AuditRecord {
    AuditRecord {
        seq: record.seq,
        index: record.index,
        wall: WallMillis(record.wall_ms),
        who: record.who,
        what: record.what,
        detail: record.detail,
        group: Some(GroupId(record.group)).filter(|group| !group.0.is_empty()),
        reason: record.reason,
        result: record.result,
        previous: record.previous,
        hash: record.hash,
    }
}

/// A request that takes a second person.
pub fn approval_to_proto((id, request): (&u64, &Approval)) -> pb::Approval {
    let agreed = request.approved.as_ref();
    pb::Approval {
        id: *id,
        action: request.action.clone(),
        by: request.by.clone(),
        reason: request.reason.clone(),
        asked_wall_ms: request.asked.0,
        approved_by: agreed.map_or(String::new(), |agreed| agreed.by.clone()),
        approved_reason: agreed.map_or(String::new(), |agreed| agreed.reason.clone()),
    }
}

pub(super) fn override_to_proto((gate, given): (&String, &Override)) -> pb::Override {
    pb::Override {
        gate: gate.clone(),
        by: by_text(&given.by),
        wall_ms: given.at.0,
        needed: given.needed,
        lapsed: given.lapsed,
    }
}
