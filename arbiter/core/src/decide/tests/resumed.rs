//! A resumed plan, and what is said of what a plan left behind: nothing is half moved in silence.

use crate::testing::*;
use crate::{
    Command, Goal, InstanceId, Layer, Mode, PlanEnd, PlanKind, StepId, Token, Topic, ZoneState,
    explain_group,
};

/// What is said of the group now, of one topic.
fn said(world: &World, topic: Topic) -> Vec<String> {
    let reasons = explain_group(&world.state, &world.view, world.now, &group());
    let closed =
        reasons.into_iter().filter(|r| r.topic == topic && (!r.open || topic == Topic::Plan));
    closed.map(|reason| reason.text).collect()
}

fn names(said: &[String], what: &str) -> bool {
    said.iter().any(|text| text.contains(what))
}

fn resume(world: &mut World) {
    let (plan, expected_epoch) = (world.plan().id, world.group().epoch());
    let (group, accept_loss) = (group(), false);
    world.operator(Command::ResumePlan { group, plan, expected_epoch, accept_loss }).unwrap();
}

/// A plan that is halted because `id` of the target refuses.
fn halted(id: &str, at: StepId) -> World {
    let mut world = World::in_mode(Mode::Manual);
    world.agent(US).refusing.insert(id.into());
    world.open(&world.request(PlanKind::Switchover)).unwrap();
    world.run(ms(5000));
    assert_eq!(world.plan().halt.as_ref().map(|halt| halt.step), Some(at));
    world
}

/// The refusal that stands in the last Report was of before: without a new token the plan would
/// halt again before the agent could try again.
#[test]
fn resumed_it_asks_anew() {
    let steps = [
        ("db-us-east", StepId::PromoteData, Layer::Data),
        ("web-us-east", StepId::ActivateWorkloads, Layer::Workload),
        ("dns-us-east", StepId::SwitchTraffic, Layer::Traffic),
    ];
    for (id, step, layer) in steps {
        let mut world = halted_after_proof(id, step);
        world.agent(US).refusing.clear();
        let before = world.group().goal(&US.into(), layer).unwrap();
        resume(&mut world);
        let asked = world.group().goal(&US.into(), layer).unwrap();
        assert!(asked.token > before.token && asked.goal == Goal::Active, "{step}");
        // The leader looks before any agent could.
        world.decide_once();
        assert_eq!(world.group().plan.as_ref().and_then(|plan| plan.halt.clone()), None, "{step}");
        world.run(ms(5000));
        assert_eq!(world.last_plan().end, Some(PlanEnd::Completed), "{step}");
    }
}

/// A database that refused from the beginning would not have drained.
fn halted_after_proof(id: &str, step: StepId) -> World {
    if step != StepId::PromoteData {
        return halted(id, step);
    }
    let mut world = World::in_mode(Mode::Manual);
    world.open(&world.request(PlanKind::Switchover)).unwrap();
    assert!(world.until(StepId::AdvanceEpoch));
    world.agent(US).refusing.insert(id.into());
    world.run(ms(5000));
    assert_eq!(world.plan().halt.as_ref().map(|halt| halt.step), Some(step));
    world
}

/// I7: the new token of a resumed `switch-traffic` may take over what the old one was let.
#[test]
fn resumed_it_may_still_take_over_a_zone() {
    let mut world = halted("dns-us-east", StepId::SwitchTraffic);
    let before = world.group().goal(&US.into(), Layer::Traffic).unwrap().token;
    let zones = |adopt: Token| ZoneState { initialised: true, adopt: Some(adopt) };
    let found = world.state.groups.get_mut(&group()).unwrap();
    found.zones.insert("dns".to_owned(), zones(before));
    resume(&mut world);
    let after = world.group().goal(&US.into(), Layer::Traffic).unwrap().token;
    assert!(after > before);
    assert_eq!(world.group().zones["dns"], zones(after));
}

#[test]
fn an_undone_switchover_names_who_did_not_stop() {
    let mut world = World::in_mode(Mode::Manual);
    world.agent(EU).stubborn.insert("db-eu-west".into());
    world.open(&world.request(PlanKind::Switchover)).unwrap();
    world.run(world.state.spec.groups[&group()].policy.drain_limit + ms(2000));
    let Some(PlanEnd::Aborted(why)) = world.last_plan().end.clone() else { panic!("undone") };
    assert!(why.contains("db-eu-west is not there yet"), "{why}");
}

/// No plan waits for a bucket: what is still closed where its region is active is said.
#[test]
fn what_is_left_unmoved_is_said() {
    let mut world = World::in_mode(Mode::Manual);
    let bucket: InstanceId = "bucket-us-east".into();
    world.agent(US).stubborn.insert(bucket.clone());
    world.open(&world.request(PlanKind::Switchover)).unwrap();
    world.run(world.state.spec.groups[&group()].policy.step_limit + ms(5000));
    assert_eq!(world.last_plan().end, Some(PlanEnd::Completed));
    assert!(names(&said(&world, Topic::Degraded), "bucket-us-east: it is not active yet"));
    world.agent(US).stubborn.clear();
    world.run(ms(2000));
    assert!(!names(&said(&world, Topic::Degraded), "bucket-us-east"));
}

#[test]
fn a_row_that_was_tried_in_vain_says_what_it_waits_for() {
    let mut world = World::in_mode(Mode::Manual);
    world.agent(US).stubborn.insert("dns-us-east".into());
    world.open(&world.request(PlanKind::Switchover)).unwrap();
    world.run(world.state.spec.groups[&group()].policy.step_limit + ms(5000));
    assert_eq!(world.plan().step(), Some(StepId::SwitchTraffic));
    let waits = said(&world, Topic::Plan);
    assert!(names(&waits, "dns-us-east is not there yet"), "{waits:?}");
}
