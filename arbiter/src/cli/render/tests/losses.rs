//! What a failover lost, as its report has it.

use super::super::{Look, page, plan};
use super::{completed_plan, golden};
use arbiter_proto::v1 as pb;

#[test]
fn what_a_plan_lost() {
    let mut read = completed_plan();
    let listed = |n: u64| pb::LostTransaction {
        id: 700 + n,
        lsn: format!("0/301A{n:03X}"),
        at: format!("2026-11-22 10:11:{n:02}.5 UTC"),
    };
    read.losses = vec![
        pb::PlanLoss {
            instance: "db-eu".into(),
            kind: "postgres".into(),
            loss: Some(pb::Loss {
                from: Some(pb::StreamPosition { timeline: 1, offset: 0x301_A000 }),
                end: Some(pb::StreamPosition { timeline: 1, offset: 0x302_0000 }),
                count: Some(23),
                first: "2026-11-22 10:11:00.5 UTC".into(),
                last: "2026-11-22 10:11:22.5 UTC".into(),
                listed: (0..23).map(listed).collect(),
                kept: "/var/lib/postgresql/15/main.arbiter-kept/timeline-1".into(),
                found_wall_ms: 0,
                late: None,
            }),
        },
        pb::PlanLoss {
            instance: "db-eu-2".into(),
            kind: "postgres".into(),
            loss: Some(pb::Loss { count: Some(0), ..pb::Loss::default() }),
        },
    ];
    read.losses_awaited = 1;
    golden("report-lost.txt", &plan::report(&read, Look::default()));
}

/// What was lost where no log tells of it: of a Redis, of what a manager brought back, of a bucket.
#[test]
fn what_a_plan_lost_without_a_log() {
    let at = |timeline, offset| Some(pb::StreamPosition { timeline, offset });
    let late = pb::LateObjects {
        epoch: 5,
        since_wall_ms: 1_700_000_000_000,
        listed: (0..23)
            .map(|n| pb::LateObject {
                key: format!("orders/<{n}>"),
                at_wall_ms: 1_700_000_001_000 + n,
            })
            .collect(),
        unknown: 7,
        whole: false,
        read: "aws s3 cp s3://orders-eu/KEY -".into(),
    };
    let kept = "/var/lib/redis.quarantine/5.40-1700000000".to_owned();
    let plain = pb::LateObjects { listed: vec![], unknown: 0, whole: true, ..late.clone() };
    let of = |instance: &str, loss| pb::PlanLoss {
        instance: instance.into(),
        kind: if instance.starts_with("cache") { "redis".into() } else { String::new() },
        loss: Some(loss),
    };
    let (from, end) = (at(0, 1000), at(0, 5096));
    let mut read = completed_plan();
    read.losses = vec![
        of("cache-eu", pb::Loss { from, end, kept: kept.clone(), ..pb::Loss::default() }),
        of("cache-eu-2", pb::Loss { kept, ..pb::Loss::default() }),
        of(
            "patroni-eu",
            pb::Loss { from: at(3, 0x1000), end: at(3, 0x1900), ..Default::default() },
        ),
        of("patroni-eu-2", pb::Loss::default()),
        of(
            "orders-eu",
            pb::Loss { late: Some(late), kept: "bucket orders-eu".into(), ..Default::default() },
        ),
        of("images-eu", pb::Loss { late: Some(plain), ..pb::Loss::default() }),
    ];
    golden("report-lost-unlogged.txt", &plan::report(&read, Look::default()));
    let page = page::page(&read);
    assert!(page.contains("orders/&lt;7&gt;") && !page.contains("orders/<7>"), "{page}");
    let json = serde_json::to_string(&read).expect("prints");
    assert!(json.contains("orders/<22>"), "all that are listed");
}
