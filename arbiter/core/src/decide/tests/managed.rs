//! A manager, such as Patroni, chooses the primary inside a region of two nodes each.

use crate::testing::*;
use crate::*;

const EU_1: &str = "db-eu-west";
const EU_2: &str = "db-eu-west-2";
const US_1: &str = "db-us-east";
const US_2: &str = "db-us-east-2";

fn world(mode: Mode) -> World {
    let mut spec = spec();
    let instances = &mut spec.groups.get_mut(&group()).unwrap().instances;
    for (first, second) in [(EU_1, EU_2), (US_1, US_2)] {
        let node = instances.get_mut(&first.into()).unwrap();
        (node.control, node.waits) = (Control::Delegated, false);
        let node = Instance { address: second.to_owned(), ..node.clone() };
        instances.insert(second.into(), node);
    }
    let mut world = World::with(spec);
    world.agent(EU).leads = Some(EU_1.into());
    world.agent(US).leads = Some(US_1.into());
    world.run(ms(1000));
    world.enter(mode);
    world.run(ms(500));
    world
}

fn goals(world: &World, region: &str) -> Vec<(String, Goal)> {
    let orders = orders(&world.state, &format!("agent-{region}").into());
    let data = orders.into_iter().filter(|order| order.instance.as_str().starts_with("db-"));
    data.map(|order| (order.instance.0, order.goal)).collect()
}

fn all(goal: Goal, ids: [&str; 2]) -> Vec<(String, Goal)> {
    ids.map(|id| (id.to_owned(), goal)).to_vec()
}

/// I4: either may become primary at any time, so both live and die with their lease.
#[test]
fn every_node_of_the_active_region_is_active_and_every_other_stands_by() {
    let world = world(Mode::Manual);
    assert_eq!(world.group().primaries[&"db".into()], EU_1.into());
    assert_eq!(goals(&world, EU), all(Goal::Active, [EU_1, EU_2]));
    assert_eq!(goals(&world, US), all(Goal::Standby, [US_1, US_2]));
}

#[test]
fn a_primary_that_its_manager_moved_is_still_the_regions() {
    let mut world = world(Mode::Automatic);
    let spec = world.state.spec.groups.get_mut(&group()).unwrap();
    spec.policy.on_primary_failure = OnPrimaryFailure::Failover;
    world.agent(EU).leads = Some(EU_2.into());
    world.agent(EU).conditions.insert(EU_1.into(), Condition::Dead);
    world.agent(EU).received.insert(EU_1.into(), 700);
    world.written = 2000;
    world.run(ms(60_000));
    assert!(world.group().plan.is_none() && world.group().plans.is_empty(), "nothing is lost");
    assert_eq!(world.group().lag, LagMark::Within);
    world.link_cut = true;
    world.run(ms(500));
    world.open(&OpenRequest { accept_loss: true, ..world.request(PlanKind::Failover) }).unwrap();
    assert_eq!(world.plan().source_end[&"db".into()].offset, 2000, "not where the first stands");
}

/// I11: whichever led, and whoever tells it last.
#[test]
fn a_switchover_drains_every_node_and_takes_the_furthest_end() {
    for (leads, other) in [(EU_1, EU_2), (EU_2, EU_1)] {
        let mut world = world(Mode::Manual);
        world.agent(EU).leads = Some(leads.into());
        world.agent(EU).received.insert(other.into(), 900);
        world.run(ms(1000));
        world.open(&world.request(PlanKind::Switchover)).unwrap();
        world.written = 1500;
        assert_eq!(goals(&world, EU), all(Goal::Drained, [EU_1, EU_2]));
        assert!(world.until(StepId::CatchUp));
        assert_eq!(world.plan().source_end[&"db".into()].offset, 1500, "{leads} led");
        world.run(ms(10_000));
        assert_eq!(world.group().active(), Some(&US.into()));
        assert_eq!(goals(&world, US), all(Goal::Active, [US_1, US_2]));
        assert_eq!(goals(&world, EU), all(Goal::Standby, [EU_1, EU_2]));
    }
}

/// I3: a node that is not primary now could be in a moment.
#[test]
fn a_failover_asks_evidence_of_every_node() {
    let mut world = world(Mode::Manual);
    world.agent(EU).stubborn.insert(EU_2.into());
    world.open(&world.request(PlanKind::Failover)).unwrap();
    world.run(ms(3000));
    assert_eq!(goals(&world, EU), all(Goal::Fenced, [EU_1, EU_2]));
    let proven = |id: &str| world.plan().evidence.contains_key(&InstanceId::from(id));
    assert!(proven(EU_1) && !proven(EU_2));
    assert_eq!(world.group().active(), Some(&EU.into()));
    world.agent(EU).stubborn.clear();
    world.run(ms(10_000));
    assert_eq!(world.group().active(), Some(&US.into()));
}

/// The manager brings its servers back by itself: that they are back says nothing of their loss.
#[test]
fn what_a_managed_region_lost_is_not_said_to_be_nothing() {
    let mut world = world(Mode::Manual);
    world.written = 2000;
    world.link_cut = true;
    world.run(ms(500));
    world.cut(EU);
    world.run(ms(6000));
    world.open(&OpenRequest { accept_loss: true, ..world.request(PlanKind::Failover) }).unwrap();
    world.run(ms(30_000));
    let plan = world.last_plan();
    let (fork, known) = (plan.target_end[&"db".into()], plan.source_end[&"db".into()]);
    world.heal(EU);
    world.link_cut = false;
    world.run(ms(10_000));
    assert!(world.group().returning.is_empty());
    let streams = world.last_plan().lost.iter().filter(|(id, _)| id.as_str().starts_with("db-"));
    let lost: Vec<&Loss> = streams.map(|(_, loss)| loss).collect();
    assert_eq!(lost.len(), 1, "one of its nodes stands for all");
    assert_eq!((lost[0].count, lost[0].from, lost[0].end), (None, fork, known));
    assert!(lost[0].kept.is_empty() && known > fork, "{known} {fork}");
}
