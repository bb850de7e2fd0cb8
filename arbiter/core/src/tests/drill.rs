//! What drills tell and who plays which part, of drills made by hand.

use crate::testing::*;
use crate::*;
use std::collections::BTreeMap;

fn measured(recovery: u64) -> Measured {
    Measured {
        recovery: ms(recovery),
        outage: ms(0),
        after_fence: ms(recovery / 2),
        loss: LossBound { bytes: Some(0), age: Some(ms(0)) },
        slowest: None,
        degraded: Vec::new(),
    }
}

fn ended(kind: DrillKind) -> Drill {
    Drill {
        id: DrillId(7),
        kind,
        by: By::Policy,
        reason: String::new(),
        began: WallMillis(0),
        home: EU.into(),
        away: US.into(),
        accept_loss: false,
        stalls: false,
        phase: DrillPhase::Check,
        token: Token::new(1, 9),
        out: None,
        back: None,
        measured: None,
        said: BTreeMap::new(),
        faults: Vec::new(),
        end: Some(DrillEnd::Completed),
        ended: WallMillis(0),
    }
}

/// A group whose checks are set and which is to recover within ten seconds.
fn drilled() -> GroupSpec {
    let mut spec = spec().groups.remove(&group()).unwrap();
    spec.policy.rto = Some(ms(10_000));
    spec.policy.drill.check = BTreeMap::from([("command".to_owned(), "/check".to_owned())]);
    spec
}

#[test]
fn a_drill_proposes_what_its_numbers_ask_for() {
    let told = |kind, change: &dyn Fn(&mut GroupSpec, &mut Drill, &mut Measured)| {
        let (mut spec, mut drill, mut measured) = (drilled(), ended(kind), measured(10_000));
        change(&mut spec, &mut drill, &mut measured);
        drill.measured = Some(measured);
        proposals(&spec, &drill)
    };
    let moves = DrillKind::Switchover;
    assert_eq!(told(moves, &|_, _, _| ()), [""; 0]);
    let unchecked = told(moves, &|spec, _, _| spec.policy.drill.check.clear());
    assert!(unchecked[0].starts_with("nothing of yours checked"), "{unchecked:?}");
    let slow = told(moves, &|_, _, measured| measured.recovery = ms(10_001));
    assert!(slow[0].starts_with("recovery took 10.0s, the objective is 10s"), "{slow:?}");
    assert_eq!(told(moves, &|_, _, measured| measured.recovery = ms(9000)), [""; 0]);
    for (kind, age, said) in [
        (DrillKind::RegionLoss, Some(60_000), false),
        (DrillKind::RegionLoss, Some(60_001), true),
        (DrillKind::RegionLoss, None, true),
        (DrillKind::Switchover, None, false),
    ] {
        let lost = told(kind, &|_, _, measured| measured.loss.age = age.map(ms));
        assert_eq!(
            lost.iter().any(|text| text.contains("the RPO of 60s")),
            said,
            "{kind:?} {age:?}"
        );
    }
    for (recovery, took, said) in
        [(10_000, 4000, true), (10_000, 3999, false), (2000, 1000, true), (2000, 999, false)]
    {
        let long = told(moves, &|_, _, measured| {
            measured.recovery = ms(recovery);
            measured.slowest = Some((StepId::PromoteData, ms(took)));
        });
        let row = long.iter().any(|text| text.starts_with("row promote-data took"));
        assert_eq!(row, said, "{took} of {recovery}");
    }
    let degraded = told(moves, &|_, _, measured| {
        measured.degraded.push((StepId::VerifyService, "nobody sees it".to_owned()));
    });
    assert_eq!(degraded, ["row verify-service ended degraded: nobody sees it"]);
    let failed = told(moves, &|_, drill, _| drill.end = Some(DrillEnd::Failed("why".into())));
    assert_eq!(failed, ["mend this first, and drill again: why"]);
    let unmeasured = proposals(&drilled(), &ended(moves));
    assert_eq!(unmeasured, [""; 0]);
}

