//! An agent beside chosen instances of eu-west, with its deadman; drivers do what a test says.

use super::super::*;
use crate::testing::{EU, group, ms, spec};
use crate::{Condition, Directive, GroupDirective, InstanceReport, Layer, Profile, Role};

pub(super) const START: Instant = Instant(1_000_000_000_000);
/// On disk when the process begins.
pub(super) const OLD: Token = Token::new(3, 20);
pub(super) const NEW: Token = Token::new(3, 25);

pub(super) fn own(resource: &str) -> InstanceId {
    format!("{resource}-{EU}").into()
}

pub(super) fn arming() -> Arming {
    Arming { expiry_counts_as: EvidenceKind::LeaseExpired }
}

pub(super) fn order(resource: &str, goal: Goal, token: Token) -> Order {
    Order {
        group: group(),
        instance: own(resource),
        layer: if resource == "web" { Layer::Workload } else { Layer::Data },
        goal,
        token,
        verify: false,
        terms: Terms::default(),
        commits: None,
    }
}

pub(super) fn fact(condition: Condition, role: Role, writable: bool) -> Fact {
    Fact { condition, role, writable, ..Fact::default() }
}

pub(super) fn primary() -> Fact {
    fact(Condition::Healthy, Role::Primary, true)
}

pub(super) fn replica() -> Fact {
    fact(Condition::Healthy, Role::Replica, false)
}

pub(super) struct Host {
    pub machine: AgentMachine,
    pub deadman: Deadman,
    pub revision: u64,
    pub arm: bool,
    pub leased: bool,
    pub serves_on: bool,
    known: bool,
}

impl Host {
    /// A process that has just begun, and knows its disk.
    pub fn begun(armed: bool, of: &[(InstanceId, Instance)]) -> Self {
        let stored = Stored {
            agent: format!("agent-{EU}").into(),
            incarnation: Incarnation(1),
            boot_id: "boot".to_owned(),
            cluster_id: Some("test".into()),
            tokens: of.iter().map(|(id, _)| ((group(), id.clone()), OLD)).collect(),
            armed: armed.then(|| (group(), arming())).into_iter().collect(),
            leaves: None,
        };
        let timings = BTreeMap::from([(group(), Profile::Wan.timing())]);
        let instances = of.iter().map(|(id, one)| ((group(), id.clone()), one.clone())).collect();
        let machine = AgentMachine::new(stored, instances, &timings, START);
        let (deadman, revision) = (Deadman::new(), NEW.revision.0);
        Self {
            machine,
            deadman,
            revision,
            arm: armed,
            leased: true,
            serves_on: false,
            known: false,
        }
    }

    pub fn beside(resources: &[&str]) -> Vec<(InstanceId, Instance)> {
        let policy = spec().groups.remove(&group()).unwrap();
        resources.iter().map(|r| (own(r), policy.instances[&own(r)].clone())).collect()
    }

    /// The same once its deadman was shown, which holds the group where the disk says so.
    pub fn start(armed: bool, resources: &[&str]) -> Self {
        let mut host = Self::begun(armed, &Self::beside(resources));
        if armed {
            host.deadman.step(DeadmanEvent::Arm(group()), START);
        }
        host.shows(START);
        host
    }

    pub fn shows(&mut self, now: Instant) -> Vec<AgentAction> {
        self.known = true;
        let holds = self.deadman.holds().clone();
        let counts_as = BTreeMap::from([(group(), EvidenceKind::LeaseExpired)]);
        self.step(AgentEvent::DeadmanShows { holds, counts_as }, now)
    }

    /// One event. Reports leave when they are due, and it is never to be woken at once again.
    pub fn step(&mut self, event: AgentEvent, now: Instant) -> Vec<AgentAction> {
        let actions = self.machine.step(event, now);
        if actions.contains(&AgentAction::SendReport) {
            self.machine.report(now);
        }
        let wake = self.machine.next_wake(now);
        assert!(!self.known || wake.is_some_and(|at| now < at), "{wake:?} after {now:?}");
        actions
    }

    pub fn tick(&mut self, now: Instant) -> Vec<AgentAction> {
        self.step(AgentEvent::Tick, now)
    }

    /// The same, and what is asked of disk, gate and deadman is done.
    pub fn served(&mut self, event: AgentEvent, now: Instant) -> Vec<AgentAction> {
        let mut all = self.step(event, now);
        let mut next = 0;
        while next < all.len() {
            let more = match all[next].clone() {
                AgentAction::Deadman(event) => {
                    self.deadman.step(event, now);
                    self.shows(now)
                }
                AgentAction::StoreToken { group, instance, token } => {
                    self.step(AgentEvent::TokenStored { group, instance, token, ok: true }, now)
                }
                AgentAction::SetGate { group, armed } => {
                    self.step(AgentEvent::GateSet { group, armed, ok: true }, now)
                }
                AgentAction::PersistArming { group, arming } => {
                    self.step(AgentEvent::ArmingPersisted { group, arming, ok: true }, now)
                }
                _ => Vec::new(),
            };
            all.extend(more);
            next += 1;
        }
        all
    }

