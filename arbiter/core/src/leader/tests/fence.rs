//! An external fence is run by the leader only as a quorum says, each time anew.

use super::*;
use crate::testing::{EU, US, World, group, ms};
use crate::{Command, Mode, PlanKind, StepId};

/// A failover whose source is lost, unarmed, and whose target has no agent that could run it.
fn bench() -> Bench {
    let mut spec = crate::testing::spec();
    let policy = &mut spec.groups.get_mut(&group()).unwrap().policy;
    policy.external_fence = [(EU.into(), Default::default())].into();
    let mut world = World::with(spec);
    world.enter(Mode::Manual);
    world.cut(EU);
    world.run(ms(4000));
    world.open(&world.request(PlanKind::Failover)).unwrap();
    assert!(world.until(StepId::ProveFence));
    world.cut(US);
    let seat = Seat::elected(world.at.term, world.now, None);
    Bench { world, seat }
}

fn cut(bench: &Bench) -> Cut {
    Cut { group: group(), region: EU.into(), token: bench.world.plan().fence_token }
}

fn round(number: u64) -> SeatAction {
    SeatAction::BeginRound { round: RoundId { term: 1, number } }
}

fn runs(actions: &[SeatAction]) -> Vec<&Cut> {
    let cuts = actions.iter().filter_map(|action| match action {
        SeatAction::Cut { term: 1, cut } => Some(cut),
        _ => None,
    });
    cuts.collect()
}

#[test]
fn a_command_is_run_only_after_a_round_that_began_when_it_was_wanted() {
    let mut bench = bench();
    let actions = bench.step(SeatEvent::Turn);
    assert!(actions.contains(&round(1)) && runs(&actions).is_empty(), "{actions:?}");
    assert!(runs(&bench.ends_as(1, None)).is_empty(), "no quorum");
    bench.pass(10);
    assert!(!bench.step(SeatEvent::Turn).contains(&round(2)), "it rests after a failure");
    bench.pass(50);
    assert!(bench.step(SeatEvent::Turn).contains(&round(2)));
    let cut = cut(&bench);
    assert_eq!(runs(&bench.round_ends(2)), [&cut]);
    bench.pass(60_000);
    let actions = bench.step(SeatEvent::Turn);
    assert!(!actions.contains(&round(3)), "it runs already: {actions:?}");
}

#[test]
fn each_run_asks_a_quorum_anew_until_the_check_is_true() {
    let mut bench = bench();
    let cut = cut(&bench);
    bench.step(SeatEvent::Turn);
    assert_eq!(runs(&bench.round_ends(1)), [&cut]);
    let ended = |term, off| SeatEvent::CutEnded { term, cut: cut.clone(), off };
    bench.step(ended(1, false));
    assert!(!bench.step(SeatEvent::Turn).contains(&round(2)), "it rests after a failure");
    bench.pass(1000);
    assert!(bench.step(SeatEvent::Turn).contains(&round(2)));
    assert_eq!(runs(&bench.round_ends(2)), [&cut]);
    bench.step(ended(7, true));
    assert!(bench.seat.view.powered_off.is_empty(), "that was another term's");
    bench.step(ended(1, true));
    assert_eq!(bench.seat.view.powered_off.len(), 1);
    bench.pass(1000);
    assert!(!bench.step(SeatEvent::Turn).contains(&round(3)), "it is cut off");
}

#[test]
fn what_the_round_shows_to_be_undone_is_not_run() {
    let mut bench = bench();
    assert!(bench.step(SeatEvent::Turn).contains(&round(1)));
    // The plan was undone meanwhile, which the quorum knew and this arbiter learned by the round.
    let (plan, expected_epoch) = (bench.world.plan().id, bench.world.group().epoch());
    let abort = Command::AbortPlan { group: group(), plan, expected_epoch, took: ms(0) };
    bench.world.operator(abort).unwrap();
    assert!(runs(&bench.round_ends(1)).is_empty());
}
