//! A pooler's agent: clients are held back as long as the leader says so, and no longer.

use super::super::*;
use super::host::{Host, NEW, goals, order};
use crate::testing::{EU, group, ms, spec};
use crate::{Condition, Control, Fencing, GroupDirective, Instance, Layer, Profile};

const START: Instant = Instant(1_000_000_000_000);
const SERVES: Token = Token::new(3, 20);
const HELD: Token = Token::new(3, 25);

fn pool() -> InstanceId {
    "pool".into()
}

/// The agent of eu-west beside a pooler, unarmed, as no pooler is held by a deadman.
struct Agent(AgentMachine);

impl Agent {
    fn start() -> Self {
        let agent: AgentId = format!("agent-{EU}").into();
        let policy = spec().groups.remove(&group()).unwrap();
        let pooler = Instance {
            layer: Layer::Pooler,
            fencing: Fencing::BestEffort,
            control: Control::Api,
            ..policy.instances[&format!("db-{EU}").into()].clone()
        };
        let stored = Stored {
            agent,
            incarnation: Incarnation(1),
            boot_id: "boot".to_owned(),
            cluster_id: Some("test".into()),
            tokens: BTreeMap::from([((group(), pool()), SERVES)]),
            armed: BTreeMap::new(),
            leaves: None,
        };
        let timings = BTreeMap::from([(group(), Profile::Wan.timing())]);
        let instances = BTreeMap::from([((group(), pool()), pooler)]);
        Self(AgentMachine::new(stored, instances, &timings, START))
    }

    /// What the driver is asked, and does at once, by `event` at `now`: goal and whom to lead to.
    fn step(&mut self, event: AgentEvent, now: Instant) -> Vec<(Goal, String)> {
        let mut asked = Vec::new();
        for action in self.0.step(event, now) {
            let event = match action {
                AgentAction::StoreToken { group, instance, token } => {
                    AgentEvent::TokenStored { group, instance, token, ok: true }
                }
                AgentAction::Ensure { group, instance, attempt, goal, terms, .. } => {
                    asked.push((goal, terms.upstream));
                    let result = Ok(Reached { fact: fact(goal), ..Reached::default() });
                    AgentEvent::EnsureEnded { group, instance, attempt, result }
                }
                _ => continue,
            };
            asked.extend(self.step(event, now));
        }
        asked
    }

    fn told(&mut self, goal: Goal, token: Token, now: Instant) -> Vec<(Goal, String)> {
        let sequence = self.0.report(now).sequence;
        let upstream = if goal == Goal::Active { "new:5432" } else { "" };
        let order = Order {
            group: group(),
            instance: pool(),
            layer: Layer::Pooler,
            goal,
            token,
            verify: false,
            terms: Terms { upstream: upstream.to_owned(), ..Terms::default() },
            commits: None,
        };
        let part = GroupDirective {
            revision: token.revision.0,
            timing: Profile::Wan.timing(),
            lease: None,
            arm: false,
            serves_on: false,
            orders: vec![order],
        };
        let directive = Directive {
            cluster_id: "test".into(),
            term: 1,
            answers: Some(sequence),
            incarnation: Incarnation(1),
            groups: BTreeMap::from([(group(), part)]),
            succeeds: None,
            arbiters: Vec::new(),
        };
        self.step(AgentEvent::Directive(directive), now)
    }

    /// The leader orders nothing: mode `observe`.
    fn observed(&mut self, now: Instant) {
        let mut host = Host::start(false, &[]);
        let told = host.directive(Some(self.0.report(now).sequence), vec![]);
        self.step(told, now);
    }

    fn sees(&mut self, fact: Fact, now: Instant) -> Vec<(Goal, String)> {
        let (group, instance) = (group(), pool());
        self.step(AgentEvent::Observed { group, instance, fact }, now)
    }

    fn done(&mut self, now: Instant) -> Option<Goal> {
        let report = self.0.report(now);
        report.groups[&group()].instances[&pool()].done.as_ref().map(|done| done.goal)
    }
}

fn fact(goal: Goal) -> Fact {
    let held = goal == Goal::Drained;
    let condition = if held { Condition::Stopped } else { Condition::Healthy };
    Fact { condition, writable: !held, ..Fact::default() }
}

fn own() -> Vec<(Goal, String)> {
    vec![(Goal::Active, String::new())]
}

fn held() -> Vec<(Goal, String)> {
    vec![(Goal::Drained, String::new())]
}