#[test]
fn a_drill_is_measured_by_its_plans_rows() {
    let mut world = World::in_mode(Mode::Manual);
    world.open(&world.request(PlanKind::Switchover)).unwrap();
    let mut plan = world.plan().clone();
    for (number, row) in plan.steps.iter_mut().enumerate() {
        row.took = ms(1 << number);
    }
    let whole = crate::total(plan.steps.iter().map(|row| row.took));
    assert_eq!(whole, ms((1 << plan.steps.len()) - 1));
    plan.took = whole;
    let row = |plan: &mut Plan, id| plan.steps.iter().position(|row| row.id == id).unwrap();
    let last = row(&mut plan, StepId::VerifyService);
    plan.steps[last].state = StepState::Degraded;
    plan.steps[last].note = "nobody sees it".to_owned();
    let measured = Measured::of(&plan);
    let of = |plan: &mut Plan, from, to| {
        let (from, to) = (row(plan, from), row(plan, to));
        ms((from..=to).map(|number| 1 << number).sum())
    };
    assert_eq!(measured.recovery, whole);
    let outage = of(&mut plan, StepId::FenceSource, StepId::VerifyTarget);
    assert_eq!(measured.outage, outage);
    let after = of(&mut plan, StepId::CatchUp, StepId::VerifyService);
    assert_eq!(measured.after_fence, after);
    assert_eq!(measured.slowest, Some((StepId::VerifyService, ms(1 << last))));
    let degraded = [(StepId::VerifyService, "nobody sees it".to_owned())];
    assert_eq!(measured.degraded, degraded);
}

#[test]
fn a_drill_predicts_the_next_recovery_by_the_median_of_the_last_five() {
    let spec = drilled();
    let with = |took: &[u64]| {
        let drills = took
            .iter()
            .map(|took| Drill { measured: Some(measured(*took)), ..ended(DrillKind::RegionLoss) });
        Group { drills: drills.collect(), ..Group::default() }
    };
    let dead = spec.policy.timing.dead_after(ms(8000));
    let predicted = |spec: &GroupSpec, took: &[u64]| predicted_recovery(spec, &with(took));
    assert_eq!(predicted(&spec, &[]), None);
    assert_eq!(predicted(&spec, &[10_000]), Some(dead + ms(5000)));
    assert_eq!(predicted(&spec, &[2000, 10_000, 4000]), Some(dead + ms(2000)));
    let older = [90_000, 90_000, 2000, 4000, 6000, 8000, 10_000];
    assert_eq!(predicted(&spec, &older), Some(dead + ms(3000)));
    let mut slow = spec;
    slow.policy.detect_after = ms(60_000);
    assert_eq!(predicted(&slow, &[10_000]), Some(ms(65_000)), "it is judged lost later");
}

#[test]
fn a_drill_is_due_by_the_last_that_moved_the_group_and_was_completed() {
    let mut spec = drilled();
    let wall = |days: u64| WallMillis(days * 86_400_000);
    let group = |drills: Vec<Drill>| Group { drills, ..Group::default() };
    let done = || Drill { ended: wall(100), ..ended(DrillKind::Switchover) };
    assert_eq!(due(&spec, &group(vec![done()]), wall(500)), Due::Never);
    spec.policy.drill.every = std::time::Duration::from_secs(30 * 86_400);
    assert_eq!(due(&spec, &group(vec![]), wall(500)), Due::NoneYet);
    let rehearsed = Drill { kind: DrillKind::Rehearsal, ..done() };
    let failed = Drill { end: Some(DrillEnd::Failed("why".into())), ..done() };
    let others = group(vec![rehearsed.clone(), failed.clone()]);
    assert_eq!(due(&spec, &others, wall(500)), Due::NoneYet);
    let group = group(vec![done(), rehearsed, failed]);
    let early = WallMillis(wall(125).0 - 1);
    assert_eq!(due(&spec, &group, early), Due::Later(wall(125)));
    assert_eq!(due(&spec, &group, wall(125)), Due::Due(wall(125), wall(130)));
    let late = WallMillis(wall(130).0 - 1);
    assert_eq!(due(&spec, &group, late), Due::Due(wall(125), wall(130)));
    assert_eq!(due(&spec, &group, wall(130)), Due::Overdue(wall(130)));
}

