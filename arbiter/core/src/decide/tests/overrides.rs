//! Overrides: by the name of a gate, for one plan, for a time.

use crate::testing::*;
use crate::*;

fn naming(world: &World, gates: &[&str]) -> OpenRequest {
    let overrides = gates.iter().map(|gate| (*gate).to_owned()).collect();
    OpenRequest { overrides, ..world.request(PlanKind::Failover) }
}

fn closed(world: &World, request: &OpenRequest) -> Vec<String> {
    let gates = preflight(&world.state, &world.view, world.now, request);
    gates.err().unwrap_or_default().into_iter().map(|reason| reason.code).collect()
}

/// The active region is gone, and what it wrote last is over the RPO: two gates are closed.
fn lossy() -> World {
    let mut world = World::in_mode(Mode::Manual);
    world.link_cut = true;
    world.written = 9_000_000;
    world.run(ms(90_000));
    assert_eq!(world.group().lag, LagMark::Over);
    world.cut(EU);
    world.run(ms(20_000));
    world
}

#[test]
fn each_gate_is_named_and_no_other_is_gone_through() {
    let world = lossy();
    let plain = closed(&world, &world.request(PlanKind::Failover));
    assert!(plain.contains(&"rpo".to_owned()) && plain.len() > 1, "{plain:?}");
    let others: Vec<String> = plain.iter().filter(|code| *code != "rpo").cloned().collect();
    assert_eq!(closed(&world, &naming(&world, &["rpo"])), others, "one name opens one gate");
    let all: Vec<&str> = plain.iter().map(String::as_str).collect();
    assert_eq!(closed(&world, &naming(&world, &all)), Vec::<String>::new());
    let alias = OpenRequest { accept_loss: true, ..world.request(PlanKind::Failover) };
    assert_eq!(closed(&world, &alias), Vec::<String>::new(), "accepting loss names them all");
}

#[test]
fn the_plan_says_who_went_through_what_and_whether_it_was_needed() {
    let mut world = lossy();
    let plain = closed(&world, &world.request(PlanKind::Failover));
    let mut gates: Vec<&str> = plain.iter().map(String::as_str).collect();
    gates.push("checksum");
    world.open(&naming(&world, &gates)).unwrap();
    let plan = world.plan();
    assert!(plan.accept_loss);
    assert_eq!(plan.overrides.len(), gates.len());
    assert!(plan.overrides.iter().all(|(gate, known)| known.needed == (gate != "checksum")));
    let given = &plan.overrides["rpo"];
    assert_eq!((&given.by, given.lapsed), (&By::Operator("ada".to_owned()), false));
    assert_eq!(given.at, plan.opened);
}

#[test]
fn a_gate_of_the_fence_or_of_nothing_is_refused_with_the_list() {
    let world = World::in_mode(Mode::Manual);
    for (gate, code) in [
        ("fence", "never-overridden"),
        ("evidence", "never-overridden"),
        ("quorum", "never-overridden"),
        ("lease-alive", "never-overridden"),
        ("not-armed", "never-overridden"),
        ("everything", "unknown-gate"),
    ] {
        let request = naming(&world, &[gate]);
        let refused = preflight(&world.state, &world.view, world.now, &request).unwrap_err();
        assert_eq!(refused[0].code, code, "{gate}");
        assert!(refused[0].next.contains("rpo") && refused[0].next.contains("checksum"));
        // Whoever proposes it without asking first is refused by `apply`.
        let plain = world.request(PlanKind::Switchover);
        let mut open = preflight(&world.state, &world.view, world.now, &plain).unwrap();
        open.overrides.insert(gate.to_owned(), true);
        let mut world = World::in_mode(Mode::Manual);
        assert_eq!(world.operator(Command::OpenPlan(open)).unwrap_err().code(), code);
    }
    assert!(OVERRIDABLE.iter().all(|gate| !NEVER_OVERRIDDEN.contains(gate)));
}

#[test]
fn an_unnamed_gate_stays_closed_in_apply_too() {
    let mut world = lossy();
    let plain = closed(&world, &world.request(PlanKind::Failover));
    let all: Vec<&str> = plain.iter().map(String::as_str).collect();
    let request = naming(&world, &all);
    let mut open = preflight(&world.state, &world.view, world.now, &request).unwrap();
    open.overrides.remove("rpo");
    assert_eq!(world.operator(Command::OpenPlan(open)).unwrap_err().code(), "rpo");
}

/// A plan that waits overnight must not lose in the morning what was accepted in the evening.
#[test]
fn what_was_accepted_lapses_and_must_be_given_again() {
    let mut world = lossy();
    world.agent(US).stubborn.insert("db-us-east".into());
    let accepting = OpenRequest { accept_loss: true, ..world.request(PlanKind::Failover) };
    world.open(&accepting).unwrap();
    world.run(ms(60_000));
    let before = world.plan().clone();
    assert!(before.before_point_of_no_return() && before.accept_loss);
    world.now = world.now + OVERRIDE_LASTS - ms(70_000);
    world.run(ms(1000));
    assert!(world.plan().accept_loss, "not before its time");
    world.now = world.now + ms(10_000);
    world.run(ms(1000));
    let plan = world.plan();
    assert!(!plan.accept_loss && plan.overrides.values().all(|known| known.lapsed));
    let told = world.state.events.iter().filter(|e| e.kind == EventKind::OverridesLapsed).count();
    assert_eq!(told, 1);

    world.agent(US).stubborn.clear();
    if world.plan().halt.is_some() {
        resume(&mut world, false);
    }
    world.run(ms(5000));
    assert_eq!(world.group().epoch(), Epoch(1), "the loss is accepted no more");
    assert!(world.plan().halt.is_some(), "it says so, and waits");
    resume(&mut world, true);
    world.run(ms(5000));
    assert_eq!(world.group().epoch(), Epoch(2));
}

fn resume(world: &mut World, accept_loss: bool) {
    let (plan, expected_epoch) = (world.plan().id, Epoch(1));
    let group = group();
    world.operator(Command::ResumePlan { group, plan, expected_epoch, accept_loss }).unwrap();
}

#[test]
fn a_new_leader_lets_overrides_last_no_shorter() {
    let mut world = lossy();
    world.agent(US).stubborn.insert("db-us-east".into());
    let accepting = OpenRequest { accept_loss: true, ..world.request(PlanKind::Failover) };
    world.open(&accepting).unwrap();
    world.run(ms(1000));
    let (group, plan) = (group(), world.plan().id);
    for (term, elapsed) in [(9, OVERRIDE_LASTS), (world.at.term, OVERRIDE_LASTS - ms(1))] {
        let waited = Waited { term, elapsed };
        let lapse = Command::LapseOverrides { group: group.clone(), plan, waited };
        assert_eq!(world.operator(lapse).unwrap_err().code(), "stale");
    }
}
