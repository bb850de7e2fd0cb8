//! What a failover cost is counted once, on the side that lost.

use crate::testing::*;
use crate::{
    Epoch, InstanceId, LateObject, LateObjects, Loss, LostTransaction, Mode, PlanKind, Position,
    WallMillis,
};

fn old_primary() -> InstanceId {
    "db-eu-west".into()
}

/// A failover whose source was cut off; it is back, and where its target ended.
fn failed_over() -> (World, Position) {
    let mut world = World::in_mode(Mode::Manual);
    world.cut(EU);
    world.run(ms(6000));
    world.open(&world.request(PlanKind::Failover)).unwrap();
    world.run(ms(30_000));
    let end = world.last_plan().target_end[&"db".into()];
    (world, end)
}

fn loss(from: Position, count: Option<u64>) -> Loss {
    let one = LostTransaction { id: 735, lsn: "0/7".into(), at: "2026-11-22 10:11:12 UTC".into() };
    Loss {
        end: Position { offset: from.offset + 100, ..from },
        count,
        listed: vec![one],
        kept: "/kept".into(),
        ..Loss::nothing(from, WallMillis(0))
    }
}

#[test]
fn what_the_old_side_lost_is_written_into_its_plan() {
    let (mut world, end) = failed_over();
    assert!(world.last_plan().lost.is_empty(), "nobody can have read it yet");
    let lost = loss(end, Some(1));
    world.agent(EU).lost.insert(old_primary(), lost.clone());
    world.heal(EU);
    world.run(ms(5000));
    assert_eq!(world.last_plan().lost[&old_primary()], lost);
    // The same divergence stands in every later Report of the same host.
    world.open(&world.request(PlanKind::Switchover)).unwrap();
    world.run(ms(30_000));
    assert!(world.last_plan().lost.is_empty(), "{:?}", world.last_plan().lost);
}

#[test]
fn an_old_side_that_comes_back_as_it_is_lost_nothing() {
    let (mut world, end) = failed_over();
    world.heal(EU);
    world.run(ms(5000));
    let lost = &world.last_plan().lost[&old_primary()];
    assert_eq!((lost.count, lost.from, lost.end), (Some(0), end, end));
}

#[test]
fn a_divergence_of_another_failover_is_not_counted_here() {
    let (mut world, end) = failed_over();
    let other = Position { offset: end.offset + 1, ..end };
    world.agent(EU).lost.insert(old_primary(), loss(other, Some(9)));
    world.heal(EU);
    world.run(ms(5000));
    assert_eq!(world.last_plan().lost[&old_primary()].count, Some(0));
}

#[test]
fn a_loss_that_cannot_be_counted_is_told_as_such() {
    let (mut world, end) = failed_over();
    world.agent(EU).lost.insert(old_primary(), loss(end, None));
    world.heal(EU);
    world.run(ms(5000));
    assert_eq!(world.last_plan().lost[&old_primary()].count, None);
    let told = world.state.events.iter().any(|event| event.message.contains("cannot be counted"));
    assert!(told);
}

/// A bucket has no stream: its epoch says which failover its late writes belong to.
#[test]
fn late_writes_of_a_bucket_stand_in_the_failover_that_made_them_late() {
    let late = |epoch| LateObjects {
        epoch: Epoch(epoch),
        since: WallMillis(1),
        listed: vec![LateObject { key: "orders/7".into(), at: WallMillis(2) }],
        unknown: 0,
        whole: true,
        read: String::new(),
    };
    let told = |epoch| Loss {
        count: Some(1),
        late: Some(Box::new(late(epoch))),
        ..Loss::nothing(Position::default(), WallMillis(3))
    };
    let bucket = InstanceId::from("bucket-eu-west");
    let (mut world, _) = failed_over();
    let later = told(world.group().epoch().0 + 1);
    world.agent(EU).lost.insert(bucket.clone(), later);
    world.heal(EU);
    world.run(ms(5000));
    let recorded = world.last_plan().lost.get(&bucket);
    assert!(recorded.is_none_or(|loss| loss.late.is_none()), "it is another one's: {recorded:?}");
    let (mut world, _) = failed_over();
    let loss = told(world.group().epoch().0);
    world.agent(EU).lost.insert(bucket.clone(), loss.clone());
    world.heal(EU);
    world.run(ms(5000));
    assert_eq!(world.last_plan().lost[&bucket], loss);
    let event = world.state.events.iter().any(|event| event.message.contains("1 objects"));
    assert!(event);
}