/// Who plays which part of a drill, and what of an instance that part has.
#[test]
fn parts_of_a_drill_are_played_beside_what_is_rehearsed_or_checked() {
    let mut spec = drilled();
    let db = spec.instances.get_mut(&"db-us-east".into()).unwrap();
    db.settings.insert("user".to_owned(), "postgres".to_owned());
    db.waits = true;
    let beside: BTreeMap<_, _> =
        drills_beside(&spec, &"agent-us-east".into()).into_iter().collect();
    let names: Vec<String> = beside.keys().map(ToString::to_string).collect();
    let rehearsed = ["bucket", "db", "web"].map(|of| format!("rehearsal:{of}-us-east"));
    let check = std::iter::once("check:us-east".to_owned());
    assert_eq!(names, check.chain(rehearsed).collect::<Vec<_>>(), "traffic is rehearsed by nobody");
    for (id, part) in &beside {
        let kind = part.kind.as_str();
        assert_eq!(kind == DRILL_CHECK, *id == check_id(&US.into()));
        assert!(kind == DRILL_CHECK || kind == "rehearsal:fake", "{kind}");
        let plain = (part.layer, part.fencing, part.control, part.waits);
        assert_eq!(plain, (Layer::Data, Fencing::BestEffort, Control::Api, false));
        assert!(part.evidence.is_empty());
        assert_eq!(part.settings["drill.command"], "/check");
        assert_eq!(part.settings["drill.kind"], "fake");
        let user = part.settings.contains_key("user");
        let of_database = *id == check_id(&US.into()) || *id == rehearsal_id(&"db-us-east".into());
        assert_eq!(user, of_database, "{id}");
    }
    assert_eq!(beside[&check_id(&US.into())].settings.len(), 3, "nothing else of the database");
    // The first agent beside required data runs the checks.
    let first =
        Instance { agent: "agent-a".into(), ..spec.instances[&"db-us-east".into()].clone() };
    spec.instances.insert("db2-us-east".into(), first);
    let checks = |agent: &str| {
        drills_beside(&spec, &agent.into()).iter().any(|(id, _)| *id == check_id(&US.into()))
    };
    assert!(checks("agent-a") && !checks("agent-us-east") && !checks("nobody"));
}

#[test]
fn a_drill_orders_its_parts_and_what_a_rehearsal_left_is_removed() {
    let mut state = World::in_mode(Mode::Manual).state;
    state.spec.groups.get_mut(&group()).unwrap().policy.drill.check = drilled().policy.drill.check;
    let ordered = |open: Option<Drill>, last: Option<Drill>, agent: &str| {
        let mut state = state.clone();
        let of = state.groups.get_mut(&group()).unwrap();
        (of.drill, of.drills) = (open, last.into_iter().collect());
        let all = orders(&state, &agent.into()).into_iter();
        let parts = all.filter(|order| order.instance.as_str().contains(':'));
        parts.map(|order| (order.instance.to_string(), order.goal, order.token)).collect::<Vec<_>>()
    };
    let token = Token::new(1, 9);
    let of =
        |goal| ["bucket", "db", "web"].map(|id| (format!("rehearsal:{id}-us-east"), goal, token));
    let rehearses = || Drill { phase: DrillPhase::Rehearse, ..ended(DrillKind::Rehearsal) };
    assert_eq!(ordered(Some(rehearses()), None, "agent-us-east"), of(Goal::Active));
    assert_eq!(ordered(Some(rehearses()), None, "agent-eu-west"), []);
    assert_eq!(ordered(None, Some(rehearses()), "agent-us-east"), of(Goal::Standby));
    let moved = Drill { kind: DrillKind::Switchover, ..rehearses() };
    assert_eq!(ordered(None, Some(moved), "agent-us-east"), [], "it left nothing");
    let check = [("check:us-east".to_owned(), Goal::Active, token)];
    let checks = ended(DrillKind::Switchover);
    assert_eq!(ordered(Some(checks.clone()), None, "agent-us-east"), check);
    let runs = Drill { phase: DrillPhase::Execute, ..checks };
    assert_eq!(ordered(Some(runs), None, "agent-us-east"), []);
    assert_eq!(ordered(None, None, "agent-us-east"), []);
}

#[test]
fn a_drills_window_that_begins_and_ends_at_one_minute_lasts_a_day() {
    let whole = Window { days: 1 << 3, from: 600, to: 600 };
    let at = |minutes: u64| WallMillis(minutes * 60_000);
    assert!(!whole.holds(at(599)) && whole.holds(at(600)) && whole.holds(at(1440 + 599)));
    assert!(!whole.holds(at(1440 + 600)));
    let night = Window { days: 1 << 3, from: 22 * 60, to: 2 * 60 };
    assert!(!night.holds(at(22 * 60 - 1)) && night.holds(at(22 * 60)));
}
