//! Drills: real plans on purpose and the way back, and rehearsals on copies.

use crate::testing::*;
use crate::*;
use std::collections::{BTreeMap, BTreeSet};

fn run(world: &mut World, kind: DrillKind, accept_loss: bool) -> Result<(), Rejected> {
    let expected_epoch = world.group().epoch();
    world.operator(Command::RunDrill { group: group(), kind, accept_loss, expected_epoch })
}

fn last(world: &World) -> &Drill {
    world.group().drills.last().expect("a drill has ended")
}

fn open(world: &World) -> &Drill {
    world.group().drill.as_ref().expect("a drill is open")
}

fn with(change: impl FnOnce(&mut GroupSpec)) -> World {
    let mut spec = spec();
    change(spec.groups.get_mut(&group()).unwrap());
    let mut world = World::with(spec);
    world.enter(Mode::Manual);
    world
}

/// The user's checks are set, and databases can be made to wait.
fn checked() -> World {
    with(|spec| {
        spec.policy.drill.check = BTreeMap::from([("command".into(), "/check".into())]);
        spec.policy.durability = Durability::Async;
        spec.instances.values_mut().filter(|i| i.needs_evidence()).for_each(|i| i.waits = true);
    })
}

fn why(end: &Option<DrillEnd>) -> String {
    end.as_ref().map(|end| end.words().1.to_owned()).unwrap_or_default()
}

#[test]
fn each_kind_that_moves_ends_where_it_began_twice_and_measures() {
    let mut world = checked();
    for kind in [DrillKind::Switchover, DrillKind::RegionLoss].repeat(2) {
        let epoch = world.group().epoch().0;
        run(&mut world, kind, false).unwrap();
        world.run(ms(20_000));
        let drill = last(&world);
        assert_eq!((&drill.end, drill.kind), (&Some(DrillEnd::Completed), kind));
        let measured = drill.measured.as_ref().expect("a plan led to the other region");
        assert!(measured.slowest.is_some() && measured.outage <= measured.recovery);
        assert!(drill.said.contains_key(&check_id(&US.into())), "{:?}", drill.said);
        assert_eq!(world.group().active(), Some(&EU.into()));
        assert_eq!(world.group().epoch(), Epoch(epoch + 2));
        assert!(!world.group().holding_down, "a drill holds up no real failover");
    }
    assert!(world.last_plan().reason.starts_with("drill "), "{}", world.last_plan().reason);
}

#[test]
fn a_region_loss_in_async_has_commits_wait_until_the_standby_has_all() {
    let mut world = checked();
    world.agent(EU).hasty.insert("db-eu-west".into());
    run(&mut world, DrillKind::RegionLoss, false).unwrap();
    world.run(ms(5_000));
    assert!(world.group().plan.is_none(), "nothing shows that its primary waits");
    let waits = drill_waits(&world.state, &world.view, world.now, &group()).unwrap();
    assert!(waits.contains("every acknowledged write"), "{waits}");
    world.agent(EU).hasty.clear();
    world.run(ms(20_000));
    assert_eq!(last(&world).end, Some(DrillEnd::Completed));
    assert!(!last(&world).accept_loss);
    assert!(world.group().synchronous.values().all(|set| set.named.is_empty()), "async again");
}

#[test]
fn what_cannot_be_made_to_wait_needs_loss_accepted_by_name() {
    let mut world = with(|spec| {
        spec.instances.values_mut().for_each(|instance| instance.waits = false);
    });
    let refused = run(&mut world, DrillKind::RegionLoss, false).unwrap_err();
    assert!(refused.to_string().contains("--accept-loss"), "{refused}");
    assert!(world.group().drill.is_none());
    run(&mut world, DrillKind::RegionLoss, true).unwrap();
    world.run(ms(20_000));
    assert_eq!(last(&world).end, Some(DrillEnd::Completed));
}

