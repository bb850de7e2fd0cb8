//! A write that is tried at the goal of an order: one that hangs keeps no newer order waiting.

use super::super::*;
use crate::testing::{EU, group, ms, spec};
use crate::{GroupDirective, Layer, Profile};

const START: Instant = Instant(1_000_000_000_000);

fn bucket() -> InstanceId {
    format!("bucket-{EU}").into()
}

/// What the driver is asked to verify, by `event` at `now`; goals are reached at once.
fn verifies(machine: &mut AgentMachine, event: AgentEvent, now: Instant) -> Vec<Token> {
    let mut asked = Vec::new();
    for action in machine.step(event, now) {
        let event = match action {
            AgentAction::Verify { token, .. } => {
                asked.push(token);
                continue;
            }
            AgentAction::StoreToken { group, instance, token } => {
                AgentEvent::TokenStored { group, instance, token, ok: true }
            }
            AgentAction::Ensure { group, instance, attempt, .. } => {
                AgentEvent::EnsureEnded { group, instance, attempt, result: Ok(Reached::default()) }
            }
            _ => continue,
        };
        asked.extend(verifies(machine, event, now));
    }
    asked
}

fn told(machine: &mut AgentMachine, token: Token, now: Instant) -> Vec<Token> {
    let order = Order {
        group: group(),
        instance: bucket(),
        layer: Layer::Data,
        goal: Goal::Active,
        token,
        verify: true,
        terms: Terms::default(),
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
        answers: Some(machine.report(now).sequence),
        incarnation: Incarnation(1),
        groups: BTreeMap::from([(group(), part)]),
        succeeds: None,
        arbiters: Vec::new(),
    };
    verifies(machine, AgentEvent::Directive(directive), now)
}

#[test]
fn a_newer_order_is_verified_though_an_older_write_hangs() {
    let instance = spec().groups[&group()].instances[&bucket()].clone();
    let stored = Stored {
        agent: format!("agent-{EU}").into(),
        incarnation: Incarnation(1),
        boot_id: "boot".to_owned(),
        cluster_id: Some("test".into()),
        tokens: BTreeMap::new(),
        armed: BTreeMap::new(),
        leaves: None,
    };
    let timings = BTreeMap::from([(group(), Profile::Wan.timing())]);
    let instances = BTreeMap::from([((group(), bucket()), instance)]);
    let mut machine = AgentMachine::new(stored, instances, &timings, START);
    let (older, newer) = (Token::new(3, 20), Token::new(3, 25));
    assert_eq!(told(&mut machine, older, START), [older]);
    assert_eq!(told(&mut machine, newer, START + ms(100)), [newer]);
    // The end of the older one says nothing of the newer.
    let (group, instance) = (group(), bucket());
    let result = Ok(Fact::default());
    let over = AgentEvent::VerifyEnded {
        group: group.clone(),
        instance: instance.clone(),
        token: older,
        result,
    };
    verifies(&mut machine, over, START + ms(200));
    let report = machine.report(START + ms(200));
    assert_eq!(report.groups[&group].instances[&instance].verified, None);
}
