//! Metrics of what the leader sees. Another arbiter has none of them, so that the sum or the
//! maximum over all arbiters is the leader's. What is not known has no line either.

use super::ByGroup;
use crate::server::status::Measures;
use arbiter_core::GroupId;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

/// A gauge of seconds.
type Seconds = Gauge<f64, AtomicU64>;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ByCode {
    group: String,
    code: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ByInstance {
    group: String,
    instance: String,
}

/// The gauges.
#[derive(Default)]
pub(super) struct Seen {
    faults: Family<ByCode, Gauge>,
    degraded: Family<ByGroup, Gauge>,
    because: Family<ByCode, Gauge>,
    blocked: Family<ByGroup, Gauge>,
    recovery: Family<ByGroup, Seconds>,
    loss: Family<ByGroup, Seconds>,
    proven: Family<ByInstance, Seconds>,
    lag: Family<ByInstance, Gauge>,
    lag_age: Family<ByInstance, Seconds>,
}

impl Seen {
    /// All of them, in `registry`; a unit ends the name.
    pub(super) fn registered(registry: &mut Registry) -> Self {
        let made = Self::default();
        let faults = "What a failover would miss now, by code of the check";
        registry.register("group_readiness_faults", faults, made.faults.clone());
        let degraded = "1 while it serves and something that it needs to be safe is missing";
        registry.register("group_degraded", degraded, made.degraded.clone());
        let because = "What makes the group degraded now, by code of the check";
        registry.register("group_degraded_faults", because, made.because.clone());
        let blocked = "1 while no failover would open by itself";
        registry.register("group_automatic_blocked", blocked, made.blocked.clone());
        let mut seconds = |name: &str, help: &str, family: &Family<ByGroup, Seconds>| {
            registry.register_with_unit(name, help, Unit::Seconds, family.clone());
        };
        let recovery = "How long a failover now would take, by the last drills";
        seconds("group_predicted_recovery", recovery, &made.recovery);
        let loss = "For how long writes would be lost by a failover now, at most";
        seconds("group_predicted_loss", loss, &made.loss);
        let mut seconds = |name: &str, help: &str, family: &Family<ByInstance, Seconds>| {
            registry.register_with_unit(name, help, Unit::Seconds, family.clone());
        };
        let proven = "Since the fence of the instance was last proven by a rehearsal";
        seconds("instance_fence_proven_age", proven, &made.proven);
        let age = "Age of the newest word of the stream that the replica's lag is measured by";
        seconds("instance_lag_age", age, &made.lag_age);
        let lag = "What a replica lacks of its primary's stream";
        registry.register_with_unit("instance_lag", lag, Unit::Bytes, made.lag.clone());
        made
    }

    /// What was seen, and nothing that was seen before.
    pub(super) fn fill(&self, seen: &BTreeMap<GroupId, Measures>) {
        [&self.faults, &self.because].into_iter().for_each(|family| family.clear());
        [&self.recovery, &self.loss].into_iter().for_each(|family| family.clear());
        [&self.proven, &self.lag_age].into_iter().for_each(|family| family.clear());
        [&self.degraded, &self.blocked].into_iter().for_each(|family| family.clear());
        self.lag.clear();
        for (group, found) in seen {
            self.fill_group(group, found);
        }
    }

    fn fill_group(&self, group: &GroupId, found: &Measures) {
        let labels = ByGroup { group: group.0.clone() };
        self.blocked.get_or_create(&labels).set(i64::from(found.automatic_blocked));
        let degraded = i64::from(!found.degraded.is_empty());
        self.degraded.get_or_create(&labels).set(degraded);
        for (family, counts) in [(&self.faults, &found.faults), (&self.because, &found.degraded)] {
            for (code, count) in counts {
                let labels = ByCode { group: group.0.clone(), code: code.clone() };
                family.get_or_create(&labels).set(i64::from(*count));
            }
        }
        let known =
            [(&self.recovery, found.predicted.recovery), (&self.loss, found.predicted.loss)];
        for (family, value) in known {
            if let Some(value) = value {
                family.get_or_create(&labels).set(value.as_secs_f64());
            }
        }
        for (id, one) in &found.instances {
            let labels = ByInstance { group: group.0.clone(), instance: id.0.clone() };
            let (bytes, age) = one.lag.unzip();
            if let Some(bytes) = bytes {
                self.lag.get_or_create(&labels).set(super::signed(bytes));
            }
            let known = [(&self.proven, one.fence_proven), (&self.lag_age, age)];
            for (family, value) in known {
                if let Some(value) = value {
                    family.get_or_create(&labels).set(Duration::as_secs_f64(&value));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::status::Measured;
    use super::*;
    use arbiter_core::Predicted;
    use prometheus_client::encoding::text::encode;

    #[test]
    fn what_the_leader_sees_is_scraped_and_another_arbiter_has_no_line_of_it() {
        let mut registry = Registry::with_prefix("arbiter");
        let seen = Seen::registered(&mut registry);
        let secs = Duration::from_secs_f64;
        let standby = Measured { fence_proven: Some(secs(90.5)), lag: Some((8192, secs(0.5))) };
        let found = Measures {
            faults: BTreeMap::from([("resource".to_owned(), 2)]),
            degraded: BTreeMap::from([("lag".to_owned(), 1)]),
            automatic_blocked: true,
            predicted: Predicted { recovery: Some(secs(12.25)), loss: None },
            instances: [("db-us".into(), standby), ("db-eu".into(), Measured::default())].into(),
        };
        let scraped = |seen: &Seen, groups: &BTreeMap<GroupId, Measures>| {
            seen.fill(groups);
            let mut text = String::new();
            encode(&mut text, &registry).expect("it can be written");
            let lines = text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned);
            lines.collect::<Vec<_>>()
        };
        let lines = scraped(&seen, &[("shop".into(), found)].into());
        let wanted = [
            "arbiter_group_readiness_faults{group=\"shop\",code=\"resource\"} 2",
            "arbiter_group_degraded{group=\"shop\"} 1",
            "arbiter_group_degraded_faults{group=\"shop\",code=\"lag\"} 1",
            "arbiter_group_automatic_blocked{group=\"shop\"} 1",
            "arbiter_group_predicted_recovery_seconds{group=\"shop\"} 12.25",
            "arbiter_instance_fence_proven_age_seconds{group=\"shop\",instance=\"db-us\"} 90.5",
            "arbiter_instance_lag_age_seconds{group=\"shop\",instance=\"db-us\"} 0.5",
            "arbiter_instance_lag_bytes{group=\"shop\",instance=\"db-us\"} 8192",
        ];
        assert_eq!(lines, wanted);
        assert_eq!(scraped(&seen, &BTreeMap::new()), Vec::<String>::new());
    }
}
