//! What `explain` says is missing, and what it does not, one thing at a time.

use crate::testing::*;
use crate::*;

fn said(world: &World, topic: Topic) -> Vec<String> {
    let all = explain_group(&world.state, &world.view, world.now, &group());
    all.into_iter().filter(|reason| reason.topic == topic).map(|reason| reason.text).collect()
}

fn degraded(world: &World) -> Vec<String> {
    said(world, Topic::Degraded)
}

fn of(world: &mut World) -> &mut Group {
    world.state.groups.get_mut(&group()).unwrap()
}

fn policy(world: &mut World) -> &mut Policy {
    &mut world.state.spec.groups.get_mut(&group()).unwrap().policy
}

fn counted(world: &mut World, counted: &[&str]) {
    let ids = |of: &[&str]| of.iter().map(|id| (*id).into()).collect();
    let set = Synchronous { named: ids(counted), counted: ids(counted), ..Synchronous::default() };
    of(world).synchronous.insert("db".into(), set);
}

#[test]
fn a_group_is_degraded_by_what_is_missing_and_by_nothing_else() {
    let told = |change: &dyn Fn(&mut World)| {
        let mut world = World::in_mode(Mode::Manual);
        change(&mut world);
        degraded(&world)
    };
    let says = |told: &[String], what: &str| told.iter().any(|text| text.contains(what));
    assert_eq!(told(&|_| ()), [""; 0]);
    let lag = "a failover now would lose more than 60s";
    assert!(says(&told(&|world| of(world).lag = LagMark::Over), lag));
    let alone = "db has no synchronous standby: writes are acknowledged by the primary alone";
    let strict = |world: &mut World| policy(world).durability = Durability::Strict;
    assert!(says(&told(&strict), alone));
    let blocks = |world: &mut World| {
        strict(world);
        policy(world).strict_alone = StrictAlone::Block;
    };
    assert!(says(&told(&blocks), "no write is acknowledged"));
    let followed = |world: &mut World| {
        strict(world);
        counted(world, &["db-us-east"]);
    };
    assert!(!says(&told(&followed), "synchronous standby"));
    let planned = |world: &mut World| {
        world.open(&world.request(PlanKind::Switchover)).unwrap();
        strict(world);
    };
    assert!(!says(&told(&planned), "synchronous standby"), "a plan is on its way");
    let unarmed =
        |world: &mut World| world.state.bindings.values_mut().for_each(|b| b.arming.clear());
    let not_armed = "is not armed: the mode is not in effect";
    assert!(says(&told(&unarmed), not_armed));
    let observes = |world: &mut World| {
        unarmed(world);
        of(world).mode = Mode::Observe;
    };
    assert!(says(&told(&observes), not_armed), "arming is still wanted");
    let unwanted = |world: &mut World| {
        observes(world);
        of(world).arming_wanted = false;
    };
    assert!(!says(&told(&unwanted), not_armed));
    let silent = |world: &mut World| {
        world.agent(US).alive = false;
        world.run(ms(5000));
    };
    assert!(says(&told(&silent), "agent agent-us-east does not report"));
    assert!(!says(&told(&silent), "agent agent-eu-west does not report"));
}

#[test]
fn what_serves_and_does_not_yet_is_told_with_its_error() {
    let mut world = World::in_mode(Mode::Manual);
    assert_eq!(degraded(&world), [""; 0]);
    world.view.reports.values_mut().for_each(|heard| {
        let shown = heard.report.groups.get_mut(&group()).unwrap();
        if let Some(web) = shown.instances.get_mut(&"web-eu-west".into()) {
            web.done.as_mut().unwrap().goal = Goal::Standby;
        }
    });
    assert_eq!(degraded(&world), ["web-eu-west: it is not active yet"]);
    world.view.reports.values_mut().for_each(|heard| {
        let shown = heard.report.groups.get_mut(&group()).unwrap();
        if let Some(web) = shown.instances.get_mut(&"web-eu-west".into()) {
            let done = web.done.as_mut().unwrap();
            (done.goal, done.token.revision) = (Goal::Active, Revision(1));
        }
    });
    assert_eq!(degraded(&world), ["web-eu-west: it is not active yet"], "of another order");
}

#[test]
fn a_plan_says_its_row_what_it_tried_and_the_evidence_it_waits_for() {
    let mut world = World::in_mode(Mode::Manual);
    assert_eq!(said(&world, Topic::Plan), [""; 0]);
    world.cut(EU);
    world.run(ms(4000));
    world.open(&world.request(PlanKind::Failover)).unwrap();
    assert!(world.until(StepId::ProveFence));
    let told = said(&world, Topic::Plan);
    assert!(told[0].contains("prove-fence for") && !told[0].contains("attempts"), "{told:?}");
    assert!(told[1].starts_with("db-eu-west: no evidence; silent for"), "{told:?}");
    let plan = of(&mut world).plan.as_mut().unwrap();
    let row = &mut plan.steps[plan.cursor];
    (row.attempts, row.note) = (2, "no answer".to_owned());
    let tried = said(&world, Topic::Plan);
    assert!(tried[0].ends_with("; not so after 2 attempts: no answer"), "{tried:?}");
    assert!(world.until(StepId::CatchUp));
    let later = said(&world, Topic::Plan);
    assert!(later[0].contains("catch-up for"), "{later:?}");
    assert!(!later.iter().any(|text| text.contains("evidence")), "{later:?}");
}

#[test]
fn an_objective_is_held_against_what_drills_and_standbys_showed() {
    let readiness = |change: &dyn Fn(&mut World)| {
        let mut world = World::in_mode(Mode::Manual);
        change(&mut world);
        let all = explain_group(&world.state, &world.view, world.now, &group());
        let found = all.into_iter().filter(|reason| reason.code == "objective");
        found.map(|reason| (reason.open, reason.text)).collect::<Vec<_>>()
    };
    let strict = |world: &mut World| policy(world).durability = Durability::Strict;
    let followed = |world: &mut World| {
        strict(world);
        counted(world, &["db-us-east"]);
    };
    let nothing = "it would lose no acknowledged write";
    assert_eq!(readiness(&followed)[1].1, nothing);
    assert_ne!(readiness(&strict)[1].1, nothing, "nobody has all");
    assert_ne!(readiness(&|world| counted(world, &["db-us-east"]))[1].1, nothing);
    let mut world = World::in_mode(Mode::Manual);
    followed(&mut world);
    let cost = |world: &World| predicted(&world.state, &world.view, world.now, &group());
    assert_eq!(cost(&world).loss, Some(ms(0)));
    of(&mut world).activation = Activation::default();
    assert_eq!(cost(&world), Predicted::default());
}

#[test]
fn a_drill_that_is_due_is_told_by_the_wall_clock() {
    let mut world = World::in_mode(Mode::Manual);
    let due = |world: &World| {
        let told = drill_due(&world.state, &group(), WallMillis(0));
        told.map(|reason| (reason.open, reason.text))
    };
    assert_eq!(due(&world), None, "policy asks for none");
    policy(&mut world).drill.every = std::time::Duration::from_secs(86_400);
    let none = (true, "a drill is due: none has moved this group yet".to_owned());
    assert_eq!(due(&world), Some(none));
    of(&mut world).activation = Activation::default();
    assert_eq!(due(&world), None, "nothing serves");
}
