//! The way back to the preferred region: proposed, or gone by policy.

use crate::testing::*;
use crate::{Failback, Mode, PlanKind, Topic, explain_group, failback};

/// A world that prefers eu-west, which failed over to us-east and is back.
fn away(failback: Failback) -> World {
    let mut spec = spec();
    let policy = &mut spec.groups.get_mut(&group()).unwrap().policy;
    policy.preferred = Some(EU.into());
    policy.failback = failback;
    policy.hold_down = ms(60_000);
    let mut world = World::with(spec);
    world.enter(Mode::Automatic);
    assert!(proposal(&world).is_none(), "it is active");
    world.cut(EU);
    world.run(ms(40_000));
    assert_eq!(world.group().active(), Some(&US.into()));
    world
}

fn proposal(world: &World) -> Option<Result<PlanKind, Vec<String>>> {
    let found = failback(&world.state, &world.view, world.now, &group())?;
    Some(match found {
        Ok(open) => Ok(open.kind),
        Err(reasons) => Err(reasons.into_iter().map(|reason| reason.code).collect()),
    })
}

#[test]
fn it_is_proposed_when_it_would_succeed_and_waits_for_an_operator() {
    let mut world = away(Failback::Propose);
    assert!(matches!(proposal(&world), Some(Err(_))), "eu-west is still away");
    world.heal(EU);
    world.run(ms(5_000));
    assert_eq!(proposal(&world), Some(Ok(PlanKind::Switchover)), "an operator need not wait");
    world.run(ms(120_000));
    assert_eq!(world.group().active(), Some(&US.into()));
}

#[test]
fn policy_does_it_after_the_hold_down() {
    let mut world = away(Failback::Automatic);
    world.heal(EU);
    world.run(ms(5_000));
    assert_eq!(proposal(&world), Some(Err(vec!["hold-down".to_owned()])));
    let told = explain_group(&world.state, &world.view, world.now, &group());
    assert!(told.iter().any(|r| r.topic == Topic::Failback && r.code == "hold-down" && !r.open));
    world.run(ms(120_000));
    assert_eq!(world.group().active(), Some(&EU.into()));
    let plan = world.last_plan();
    assert_eq!((plan.kind, plan.by.clone()), (PlanKind::Switchover, crate::By::Policy));
    assert!(plan.reason.contains("failback"), "{}", plan.reason);
}

#[test]
fn policy_does_it_in_automatic_only() {
    let mut world = away(Failback::Automatic);
    world.enter(Mode::Manual);
    world.heal(EU);
    world.run(ms(120_000));
    assert_eq!(world.group().active(), Some(&US.into()));
    assert_eq!(proposal(&world), Some(Err(vec!["mode".to_owned()])));
}