#[test]
fn clients_are_let_go_on_when_nobody_renews_the_pause() {
    let mut agent = Agent::start();
    assert_eq!(agent.told(Goal::Drained, HELD, START), held());
    assert_eq!(agent.done(START), Some(Goal::Drained));
    let renewed = START + ms(20_000);
    assert_eq!(agent.told(Goal::Drained, HELD, renewed), [], "it is so already");
    let until = renewed + PAUSE_UNRENEWED_MAX;
    assert_eq!(agent.step(AgentEvent::Tick, Instant(until.0 - 1)), []);
    agent.0.report(Instant(until.0 - 1));
    assert!(agent.0.next_wake(Instant(until.0 - 1)).is_some_and(|at| at <= until));
    assert_eq!(agent.step(AgentEvent::Tick, until), own(), "to nobody new");
    assert_eq!(agent.done(until), None, "the leader must not take them for held");
    assert_eq!(agent.step(AgentEvent::Tick, until + ms(5000)), [], "once");
    // The leader is heard again, and the plan goes on.
    assert_eq!(agent.told(Goal::Drained, HELD, until + ms(6000)), held());
    let let_go = agent.told(Goal::Active, Token::new(4, 30), until + ms(7000));
    assert_eq!(let_go, [(Goal::Active, "new:5432".to_owned())]);
    assert_eq!(agent.step(AgentEvent::Tick, until + ms(60_000)), []);
}

#[test]
fn no_plan_holds_clients_back_for_longer_than_they_wait() {
    let mut agent = Agent::start();
    let mut asked = Vec::new();
    for second in 0..150 {
        let now = START + ms(second * 1000);
        let mut told = agent.told(Goal::Drained, HELD, now);
        told.extend(agent.step(AgentEvent::Tick, now));
        told.extend(agent.told(Goal::Drained, HELD, now));
        asked.extend(told.into_iter().map(|(goal, _)| (goal, ms(second * 1000))));
    }
    assert_eq!(asked, [(Goal::Drained, ms(0)), (Goal::Active, PAUSE_MAX)]);
    let next = Token::new(3, 40);
    assert_eq!(agent.told(Goal::Drained, next, START + ms(200_000)), held(), "another plan");
}

#[test]
fn a_pooler_that_lets_clients_through_again_is_told_again() {
    let mut agent = Agent::start();
    agent.told(Goal::Drained, HELD, START);
    assert_eq!(agent.sees(fact(Goal::Drained), START + ms(1000)), []);
    agent.step(AgentEvent::Tick, START + ms(2000));
    let resumed = agent.sees(fact(Goal::Active), START + ms(2100));
    assert_eq!(resumed, held(), "it was restarted, or somebody resumed it");
}

/// The agent was restarted in the middle of a plan.
#[test]
fn a_new_process_lets_go_on_what_a_former_one_held_back() {
    let mut agent = Agent::start();
    assert_eq!(agent.sees(fact(Goal::Drained), START), []);
    let until = START + PAUSE_UNRENEWED_MAX;
    assert_eq!(agent.step(AgentEvent::Tick, Instant(until.0 - 1)), []);
    assert_eq!(agent.step(AgentEvent::Tick, until), own());

    let mut told = Agent::start();
    told.sees(fact(Goal::Drained), START);
    let ordered = told.told(Goal::Active, SERVES, START + ms(500));
    assert_eq!(ordered, [(Goal::Active, "new:5432".to_owned())]);
}

/// Only a pooler holds clients back, and only what a leader had it do is undone.
#[test]
fn nobody_else_is_let_go_on_and_no_operators_pause_is_lifted() {
    let mut serving = Agent::start();
    assert_eq!(serving.sees(fact(Goal::Active), START), []);
    assert_eq!(serving.step(AgentEvent::Tick, START + ms(60_000)), [], "it holds nobody back");
    let mut by_hand = Agent::start();
    by_hand.observed(START);
    assert_eq!(by_hand.sees(fact(Goal::Drained), START + ms(1000)), []);
    assert_eq!(by_hand.step(AgentEvent::Tick, START + ms(60_000)), []);
    let mut database = Host::start(false, &["db"]);
    database.leased = false;
    let told = database.told(vec![order("db", Goal::Drained, NEW)], START);
    let stopped = crate::Condition::Stopped;
    database.reaches("db", &told, super::host::fact(stopped, crate::Role::None, false), START);
    let later = database.tick(START + PAUSE_MAX * 2);
    assert_eq!(goals("db", &later), [], "a drained source stays so");
    let mut anew = Host::start(false, &["db"]);
    anew.sees("db", super::host::fact(stopped, crate::Role::None, false), START);
    assert_eq!(goals("db", &anew.tick(START + PAUSE_MAX)), []);
}
