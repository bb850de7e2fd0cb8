//! An agent of the small world: obeys at once, unless a test says otherwise.

use super::ms;
use crate::*;
use std::collections::{BTreeMap, BTreeSet};

/// An agent that obeys every order at once, can be silent, and whose `hasty` wait for nobody.
#[derive(Default)]
pub struct FakeAgent {
    pub alive: bool,
    pub life: Incarnation,
    pub arming: Option<Arming>,
    pub lapsed: bool,
    pub leased: bool,
    /// Instances that do not do what they are told.
    pub stubborn: BTreeSet<InstanceId>,
    /// Instances whose goal is refused.
    pub refusing: BTreeSet<InstanceId>,
    pub conditions: BTreeMap<InstanceId, Condition>,
    pub obstacles: BTreeMap<InstanceId, String>,
    /// Standbys that have received this much, whatever the primary wrote.
    pub received: BTreeMap<InstanceId, u64>,
    pub hasty: BTreeSet<InstanceId>,
    /// Whom primaries wait for, whatever they are told.
    pub waits: BTreeMap<InstanceId, CommitWait>,
    /// The node that a manager has made primary.
    pub leads: Option<InstanceId>,
    /// Identities of data, where they are known.
    pub data_ids: BTreeMap<InstanceId, String>,
    /// What their divergence cost.
    pub lost: BTreeMap<InstanceId, Loss>,
    /// What it reads in its zone that is not its own.
    pub drift: String,
    /// How long it waited for renewals, today first.
    pub gaps: Vec<std::time::Duration>,
    pub orders: BTreeMap<InstanceId, Order>,
    /// The cluster that it serves; none: `test`.
    pub cluster: Option<ClusterId>,
    pub obeyed: u64,
    pub sequence: u64,
}

impl FakeAgent {
    pub fn new(life: u64) -> Self {
        Self { alive: true, life: Incarnation(life), ..Self::default() }
    }

    /// Changes over to `cluster`, which it does only fenced.
    pub fn change_over(&mut self, cluster: &str) {
        self.cluster = Some(cluster.into());
        self.obeyed = 0;
        self.leased = false;
        for order in self.orders.values_mut().filter(|o| o.goal == Goal::Active) {
            order.goal = Goal::Fenced;
        }
    }

    pub fn shown(
        &self,
        name: &InstanceId,
        instance: &Instance,
        primary: bool,
        written: u64,
        cut: bool,
        streams: bool,
    ) -> InstanceReport {
        let order = self.orders.get(name);
        let goal = order.map_or(if primary { Goal::Active } else { Goal::Standby }, |o| o.goal);
        let received = self.received.get(name).copied().unwrap_or(if cut { 500 } else { written });
        let leads = instance.control != Control::Delegated || self.leads.as_ref() == Some(name);
        let offset = if primary && leads { written } else { received };
        let end = Position { timeline: 1, offset };
        let stopped = matches!(goal, Goal::Fenced) || (goal == Goal::Drained && primary);
        let data = instance.layer == Layer::Data;
        let writes = data && leads && goal == Goal::Active;
        let usual = if stopped { Condition::Stopped } else { Condition::Healthy };
        let upstream = Upstream { position: end, age: ms(0), streaming: streams };
        let fact = Fact {
            condition: self.conditions.get(name).copied().unwrap_or(usual),
            role: if writes { Role::Primary } else { Role::Replica },
            writable: writes,
            position: data.then_some(end),
            upstream: (data && goal == Goal::Standby).then_some(upstream),
            traffic: (instance.layer == Layer::Traffic)
                .then(|| TrafficFact { drift: self.drift.clone(), ..TrafficFact::default() }),
            data_id: self.data_ids.get(name).cloned().unwrap_or_default(),
            obstacles: self.obstacles.get(name).cloned().into_iter().collect(),
            lost: self.lost.get(name).cloned().map(Box::new),
            ..Fact::default()
        };
        let obeys = !self.stubborn.contains(name) && !self.refusing.contains(name);
        let done = order.filter(|_| obeys).map(|order| DoneReport {
            goal,
            token: order.token,
            evidence: stopped.then_some(match instance.kind.as_str() {
                EXTERNAL_FENCE => EvidenceKind::PowerOff,
                _ => instance.own_word().unwrap_or(EvidenceKind::Confirmed),
            }),
            end: (data && goal != Goal::Active).then_some(end),
            clean: order.terms.clean_stop != Some(ms(0)),
        });
        let error = order.filter(|_| self.refusing.contains(name)).map(|order| ErrorReport {
            token: order.token,
            refused: true,
            stale: None,
            message: "it refuses".into(),
        });
        let verified = order.filter(|o| o.verify && obeys).map(|order| order.token);
        let token = order.map(|order| order.token).unwrap_or_default();
        let told = order.filter(|_| !self.hasty.contains(name)).and_then(|o| o.commits.clone());
        let told = told.filter(|_| obeys).map(|commits| commits.wait);
        let commits = self.waits.get(name).cloned().or(told);
        InstanceReport { fact, age: ms(0), token, done, verified, error, commits }
    }
}
