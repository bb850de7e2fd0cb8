//! What holds up no plan, fenced as its provider says, and nothing is proposed of it in vain; and
//! what does hold one up is named.

use crate::testing::*;
use crate::{
    Command, EvidenceKind, InstanceId, Mode, PlanEnd, PlanKind, StepId, Topic, explain_group,
};

/// A bucket's fence is its provider's word, which a switchover does not take: it is not proposed
/// once a turn for as long as the database drains.
#[test]
fn a_switchover_proposes_nothing_that_is_refused() {
    let mut spec = spec();
    for region in [EU, US] {
        let instances = &mut spec.groups.get_mut(&group()).unwrap().instances;
        let bucket = instances.get_mut(&InstanceId(format!("bucket-{region}"))).unwrap();
        bucket.evidence = [EvidenceKind::ProviderAsserted].into();
    }
    let mut world = World::with(spec);
    world.enter(Mode::Manual);
    world.agent(EU).stubborn.insert("db-eu-west".into());
    world.open(&world.request(PlanKind::Switchover)).unwrap();
    world.run(ms(2000));
    assert_eq!(world.at.index, world.log.len() as u64, "each entry of the log was accepted");
    world.agent(EU).stubborn.clear();
    world.run(ms(2000));
    assert_eq!(world.last_plan().end, Some(PlanEnd::Completed));
    assert_eq!(world.at.index, world.log.len() as u64);
    assert!(world.group().unfenced.is_empty(), "the bucket is fenced");
}

#[test]
fn who_holds_a_plan_up_is_named() {
    for (id, row) in [
        ("db-us-east", StepId::CatchUp),
        ("bucket-us-east", StepId::PromoteData),
        ("web-us-east", StepId::ActivateWorkloads),
        ("dns-us-east", StepId::SwitchTraffic),
    ] {
        let mut world = World::in_mode(Mode::Manual);
        world.agent(US).stubborn.insert(id.into());
        world.open(&world.request(PlanKind::Switchover)).unwrap();
        assert!(world.until(row), "{row}");
        world.run(ms(1000));
        let reasons = explain_group(&world.state, &world.view, world.now, &group());
        let mut waits = reasons.iter().filter(|r| r.topic == Topic::Plan && !r.open);
        let text = waits.next().map_or("", |waits| waits.text.as_str());
        assert!(text.starts_with(id), "{row}: {text:?}");
        world.agent(US).stubborn.clear();
        world.run(ms(2000));
        assert_eq!(world.last_plan().end, Some(PlanEnd::Completed), "{row}");
    }
}

/// What an agent said before it was mended halts no plan that was resumed since.
#[test]
fn a_plan_that_is_resumed_asks_anew() {
    for id in ["db-us-east", "web-us-east", "dns-us-east"] {
        let mut world = World::in_mode(Mode::Manual);
        let kind = if id == "db-us-east" { PlanKind::Failover } else { PlanKind::Switchover };
        world.agent(US).refusing.insert(id.into());
        world.open(&world.request(kind)).unwrap();
        world.run(ms(20_000));
        assert!(world.plan().halt.is_some(), "{id}");
        world.agent(US).refusing.clear();
        let (plan, expected_epoch) = (world.plan().id, world.group().epoch());
        let group = group();
        let resume = Command::ResumePlan { group, plan, expected_epoch, accept_loss: false };
        world.operator(resume).unwrap();
        // Nobody has reported since.
        while world.decide_once() {}
        assert_eq!(world.plan().halt, None, "{id}");
        world.run(ms(2000));
        assert_eq!(world.last_plan().end, Some(PlanEnd::Completed), "{id}");
    }
}