#[test]
fn a_rehearsal_moves_nothing_and_tells_who_failed() {
    let mut world = checked();
    let (epoch, plans) = (world.group().epoch(), world.group().plans.len());
    run(&mut world, DrillKind::Rehearsal, false).unwrap();
    world.run(ms(2_000));
    assert_eq!(last(&world).end, Some(DrillEnd::Completed));
    let parts: Vec<&str> = last(&world).said.keys().map(InstanceId::as_str).collect();
    let wanted = ["rehearsal:bucket-us-east", "rehearsal:db-us-east", "rehearsal:web-us-east"];
    assert_eq!(parts, wanted, "whatever stands by, but names of DNS");
    world.agent(US).refusing.insert(rehearsal_id(&"db-us-east".into()));
    run(&mut world, DrillKind::Rehearsal, false).unwrap();
    world.run(ms(2_000));
    assert_eq!(why(&last(&world).end), "rehearsal:db-us-east: it refuses");
    assert_eq!((world.group().epoch(), world.group().plans.len()), (epoch, plans));
    let standing = orders(&world.state, &format!("agent-{US}").into());
    let mut parts = standing.iter().filter(|o| o.instance.0.starts_with("rehearsal:"));
    assert!(parts.all(|order| order.goal == Goal::Standby), "what it left is removed");
}

#[test]
fn a_failed_check_goes_back_and_has_failed() {
    let mut world = checked();
    world.agent(US).refusing.insert(check_id(&US.into()));
    run(&mut world, DrillKind::Switchover, false).unwrap();
    world.run(ms(20_000));
    assert_eq!(why(&last(&world).end), "check:us-east: it refuses");
    assert_eq!(world.group().active(), Some(&EU.into()));
    assert_eq!(world.group().plans.len(), 2);
}

#[test]
fn a_drill_waits_for_nothing_for_ever_and_says_for_what() {
    let mut world = checked();
    world.agent(US).obstacles.insert("db-us-east".into(), "busy".to_owned());
    run(&mut world, DrillKind::Switchover, false).unwrap();
    world.run(ms(59_000));
    assert!(world.group().drill.is_some());
    world.run(ms(3_000));
    let why = why(&last(&world).end);
    assert!(why.starts_with("execute waited") && why.contains("busy"), "{why}");
    assert!(world.group().plans.is_empty());
}

#[test]
fn a_plan_that_halts_fails_its_drill_and_stays() {
    let mut world = checked();
    run(&mut world, DrillKind::Switchover, false).unwrap();
    world.decide_once();
    assert!(world.until(StepId::PromoteData));
    world.agent(US).refusing.insert("db-us-east".into());
    world.run(ms(20_000));
    assert!(why(&last(&world).end).contains("it refuses"), "{:?}", last(&world).end);
    assert!(world.plan().halt.is_some());
}

#[test]
fn a_new_leader_goes_on_with_it() {
    let mut world = checked();
    run(&mut world, DrillKind::Switchover, false).unwrap();
    while world.group().drill.as_ref().is_some_and(|d| d.phase == DrillPhase::Execute) {
        world.tick();
    }
    world.elect();
    world.run(ms(30_000));
    assert_eq!(last(&world).end, Some(DrillEnd::Completed));
}

#[test]
fn an_operators_plan_interrupts_it_and_that_is_not_failed() {
    let mut world = checked();
    run(&mut world, DrillKind::Switchover, false).unwrap();
    world.open(&world.request(PlanKind::Failover)).unwrap();
    assert!(matches!(last(&world).end, Some(DrillEnd::Interrupted(_))));
    world.run(ms(20_000));
    assert!(world.group().holding_down, "that failover was real");
}

/// The other region is active, and the way back waits for an obstacle that a failover ignores.
fn away(mode: Mode) -> World {
    let mut world = World::in_mode(mode);
    run(&mut world, DrillKind::Switchover, false).unwrap();
    world.decide_once();
    assert!(world.until(StepId::VerifyService));
    world.agent(US).obstacles.insert("db-us-east".into(), "busy".to_owned());
    world.run(ms(5_000));
    assert_eq!(world.group().active(), Some(&US.into()));
    assert_eq!(open(&world).phase, DrillPhase::FailBack);
    world
}

#[test]
fn a_real_loss_takes_precedence() {
    let mut world = away(Mode::Automatic);
    world.cut(US);
    world.run(ms(30_000));
    assert!(matches!(last(&world).end, Some(DrillEnd::Interrupted(_))), "{:?}", last(&world));
    assert_eq!(world.group().active(), Some(&EU.into()));
    assert!(world.group().holding_down, "that failover was real");
}

