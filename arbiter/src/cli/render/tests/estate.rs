//! Every kind of resource: in the status, and in the report of a plan that moved them.

use super::super::{Look, page, plan, status};
use super::{completed_plan, golden, group, steady};
use arbiter_proto::v1 as pb;

/// Milliseconds of the wall clock when the plan of these tests opened.
const OPENED: u64 = 1_700_000_000_000;

fn one(name: &str, kind: &str, layer: &str, told: &[(&str, &str)]) -> pb::InstanceStatus {
    pb::InstanceStatus {
        instance: name.into(),
        kind: kind.into(),
        layer: layer.into(),
        condition: "healthy".into(),
        detail: told.iter().map(|(key, text)| ((*key).into(), (*text).into())).collect(),
        ..Default::default()
    }
}

fn estate() -> pb::GroupStatus {
    let mut group = group();
    let [eu, us] = [0, 1].map(|region| group.regions[region].agents[0].clone());
    group.regions[0].agents[0].instances = [
        eu.instances,
        vec![
            one("files-eu", "object-store", "data", &[("fence", "none")]),
            one("shop-eu", "kubernetes", "workload", &[("all replicas", "6/6")]),
            one("pool-eu", "pgbouncer", "pooler", &[("leads_to", "10.0.1.10:5432")]),
            one("state-eu", "terraform-state", "watched", &[("serial", "7"), ("lock", "none")]),
        ],
    ]
    .concat();
    let mut bucket = one(
        "files-us",
        "object-store",
        "data",
        &[("lag", "3 s"), ("late-writes", "2 objects"), ("replication", "towards us-east")],
    );
    bucket.unfenced_since = "2026-11-22 20:00:00 UTC".into();
    let long = "it cannot be read: ".repeat(8);
    group.regions[1].agents[0].instances = [
        us.instances,
        vec![
            bucket,
            one("shop-us", "kubernetes", "workload", &[("all replicas", "1/1")]),
            one("backups-us", "velero", "workload", &[("age", "3 h 2 min"), ("backup", "d-3")]),
            one("pool-us", "pgbouncer", "pooler", &[("leads_to", "10.0.1.10:5432")]),
            one("state-us", "terraform-state", "watched", &[("serial", "6"), ("error", &long)]),
        ],
    ]
    .concat();
    group.regions[1].agents[0].instances[5].condition = "unknown".into();
    group.readiness = vec!["state-us: it stands at serial 6".into()];
    group
}

#[test]
fn every_instance_has_a_row() {
    let shown = pb::Status { groups: vec![estate()], ..steady() };
    golden("status-estate.txt", &status::status(&shown, Look::default()));
}

#[test]
fn a_view_without_reports_shows_no_instance() {
    let mut shown = pb::Status { groups: vec![estate()], stale: true, ..steady() };
    let agents = shown.groups[0].regions.iter_mut().flat_map(|region| &mut region.agents);
    agents.flat_map(|agent| &mut agent.instances).for_each(|i| i.condition = "unknown".into());
    let text = status::status(&shown, Look::default());
    assert!(!text.contains("INSTANCE"), "{text}");
    shown.groups[0].regions[0].agents[0].instances[0].condition = "dead".into();
    assert!(status::status(&shown, Look::default()).contains("INSTANCE"));
}

