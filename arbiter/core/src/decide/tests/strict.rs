//! `strict`: no acknowledged write is lost, and State knows who has them all. // I11

use crate::testing::*;
use crate::*;
use std::collections::BTreeSet;

const STANDBY: &str = "db-us-east";

fn strict(change: impl FnOnce(&mut Policy)) -> ClusterSpec {
    let mut spec = spec();
    let policy = &mut spec.groups.get_mut(&group()).unwrap().policy;
    policy.durability = Durability::Strict;
    change(policy);
    spec
}

fn world(mode: Mode) -> World {
    let mut world = World::with(strict(|_| {}));
    world.enter(mode);
    world
}

fn set(world: &World) -> Synchronous {
    world.group().synchronous.get(&"db".into()).cloned().unwrap_or_default()
}

fn only(id: &str) -> BTreeSet<InstanceId> {
    BTreeSet::from([id.into()])
}

/// Whom the commits of the primary in `region` are to wait for.
fn told(world: &World, region: &str) -> Option<CommitWait> {
    let orders = orders(&world.state, &format!("agent-{region}").into());
    let order = orders.into_iter().find(|order| order.instance.0 == format!("db-{region}"))?;
    order.commits.map(|commits| commits.wait)
}

fn closed(world: &World, request: &OpenRequest) -> Vec<String> {
    let reasons = preflight(&world.state, &world.view, world.now, request).err();
    reasons.unwrap_or_default().into_iter().map(|reason| reason.code).collect()
}

#[test]
fn a_standby_is_counted_after_the_primary_was_seen_to_wait_for_it() {
    let mut world = World::with(strict(|_| {}));
    world.agent(EU).hasty.insert("db-eu-west".into());
    world.enter(Mode::Automatic);
    assert_eq!(set(&world).named, only(STANDBY));
    assert_eq!(told(&world, EU), Some(CommitWait::Standbys(BTreeSet::from([STANDBY.into()]))));
    assert_eq!(set(&world).counted, BTreeSet::new());
    world.agent(EU).hasty.clear();
    world.run(ms(1000));
    assert_eq!(set(&world).counted, only(STANDBY));
    let sets = world.log.iter().filter(|command| matches!(command, Command::SetSynchronous { .. }));
    assert_eq!(sets.count(), 2, "an entry to name it, an entry to count on it");
}

#[test]
fn a_lost_region_is_failed_over_from_without_a_loss_to_accept() {
    let mut world = world(Mode::Automatic);
    world.cut(EU);
    assert!(world.until(StepId::AdvanceEpoch) || world.group().plan.is_none());
    world.run(ms(30_000));
    assert_eq!(world.group().active(), Some(&US.into()));
    assert!(!world.last_plan().accept_loss);
    assert_eq!(set(&world), Synchronous::default(), "the new primary waits for nobody yet");
    assert_eq!(told(&world, US), Some(CommitWait::Alone));
}

#[test]
fn alone_it_fails_over_only_when_somebody_accepts_the_loss() {
    let mut world = World::with(strict(|_| {}));
    world.agent(EU).hasty.insert("db-eu-west".into());
    world.enter(Mode::Automatic);
    let lossy = world.request(PlanKind::Failover);
    assert_eq!(closed(&world, &lossy), ["strict"]);
    let open = OpenRequest { accept_loss: true, ..lossy.clone() };
    let mut open = preflight(&world.state, &world.view, world.now, &open).unwrap();
    open.accept_loss = false;
    open.overrides.clear();
    let refused = world.operator(Command::OpenPlan(open));
    assert!(matches!(refused, Err(Rejected::Refused { code, .. }) if code == "strict"));
    world.cut(EU);
    world.run(ms(20_000));
    assert_eq!(world.group().epoch(), Epoch(1));
    world.open(&OpenRequest { accept_loss: true, ..lossy }).unwrap();
    world.run(ms(1000));
    assert_eq!(world.group().epoch(), Epoch(2));
}

#[test]
fn a_lost_standby_is_given_up_by_state_first_and_named_again_when_it_follows() {
    let mut world = world(Mode::Automatic);
    world.link_cut = true;
    world.run(ms(2000));
    assert_eq!(set(&world).counted, only(STANDBY), "it may be back in a moment");
    world.run(ms(6000));
    assert_eq!(set(&world).named, BTreeSet::new());
    assert_eq!(told(&world, EU), Some(CommitWait::Alone));
    assert!(closed(&world, &world.request(PlanKind::Failover)).contains(&"strict".to_owned()));
    world.link_cut = false;
    world.run(ms(2000));
    assert_eq!(set(&world).counted, only(STANDBY));
}

/// A region that is lost can be told nothing: it never acknowledged what its standby has not.
#[test]
fn a_standby_is_not_given_up_while_its_primary_is_lost_or_dead() {
    let mut lost = world(Mode::Manual);
    lost.cut(EU);
    let mut dead = world(Mode::Manual);
    dead.agent(EU).conditions.insert("db-eu-west".into(), Condition::Dead);
    dead.link_cut = true;
    for mut world in [lost, dead] {
        world.run(ms(60_000));
        assert_eq!(set(&world).counted, only(STANDBY));
        let closed = closed(&world, &world.request(PlanKind::Failover));
        assert!(!closed.contains(&"strict".to_owned()), "{closed:?}");
    }
}

