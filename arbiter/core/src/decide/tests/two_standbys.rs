//! Two standbys in the target region: who has received most after the fence is promoted.

use crate::testing::*;
use crate::*;

const FIRST: &str = "db-us-east";
const SECOND: &str = "db-us-east-2";

/// The first has 950 of 1000, the second 900.
fn world(mode: Mode) -> World {
    let mut spec = spec();
    let instances = &mut spec.groups.get_mut(&group()).unwrap().instances;
    let second = Instance { address: SECOND.to_owned(), ..instances[&FIRST.into()].clone() };
    instances.insert(SECOND.into(), second);
    let mut world = World::with(spec);
    world.enter(mode);
    received(&mut world, 950, 900);
    world.run(ms(500));
    world
}

fn received(world: &mut World, first: u64, second: u64) {
    world.agent(US).received = [(FIRST.into(), first), (SECOND.into(), second)].into();
}

fn candidate(world: &World) -> &str {
    world.plan().candidates[&"db".into()].as_str()
}

fn end(offset: u64) -> Position {
    Position { timeline: 1, offset }
}

/// A failover whose source is lost, at `catch-up`; the second standby got more until then.
fn overtaken() -> World {
    let mut world = world(Mode::Manual);
    world.cut(EU);
    world.run(ms(4000));
    world.open(&world.request(PlanKind::Failover)).unwrap();
    assert_eq!(candidate(&world), FIRST);
    received(&mut world, 950, 1000);
    assert!(world.until(StepId::CatchUp));
    world
}

fn order(world: &World, instance: &str) -> Order {
    let orders = orders(&world.state, &"agent-us-east".into());
    orders.into_iter().find(|order| order.instance == instance.into()).expect("an order each")
}

#[test]
fn the_one_that_received_most_after_the_fence_is_promoted_and_the_other_follows_it() {
    let mut world = overtaken();
    for standby in [FIRST, SECOND] {
        let Order { goal, terms, .. } = order(&world, standby);
        assert_eq!((goal, terms.until), (Goal::Drained, None), "{standby}");
    }
    assert!(world.until(StepId::AdvanceEpoch));
    assert_eq!(candidate(&world), SECOND);
    assert_eq!(world.plan().target_end[&"db".into()], end(1000));
    received(&mut world, 2000, 1000);
    assert!(world.until(StepId::PromoteData));
    assert_eq!(candidate(&world), SECOND, "it never changes again");
    assert_eq!(world.group().primaries[&"db".into()].as_str(), SECOND);
    assert_eq!(order(&world, SECOND).goal, Goal::Active);
    let Order { goal, terms, .. } = order(&world, FIRST);
    assert_eq!((goal, terms.upstream.as_str()), (Goal::Standby, SECOND));
    world.run(ms(1000));
    assert_eq!(world.last_plan().end, Some(PlanEnd::Completed));
}

#[test]
fn who_has_most_is_waited_for_and_left_behind_only_within_the_rpo_or_by_name() {
    let mut world = overtaken();
    world.agent(US).stubborn.insert(SECOND.into());
    world.run(ms(1000));
    assert_eq!(world.plan().step(), Some(StepId::CatchUp), "it may drain yet");
    world.elect();
    world.run(ms(31_000));
    let halt = world.plan().halt.as_ref().expect("it waits for an operator");
    assert!(halt.reason.contains("received more than db-us-east"), "{halt:?}");
    let (group, plan) = (group(), world.plan().id);
    let expected_epoch = Epoch(1);
    world.operator(Command::ResumePlan { group, plan, expected_epoch, accept_loss: true }).unwrap();
    assert!(world.until(StepId::CatchUp));
    world.run(ms(31_000));
    assert_eq!(world.group().primaries[&"db".into()].as_str(), FIRST);
}

#[test]
fn a_switchover_waits_for_nobody_once_one_has_all_that_the_source_sent() {
    let mut world = world(Mode::Manual);
    received(&mut world, 1000, 900);
    world.open(&world.request(PlanKind::Switchover)).unwrap();
    world.agent(US).stubborn.insert(SECOND.into());
    assert!(world.until(StepId::CatchUp));
    assert_eq!(order(&world, SECOND).terms.until, Some(end(1000)));
    world.run(ms(2000));
    assert_eq!(world.last_plan().end, Some(PlanEnd::Completed));
    assert_eq!(world.group().primaries[&"db".into()].as_str(), FIRST);
}

#[test]
fn of_two_that_have_all_the_one_foreseen_is_promoted_if_it_comes_soon() {
    for (late, promoted) in [(500, FIRST), (2000, SECOND)] {
        let mut world = world(Mode::Manual);
        received(&mut world, 1000, 1000);
        world.open(&world.request(PlanKind::Switchover)).unwrap();
        world.agent(US).stubborn.insert(FIRST.into());
        assert!(world.until(StepId::CatchUp));
        world.run(ms(late));
        world.agent(US).stubborn.clear();
        world.run(ms(3000));
        assert_eq!(world.last_plan().end, Some(PlanEnd::Completed));
        assert_eq!(world.group().primaries[&"db".into()].as_str(), promoted, "{late} ms");
    }
}

/// The second is on a history of its own, and its numbers are higher.
fn forked(world: &mut World) {
    world.state.groups.get_mut(&group()).unwrap().returning.insert(SECOND.into());
    world.agent(US).stubborn.insert(FIRST.into());
}

#[test]
fn what_left_the_stream_is_not_chosen_for_its_numbers() {
    let mut world = world(Mode::Manual);
    received(&mut world, 1000, 1500);
    world.open(&world.request(PlanKind::Switchover)).unwrap();
    forked(&mut world);
    assert!(world.until(StepId::CatchUp));
    world.run(ms(60_000));
    assert!(matches!(world.last_plan().end, Some(PlanEnd::Aborted(_))));
    assert_eq!(world.group().epoch(), Epoch(1));
}

#[test]
fn what_left_the_stream_is_promoted_by_name_only() {
    let mut world = overtaken();
    forked(&mut world);
    world.run(ms(120_000));
    let halt = world.plan().halt.as_ref().expect("it waits for an operator");
    assert!(halt.reason.contains(FIRST) || halt.reason.contains(SECOND), "{halt:?}");
    assert_eq!(world.group().epoch(), Epoch(1));
}

#[test]
fn what_holds_other_data_is_not_chosen() {
    let mut world = world(Mode::Manual);
    world.agent(EU).data_ids = [("db-eu-west".into(), "ours".to_owned())].into();
    world.agent(US).data_ids = [(SECOND.into(), "others".to_owned())].into();
    world.run(ms(500));
    world.cut(EU);
    world.run(ms(4000));
    world.open(&world.request(PlanKind::Failover)).unwrap();
    received(&mut world, 950, 1000);
    assert!(world.until(StepId::PromoteData));
    assert_eq!(world.group().primaries[&"db".into()].as_str(), FIRST);
}

#[test]
fn only_an_instance_of_the_target_can_be_chosen() {
    let mut world = overtaken();
    let candidates = [("db".into(), "db-eu-west".into())].into();
    let outcome = StepOutcome { state: StepState::Done, candidates, ..StepOutcome::default() };
    let (group, plan) = (group(), world.plan().id);
    let chosen = Command::EndStep { group, plan, step: StepId::CatchUp, outcome, took: ms(0) };
    let refused = world.operator(chosen);
    assert!(matches!(refused, Err(Rejected::Stale(_))), "{refused:?}");
    assert_eq!(candidate(&world), FIRST);
}
