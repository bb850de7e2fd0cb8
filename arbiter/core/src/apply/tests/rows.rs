//! One generic test over the table: every row is run twice, failed once, and loses its leader once.

use crate::testing::*;
use crate::*;

const KINDS: [PlanKind; 2] = [PlanKind::Switchover, PlanKind::Failover];

/// A plan of `kind` that has just opened. A failover's source is cut off, so that every row waits.
fn opened(kind: PlanKind) -> World {
    let mut world = World::in_mode(Mode::Manual);
    if kind == PlanKind::Failover {
        world.cut(EU);
        world.run(ms(4000));
    }
    world.open(&world.request(kind)).unwrap();
    world
}

/// Plans that wait at each row of the table that can wait, with what the table says of a failure.
fn each_row() -> impl Iterator<Item = (World, PlanKind, &'static Step, OnFailure)> {
    KINDS.into_iter().flat_map(|kind| {
        STEPS.iter().filter_map(move |step| {
            let mut world = opened(kind);
            if step.id < StepId::FenceSource || !world.until(step.id) {
                return None;
            }
            let on_failure = match kind {
                PlanKind::Switchover => step.switchover,
                PlanKind::Failover => step.failover,
            };
            Some((world, kind, step, on_failure))
        })
    })
}

fn end(world: &World, step: StepId, state: StepState) -> Command {
    let outcome = StepOutcome { state, note: "planted".to_owned(), ..StepOutcome::default() };
    Command::EndStep { group: group(), plan: world.plan().id, step, outcome, took: ms(1) }
}

#[test]
fn every_row_can_be_waited_at_but_those_that_only_change_state() {
    let rows: Vec<_> = each_row().map(|(_, kind, step, _)| (kind, step.id)).collect();
    let waiting = |kind| rows.iter().filter(|(k, _)| *k == kind).count();
    assert_eq!(waiting(PlanKind::Failover), STEPS.len() - 2, "{rows:?}");
    // A switchover's proof is the source's own word, which ends the row before.
    assert_eq!(waiting(PlanKind::Switchover), STEPS.len() - 3, "{rows:?}");
}

#[test]
fn every_row_failed_does_what_the_table_says_and_the_plan_still_ends() {
    for (mut world, kind, step, on_failure) in each_row() {
        let case = format!("{} of a {kind:?}: {on_failure:?}", step.name);
        let before = world.plan().clone();
        let failed = world.operator(end(&world, step.id, StepState::Failed));
        match on_failure {
            OnFailure::Never | OnFailure::Refuse => {
                assert!(matches!(failed, Err(Rejected::Stale(_))), "{case}: {failed:?}");
            }
            OnFailure::Abort => {
                let end = world.last_plan().end.clone();
                assert!(matches!(end, Some(PlanEnd::Aborted(_))), "{case}");
                assert!(!world.group().lease_stopped, "{case}");
                continue;
            }
            OnFailure::NextRow => assert!(world.plan().cursor > before.cursor, "{case}"),
            OnFailure::Degrade => {
                let record = world.last_plan().record(step.id).unwrap();
                assert_eq!(record.state, StepState::Degraded, "{case}");
            }
            OnFailure::Halt | OnFailure::RetryThenHalt | OnFailure::RetryForEver => {
                let halt = world.plan().halt.clone().expect("halted");
                assert_eq!((halt.step, halt.reason.as_str()), (step.id, "planted"), "{case}");
                assert!(halt.next.starts_with("arbiter "), "{case}");
                let (plan, expected_epoch) = (world.plan().id, world.group().epoch());
                let (group, accept_loss) = (group(), false);
                world
                    .operator(Command::ResumePlan { group, plan, expected_epoch, accept_loss })
                    .unwrap();
            }
        }
        world.run(ms(10_000));
        assert_eq!(world.last_plan().end, Some(PlanEnd::Completed), "{case}");
        assert_eq!(world.group().epoch(), Epoch(2), "{case}");
    }
}

#[test]
fn every_entry_applied_twice_changes_nothing_more() {
    for kind in KINDS {
        let mut world = opened(kind);
        let mut seen = 0;
        while world.group().plan.is_some() {
            world.view.note(&world.state, world.now);
            for proposal in decide(&world.state, &world.view, world.now) {
                if world.propose(&proposal).is_err() {
                    continue;
                }
                seen += 1;
                let before = world.state.clone();
                match world.propose(&proposal) {
                    Err(Rejected::Stale(_)) => {}
                    other => panic!("{proposal:?} again: {other:?}"),
                }
                assert_eq!(world.state, before);
            }
            world.tick();
        }
        assert!(seen > 0 && world.group().epoch() == Epoch(2));
    }
}

#[test]
fn a_leader_lost_at_any_row_leaves_the_same_end() {
    for (mut world, kind, step, _) in each_row() {
        let case = format!("{} of a {kind:?}", step.name);
        world.elect();
        world.run(ms(12_000));
        assert_eq!(world.last_plan().end, Some(PlanEnd::Completed), "{case}");
        let group = world.group();
        assert_eq!((group.epoch(), group.active()), (Epoch(2), Some(&US.into())), "{case}");
        assert_eq!(group.goal(&US.into(), Layer::Traffic).unwrap().goal, Goal::Active, "{case}");
    }
}

#[test]
fn a_row_that_has_ended_cannot_end_again() {
    for (mut world, kind, step, _) in each_row() {
        let old = end(&world, step.id, StepState::Failed);
        let elsewhere = STEPS.iter().filter(|other| other.id != step.id);
        for other in elsewhere {
            let wrong = world.operator(end(&world, other.id, StepState::Done));
            assert!(matches!(wrong, Err(Rejected::Stale(_))), "{kind:?} {}", other.name);
        }
        world.run(ms(12_000));
        assert!(matches!(world.operator(old), Err(Rejected::Stale(_))), "{kind:?} {}", step.name);
    }
}

#[test]
fn without_evidence_no_row_before_the_point_of_no_return_lets_the_epoch_rise() {
    for (mut world, kind, step, _) in each_row() {
        if step.id > StepId::AdvanceEpoch {
            continue;
        }
        let plan = world.state.groups.get_mut(&group()).unwrap().plan.as_mut().unwrap();
        plan.evidence.clear();
        // Whatever the cursor says: I3 is asked where the epoch would rise.
        plan.cursor = plan.steps.iter().position(|s| s.id == StepId::AdvanceEpoch).unwrap();
        let risen = world.operator(end(&world, StepId::AdvanceEpoch, StepState::Done));
        let refused = matches!(&risen, Err(Rejected::Refused { code, .. }) if code == "not-fenced");
        assert!(refused, "{kind:?} {}: {risen:?}", step.name);
        assert_eq!(world.group().epoch(), Epoch(1));
    }
}