    pub fn directive(&mut self, answers: Option<u64>, orders: Vec<Order>) -> AgentEvent {
        let timing = Profile::Wan.timing();
        let part = GroupDirective {
            revision: self.revision,
            timing,
            lease: self.leased.then_some(timing.lease),
            arm: self.arm,
            serves_on: self.serves_on,
            orders,
        };
        AgentEvent::Directive(Directive {
            cluster_id: "test".into(),
            term: 1,
            answers,
            incarnation: Incarnation(1),
            groups: BTreeMap::from([(group(), part)]),
            succeeds: None,
            arbiters: Vec::new(),
        })
    }

    /// The leader answers a Report that leaves now; see [`Host::served`].
    pub fn told(&mut self, orders: Vec<Order>, now: Instant) -> Vec<AgentAction> {
        let sequence = self.machine.report(now).sequence;
        let told = self.directive(Some(sequence), orders);
        self.served(told, now)
    }

    /// It looked at one of its instances.
    pub fn sees(&mut self, resource: &str, fact: Fact, now: Instant) -> Vec<AgentAction> {
        let (group, instance) = (group(), own(resource));
        self.served(AgentEvent::Observed { group, instance, fact }, now)
    }

    /// The attempt that `actions` begin ends, with this to be seen.
    pub fn reaches(
        &mut self,
        resource: &str,
        actions: &[AgentAction],
        fact: Fact,
        now: Instant,
    ) -> Vec<AgentAction> {
        let reached = Reached { fact, ..Reached::default() };
        self.ends(resource, actions, Ok(reached), now)
    }

    pub fn ends(
        &mut self,
        resource: &str,
        actions: &[AgentAction],
        result: Result<Reached, Failure>,
        now: Instant,
    ) -> Vec<AgentAction> {
        let attempt = ensures(resource, actions).last().expect("an attempt begins").0;
        let (group, instance) = (group(), own(resource));
        self.served(AgentEvent::EnsureEnded { group, instance, attempt, result }, now)
    }

    /// Told to serve, armed and with a lease, and it does.
    pub fn serves(&mut self, order: Order, now: Instant) -> Vec<AgentAction> {
        let told = self.told(vec![order], now);
        self.reaches("db", &told, primary(), now)
    }

    /// Wakes it only when it asks to be, up to `until`; what it does, and how long after `from`.
    pub fn alone(&mut self, from: Instant, until: Instant) -> Vec<(Duration, AgentAction)> {
        let (mut now, mut all) = (from, Vec::new());
        while let Some(wake) = self.machine.next_wake(now).filter(|at| *at <= until) {
            now = wake;
            let actions = self.tick(now);
            all.extend(actions.into_iter().map(|action| (now.since(from), action)));
        }
        all
    }

    /// Whether it has news to report at once, by what is due.
    pub fn has_news(&mut self, now: Instant) -> bool {
        let due = now + REPORT_SPACING;
        self.step(AgentEvent::Tick, due).contains(&AgentAction::SendReport)
    }

    /// Everything that it had to tell is told at `now`.
    pub fn settled(&mut self, now: Instant) {
        self.machine.report(now);
    }

    pub fn shown(&mut self, resource: &str, now: Instant) -> InstanceReport {
        self.machine.report(now).groups[&group()].instances[&own(resource)].clone()
    }
}

/// What a driver is asked to reach, in order: attempt, goal and token.
pub(super) fn ensures(resource: &str, actions: &[AgentAction]) -> Vec<(u64, Goal, Token)> {
    let of = own(resource);
    let ensured = actions.iter().filter_map(|action| match action {
        AgentAction::Ensure { instance, attempt, goal, token, .. } if *instance == of => {
            Some((*attempt, *goal, *token))
        }
        _ => None,
    });
    ensured.collect()
}

pub(super) fn goals(resource: &str, actions: &[AgentAction]) -> Vec<Goal> {
    ensures(resource, actions).into_iter().map(|(_, goal, _)| goal).collect()
}

/// What arming and leases ask of gate, deadman and disk.
pub(super) fn asks(actions: &[AgentAction]) -> Vec<AgentAction> {
    let asked = actions.iter().filter(|action| {
        let outside = matches!(action, AgentAction::Deadman(_) | AgentAction::SetGate { .. });
        outside || matches!(action, AgentAction::PersistArming { .. })
    });
    asked.cloned().collect()
}

pub(super) fn cancels(resource: &str, actions: &[AgentAction]) -> bool {
    actions.contains(&AgentAction::CancelEnsure { group: group(), instance: own(resource) })
}

pub(super) fn at(millis: u64) -> Instant {
    START + ms(millis)
}
