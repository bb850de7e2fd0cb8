//! Drills, open and ended.

use super::super::{Look, drill, status};
use super::{golden, group};
use arbiter_proto::v1 as pb;

fn ended() -> pb::Drill {
    pb::Drill {
        id: 91,
        group: "default".into(),
        kind: "region-loss".into(),
        state: "failed".into(),
        why: "check:us-east: the checks of /usr/local/bin/check failed with exit code 3".into(),
        phase: "fail-back".into(),
        began_by: "ada".into(),
        reason: "fourth quarter".into(),
        began_wall_ms: 1_700_000_000_000,
        ended_wall_ms: 1_700_000_060_000,
        home: "eu-west".into(),
        away: "us-east".into(),
        stalls: true,
        plan_out: 93,
        plan_back: 140,
        measured: true,
        recovery_ms: 2_300,
        outage_ms: 900,
        loss_known: true,
        loss_age_ms: 400,
        lost_counted: true,
        rto_ms: 2_000,
        rpo_ms: 60_000,
        faults: vec!["check:us-east: the checks of /usr/local/bin/check failed".into()],
        proposals: vec!["recovery took 2.3s, the objective is 2s: shorten the longest row".into()],
        ..Default::default()
    }
}

#[test]
fn how_a_drill_went() {
    golden("drill-failed.txt", &drill::report(&ended(), Look::default()));
    let part = pb::DrillPart { name: "rehearsal:db-us".into(), said: "copied in 2.1s".into() };
    let rehearsed = pb::Drill {
        id: 55,
        kind: "rehearsal".into(),
        state: "completed".into(),
        parts: vec![part],
        measured: false,
        plan_out: 0,
        ..ended()
    };
    let rehearsed = pb::Drill { why: String::new(), faults: Vec::new(), ..rehearsed };
    let rehearsed = pb::Drill { proposals: Vec::new(), ..rehearsed };
    golden("drill-rehearsed.txt", &drill::report(&rehearsed, Look::default()));
    let due = "overdue since 2023-11-14 22:13:20 UTC".to_owned();
    let list = pb::ListDrillsResponse { drills: vec![ended(), rehearsed], due };
    golden("drill-list.txt", &drill::list(&list, "default", Look::default()));
    let none = pb::ListDrillsResponse::default();
    golden("drill-list-empty.txt", &drill::list(&none, "default", Look::default()));
}

#[test]
fn an_open_drill_shows_in_the_status() {
    let open = pb::Drill {
        state: "open".into(),
        why: String::new(),
        ended_wall_ms: 0,
        waits_for: "db-eu is no standby again yet".into(),
        ..ended()
    };
    let group = pb::GroupStatus {
        drill: Some(open),
        drill_due: "due, overdue from 2023-11-14 22:13:20 UTC".into(),
        predicted: "a failover would take 9.2s; it would lose at most 0.4s".into(),
        ..group()
    };
    let shown = pb::Status { cluster_id: "demo".into(), groups: vec![group], ..Default::default() };
    let text = status::status(&shown, Look::default());
    let line = |label: &str, said: &str| {
        text.lines().any(|line| line.starts_with(label) && line.ends_with(said))
    };
    assert!(line("drill", "drill 91 is at fail-back, waits: db-eu is no standby again yet"));
    assert!(line("drill", "the next is due, overdue from 2023-11-14 22:13:20 UTC"));
    assert!(line("predicted", "it would lose at most 0.4s"), "{text}");
}
