//! `on_quorum_loss = "hold"`: armed agents whose leases never end, and whose end proves nothing.

use super::super::group::mode_can_hold;
use crate::testing::*;
use crate::*;

fn holding() -> ClusterSpec {
    with(OnQuorumLoss::Hold)
}

fn with(on_quorum_loss: OnQuorumLoss) -> ClusterSpec {
    let mut spec = spec();
    spec.groups.get_mut(&group()).unwrap().policy.on_quorum_loss = on_quorum_loss;
    spec
}

fn world(mode: Mode) -> World {
    let mut world = World::with(holding());
    world.enter(mode);
    world
}

fn known(world: &World) -> Vec<&AgentId> {
    let armed = |id: &&AgentId| world.state.arming(id, &group()).is_some();
    world.state.bindings.keys().filter(armed).collect()
}

fn gate(world: &World, code: &str) -> bool {
    let request = OpenRequest::plain(&group(), PlanKind::Failover, true);
    let closed = preflight(&world.state, &world.view, world.now, &request).unwrap_err();
    closed.iter().any(|reason| reason.code == code)
}

#[test]
fn its_agents_are_gated_and_never_known_as_armed() {
    let world = world(Mode::Automatic);
    assert_eq!(world.group().mode, Mode::Automatic);
    assert!(world.agents.values().all(|agent| agent.arming.is_some()), "they are asked to arm");
    assert_eq!(known(&world), Vec::<&AgentId>::new());
}

#[test]
fn without_an_arming_asked_for_it_acts_in_no_mode() {
    let mut world = World::with(holding());
    let set = Command::SetMode { group: group(), mode: Mode::Manual, expected_epoch: Epoch(1) };
    assert_eq!(world.operator(set).unwrap_err().code(), "not-armed");
}

/// I9: the silence of a region is no evidence, however long it lasts.
#[test]
fn the_end_of_a_lease_proves_nothing() {
    let mut world = world(Mode::Automatic);
    world.cut(EU);
    world.run(ms(120_000));
    assert_eq!((world.group().epoch(), &world.group().plan), (Epoch(1), &None));
    assert!(gate(&world, "evidence"), "it says what is missing");
    world.open(&world.request(PlanKind::Failover)).unwrap();
    world.run(ms(120_000));
    assert!(world.plan().halt.is_some(), "an operator's failover waits for a word");
    let evidence = Evidence {
        kind: EvidenceKind::LeaseExpired,
        instance: "db-eu-west".into(),
        agent: "agent-eu-west".into(),
        incarnation: world.state.bindings[&"agent-eu-west".into()].incarnation,
        token: world.plan().fence_token,
        term: world.at.term,
        waited: Some(ms(600_000)),
        clean: false,
        note: String::new(),
    };
    let (group, plan) = (group(), world.plan().id);
    let record = Command::RecordEvidence { group, plan, evidence, end: None, took: ms(0) };
    assert_eq!(world.operator(record).unwrap_err().code(), "stale");
    assert_eq!(world.group().epoch(), Epoch(1));
}

#[test]
fn an_operator_attests_and_a_live_agent_confirms() {
    let mut world = world(Mode::Manual);
    world.open(&world.request(PlanKind::Switchover)).unwrap();
    world.run(ms(5000));
    assert_eq!(world.group().epoch(), Epoch(2), "a switchover is as ever");
    world.cut(US);
    world.run(ms(10_000));
    world.open(&world.request(PlanKind::Failover)).unwrap();
    world.run(ms(30_000));
    assert!(world.plan().halt.is_some());
    let (id, db) = (world.plan().id, "db-us-east".into());
    let word = attest(&world.state, &world.view, &group(), id, &db, world.now).unwrap();
    world.operator(word).unwrap();
    world.run(ms(5000));
    assert_eq!(world.group().epoch(), Epoch(3));
}

/// Less enforcement: State first, then the agents; more: the agents first.
#[test]
fn turned_on_and_off_in_the_safe_order() {
    let mut world = World::in_mode(Mode::Automatic);
    assert_eq!(known(&world).len(), 2);
    world.operator(Command::ApplyPolicy { spec: holding() }).unwrap();
    assert_eq!(known(&world).len(), 0, "in the same entry, before any agent can have heard of it");
    let before = world.group().revision;
    assert_eq!(before, world.at.index, "a directive made from an older State is obeyed no more");
    world.run(ms(3000));
    assert!(world.agents.values().all(|agent| !agent.leased), "no deadline runs any more");

    world.operator(Command::ApplyPolicy { spec: with(OnQuorumLoss::Fence) }).unwrap();
    assert_eq!(known(&world).len(), 0, "no agent has shown a running deadline yet");
    assert!(mode_can_hold(&world.state, &group()).is_err(), "the mode is not in effect");
    world.run(ms(3000));
    assert_eq!(known(&world).len(), 2);
    world.cut(EU);
    world.run(ms(30_000));
    assert_eq!(world.group().epoch(), Epoch(2), "the end of the lease counts again");
}

#[test]
fn it_never_changes_under_an_open_plan() {
    let mut world = World::in_mode(Mode::Manual);
    world.cut(EU);
    world.run(ms(4000));
    world.open(&world.request(PlanKind::Failover)).unwrap();
    let turned = world.operator(Command::ApplyPolicy { spec: holding() });
    assert_eq!(turned.unwrap_err().code(), "plan-open");
}
