//! What `arbiter notify test` and `arbiter cost` print, and a signal as `explain` shows it.

use super::super::{Look, cost, notify};
use super::golden;
use arbiter_proto::v1 as pb;

pub(super) fn signal(
    name: &str,
    kind: &str,
    value: &str,
    seen_by: &str,
    age_ms: Option<u64>,
    counts: bool,
) -> pb::Signal {
    pb::Signal {
        region: "eu-west".into(),
        name: name.into(),
        kind: kind.into(),
        says: String::new(),
        seen_by: seen_by.into(),
        value: value.into(),
        heard: age_ms.is_some(),
        age_ms: age_ms.unwrap_or_default(),
        detail: age_ms.map_or(String::new(), |_| format!("what {seen_by} saw")),
        counts,
    }
}

#[test]
fn a_test_of_the_receivers() {
    let delivery = |receiver: &str, url: &str, why: &str, took_ms: u64| pb::Delivery {
        receiver: receiver.into(),
        url: url.into(),
        delivered: why.is_empty(),
        why: why.into(),
        took_ms,
    };
    let mut answer = pb::TestNotifyResponse {
        sent_by: "arbiter-wi".into(),
        deliveries: vec![
            delivery("webhook", "https://hooks.test", "", 120),
            delivery("alertmanager", "http://10.0.3.9:9093", "cannot connect", 5_000),
        ],
    };
    golden("notify-failed.txt", &notify::tested(&answer, Look::default()));
    answer.deliveries.pop();
    golden("notify.txt", &notify::tested(&answer, Look::default()));
}

#[test]
fn a_month_of_the_standby() {
    let example = include_str!("../../../../../cluster-config/examples/signals.toml");
    let bill = |text: &str, seen: &[(&str, u64)]| {
        let cluster = crate::policy_file::parse(text, "signals.toml").expect("a good file");
        let observed = seen.iter().map(|(kind, bytes)| ((*kind).to_owned(), *bytes)).collect();
        crate::cost::bill(&cluster.cost.expect("prices"), &["postgres"].into(), &observed)
    };
    golden("cost.txt", &cost::cost(&bill(example, &[]), Look::default()));
    let less = example.lines().filter(|line| {
        !["transfer_gib =", "postgres_disk_gib", "dns_"].iter().any(|key| line.starts_with(key))
    });
    let less: String = less.map(|line| format!("{line}\n")).collect();
    let partial = bill(&less, &[("postgres", 5 << 30)]);
    golden("cost-partial.txt", &cost::cost(&partial, Look::default()));
}
