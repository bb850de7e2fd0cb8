//! An agent that says that whatever it is ordered is done. Knows Reports and Directives; has no
//! resource, no lease and no clock.

use arbiter::wire;
use arbiter_core::{
    AgentId, Condition, DoneReport, EvidenceKind, Fact, Goal, GroupId, GroupReport, Incarnation,
    InstanceId, InstanceReport, Order, Report, Role,
};
use arbiter_proto::v1;
use std::collections::BTreeMap;

/// The agent, with one instance.
#[derive(Clone, Debug)]
pub struct Puppet {
    /// The cluster that it is of.
    pub cluster: String,
    /// Its name.
    pub name: String,
    /// The group of its instance.
    pub group: String,
    /// Its instance.
    pub instance: String,
    /// Whether its instance is active where nothing else is ordered.
    pub active: bool,
    order: Option<Order>,
    obeyed: u64,
    sequence: u64,
}

impl Puppet {
    /// It has heard nothing yet.
    pub fn new(cluster: &str, name: &str, group: &str, instance: &str, active: bool) -> Self {
        let [cluster, name, group, instance] = [cluster, name, group, instance].map(str::to_owned);
        Self { cluster, name, group, instance, active, order: None, obeyed: 0, sequence: 0 }
    }

    /// Number of its last report.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Whether `directive` says anything new; none for one that cannot be read.
    pub fn heed(&mut self, directive: v1::Directive) -> Option<bool> {
        let directive = wire::directive_from_proto(directive).ok()?;
        let group = directive.groups.into_iter().next().map(|(_, group)| group);
        let Some(group) = group.filter(|group| group.revision >= self.obeyed) else {
            return Some(false);
        };
        let news = group.revision > self.obeyed;
        self.obeyed = group.revision;
        let mut orders = group.orders.into_iter();
        let own = orders.find(|order| order.instance.0 == self.instance);
        self.order = own.or(self.order.take());
        Some(news)
    }

    /// Its next report.
    pub fn report(&mut self) -> v1::Report {
        self.sequence += 1;
        let order = self.order.as_ref();
        let usual = if self.active { Goal::Active } else { Goal::Standby };
        let goal = order.map_or(usual, |order| order.goal);
        let stopped = matches!(goal, Goal::Fenced);
        let serves = goal == Goal::Active;
        let fact = Fact {
            condition: if stopped { Condition::Stopped } else { Condition::Healthy },
            role: if serves { Role::Primary } else { Role::Replica },
            writable: serves,
            ..Fact::default()
        };
        let done = order.map(|order| DoneReport {
            goal,
            token: order.token,
            evidence: stopped.then_some(EvidenceKind::ProviderAsserted),
            end: None,
            clean: true,
        });
        let verified = order.filter(|order| order.verify).map(|order| order.token);
        let token = order.map(|order| order.token).unwrap_or_default();
        let shown = InstanceReport { fact, token, done, verified, ..InstanceReport::default() };
        let instances = BTreeMap::from([(InstanceId(self.instance.clone()), shown)]);
        let group = GroupReport { obeyed: self.obeyed, instances, ..GroupReport::default() };
        wire::report_to_proto(&Report {
            cluster_id: Some(self.cluster.as_str().into()),
            agent: AgentId::from(self.name.as_str()),
            incarnation: Incarnation(1),
            boot_id: "of a puppet".to_owned(),
            sequence: self.sequence,
            groups: BTreeMap::from([(GroupId::from(self.group.as_str()), group)]),
            watchdog: None,
            gaps: Vec::new(),
        })
    }
}
