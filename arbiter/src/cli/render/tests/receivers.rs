//! What `arbiter notify test` and `arbiter cost` print.

use super::super::{Look, cost, notify};
use super::golden;
use arbiter_proto::v1 as pb;

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
