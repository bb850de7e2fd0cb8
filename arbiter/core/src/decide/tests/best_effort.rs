//! What holds up no plan: fenced as its provider says, and nothing is proposed of it in vain.

use crate::testing::*;
use crate::{EvidenceKind, InstanceId, Mode, PlanEnd, PlanKind};

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