/// The drill of the lost region waits for its standby; the failover that it was for does not.
#[test]
fn a_real_loss_before_the_drills_own_plan_is_bounded_by_policy_alone() {
    let mut world = checked();
    world.enter(Mode::Automatic);
    world.agent(EU).hasty.insert("db-eu-west".into());
    run(&mut world, DrillKind::RegionLoss, false).unwrap();
    world.run(ms(2_000));
    assert!(open(&world).stalls && world.group().plan.is_none(), "{:?}", open(&world));
    world.cut(EU);
    world.run(ms(30_000));
    assert!(matches!(last(&world).end, Some(DrillEnd::Interrupted(_))), "{:?}", last(&world));
    assert_eq!(world.group().active(), Some(&US.into()));
}

#[test]
fn what_a_cut_off_primary_loses_stays_bounded_while_a_drill_waits() {
    let mut world = with(|spec| spec.policy.on_isolation = OnIsolation::Stall);
    world.agent(EU).hasty.insert("db-eu-west".into());
    let bound = |world: &World| {
        let orders = orders(&world.state, &"agent-eu-west".into());
        orders.into_iter().find_map(|order| order.commits)
    };
    let before = bound(&world).unwrap().isolated;
    run(&mut world, DrillKind::RegionLoss, false).unwrap();
    world.run(ms(2_000));
    let told = bound(&world).unwrap();
    assert!(matches!(told.wait, CommitWait::Standbys(_)), "{told:?}");
    assert!(told.isolated.is_some() && told.isolated == before, "{told:?}");
}

#[test]
fn whom_an_earlier_drill_counted_on_the_next_does_not() {
    let mut world = checked();
    let counted = BTreeSet::from(["db-us-east".into()]);
    let left = Synchronous { named: counted.clone(), counted, since: 1 };
    let group = world.state.groups.get_mut(&group()).unwrap();
    group.synchronous.insert("db".into(), left);
    run(&mut world, DrillKind::RegionLoss, false).unwrap();
    assert!(world.group().synchronous.is_empty());
}

fn abort(world: &mut World) {
    let expected_epoch = world.group().epoch();
    let (drill, took) = (open(world).id, ms(0));
    let abort = Command::AbortDrill { group: group(), drill, expected_epoch, took };
    world.operator(abort).unwrap();
}

#[test]
fn an_aborted_drill_moves_nothing_more() {
    let mut world = away(Mode::Manual);
    abort(&mut world);
    world.agent(US).obstacles.clear();
    world.run(ms(20_000));
    assert!(matches!(last(&world).end, Some(DrillEnd::Aborted(_))));
    assert_eq!(world.group().active(), Some(&US.into()));
}

#[test]
fn an_abort_undoes_what_can_be_undone() {
    let mut world = checked();
    run(&mut world, DrillKind::Switchover, false).unwrap();
    world.decide_once();
    assert!(world.until(StepId::CatchUp));
    abort(&mut world);
    world.run(ms(5_000));
    assert!(matches!(world.last_plan().end, Some(PlanEnd::Aborted(_))));
    assert!(matches!(last(&world).end, Some(DrillEnd::Aborted(_))));
    assert_eq!(world.group().active(), Some(&EU.into()));
    assert_eq!(world.group().epoch(), Epoch(1));
}

/// The fence stalls, and nobody writes meanwhile: a drill does not wait for it as a failover would.
#[test]
fn a_plan_that_is_long_on_its_way_is_undone_with_its_drill() {
    let mut world = with(|spec| spec.policy.drill.abort_after = Some(ms(3_000)));
    world.agent(EU).stubborn.insert("db-eu-west".into());
    run(&mut world, DrillKind::Switchover, false).unwrap();
    world.run(ms(2_000));
    assert!(world.group().plan.is_some() && world.group().drill.is_some());
    world.run(ms(3_000));
    assert!(matches!(&last(&world).end, Some(DrillEnd::Aborted(why)) if why.contains("3s")));
    assert!(matches!(world.last_plan().end, Some(PlanEnd::Aborted(_))), "{:?}", world.last_plan());
    assert_eq!(world.group().active(), Some(&EU.into()));
}

#[test]
fn none_begins_while_policy_blocks_it_a_plan_is_open_or_nothing_is_ordered() {
    let code = |refused: Rejected| match refused {
        Rejected::Refused { code, .. } => code,
        other => panic!("{other}"),
    };
    let mut blocked = with(|spec| {
        spec.policy.drill.blocked = vec![Window { days: 0x7f, from: 0, to: 1440 }];
    });
    let mut refused = vec![run(&mut blocked, DrillKind::Switchover, false)];
    refused.push(run(&mut World::observing(), DrillKind::Switchover, false));
    let mut busy = checked();
    busy.open(&busy.request(PlanKind::Switchover)).unwrap();
    refused.push(run(&mut busy, DrillKind::Rehearsal, false));
    let mut twice = checked();
    run(&mut twice, DrillKind::Switchover, false).unwrap();
    refused.push(run(&mut twice, DrillKind::Rehearsal, false));
    let codes: Vec<_> = refused.into_iter().map(|refused| code(refused.unwrap_err())).collect();
    assert_eq!(codes, ["blocked-window", "mode", "plan-open", "drill-open"]);
}

