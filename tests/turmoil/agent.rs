//! A simulated agent: says that whatever it is ordered is done, over the real stream. Knows Reports
//! and Directives; has no resource.

use super::net;
use super::node::{ARBITERS, CLUSTER};
use super::rng::Rng;
use arbiter::wire;
use arbiter_core::{
    AgentId, Condition, DoneReport, EvidenceKind, Fact, Goal, GroupId, GroupReport, Incarnation,
    InstanceId, InstanceReport, Order, Report, Role,
};
use arbiter_proto::v1::agent_client::AgentClient;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{interval, sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;

/// How often it reports.
const REPORT_EVERY: Duration = Duration::from_millis(300);
/// How long it stays with an arbiter that says nothing.
const SILENCE_MAX: Duration = Duration::from_millis(1_500);
/// Reports on their way.
const QUEUE_MAX: usize = 16;

/// The agent.
pub struct FakeAgent {
    /// Its name.
    pub name: &'static str,
    /// Whether its region is active at first.
    pub active: bool,
    /// Chance.
    pub rng: Rng,
    orders: BTreeMap<InstanceId, Order>,
    obeyed: u64,
    sequence: u64,
}

impl FakeAgent {
    /// It has heard nothing yet.
    pub fn new(name: &'static str, active: bool, rng: Rng) -> Self {
        Self { name, active, rng, orders: BTreeMap::new(), obeyed: 0, sequence: 0 }
    }

    /// Reports to one arbiter after the other, for ever.
    pub async fn live(mut self) {
        loop {
            let arbiter = ARBITERS[self.rng.index(ARBITERS.len())];
            self.session(arbiter).await;
            sleep(Duration::from_millis(self.rng.range(20, 200))).await;
        }
    }

    /// None: the stream ended.
    async fn session(&mut self, arbiter: &str) -> Option<()> {
        let (up, reports) = mpsc::channel(QUEUE_MAX);
        let mut client = AgentClient::new(net::client(arbiter));
        up.try_send(self.report()).ok()?;
        let opening = client.session(ReceiverStream::new(reports));
        let mut down = timeout(SILENCE_MAX, opening).await.ok()?.ok()?.into_inner();
        let mut due = interval(REPORT_EVERY);
        let mut silent = Duration::ZERO;
        loop {
            tokio::select! {
                biased;
                directive = down.message() => {
                    let directive = wire::directive_from_proto(directive.ok()??).ok()?;
                    silent = Duration::ZERO;
                    let group = directive.groups.into_iter().next().map(|(_, group)| group);
                    let Some(group) = group.filter(|group| group.revision >= self.obeyed) else {
                        continue;
                    };
                    let news = group.revision > self.obeyed;
                    self.obeyed = group.revision;
                    let orders = group.orders.into_iter();
                    self.orders.extend(orders.map(|order| (order.instance.clone(), order)));
                    if news {
                        up.try_send(self.report()).ok()?;
                    }
                }
                _ = due.tick() => {
                    silent += REPORT_EVERY;
                    if silent > SILENCE_MAX {
                        return None;
                    }
                    up.try_send(self.report()).ok()?;
                }
            }
        }
    }

    fn report(&mut self) -> arbiter_proto::v1::Report {
        self.sequence += 1;
        let id = InstanceId(format!("queue-{}", self.name));
        let order = self.orders.get(&id);
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
        let group = GroupReport {
            obeyed: self.obeyed,
            instances: BTreeMap::from([(id, shown)]),
            ..GroupReport::default()
        };
        wire::report_to_proto(&Report {
            cluster_id: Some(CLUSTER.into()),
            agent: AgentId::from(self.name),
            incarnation: Incarnation(1),
            boot_id: "simulated".to_owned(),
            sequence: self.sequence,
            groups: BTreeMap::from([(GroupId::from("default"), group)]),
            watchdog: None,
            gaps: Vec::new(),
        })
    }
}
