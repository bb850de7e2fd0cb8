//! The replicated State: whatever is decodable is settled without a panic, and breaks nothing.

use super::worlds::{behind, worlds};
use super::{Input, commands, survives_json, tells};
use arbiter_core::{
    Instant, Proposal, Rejected, Settled, State, View, check_invariants, decide, explain, orders,
    settle,
};
use serde_json::{Value, json};

/// Commands of one input.
const COMMANDS_MAX: u64 = 48;
/// Places that are changed in a State before the first command.
const CHANGES_MAX: usize = 4;

/// A Proposal as JSON, settled on every State of a few.
pub fn proposal(bytes: &[u8]) {
    let Ok(proposal) = serde_json::from_slice::<Proposal>(bytes) else { return };
    survives_json(&proposal);
    let step = worlds().len() / 8;
    for state in worlds().iter().step_by(step.max(1)) {
        settled(state, &proposal, 0);
    }
}

/// Commands, one after the other, on a State as it became or as nobody would have made it.
pub fn apply(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mut state = worlds()[input.below(worlds().len())].clone();
    let changes = input.below(2 * CHANGES_MAX).saturating_sub(CHANGES_MAX);
    for _ in 0..changes {
        state = changed(state, &mut input);
    }
    for index in 0..COMMANDS_MAX {
        if input.is_over() {
            break;
        }
        let proposal = commands::proposal(&mut input, &state);
        state = settled(&state, &proposal, index).state;
    }
    looked_at(&state, &mut input);
}

/// What every entry keeps, whatever it asks.
fn settled(before: &State, proposal: &Proposal, index: u64) -> Settled {
    let at = behind(index);
    let settled = settle(before, proposal, at);
    assert_eq!(settled, settle(before, proposal, at), "two replicas differ");
    match &settled.outcome {
        Ok(_) => {
            if let Err(breach) = check_invariants(before, &settled.state) {
                panic!("{breach:?} by {proposal:?}");
            }
        }
        Err(refused) => {
            tells(&refused.to_string());
            if let Rejected::Refused { code, next, .. } = refused {
                tells(code);
                tells(next);
            }
            let (requests, audit) = (before.requests.clone(), before.audit.clone());
            let as_before = State { requests, audit, ..settled.state.clone() };
            assert!(as_before == *before, "refused, and changed: {proposal:?}");
        }
    }
    for (id, group) in &settled.state.groups {
        let epoch = before.groups.get(id).map_or(0, |before| before.epoch().0);
        assert!(group.epoch().0 >= epoch, "I2: the epoch of {id} fell");
    }
    survives_json(&settled.state);
    settled
}

/// What a leader, an agent and an operator make of it.
fn looked_at(state: &State, input: &mut Input<'_>) {
    let elected = Instant::from_millis(input.number() >> 32);
    let view = View::elected(behind(0).term, elected);
    let now = Instant(elected.0.saturating_add(input.number()));
    for agent in state.spec.agents.keys() {
        let _ = orders(state, agent);
    }
    for (_, reason) in explain(state, &view, now) {
        tells(&reason.text);
    }
    for (index, proposal) in decide(state, &view, now).iter().enumerate() {
        settled(state, proposal, COMMANDS_MAX + index as u64);
    }
}

/// The State with one place of its JSON changed, where that is a State still.
fn changed(state: State, input: &mut Input<'_>) -> State {
    let mut whole = serde_json::to_value(&state).expect("a State is JSON");
    let place = place_in(&mut whole, input);
    *place = altered(place.take(), input);
    serde_json::from_value(whole).unwrap_or(state)
}

fn place_in<'v>(whole: &'v mut Value, input: &mut Input<'_>) -> &'v mut Value {
    let count = match &*whole {
        Value::Array(all) => all.len(),
        Value::Object(all) => all.len(),
        _ => 0,
    };
    if count == 0 || input.below(8) == 0 {
        return whole;
    }
    let at = input.below(count);
    let next = match whole {
        Value::Array(all) => all.get_mut(at),
        Value::Object(all) => all.values_mut().nth(at),
        _ => None,
    };
    place_in(next.expect("it is below the count"), input)
}

fn altered(value: Value, input: &mut Input<'_>) -> Value {
    match (input.below(6), value) {
        (0, Value::Array(mut all)) => Value::Array(all.split_off(all.len() / 2)),
        (1, Value::Array(all)) => Value::Array([all.clone(), all].concat()),
        (0, Value::Object(mut all)) => {
            let at = input.below(all.len());
            let key = all.keys().nth(at).cloned();
            key.and_then(|key| all.remove(&key));
            Value::Object(all)
        }
        (0..=3, Value::Number(_)) => json!(input.number()),
        (0..=1, Value::String(_)) => json!("nobody"),
        (2, _) => Value::Null,
        (3, _) => json!(u64::MAX),
        (4, _) => json!([]),
        _ => json!({}),
    }
}
