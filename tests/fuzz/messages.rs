//! What agents and leader tell each other: Reports up, Directives down.

use super::worlds::{LIFE, behind, worlds};
use super::{Input, survives_json, tells};
use arbiter::wire;
use arbiter_core::agent::{AgentAction, AgentEvent, AgentMachine, Stored};
use arbiter_core::*;
use arbiter_proto::v1 as pb;
use prost::Message;
use std::collections::BTreeMap;
use std::time::Duration;

/// A Report is refused in words, or outlives the way back over the wire, and a leader can hear it,
/// answer it, and decide on it: nothing that it decides is unsound.
pub fn report(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let state = &worlds()[input.below(worlds().len())];
    let ours = input.flip();
    let Ok(message) = pb::Report::decode(input.rest()) else { return };
    let mut report = match wire::report_from_proto(message) {
        Ok(report) => report,
        Err(error) => return tells(&error.to_string()),
    };
    survives_json(&report);
    let again = wire::report_from_proto(wire::report_to_proto(&report));
    assert_eq!(again.as_ref(), Ok(&report), "a Report is read back as another");
    if let Some(agent) = state.spec.agents.keys().next().filter(|_| ours) {
        (report.agent, report.incarnation) = (agent.clone(), LIFE);
        "boot".clone_into(&mut report.boot_id);
    }
    heard(state, report);
}

fn heard(state: &State, report: Report) {
    let mut view = View::elected(behind(0).term, Instant::from_millis(1000));
    let mut now = Instant::from_millis(60_000);
    let crossing = lag_crossing(state, &view, &report, now);
    view.hear(report.clone(), now);
    view.note(state, now);
    let directive = view.answer(state, &report, now);
    let again = wire::directive_from_proto(wire::directive_to_proto(&directive));
    assert_eq!(again.as_ref(), Ok(&directive), "a Directive is read back as another");
    let mut decided = crossing;
    for _ in 0..3 {
        decided.extend(decide(state, &view, now));
        explain(state, &view, now).iter().for_each(|(_, reason)| tells(&reason.text));
        now = now + Duration::from_secs(20);
        view.note(state, now);
    }
    for (index, proposal) in decided.iter().enumerate() {
        let settled = settle(state, proposal, behind(index as u64));
        if let Err(refused @ Rejected::Breach { .. }) = settled.outcome {
            panic!("the leader decided {proposal:?}: {refused}");
        }
    }
}

/// A Directive is refused in words, or outlives the way back over the wire, and an agent can obey
/// it: no token that it stores falls.
pub fn directive(bytes: &[u8]) {
    let Ok(message) = pb::Directive::decode(bytes) else { return };
    let directive = match wire::directive_from_proto(message) {
        Ok(directive) => directive,
        Err(error) => return tells(&error.to_string()),
    };
    survives_json(&directive);
    let again = wire::directive_from_proto(wire::directive_to_proto(&directive));
    assert_eq!(again.as_ref(), Ok(&directive), "a Directive is read back as another");
    obeyed(directive);
}

fn obeyed(directive: Directive) {
    let mut now = Instant::from_millis(60_000);
    let (mut machine, mut tokens) = (agent(&directive, now), BTreeMap::new());
    let shows = AgentEvent::DeadmanShows { holds: BTreeMap::new(), counts_as: BTreeMap::new() };
    let _ = machine.step(shows, now);
    for _ in 0..4 {
        let mut actions = machine.step(AgentEvent::Directive(directive.clone()), now);
        actions.extend(machine.step(AgentEvent::Tick, now));
        for action in actions {
            let AgentAction::StoreToken { group, instance, token } = action else { continue };
            let before = tokens.insert((group.clone(), instance.clone()), token);
            assert!(before.is_none_or(|before| before <= token), "I10: {instance} fell to {token}");
            let stored = AgentEvent::TokenStored { group, instance, token, ok: true };
            let _ = machine.step(stored, now);
        }
        survives_json(&machine.report(now));
        now = now + Duration::from_secs(5);
        now = machine.next_wake(now).map_or(now, |wake| now.max(wake));
    }
}

/// An agent that serves whatever the Directive names.
fn agent(directive: &Directive, now: Instant) -> AgentMachine {
    let (agent, cluster) = (AgentId::from("agent-eu"), directive.cluster_id.clone());
    let instance = |order: &Order| Instance {
        resource: "db".into(),
        region: "eu-west".into(),
        agent: agent.clone(),
        kind: "postgres".to_owned(),
        layer: order.layer,
        fencing: Fencing::Required,
        control: Control::Owned,
        evidence: [EvidenceKind::Confirmed, EvidenceKind::LeaseExpired].into(),
        waits: order.layer == Layer::Data,
        address: "10.0.1.2:5432".to_owned(),
        settings: BTreeMap::new(),
    };
    let orders = directive.groups.iter().flat_map(|(group, of)| {
        of.orders.iter().map(|order| ((group.clone(), order.instance.clone()), instance(order)))
    });
    let stored = Stored {
        agent: agent.clone(),
        incarnation: directive.incarnation,
        boot_id: "boot".to_owned(),
        cluster_id: Some(cluster),
        leaves: None,
        tokens: BTreeMap::new(),
        armed: BTreeMap::new(),
    };
    AgentMachine::new(stored, orders.collect(), &BTreeMap::new(), now)
}
