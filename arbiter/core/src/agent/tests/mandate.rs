//! What an agent does with an order to cut off another region, and with a goal that did not last.

use super::super::*;
use crate::testing::{EU, GROUP, US, group, ms, spec};
use crate::{GroupDirective, Layer, Profile, external_fence_id, external_fences_beside};

const TOKEN: Token = Token::new(1, 9);
const START: Instant = Instant(1_000_000_000);

/// The agent of us-east, with the external fence of eu-west beside its database.
fn machine() -> AgentMachine {
    let agent: AgentId = format!("agent-{US}").into();
    let mut policy = spec().groups.remove(&group()).unwrap();
    policy.policy.external_fence.insert(EU.into(), BTreeMap::new());
    let database = policy.beside(&agent).filter(|(_, i)| i.needs_evidence());
    let own: Vec<_> = database.map(|(id, i)| (id.clone(), i.clone())).collect();
    let all = own.into_iter().chain(external_fences_beside(&policy, &agent));
    let stored = Stored {
        agent: agent.clone(),
        incarnation: Incarnation(1),
        boot_id: "boot".to_owned(),
        cluster_id: Some("test".into()),
        tokens: BTreeMap::new(),
        armed: BTreeMap::new(),
        leaves: None,
    };
    let instances = all.map(|(id, instance)| ((group(), id), instance)).collect();
    let timings = BTreeMap::from([(group(), Profile::Wan.timing())]);
    let mut machine = AgentMachine::new(stored, instances, &timings, START);
    let shows = AgentEvent::DeadmanShows { holds: BTreeMap::new(), counts_as: BTreeMap::new() };
    machine.step(shows, START);
    machine
}

fn order(instance: InstanceId) -> Order {
    Order {
        group: group(),
        instance,
        layer: Layer::Data,
        goal: Goal::Fenced,
        token: TOKEN,
        verify: false,
        terms: Terms::default(),
        commits: None,
    }
}

fn told(answers: Option<u64>, orders: Vec<Order>) -> AgentEvent {
    let part = GroupDirective {
        revision: 9,
        timing: Profile::Wan.timing(),
        lease: None,
        arm: false,
        serves_on: false,
        orders,
    };
    AgentEvent::Directive(Directive {
        cluster_id: "test".into(),
        term: 1,
        answers,
        incarnation: Incarnation(1),
        groups: BTreeMap::from([(GROUP.into(), part)]),
        succeeds: None,
        arbiters: Vec::new(),
    })
}

fn fence() -> InstanceId {
    external_fence_id(&EU.into())
}

fn runs(actions: &[AgentAction]) -> bool {
    actions.iter().any(
        |action| matches!(action, AgentAction::Ensure { instance, .. } if *instance == fence()),
    )
}

#[test]
fn another_region_is_cut_off_only_while_a_quorum_says_so() {
    let mut machine = machine();
    let pushed = machine.step(told(None, vec![order(fence())]), START);
    assert!(!runs(&pushed), "nobody was answered: whoever pushed this may be alone");

    let sequence = machine.report(START).sequence;
    let answered = machine.step(told(Some(sequence), vec![order(fence())]), START + ms(100));
    assert!(runs(&answered));

    let fresh = machine.step(AgentEvent::Tick, START + ms(3000));
    assert!(!fresh.iter().any(|a| matches!(a, AgentAction::CancelEnsure { .. })));
    let alone = machine.step(AgentEvent::Tick, START + ms(3100));
    let dropped = AgentAction::CancelEnsure { group: group(), instance: fence() };
    assert!(alone.contains(&dropped), "the plan may be undone meanwhile: {alone:?}");
}

#[test]
fn what_is_seen_to_accept_writes_is_not_fenced_any_more() {
    let mut machine = machine();
    let database: InstanceId = format!("db-{US}").into();
    let sequence = machine.report(START).sequence;
    let asked = machine.step(told(Some(sequence), vec![order(database.clone())]), START);
    let attempt = asked.iter().find_map(|action| match action {
        AgentAction::Ensure { attempt, instance, .. } if *instance == database => Some(*attempt),
        _ => None,
    });
    let reached = Reached { evidence: Some(EvidenceKind::Confirmed), ..Reached::default() };
    let ended = AgentEvent::EnsureEnded {
        group: group(),
        instance: database.clone(),
        attempt: attempt.expect("the fence is run"),
        result: Ok(reached),
    };
    machine.step(ended, START + ms(10));
    let stored = AgentEvent::TokenStored {
        group: group(),
        instance: database.clone(),
        token: TOKEN,
        ok: true,
    };
    machine.step(stored, START + ms(20));
    let done = |machine: &mut AgentMachine, at| {
        machine.report(at).groups[&group()].instances[&database].done.is_some()
    };
    assert!(done(&mut machine, START + ms(30)));

    let looks = machine.step(AgentEvent::Tick, START + ms(1500));
    assert!(looks.contains(&AgentAction::Observe { group: group(), instance: database.clone() }));
    let fact = Fact { writable: true, condition: crate::Condition::Healthy, ..Fact::default() };
    let seen = AgentEvent::Observed { group: group(), instance: database.clone(), fact };
    machine.step(seen, START + ms(1600));
    assert!(!done(&mut machine, START + ms(1700)), "somebody started it around the gate");
}

/// The attempt at the database's goal that these actions begin.
fn attempt(actions: &[AgentAction], database: &InstanceId) -> Option<u64> {
    actions.iter().find_map(|action| match action {
        AgentAction::Ensure { attempt, instance, .. } if instance == database => Some(*attempt),
        _ => None,
    })
}

fn standby(streaming: bool) -> Fact {
    let position = crate::Position::default();
    let upstream = crate::Upstream { position, age: Duration::ZERO, streaming };
    Fact {
        condition: crate::Condition::Healthy,
        role: crate::Role::Replica,
        upstream: Some(upstream),
        ..Fact::default()
    }
}

#[test]
fn a_standby_that_has_lost_its_stream_for_long_is_asked_for_again() {
    let mut machine = machine();
    let database: InstanceId = format!("db-{US}").into();
    let terms = Terms { upstream: "db.eu:5432".to_owned(), ..Terms::default() };
    let order = Order { goal: Goal::Standby, terms, ..order(database.clone()) };
    let sequence = machine.report(START).sequence;
    machine.step(told(Some(sequence), vec![order]), START);
    let (instance, token) = (database.clone(), TOKEN);
    let stored = AgentEvent::TokenStored { group: group(), instance, token, ok: true };
    let asked = machine.step(stored, START + ms(1));
    let first = attempt(&asked, &database).expect("it is told to follow");
    let reached = Reached { fact: standby(true), clean: true, ..Reached::default() };
    let ended = AgentEvent::EnsureEnded {
        group: group(),
        instance: database.clone(),
        attempt: first,
        result: Ok(reached),
    };
    machine.step(ended, START + ms(10));
    let mut look = |at, streaming| {
        machine.step(AgentEvent::Tick, START + at);
        let fact = standby(streaming);
        let seen = AgentEvent::Observed { group: group(), instance: database.clone(), fact };
        attempt(&machine.step(seen, START + at), &database)
    };
    assert_eq!(look(ms(2_000), false), None, "a short break is its own affair");
    assert_eq!(look(ms(20_000), true), None);
    assert_eq!(look(ms(25_000), false), None);
    assert_eq!(look(ms(54_000), false), None, "it counts from when it was last seen to follow");
    assert!(look(ms(56_000), false).is_some());
}
