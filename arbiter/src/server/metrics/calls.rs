//! How much is asked: calls under way, and those that were refused for want of room.

use crate::server::admission::{Admission, Pool};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use std::sync::atomic::Ordering;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ByPool {
    pool: &'static str,
}

/// Its metrics.
pub(super) struct Calls {
    under_way: Family<ByPool, Gauge>,
    refused: Counter,
}

impl Calls {
    /// Registered, with nothing in them.
    pub fn registered(registry: &mut Registry) -> Self {
        let made = Self { under_way: Family::default(), refused: Counter::default() };
        let under_way = "Calls of people under way, answers that are not read yet included";
        registry.register("calls_under_way", under_way, made.under_way.clone());
        let refused = "Calls of people that were refused for want of room: too-busy";
        registry.register("calls_refused", refused, made.refused.clone());
        made
    }

    /// What is so now.
    pub fn fill(&self, admission: &Admission) {
        let under_way = admission.under_way();
        for pool in Pool::ALL {
            let count = under_way.get(&pool).copied().unwrap_or_default();
            let gauge = self.under_way.get_or_create(&ByPool { pool: pool.name() });
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        self.refused.inner().store(admission.refused(), Ordering::Relaxed);
    }
}
