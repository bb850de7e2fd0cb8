//! What an agent asks for when something outside is not as it was.

use super::super::*;
use crate::{Control, Fencing, Layer, Profile};

const NOW: Instant = Instant(1_000_000_000_000);

fn instance() -> Instance {
    Instance {
        resource: "db".into(),
        region: "eu-west".into(),
        agent: "agent-eu".into(),
        kind: "fake".to_owned(),
        layer: Layer::Data,
        fencing: Fencing::Required,
        control: Control::Owned,
        evidence: Default::default(),
        waits: false,
        address: "db:5432".to_owned(),
        settings: BTreeMap::new(),
    }
}

/// An agent that found its group armed, on its disk and at its deadman.
fn armed() -> AgentMachine {
    let (group, timing) = (GroupId::from("g"), Profile::Wan.timing());
    let arming = Arming { expiry_counts_as: EvidenceKind::LeaseExpired };
    let stored = Stored {
        agent: "agent-eu".into(),
        incarnation: Incarnation(1),
        boot_id: "boot".to_owned(),
        cluster_id: None,
        tokens: BTreeMap::new(),
        armed: BTreeMap::from([(group.clone(), arming)]),
        leaves: None,
    };
    let instances = BTreeMap::from([((group.clone(), InstanceId::from("db")), instance())]);
    let timings = BTreeMap::from([(group.clone(), timing)]);
    let mut machine = AgentMachine::new(stored, instances, &timings, NOW);
    let mut deadman = Deadman::new();
    deadman.step(DeadmanEvent::Arm(group.clone()), NOW);
    let deadline = NOW + timing.lease;
    deadman.step(DeadmanEvent::Renew { group: group.clone(), deadline, timing }, NOW);
    let counts_as = BTreeMap::from([(group, EvidenceKind::LeaseExpired)]);
    let holds = deadman.holds().clone();
    machine.step(AgentEvent::DeadmanShows { holds, counts_as }, NOW);
    machine
}

fn observed(detail: &[&str]) -> AgentEvent {
    let detail = detail.iter().map(|key| ((*key).to_owned(), String::new())).collect();
    let fact = Fact { detail, ..Fact::default() };
    AgentEvent::Observed { group: "g".into(), instance: "db".into(), fact }
}

/// I4: a gate that somebody took out is seen, not reported as armed, and put in again.
#[test]
fn a_lost_gate_is_put_in_again_and_armed_only_then() {
    let (mut machine, group) = (armed(), GroupId::from("g"));
    machine.step(observed(&[]), NOW);
    assert!(machine.is_armed(&group));
    let asked = machine.step(observed(&[GATE_MISSING]), NOW);
    let set = AgentAction::SetGate { group: group.clone(), armed: true };
    assert!(asked.contains(&set), "{asked:?}");
    assert!(!machine.is_armed(&group));
    assert_eq!(machine.report(NOW).groups[&group].arming, None);
    // Nobody could: it is asked again, and stays unarmed.
    let failed = AgentEvent::GateSet { group: group.clone(), armed: true, ok: false };
    machine.step(failed, NOW);
    let again = machine.step(AgentEvent::Tick, NOW + group::ASK_AGAIN_AFTER);
    assert!(again.contains(&set), "{again:?}");
    assert!(!machine.is_armed(&group));
    machine.step(AgentEvent::GateSet { group: group.clone(), armed: true, ok: true }, NOW);
    assert!(machine.is_armed(&group));
    assert!(machine.report(NOW).groups[&group].arming.is_some());
}

/// It has F for all of it, and a clean stop may take as long as it is let.
#[test]
fn a_fence_of_its_own_waits_for_no_clean_stop() {
    let mut machine = armed();
    let actions = machine.step(AgentEvent::DeadmanGone, NOW);
    let stops = actions.iter().filter_map(|action| match action {
        AgentAction::Ensure { goal: Goal::Fenced, terms, .. } => Some(terms.clean_stop),
        _ => None,
    });
    assert_eq!(stops.collect::<Vec<_>>(), [Some(Duration::ZERO)]);
}
