//! `on_quorum_loss = "hold"`: armed, and nothing ends by itself.

use super::super::*;
use crate::testing::{EU, group, ms, spec};
use crate::{GroupDirective, GroupReport, Layer, Profile, Role};

const START: Instant = Instant(1_000_000_000_000);
const TOKEN: Token = Token::new(3, 20);

fn database() -> InstanceId {
    format!("db-{EU}").into()
}

/// An armed agent beside a primary, and its deadman.
struct Agent {
    machine: AgentMachine,
    deadman: Deadman,
    revision: u64,
}

impl Agent {
    fn start() -> Self {
        let agent: AgentId = format!("agent-{EU}").into();
        let policy = spec().groups.remove(&group()).unwrap();
        let instances = policy.beside(&agent).filter(|(id, _)| **id == database());
        let instances = instances.map(|(id, i)| ((group(), id.clone()), i.clone())).collect();
        let arming = Arming { expiry_counts_as: EvidenceKind::LeaseExpired };
        let stored = Stored {
            agent,
            incarnation: Incarnation(1),
            boot_id: "boot".to_owned(),
            cluster_id: Some("test".into()),
            leaves: None,
            tokens: BTreeMap::from([((group(), database()), TOKEN)]),
            armed: BTreeMap::from([(group(), arming)]),
        };
        let timings = BTreeMap::from([(group(), Profile::Wan.timing())]);
        let machine = AgentMachine::new(stored, instances, &timings, START);
        let mut agent = Self { machine, deadman: Deadman::new(), revision: TOKEN.revision.0 };
        agent.deadman.step(DeadmanEvent::Arm(group()), START);
        agent.shows(START);
        agent
    }

    fn shows(&mut self, now: Instant) -> Vec<AgentAction> {
        let holds = self.deadman.holds().clone();
        let counts_as = BTreeMap::from([(group(), EvidenceKind::LeaseExpired)]);
        self.machine.step(AgentEvent::DeadmanShows { holds, counts_as }, now)
    }

    /// Whatever is asked of driver and deadman is done. Which goals were asked for.
    fn step(&mut self, event: AgentEvent, now: Instant) -> Vec<Goal> {
        let mut all = self.machine.step(event, now);
        let (mut next, mut goals) = (0, Vec::new());
        while next < all.len() {
            let more = match all[next].clone() {
                AgentAction::Deadman(event) => {
                    self.deadman.step(event, now);
                    self.shows(now)
                }
                AgentAction::Ensure { group, instance, attempt, goal, .. } => {
                    goals.push(goal);
                    let writable = goal == Goal::Active;
                    let role = if writable { Role::Primary } else { Role::None };
                    let fact = Fact { role, writable, ..Fact::default() };
                    let result = Ok(Reached { fact, ..Reached::default() });
                    let ended = AgentEvent::EnsureEnded { group, instance, attempt, result };
                    self.machine.step(ended, now)
                }
                _ => Vec::new(),
            };
            all.extend(more);
            next += 1;
        }
        goals
    }

    /// The leader answers at once.
    fn answered(&mut self, serves_on: bool, now: Instant) -> Vec<Goal> {
        let sequence = self.machine.report(now).sequence;
        self.told(serves_on, Some(sequence), now)
    }

    fn told(&mut self, serves_on: bool, answers: Option<u64>, now: Instant) -> Vec<Goal> {
        let timing = Profile::Wan.timing();
        let order = Order {
            group: group(),
            instance: database(),
            layer: Layer::Data,
            goal: Goal::Active,
            token: TOKEN,
            verify: false,
            terms: Terms::default(),
            commits: None,
        };
        let part = GroupDirective {
            revision: self.revision,
            timing,
            lease: Some(timing.lease),
            arm: true,
            serves_on,
            orders: vec![order],
        };
        let directive = Directive {
            cluster_id: "test".into(),
            term: 1,
            answers,
            incarnation: Incarnation(1),
            groups: BTreeMap::from([(group(), part)]),
            succeeds: None,
            arbiters: Vec::new(),
        };
        self.step(AgentEvent::Directive(directive), now)
    }

    /// Nobody answers for `time`. Which goals were asked for meanwhile.
    fn alone(&mut self, from: Instant, time: std::time::Duration) -> Vec<Goal> {
        let mut goals = Vec::new();
        let mut now = from;
        while now < from + time {
            now = now + ms(250);
            self.deadman.step(DeadmanEvent::Tick, now);
            goals.extend(self.step(AgentEvent::Tick, now));
        }
        goals
    }

    fn hold(&self) -> &Hold {
        &self.deadman.holds()[&group()]
    }

    fn shown(&mut self, now: Instant) -> GroupReport {
        self.machine.report(now).groups.remove(&group()).unwrap()
    }
}

#[test]
fn it_serves_on_for_an_hour_without_a_quorum() {
    let mut agent = Agent::start();
    assert_eq!(agent.answered(true, START), [Goal::Active]);
    assert_eq!(agent.alone(START, ms(3_600_000)), []);
    assert!(agent.hold().armed && !agent.hold().frozen);
    assert_eq!(agent.hold().deadline, None);
    let shown = agent.shown(START + ms(3_600_000));
    assert!(shown.arming.is_some(), "it is gated, and obeys a fence");
    assert!(!shown.deadline_running && !shown.lapsed, "State must not count on its end");
}

#[test]
fn a_lease_that_ran_is_let_go_of() {
    let mut agent = Agent::start();
    agent.answered(false, START);
    assert!(agent.hold().deadline.is_some());
    agent.revision += 1;
    agent.answered(true, START + ms(1000));
    assert_eq!(agent.hold().deadline, None);
    assert_eq!(agent.alone(START + ms(1000), ms(60_000)), []);
}

#[test]
fn turned_off_a_deadline_runs_from_the_next_answer_on() {
    let mut agent = Agent::start();
    agent.answered(true, START);
    let now = START + ms(60_000);
    agent.revision += 1;
    agent.answered(false, now);
    assert_eq!(agent.hold().deadline, Some(now + Profile::Wan.timing().lease));
    assert!(agent.shown(now).deadline_running);
    assert_eq!(agent.alone(now, ms(60_000)), [Goal::Fenced], "alone it is fenced again");
}

/// I4: a leader that was deposed may say it yet, from a State in which nothing counts on the end of
/// this lease.
#[test]
fn a_late_word_to_serve_on_ends_no_lease() {
    let mut agent = Agent::start();
    agent.answered(false, START);
    let deadline = agent.hold().deadline;
    assert!(deadline.is_some());
    agent.told(true, None, START + ms(1000));
    assert_eq!(agent.hold().deadline, deadline);
    assert_eq!(agent.alone(START + ms(1000), ms(60_000)), [Goal::Fenced]);
}
