//! When what a plan made active was seen to serve, for its report.

use super::pooled::pooled;
use crate::testing::*;
use crate::*;

fn at(plan: &Plan, instance: &str, region: &str) -> Option<WallMillis> {
    plan.times.serving[&format!("{instance}-{region}").into()]
}

#[test]
fn a_report_knows_when_each_instance_served_again_and_which_was_left_unfenced() {
    let mut world = World::in_mode(Mode::Manual);
    world.cut(EU);
    world.run(ms(6000));
    world.agent(US).stubborn.insert("web-us-east".into());
    world.open(&world.request(PlanKind::Failover)).unwrap();
    world.run(ms(20_000));
    let plan = world.plan().clone();
    assert_eq!(plan.step(), Some(StepId::ActivateWorkloads));
    let ended = |step| plan.times.ended[&step];
    let wrote = at(&plan, "db", US).expect("the write was tried as soon as it was promoted");
    assert!(ended(StepId::ProveFence) <= wrote && wrote < world.wall());
    assert_eq!((at(&plan, "web", US), at(&plan, "dns", US)), (None, None));
    world.agent(US).stubborn.clear();
    world.run(ms(5000));
    let plan = world.last_plan().clone();
    assert_eq!(at(&plan, "db", US), Some(wrote), "the first stands");
    assert!(at(&plan, "web", US).unwrap() > wrote);
    assert_eq!(at(&plan, "dns", US), Some(plan.times.ended[&StepId::SwitchTraffic]));
    assert!(plan.times.serving.len() == 4, "no more than what serves: {:?}", plan.times.serving);

    let since = plan.times.ended[&StepId::AdvanceEpoch];
    for instance in ["bucket-eu-west", "web-eu-west"] {
        let listed = Unfenced { since, until: None };
        assert_eq!(plan.times.unfenced[&instance.into()], listed, "{instance}");
    }
    world.heal(EU);
    world.run(ms(5000));
    let bucket = world.last_plan().times.unfenced[&"bucket-eu-west".into()];
    assert!(bucket.until > Some(since), "{bucket:?}");
}

#[test]
fn a_pooler_counts_when_its_clients_go_on_though_the_plan_has_ended() {
    let mut world = World::with(pooled());
    world.enter(Mode::Manual);
    world.open(&world.request(PlanKind::Switchover)).unwrap();
    assert!(world.until(StepId::PromoteData));
    world.agent(EU).stubborn.insert("pool-eu-west".into());
    world.run(ms(5000));
    let plan = world.last_plan().clone();
    assert_eq!(plan.end, Some(PlanEnd::Completed));
    assert!(at(&plan, "pool", US).unwrap() >= at(&plan, "db", US).unwrap());
    assert_eq!(at(&plan, "pool", EU), None);
    world.agent(EU).stubborn.clear();
    world.elect();
    world.run(ms(5000));
    let last = at(world.last_plan(), "pool", EU).expect("another leader writes it down too");
    assert!(last > plan.times.ended[&StepId::VerifyService]);
}

#[test]
fn rows_name_what_was_done() {
    let mut world = World::in_mode(Mode::Manual);
    world.open(&world.request(PlanKind::Switchover)).unwrap();
    world.run(ms(5000));
    let note = |step| world.last_plan().record(step).unwrap().note.as_str();
    assert_eq!(note(StepId::PromoteData), "active: bucket-us-east, db-us-east");
    assert_eq!(note(StepId::ActivateWorkloads), "active: web-us-east");
    assert_eq!(note(StepId::VerifyTarget), "took a write: db-us-east");
    assert_eq!(note(StepId::SwitchTraffic), "us-east named by: dns-us-east");
}
