//! Traffic of a kind that has no zone: nobody but its agents can read the token.

use crate::testing::*;
use crate::{Layer, Mode, NOTE, PlanKind, Reason, StepId, StepState, Topic, explain_group};

/// A world whose traffic is held by something that is no zone.
fn zoneless() -> World {
    let mut spec = spec();
    let instances = spec.groups.get_mut(&group()).unwrap().instances.values_mut();
    for traffic in instances.filter(|i| i.layer == Layer::Traffic) {
        traffic.settings.remove("zone");
    }
    let mut world = World::with(spec);
    world.enter(Mode::Manual);
    world
}

#[test]
fn a_name_is_served_though_no_arbiter_can_read_a_token() {
    let mut world = zoneless();
    world.tokenless = true;
    world.open(&world.request(PlanKind::Switchover)).unwrap();
    world.run(ms(31_000));
    let step = world.last_plan().record(StepId::VerifyService).unwrap();
    assert_eq!(step.state, StepState::Done, "{step:?}");
}

#[test]
fn a_weakness_is_shown_and_is_no_fault() {
    let mut world = zoneless();
    for heard in world.view.reports.values_mut() {
        let groups = heard.report.groups.values_mut();
        for (_, shown) in
            groups.flat_map(|g| &mut g.instances).filter(|(id, _)| id.as_str() == "dns-eu-west")
        {
            shown.fact.detail.insert(NOTE.to_owned(), "weaker than it could be".to_owned());
        }
    }
    let reasons = explain_group(&world.state, &world.view, world.now, &group());
    let note = |r: &&Reason| r.topic == Topic::Readiness && r.code == "note";
    let said: Vec<_> = reasons.iter().filter(note).collect();
    assert_eq!(said.len(), 1, "{said:?}");
    assert_eq!(said[0].text, "dns-eu-west: weaker than it could be");
    assert!(said[0].open, "{said:?}");
}
