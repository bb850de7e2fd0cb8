//! What a leader keeps of what it hears, and since when by its own clock.

use crate::testing::*;
use crate::*;
use std::time::Duration;

fn agent() -> AgentId {
    format!("agent-{EU}").into()
}

fn at(millis: u64) -> Instant {
    Instant::from_millis(1_000_000 + millis)
}

fn report(world: &mut World, sequence: u64) -> Report {
    Report { sequence, ..world.report_of(&agent()).unwrap() }
}

fn lapsed(mut report: Report, lapsed: bool) -> Report {
    report.groups.get_mut(&group()).unwrap().lapsed = lapsed;
    report
}

#[test]
fn a_report_that_was_overtaken_tells_nothing_but_for_another_life() {
    let mut world = World::observing();
    let mut view = View::elected(3, at(0));
    let (old, new) = (report(&mut world, 7), report(&mut world, 8));
    assert!(view.hear(new.clone(), at(10)));
    assert!(!view.hear(old.clone(), at(20)));
    assert_eq!(view.reports[&agent()].at, at(10));
    assert!(view.hear(new, at(30)), "the same again is no older");
    assert!(view.hear(Report { incarnation: Incarnation(9), ..old }, at(40)), "another life");
    assert!(view.reports[&agent()].connected);
    view.disconnected(&agent());
    assert!(!view.reports[&agent()].connected);
    view.disconnected(&"nobody".into());
}

#[test]
fn a_lapse_is_timed_from_the_first_report_that_shows_it() {
    let mut world = World::observing();
    let mut view = View::elected(3, at(0));
    let since = |view: &View| view.lapsed_since.get(&(group(), agent())).copied();
    let mut hear = |view: &mut View, shows, now| {
        let report = lapsed(report(&mut world, now), shows);
        view.hear(report, at(now));
    };
    hear(&mut view, false, 1);
    assert_eq!(since(&view), None);
    hear(&mut view, true, 2);
    hear(&mut view, true, 3);
    assert_eq!(since(&view), Some(at(2)));
    let other = format!("agent-{US}").as_str().into();
    let shown = World::observing().report_of(&other).unwrap();
    view.hear(shown, at(4));
    assert_eq!(since(&view), Some(at(2)), "another agent's word is about itself");
    hear(&mut view, false, 5);
    assert_eq!(since(&view), None);
}

#[test]
fn the_worst_wait_of_an_agent_is_kept_for_a_week() {
    const DAY: u64 = 24 * 60 * 60 * 1000;
    let mut world = World::observing();
    let mut view = View::elected(3, at(0));
    let today = at(0).since(Instant::default()).as_secs() / 86_400 + 7;
    let mut hear = |view: &mut View, life, gaps: &[u64], now| {
        let gaps = gaps.iter().map(|millis| ms(*millis)).collect();
        let next = Report { incarnation: Incarnation(life), gaps, ..report(&mut world, now) };
        view.hear(next, at(now));
    };
    let kept = |view: &View| {
        let days = view.renewal_gaps[&agent()].iter();
        days.map(|(day, gap)| (*day, *gap)).collect::<Vec<_>>()
    };
    hear(&mut view, 1, &[], 0);
    assert_eq!(kept(&view), [], "one Report makes no wait");
    hear(&mut view, 1, &[], 1000);
    hear(&mut view, 1, &[], 1500);
    assert_eq!(kept(&view), [(today, ms(1000))]);
    hear(&mut view, 2, &[], 9000);
    assert_eq!(kept(&view), [(today, ms(1000))], "another life was not waited for");
    hear(&mut view, 2, &[1200, 0, 700], 9100);
    assert_eq!(kept(&view), [(today - 2, ms(700)), (today, ms(1200))]);
    hear(&mut view, 2, &[1; 9], 9200);
    assert_eq!(kept(&view).len(), 7, "no more than a week is taken of what it says");
    assert_eq!(kept(&view)[0], (today - 6, ms(1)));
    hear(&mut view, 3, &[], 9200 + 5 * DAY);
    assert_eq!(kept(&view), [(today - 1, ms(1)), (today, ms(1200))], "older days go");
}

