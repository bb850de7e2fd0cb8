//! The way back after the point of no return: what the old source must be to be promoted again.

use crate::testing::*;
use crate::*;

const OLD: &str = "db-eu-west";

/// A failover to us-east past its point of no return, whose target is lost.
fn target_lost() -> World {
    let mut world = World::in_mode(Mode::Manual);
    world.agent(US).stubborn.insert("web-us-east".into());
    world.open(&world.request(PlanKind::Failover)).unwrap();
    world.run(ms(1000));
    assert_eq!(world.group().epoch(), Epoch(2));
    assert_eq!(fork(&world), Position { timeline: 1, offset: 1000 });
    world.cut(US);
    world.run(ms(10_000));
    world
}

fn fork(world: &World) -> Position {
    world.plan().target_end[&"db".into()]
}

fn asked(world: &World) -> Result<Command, Vec<Reason>> {
    let request = OpenRequest { accept_loss: true, ..world.request(PlanKind::Failover) };
    supersede(&world.state, &world.view, world.now, &request)
}

fn refused(outcome: Result<(), Rejected>) -> (String, String) {
    match outcome {
        Err(Rejected::Refused { code, reason, .. }) => (code, reason),
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn the_old_source_is_promoted_again_only_from_where_it_is_known_to_stand() {
    let mut world = target_lost();
    let command = asked(&world).unwrap();
    let mut stood = |at: Option<u64>| {
        let mut command = command.clone();
        let Command::Supersede { stands, .. } = &mut command else { panic!("{command:?}") };
        assert_eq!(stands.len(), 2, "the database and the bucket");
        stands.remove(&"db".into());
        stands.extend(at.map(|offset| ("db".into(), Position { timeline: 1, offset })));
        world.operator(command)
    };
    let (code, reason) = refused(stood(None));
    assert_eq!(code, "not-standby-ready");
    assert!(reason.contains("position is not known"), "{reason}");
    let (code, reason) = refused(stood(Some(999)));
    assert_eq!(code, "not-standby-ready");
    assert!(reason.contains("before the fork"), "{reason}");
    stood(Some(1000)).unwrap();
    assert_eq!(world.last_plan().end, Some(PlanEnd::Superseded(world.plan().id)));
}

#[test]
fn the_old_source_is_promoted_again_only_where_its_fence_was_proven() {
    let mut world = target_lost();
    let command = asked(&world).unwrap();
    let plan = world.state.groups.get_mut(&group()).unwrap().plan.as_mut().unwrap();
    plan.evidence.remove(&OLD.into());
    assert_eq!(refused(world.operator(command)).0, "not-fenced");
}

#[test]
fn what_is_found_to_end_before_the_fork_is_not_promoted() {
    let mut world = target_lost();
    let command = asked(&world).unwrap();
    world.operator(command).unwrap();
    world.agent(EU).received = [(OLD.into(), 999)].into();
    world.run(ms(15_000));
    let halt = world.plan().halt.as_ref().expect("it waits for an operator");
    assert!(halt.reason.contains("before the fork"), "{halt:?}");
    assert_eq!(world.group().epoch(), Epoch(2));
    let plan = world.state.groups.get_mut(&group()).unwrap().plan.as_mut().unwrap();
    plan.halt = None;
    let end = Position { timeline: 1, offset: 999 };
    let target_end = [("db".into(), end)].into();
    let outcome = StepOutcome { state: StepState::Done, target_end, ..StepOutcome::default() };
    let (group, plan) = (group(), plan.id);
    let step = StepId::CatchUp;
    let end = world.operator(Command::EndStep { group, plan, step, outcome, took: ms(0) });
    assert_eq!(refused(end).0, "before-fork");
}

#[test]
fn the_old_sources_own_data_must_be_what_the_lost_target_held() {
    let mut world = World::in_mode(Mode::Manual);
    world.agent(US).data_ids = [("db-us-east".into(), "ours".to_owned())].into();
    world.agent(US).stubborn.insert("web-us-east".into());
    world.open(&world.request(PlanKind::Failover)).unwrap();
    world.run(ms(1000));
    world.agent(EU).data_ids = [(OLD.into(), "others".to_owned())].into();
    world.cut(US);
    world.run(ms(10_000));
    let closed = asked(&world).unwrap_err();
    assert!(closed.iter().any(|gate| gate.text.contains("other data")), "{closed:?}");
}
