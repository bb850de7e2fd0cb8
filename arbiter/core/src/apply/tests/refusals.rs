//! Every refusal has a code, a reason and what to do next.

use crate::testing::*;
use crate::*;

fn code(outcome: Result<(), Rejected>) -> String {
    match outcome {
        Err(Rejected::Refused { code, reason, next }) => {
            assert!(!reason.is_empty() && !next.is_empty(), "{code}: {reason:?}, {next:?}");
            code
        }
        other => panic!("not refused: {other:?}"),
    }
}

fn open_of(world: &World) -> OpenPlan {
    preflight(&world.state, &world.view, world.now, &world.request(PlanKind::Switchover)).unwrap()
}

#[test]
fn a_plan_that_cannot_open_says_why() {
    let mut world = World::in_mode(Mode::Manual);
    let good = open_of(&world);
    let mut ask = |change: &dyn Fn(&mut OpenPlan)| {
        let mut open = good.clone();
        change(&mut open);
        code(world.operator(Command::OpenPlan(open)))
    };
    assert_eq!(ask(&|open| open.group = "other".into()), "unknown-group");
    assert_eq!(ask(&|open| open.target = "nowhere".into()), "unknown-region");
    assert_eq!(ask(&|open| open.target = "witness".into()), "witness");
    assert_eq!(ask(&|open| open.target = EU.into()), "already-active");
    assert_eq!(ask(&|open| open.expected_epoch = Epoch(9)), "wrong-epoch");
    assert_eq!(ask(&|open| open.candidates.clear()), "no-candidate");
    world.operator(Command::OpenPlan(good.clone())).unwrap();
    assert_eq!(code(world.operator(Command::OpenPlan(good))), "plan-open");
}

#[test]
fn preflight_says_the_same_in_reasons() {
    let mut world = World::in_mode(Mode::Manual);
    let closed = |world: &World, change: &dyn Fn(&mut OpenRequest)| {
        let mut request = world.request(PlanKind::Switchover);
        change(&mut request);
        let reasons = preflight(&world.state, &world.view, world.now, &request).unwrap_err();
        assert!(reasons.iter().all(|r| !r.open && !r.text.is_empty() && !r.next.is_empty()));
        reasons.into_iter().map(|reason| reason.code).collect::<Vec<_>>()
    };
    assert_eq!(closed(&world, &|r| r.group = "other".into()), ["unknown-group"]);
    assert_eq!(closed(&world, &|r| r.target = Some("witness".into())), ["witness"]);
    assert_eq!(closed(&world, &|r| r.target = Some(EU.into())), ["already-active"]);
    assert_eq!(closed(&world, &|r| r.expected_epoch = Some(Epoch(9))), ["wrong-epoch"]);
    assert_eq!(closed(&world, &|r| r.by_policy = true), ["mode"]);
    world.link_cut = true;
    world.run(ms(1000));
    assert_eq!(closed(&world, &|_| ()), ["not-streaming"]);
    world.agent(US).alive = false;
    world.run(ms(5000));
    assert!(closed(&world, &|_| ()).contains(&"target-silent".to_owned()));
}

#[test]
fn observe_opens_nothing() {
    let mut world = World::in_mode(Mode::Manual);
    let open = open_of(&world);
    let (group, expected_epoch) = (group(), Epoch(1));
    world.operator(Command::SetMode { group, mode: Mode::Observe, expected_epoch }).unwrap();
    assert_eq!(code(world.operator(Command::OpenPlan(open))), "mode");
}

#[test]
fn a_mode_that_acts_needs_both_regions_armed() {
    let mut world = World::observing();
    let set = |mode| Command::SetMode { group: group(), mode, expected_epoch: Epoch(1) };
    assert_eq!(code(world.operator(set(Mode::Automatic))), "not-armed");
    world.operator(Command::Arm { group: group(), armed: true }).unwrap();
    world.agent(US).alive = false;
    world.run(ms(5000));
    assert_eq!(code(world.operator(set(Mode::Manual))), "not-armed");
    world.agent(US).alive = true;
    world.run(ms(5000));
    world.operator(set(Mode::Manual)).unwrap();
}

#[test]
fn nobody_disarms_while_something_counts_on_it() {
    let mut world = World::in_mode(Mode::Manual);
    let disarm = Command::Arm { group: group(), armed: false };
    assert_eq!(code(world.operator(disarm.clone())), "mode-needs-arming");
    world.open(&world.request(PlanKind::Failover)).unwrap();
    assert_eq!(code(world.operator(disarm.clone())), "plan-open");
    world.agent(EU).refusing.insert("db-eu-west".into());
    world.run(ms(12_000));
    let set = Command::SetMode { group: group(), mode: Mode::Observe, expected_epoch: Epoch(2) };
    world.operator(set).unwrap();
    assert_eq!(code(world.operator(disarm.clone())), "not-standby-yet");
    world.agent(EU).refusing.clear();
    world.run(ms(2000));
    world.operator(disarm).unwrap();
    assert!(world.state.bindings.values().all(|binding| binding.arming.is_empty()));
}