#[test]
fn setting_observe_interrupts_it() {
    let mut world = away(Mode::Manual);
    let expected_epoch = world.group().epoch();
    let mode = Mode::Observe;
    world.operator(Command::SetMode { group: group(), mode, expected_epoch }).unwrap();
    assert!(matches!(last(&world).end, Some(DrillEnd::Interrupted(_))));
}

#[test]
fn the_next_is_due_before_it_is_overdue_and_a_recovery_is_predicted_from_the_last() {
    let day = |days: u64| std::time::Duration::from_secs(days * 24 * 60 * 60);
    let mut world = with(|spec| {
        spec.policy.drill.every = std::time::Duration::from_secs(90 * 24 * 60 * 60);
    });
    let spec = world.state.spec.groups[&group()].clone();
    let at = |days: u64| WallMillis(1 + u64::try_from(day(days).as_millis()).unwrap());
    assert_eq!(due(&spec, world.group(), at(0)), Due::NoneYet);
    assert_eq!(predicted_recovery(&spec, world.group()), None);
    run(&mut world, DrillKind::Switchover, false).unwrap();
    world.run(ms(20_000));
    world.state.groups.get_mut(&group()).unwrap().drills[0].ended = WallMillis(1);
    assert_eq!(due(&spec, world.group(), at(74)), Due::Later(at(75)));
    assert_eq!(due(&spec, world.group(), at(75)), Due::Due(at(75), at(90)));
    assert_eq!(due(&spec, world.group(), at(90)), Due::Overdue(at(90)));
    let predicted = predicted_recovery(&spec, world.group()).unwrap();
    let after = last(&world).measured.as_ref().unwrap().after_fence;
    assert_eq!(predicted, ms(8580) + after);
}

#[test]
fn a_region_loss_whose_plan_halts_still_promotes_only_who_has_every_acknowledged_write() {
    let mut world = checked();
    // It stays for the operator, who may resume it.
    let spec = world.state.spec.groups.get_mut(&group()).unwrap();
    spec.policy.abort_when_source_returns = false;
    run(&mut world, DrillKind::RegionLoss, false).unwrap();
    let ids: Vec<AgentId> = world.agents.keys().cloned().collect();
    while world.group().plan.is_none() {
        world.now = world.now + ms(250);
        ids.iter().for_each(|id| world.report(id));
        world.view.note(&world.state, world.now);
        world.decide_once();
    }
    let (plan, step) = (world.plan().id, world.plan().step().unwrap());
    let halt = Halt { step, reason: "a test".into(), next: String::new() };
    world.operator(Command::HaltPlan { group: group(), plan, halt }).unwrap();
    world.decide_once();
    assert!(matches!(last(&world).end, Some(DrillEnd::Failed(_))));
    let spec = &world.state.spec.groups[&group()];
    assert_eq!(world.group().durability(spec), Durability::Strict);
    let mut over = world.group().clone();
    over.plan = None;
    assert_eq!(over.durability(spec), Durability::Async);
}

/// Rehearsed each day, and moved each quarter.
#[test]
fn rehearsals_do_not_push_out_what_the_last_real_drill_showed() {
    let mut world = checked();
    run(&mut world, DrillKind::Switchover, false).unwrap();
    world.run(ms(20_000));
    let first = last(&world).clone();
    assert_eq!(first.end, Some(DrillEnd::Completed));
    for _ in 0..DRILLS_KEPT_MAX + 1 {
        run(&mut world, DrillKind::Rehearsal, false).unwrap();
        world.run(ms(500));
        assert_eq!(last(&world).end, Some(DrillEnd::Completed));
    }
    let drills = &world.group().drills;
    assert_eq!(drills.len(), DRILLS_KEPT_MAX);
    assert_eq!(drills.first().map(|drill| drill.id), Some(first.id));
    assert!(predicted_recovery(&world.state.spec.groups[&group()], world.group()).is_some());
}