#[test]
fn a_probe_keeps_since_when_it_says_the_same() {
    let mut view = View::elected(3, at(0));
    let mut probe = |up, now| {
        view.probe(&"arbiter-eu".into(), &group(), "eu-db", up, "seen".into(), at(now));
        let key = ("arbiter-eu".into(), group(), "eu-db".to_owned());
        let probed = view.probes[&key].clone();
        (probed.up, probed.at, probed.since)
    };
    assert_eq!(probe(Some(true), 1), (Some(true), at(1), at(1)));
    assert_eq!(probe(Some(true), 2), (Some(true), at(2), at(1)));
    assert_eq!(probe(None, 3), (None, at(3), at(3)));
    assert_eq!(probe(Some(false), 4), (Some(false), at(4), at(4)));
    let heard = |view: &View| view.vantages.get(&"arbiter-eu".into()).copied();
    assert_eq!(heard(&view), Some(at(4)));
    view.vantage(&"arbiter-eu".into(), at(2));
    assert_eq!(heard(&view), Some(at(4)), "what it saw earlier makes it no older");
    view.vantage(&"arbiter-eu".into(), at(5));
    assert_eq!(heard(&view), Some(at(5)));
}

#[test]
fn clocks_begin_anew_with_what_they_time_and_end_with_it() {
    let mut world = World::in_mode(Mode::Manual);
    let mut state = world.state.clone();
    let view = &mut world.view;
    fn of(state: &mut State) -> &mut Group {
        state.groups.get_mut(&group()).unwrap()
    }
    let now = world.now + ms(1000);
    let since = |of: &std::collections::BTreeMap<GroupId, (u64, Instant)>| {
        of.get(&group()).map(|(_, at)| *at)
    };
    view.note(&state, now);
    assert_eq!((since(&view.mode_since), since(&view.maintained_since)), (None, None));
    assert_eq!(since(&view.short_since), None);
    of(&mut state).lease_max = ms(20_000);
    of(&mut state).holding_down = true;
    let lasting =
        |since| Maintenance { lease: ms(9000), since, lasts: ms(1), until: WallMillis(0) };
    of(&mut state).maintenance = Some(lasting(5));
    view.note(&state, now);
    for again in [1, 2] {
        view.note(&state, now + ms(again));
    }
    assert_eq!(since(&view.maintained_since), Some(now));
    assert_eq!(since(&view.short_since), Some(now));
    assert_eq!(view.hold_down_since.get(&group()), Some(&now));
    of(&mut state).maintenance = Some(lasting(6));
    view.note(&state, now + ms(3));
    assert_eq!(since(&view.maintained_since), Some(now + ms(3)), "another one");
    of(&mut state).maintenance = None;
    of(&mut state).lease_max = ms(8000);
    of(&mut state).holding_down = false;
    view.note(&state, now + ms(4));
    assert_eq!((since(&view.maintained_since), since(&view.short_since)), (None, None));
    assert_eq!(view.hold_down_since.get(&group()), None);
    assert!(view.lag.keys().any(|(id, _)| *id == group()));
    assert!(view.received.keys().any(|(id, _)| *id == group()));
    state.groups.clear();
    view.note(&state, now + ms(5));
    assert!(view.lag.is_empty() && view.received.is_empty() && view.progress.is_empty());
}

#[test]
fn a_row_is_timed_while_it_has_its_turn_and_not_while_the_plan_is_halted() {
    let mut world = World::in_mode(Mode::Manual);
    world.open(&world.request(PlanKind::Switchover)).unwrap();
    let mut state = world.state.clone();
    let view = &mut world.view;
    let now = world.now;
    view.note(&state, now);
    view.note(&state, now + ms(300));
    assert_eq!(view.row_took(&group(), now + ms(700)), ms(700));
    let plan = state.groups.get_mut(&group()).unwrap().plan.as_mut().unwrap();
    plan.steps[plan.cursor].attempts += 1;
    view.note(&state, now + ms(700));
    assert_eq!(view.row_took(&group(), now + ms(700)), ms(0), "another attempt");
    let plan = state.groups.get_mut(&group()).unwrap().plan.as_mut().unwrap();
    plan.halt = Some(Halt { step: StepId::CatchUp, reason: String::new(), next: String::new() });
    view.note(&state, now + ms(800));
    assert_eq!(view.row_took(&group(), now + ms(900)), Duration::ZERO);
    let plan = state.groups.get_mut(&group()).unwrap().plan.as_mut().unwrap();
    plan.halt = None;
    view.note(&state, now + ms(900));
    assert_eq!(view.row_took(&group(), now + ms(950)), ms(50), "resumed it begins anew");
    assert_eq!(view.row_took(&"other".into(), now), Duration::ZERO);
}