#[test]
fn after_the_point_of_no_return_nothing_is_aborted() {
    let mut world = World::in_mode(Mode::Manual);
    world.open(&world.request(PlanKind::Switchover)).unwrap();
    assert!(world.until(StepId::PromoteData));
    let (group, plan) = (group(), world.plan().id);
    let abort = |epoch| Command::AbortPlan {
        group: group.clone(),
        plan,
        expected_epoch: Epoch(epoch),
        took: ms(0),
    };
    assert_eq!(code(world.operator(abort(1))), "wrong-epoch");
    assert_eq!(code(world.operator(abort(2))), "past-point-of-no-return");
}

#[test]
fn a_policy_under_an_open_plan_or_an_armed_agent_stays_as_it_is() {
    let mut world = World::in_mode(Mode::Manual);
    let mut moved = world.state.spec.clone();
    let instances = &mut moved.groups.get_mut(&group()).unwrap().instances;
    instances.get_mut(&InstanceId::from("db-eu-west")).unwrap().address = "elsewhere:1".into();
    let apply_policy = Command::ApplyPolicy { spec: moved };
    assert_eq!(code(world.operator(apply_policy.clone())), "armed");
    world.open(&world.request(PlanKind::Switchover)).unwrap();
    assert_eq!(code(world.operator(apply_policy)), "plan-open");
    let mut broken = world.state.spec.clone();
    broken.agents.clear();
    assert_eq!(code(world.operator(Command::ApplyPolicy { spec: broken })), "bad-policy");
}

#[test]
fn a_cluster_begins_once() {
    let mut world = World::observing();
    let again = Command::Initialize { cluster_id: "other".into(), spec: spec() };
    assert_eq!(code(world.operator(again)), "already-initialized");
    world.state = State::default();
    let (group, armed) = (group(), true);
    assert_eq!(code(world.operator(Command::Arm { group, armed })), "not-initialized");
}

#[test]
fn a_group_that_was_activated_stays_in_the_policy() {
    let mut world = World::observing();
    let mut without = world.state.spec.clone();
    without.groups.clear();
    let apply_policy = Command::ApplyPolicy { spec: without.clone() };
    assert_eq!(code(world.operator(apply_policy)), "group-activated");
    let mut idle = spec();
    idle.groups.get_mut(&group()).unwrap().policy.initial_active = US.into();
    let mut world = World::with(idle);
    assert_eq!(world.group().active(), None, "its primary is elsewhere");
    world.operator(Command::ApplyPolicy { spec: without }).unwrap();
}

#[test]
fn nothing_is_armed_before_a_region_is_active() {
    let mut idle = spec();
    idle.groups.get_mut(&group()).unwrap().policy.initial_active = US.into();
    let mut world = World::with(idle);
    let arm = Command::Arm { group: group(), armed: true };
    assert_eq!(code(world.operator(arm)), "not-activated");
}

#[test]
fn automatic_is_set_only_where_policy_allows_it() {
    let mut world = World::in_mode(Mode::Automatic);
    let mut never = world.state.spec.clone();
    never.groups.get_mut(&group()).unwrap().policy.allow_automatic = false;
    let apply_policy = Command::ApplyPolicy { spec: never };
    let set = |mode| Command::SetMode { group: group(), mode, expected_epoch: Epoch(1) };
    assert_eq!(code(world.operator(apply_policy.clone())), "mode-automatic");
    world.operator(set(Mode::Manual)).unwrap();
    world.operator(apply_policy).unwrap();
    assert_eq!(code(world.operator(set(Mode::Automatic))), "automatic-not-allowed");
}

#[test]
fn what_stands_in_the_way_of_source_or_services_refuses_a_switchover_and_no_failover() {
    for (region, id) in [(EU, "db-eu-west"), (US, "web-us-east")] {
        let mut world = World::in_mode(Mode::Manual);
        let why = "this stands in the way".to_owned();
        world.agent(region).obstacles.insert(id.into(), why.clone());
        world.run(ms(1000));
        let asked = |world: &World, kind| {
            preflight(&world.state, &world.view, world.now, &world.request(kind))
        };
        let closed = asked(&world, PlanKind::Switchover).unwrap_err();
        let said = format!("{id}: {why}");
        assert_eq!((closed.len(), &closed[0].text), (1, &said), "{closed:?}");
        asked(&world, PlanKind::Failover).unwrap();
    }
}