const SECOND: &str = "db-us-east-2";

/// The primary waits for the one of two standbys that has received most.
fn of_two() -> World {
    let mut spec = strict(|_| {});
    let instances = &mut spec.groups.get_mut(&group()).unwrap().instances;
    let second = Instance { address: SECOND.to_owned(), ..instances[&STANDBY.into()].clone() };
    instances.insert(SECOND.into(), second);
    let mut world = World::with(spec);
    world.enter(Mode::Manual);
    world.agent(US).received = [(STANDBY.into(), 950), (SECOND.into(), 900)].into();
    world.run(ms(2000));
    assert_eq!(set(&world).counted, only(STANDBY));
    world
}

#[test]
fn another_standby_takes_the_place_of_one_that_is_gone() {
    let mut world = of_two();
    world.agent(US).conditions.insert(STANDBY.into(), Condition::Dead);
    world.run(ms(3000));
    assert_eq!((set(&world).named, set(&world).counted), (only(SECOND), only(SECOND)));
}

/// That one stream of a lost region was seen to end before the other is no reason to count on
/// nobody.
#[test]
fn nobody_takes_the_place_of_a_standby_while_its_primary_is_lost() {
    let mut world = of_two();
    world.cut(EU);
    world.agent(US).conditions.insert(STANDBY.into(), Condition::Dead);
    world.run(ms(60_000));
    assert_eq!(set(&world).counted, only(STANDBY));
}

#[test]
fn a_primary_that_shows_that_it_waits_for_nobody_is_not_believed_for_longer() {
    let mut world = world(Mode::Manual);
    world.agent(EU).waits.insert("db-eu-west".into(), CommitWait::Configured);
    world.run(ms(1000));
    assert_eq!(set(&world).counted, BTreeSet::new());
    assert!(closed(&world, &world.request(PlanKind::Failover)).contains(&"strict".to_owned()));
    world.agent(EU).waits.clear();
    world.run(ms(1000));
    assert_eq!(set(&world).counted, only(STANDBY));
}

#[test]
fn where_policy_blocks_nobody_is_given_up() {
    let mut world = World::with(strict(|policy| policy.strict_alone = StrictAlone::Block));
    assert_eq!(told(&world, EU), None, "in observe nothing is ordered");
    world.enter(Mode::Automatic);
    world.link_cut = true;
    world.run(ms(60_000));
    assert_eq!(set(&world).counted, only(STANDBY));
    world.cut(EU);
    world.run(ms(30_000));
    assert_eq!(world.group().active(), Some(&US.into()));
    let target = orders(&world.state, &"agent-us-east".into());
    let primary = target.iter().find(|order| order.instance.0 == STANDBY).unwrap();
    assert_eq!(primary.terms.promoted, CommitWait::Blocked);
    assert_eq!(told(&world, US), Some(CommitWait::Blocked));
}

/// What is counted never grows by what the primary was told before, or by a plan's side.
#[test]
fn apply_refuses_what_nobody_can_have_seen() {
    let mut world = world(Mode::Manual);
    let known = set(&world);
    let set = |named: BTreeSet<InstanceId>, counted: BTreeSet<InstanceId>, since| {
        Command::SetSynchronous {
            group: group(),
            resource: "db".into(),
            primary: "db-eu-west".into(),
            set: Synchronous { named, counted, since },
        }
    };
    let stale = |refused| assert!(matches!(refused, Err(Rejected::Stale(_))), "{refused:?}");
    stale(world.operator(set(only(STANDBY), only(STANDBY), known.since - 1)));
    stale(world.operator(set(only("db-eu-west"), BTreeSet::new(), known.since)));
    stale(world.operator(set(BTreeSet::new(), only(STANDBY), known.since)));
    world.operator(set(BTreeSet::new(), BTreeSet::new(), known.since)).unwrap();
    let since = world.group().synchronous[&"db".into()].since;
    stale(world.operator(set(only(STANDBY), only(STANDBY), since)));
    world.operator(set(only(STANDBY), BTreeSet::new(), since)).unwrap();
    world.run(ms(500));
    let switchover = world.request(PlanKind::Switchover);
    world.open(&switchover).unwrap();
    let since = world.group().synchronous[&"db".into()].since;
    stale(world.operator(set(BTreeSet::new(), BTreeSet::new(), since)));
}

#[test]
fn only_who_is_counted_is_promoted() {
    let mut spec = strict(|_| {});
    let instances = &mut spec.groups.get_mut(&group()).unwrap().instances;
    let second = "db-us-east-2";
    let twin = Instance { address: second.to_owned(), ..instances[&STANDBY.into()].clone() };
    instances.insert(second.into(), twin);
    let mut world = World::with(spec);
    world.enter(Mode::Manual);
    assert_eq!(set(&world).counted, only(STANDBY));
    // The other got more than was acknowledged.
    world.agent(US).received = [(STANDBY.into(), 900), (second.into(), 1000)].into();
    world.run(ms(500));
    world.cut(EU);
    world.run(ms(4000));
    world.open(&world.request(PlanKind::Failover)).unwrap();
    world.run(ms(20_000));
    assert_eq!(world.group().primaries[&"db".into()], STANDBY.into());
}