#[test]
fn of_an_instance_whose_agent_is_silent_nothing_is_claimed() {
    let mut lost = estate();
    lost.regions[0].agents[0].connected = false;
    lost.regions[0].agents[0].reported_ms = 39_200;
    let row = |group: &pb::GroupStatus| {
        let shown = pb::Status { groups: vec![group.clone()], ..steady() };
        let text = status::status(&shown, Look::default());
        let row = text.lines().find(|line| line.starts_with("db-eu ")).unwrap_or_default();
        row.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let said = "db-eu postgres eu-west unknown - - last heard 39.2 s ago: healthy primary";
    assert_eq!(row(&lost), said);
    // Its connection may stand for a while.
    lost.regions[0].agents[0].connected = true;
    assert_eq!(row(&lost), said);
    lost.regions[0].agents[0].reported_ms = 400;
    assert_eq!(row(&lost), "db-eu postgres eu-west healthy primary - -");
}

fn became(name: &str, kind: &str, word: &str, after_ms: u64, by: &str) -> pb::PlanInstance {
    pb::PlanInstance {
        instance: name.into(),
        kind: kind.into(),
        region: if name.ends_with("eu") { "eu-west" } else { "us-east" }.into(),
        became: word.into(),
        by: by.into(),
        wall_ms: if after_ms == 0 { 0 } else { OPENED + after_ms },
        ..pb::PlanInstance::default()
    }
}

fn recovered() -> pb::Plan {
    let unproven = "nothing proves that it took no writes";
    let mut bucket = became("files-eu", "object-store", "unfenced", 8_900, unproven);
    bucket.until_wall_ms = OPENED + 90_000;
    let at = |after_ms, at_most, by: &str| {
        Some(pb::Recovered { wall_ms: OPENED + after_ms, at_most, by: by.into() })
    };
    let cache = pb::Loss {
        from: Some(pb::StreamPosition { timeline: 0, offset: 52_000 }),
        end: Some(pb::StreamPosition { timeline: 0, offset: 73_456 }),
        kept: "/var/lib/redis.quarantine/42.131-1700000100".into(),
        ..pb::Loss::default()
    };
    let unread = pb::Loss { from: cache.end, ..cache.clone() };
    let lost = |instance: &str, loss| pb::PlanLoss {
        instance: instance.into(),
        loss: Some(loss),
        kind: "redis".into(),
    };
    pb::Plan {
        instances: vec![
            became("db-eu", "postgres", "fenced", 8_600, "lease-expired"),
            bucket,
            became("shop-eu", "kubernetes", "unfenced", 8_900, unproven),
            became("db-us", "postgres", "promoted", 9_700, "it took a write"),
            became("shop-us", "kubernetes", "activated", 12_400, "it says so"),
            became("pool-us", "pgbouncer", "led", 10_100, "its clients go on"),
            became("pool-eu", "pgbouncer", "awaited", 0, "its clients go on"),
        ],
        heard_wall_ms: OPENED - 4_200,
        fenced_wall_ms: OPENED + 8_600,
        first_write: at(9_700, false, "db-us took a write"),
        last_client: Some(pb::Recovered { by: "awaited: pool-eu".into(), ..Default::default() }),
        rto_ms: 30_000,
        present: vec![one("state-us", "terraform-state", "watched", &[("serial", "7")])],
        losses: vec![lost("cache-eu", cache), lost("cache-eu-2", unread)],
        ..completed_plan()
    }
}

#[test]
fn a_report_says_what_became_of_each_instance_and_when_clients_went_on() {
    golden("report-recovered.txt", &plan::report(&recovered(), Look::default()));
    let page = page::page(&recovered());
    for said in ["<td>pool-eu</td>", "After fence", "1.1 s", "serial 7", "lost no sooner"] {
        assert!(page.contains(said), "{said}: {page}");
    }
}

#[test]
fn an_objective_is_kept_by_the_last_client_and_by_an_upper_bound() {
    let line = |last: u64, at_most: bool, rto_ms: u64| {
        let by = "dns-us switched, and clients keep an answer for 5 s".to_owned();
        let last_client = Some(pb::Recovered { wall_ms: OPENED + last, at_most, by });
        let text = plan::report(&pb::Plan { last_client, rto_ms, ..recovered() }, Look::default());
        let of = |label: &str| {
            let line = text.lines().find(|line| line.starts_with(label));
            line.unwrap_or_default().to_owned()
        };
        (of("objective"), of("last client"))
    };
    assert_eq!(line(25_800, false, 30_000).0, "objective: 30.0 s, kept", "from the loss on");
    let (objective, last) = line(25_900, true, 30_000);
    assert_eq!(objective, "objective: 30.0 s, missed");
    assert!(last.contains("at most 30.1 s  at most 25.9 s  at most 17.3 s"), "{last}");
    assert_eq!(line(25_900, true, 0).0, "", "none is set");
}

#[test]
fn a_switchover_has_no_loss_to_count_from() {
    let planned = pb::Plan { kind: "switchover".into(), heard_wall_ms: 0, ..recovered() };
    let text = plan::report(&planned, Look::default());
    assert!(
        text.contains("RECOVERED    AFTER OPENING  AFTER FENCE") && !text.contains("AFTER LOSS")
    );
}