/// I4: the longest lease falls only after the wait for the last one that was as long.
#[test]
fn a_grant_as_long_as_the_longest_begins_the_wait_to_lower_it_anew() {
    for (lease_max, kept) in [(ms(8000), false), (ms(8001), true)] {
        let mut world = World::in_mode(Mode::Manual);
        let report = world.report_of(&agent()).unwrap();
        let mut state = world.state.clone();
        state.groups.get_mut(&group()).unwrap().lease_max = lease_max;
        let now = world.now;
        world.view.short_since.insert(group(), (1, now));
        let told = world.view.answer(&state, &report, now);
        assert_eq!(told.groups[&group()].lease, Some(ms(8000)));
        assert_eq!(world.view.short_since.contains_key(&group()), kept);
        let life = report.incarnation;
        let silent = world.view.leases.silent_for(&group(), &agent(), life, now + ms(70));
        assert_eq!(silent, ms(70), "it stands in the book");
    }
}

#[test]
fn a_region_is_healthy_suspect_or_unreachable_by_whom_is_heard_of_it() {
    let mut world = World::in_mode(Mode::Manual);
    let health = |world: &World, region: &str| {
        region_health(&world.state, &world.view, world.now, &group(), &region.into())
    };
    let both = |world: &World| (health(world, EU), health(world, US));
    assert_eq!(both(&world), (Health::Healthy, Health::Healthy));
    world.agent(US).alive = false;
    world.run(ms(3500));
    assert_eq!(both(&world), (Health::Healthy, Health::Suspect));
    // Three renewals and a round trip, then as long as it takes to detect a loss.
    world.run(ms(3250));
    assert_eq!(health(&world, US), Health::Suspect);
    world.run(ms(1000));
    assert_eq!(both(&world), (Health::Healthy, Health::Unreachable));
    world.heal(US);
    world.run(ms(1000));
    world.cut(EU);
    world.run(ms(3500));
    assert_eq!(health(&world, EU), Health::Suspect);
    world.run(ms(6000));
    assert_eq!(both(&world), (Health::Unreachable, Health::Healthy));
    let nobody = region_health(&world.state, &world.view, world.now, &"x".into(), &EU.into());
    assert_eq!(nobody, Health::Suspect);
    // A leader that was just elected has heard nobody yet, and waits as long.
    world.agent(US).alive = false;
    world.elect();
    assert_eq!(health(&world, US), Health::Suspect);
}

#[test]
fn what_every_gate_says_is_told_for_every_group() {
    let world = World::in_mode(Mode::Manual);
    let all = explain(&world.state, &world.view, world.now);
    let one = explain_group(&world.state, &world.view, world.now, &group());
    assert!(!one.is_empty());
    assert_eq!(all.into_iter().map(|(_, reason)| reason).collect::<Vec<_>>(), one);
    assert_eq!(explain_group(&world.state, &world.view, world.now, &"other".into()), []);
}

#[test]
fn signs_agree_only_where_as_many_as_policy_asks_do() {
    let mut world = World::in_mode(Mode::Manual);
    let gate = |world: &World| {
        let all = explain_group(&world.state, &world.view, world.now, &group());
        let gate = all.into_iter().find(|reason| reason.code == "signal-kinds").unwrap();
        (gate.open, gate.text)
    };
    assert_eq!(gate(&world), (false, "0 kinds of signal agree, 2 needed".to_owned()));
    world.agent(EU).alive = false;
    world.run(ms(5000));
    assert_eq!(gate(&world), (false, "1 kinds of signal agree, 2 needed".to_owned()));
    world.cut(EU);
    world.run(ms(5000));
    assert_eq!(gate(&world), (true, "2 kinds of signal agree, 2 needed".to_owned()));
    world.state.groups.get_mut(&group()).unwrap().activation = Activation::default();
    let all = explain_group(&world.state, &world.view, world.now, &group());
    assert!(all.iter().all(|reason| reason.topic != Topic::RegionLost), "there is none to lose");
}
