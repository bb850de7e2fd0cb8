//! Guard rails for people, and the audit log.

use super::super::{Look, guards, plan, status};
use super::{golden, open_plan, steady};
use arbiter_proto::v1 as pb;

fn record(seq: u64, what: &str, result: &str) -> pb::AuditRecord {
    pb::AuditRecord {
        seq,
        wall_ms: 1_700_000_000_000,
        who: "ada".into(),
        what: what.into(),
        detail: "manual to automatic, epoch 42".into(),
        group: "default".into(),
        reason: "drill is over".into(),
        result: result.into(),
        ..Default::default()
    }
}

#[test]
fn records_of_the_audit_log() {
    let bare = pb::AuditRecord {
        what: "test-notify".into(),
        detail: String::new(),
        group: String::new(),
        reason: String::new(),
        ..record(1043, "", "done")
    };
    let all = [record(7, "set-mode", "done"), record(8, "set-mode", "wrong-epoch"), bare];
    let lines: Vec<String> = all.iter().map(guards::record).collect();
    golden("audit.txt", &(lines.join("\n") + "\nNEXT: arbiter audit verify FILE\n"));
}

#[test]
fn what_waits_for_a_second_person() {
    let approval = pb::Approval {
        id: 118,
        action: "remove-node arbiter-us".into(),
        by: "ada".into(),
        asked_wall_ms: 1_700_000_000_000,
        ..Default::default()
    };
    let agreed = pb::Approval { id: 121, approved_by: "bob".into(), ..approval.clone() };
    let found = pb::ListApprovalsResponse { approvals: vec![approval, agreed], two_person: true };
    golden("approvals.txt", &(guards::approvals(&found) + "\n"));
    let none = pb::ListApprovalsResponse::default();
    golden("approvals-none.txt", &(guards::approvals(&none) + "\n"));
}

#[test]
fn what_is_set_for_a_time_and_what_holds() {
    let mut shown = steady();
    let group = &mut shown.groups[0];
    group.mode = "manual".into();
    group.mode_until = "until 2023-11-14 22:13:20 UTC, then automatic".into();
    group.maintenance = "leases last 60s until 2023-11-14 22:13:20 UTC".into();
    group.on_quorum_loss = "holds: it writes on without a quorum".into();
    group.writer_until_ms = 0;
    for region in &mut group.regions {
        region.agents.iter_mut().for_each(|agent| agent.arming = "holding".into());
    }
    golden("status-guarded.txt", &status::status(&shown, Look::default()));
}

#[test]
fn a_plan_names_who_went_through_which_gate() {
    let given = |gate: &str, needed, lapsed| pb::Override {
        gate: gate.into(),
        by: "ada".into(),
        wall_ms: 1,
        needed,
        lapsed,
    };
    let mut shown = open_plan();
    shown.overrides = vec![given("checksum", false, false), given("rpo", true, true)];
    let text = plan::report(&shown, Look::default());
    assert!(text.contains("\noverrides checksum by ada, it was not needed\n"), "{text}");
    assert!(text.contains("\noverrides rpo by ada, lapsed\n"), "{text}");
}
