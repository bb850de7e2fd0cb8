//! What makes two proposals the same decision.

use crate::leader::Subject;
use crate::testing::{EU, US, World, group, ms};
use crate::*;

/// A command, the same taken again with other measurements, and another decision.
fn is_told_apart(one: Command, again: Command, other: Command) {
    let (first, second, third) = (Subject::of(&one), Subject::of(&again), Subject::of(&other));
    assert_ne!(first, Subject::Asked, "{one:?}");
    assert_eq!(first, second, "{one:?}");
    assert_ne!(first, third, "{one:?}");
}

fn evidence(clean: bool, note: &str) -> Evidence {
    Evidence {
        kind: EvidenceKind::Confirmed,
        instance: "db".into(),
        agent: "agent".into(),
        incarnation: Incarnation(1),
        token: Token::new(1, 9),
        term: 1,
        waited: None,
        clean,
        note: note.to_owned(),
    }
}

#[test]
fn what_a_plan_does_is_one_decision_however_long_it_took() {
    let world = World::in_mode(Mode::Manual);
    let open = |immediate| {
        let request = world.request(PlanKind::Switchover);
        let open = preflight(&world.state, &world.view, world.now, &request).unwrap();
        OpenPlan { immediate, ..open }
    };
    let (plan, group) = (PlanId(4), group());
    let opens = |immediate| Command::OpenPlan(open(immediate));
    is_told_apart(opens(false), opens(false), opens(true));
    let drill =
        |id, immediate| Command::OpenDrillPlan { drill: DrillId(id), open: open(immediate) };
    is_told_apart(drill(1, false), drill(2, false), drill(1, true));
    let supersedes = |plan, took| Command::Supersede {
        plan: PlanId(plan),
        open: open(false),
        stands: Default::default(),
        took: ms(took),
    };
    is_told_apart(supersedes(4, 1), supersedes(4, 2), supersedes(5, 1));
    assert_ne!(Subject::of(&supersedes(4, 1)), Subject::of(&opens(false)));
    let ends = |state, took: u64| Command::EndStep {
        group: group.clone(),
        plan,
        step: StepId::CatchUp,
        outcome: StepOutcome { state, note: took.to_string(), ..StepOutcome::default() },
        took: ms(took),
    };
    is_told_apart(ends(StepState::Done, 1), ends(StepState::Done, 2), ends(StepState::Degraded, 1));
    let retries = |step, note: &str| {
        let (group, note) = (group.clone(), note.to_owned());
        Command::RetryStep { group, plan, step, note }
    };
    let (here, there) = (StepId::CatchUp, StepId::PromoteData);
    is_told_apart(retries(here, "a"), retries(here, "b"), retries(there, "a"));
    let records = |clean, note: &str, took| Command::RecordEvidence {
        group: group.clone(),
        plan,
        evidence: evidence(clean, note),
        end: None,
        took: ms(took),
    };
    is_told_apart(records(true, "a", 1), records(true, "b", 2), records(false, "a", 1));
    let halts = |reason: &str, next: &str| Command::HaltPlan {
        group: group.clone(),
        plan,
        halt: Halt { step: StepId::CatchUp, reason: reason.to_owned(), next: next.to_owned() },
    };
    is_told_apart(halts("1 s", "look"), halts("2 s", "look"), halts("1 s", "wait"));
    let aborts = |epoch, took| Command::AbortPlan {
        group: group.clone(),
        plan,
        expected_epoch: Epoch(epoch),
        took: ms(took),
    };
    is_told_apart(aborts(1, 1), aborts(1, 2), aborts(2, 1));
}

#[test]
fn what_ends_a_phase_or_begins_a_group_is_one_decision() {
    let group = group();
    let phase = |failed: Option<&str>, phase| Command::EndDrillPhase {
        group: group.clone(),
        drill: DrillId(1),
        phase,
        said: Default::default(),
        failed: failed.map(str::to_owned),
    };
    let check = DrillPhase::Check;
    is_told_apart(phase(Some("a"), check), phase(Some("b"), check), phase(None, check));
    let activates = |region: &str| Command::ActivateFirst {
        group: group.clone(),
        region: region.into(),
        primaries: Default::default(),
    };
    is_told_apart(activates(EU), activates(EU), activates(US));
    let asked = Command::Arm { group, armed: true };
    assert_eq!(Subject::of(&asked), Subject::Asked);
}
