//! Which signals decide that a region is lost, alone and together, and what each shows.

use crate::testing::*;
use crate::*;

/// A world whose probes of both regions give these kinds of signal beside health.
fn with(kinds: &[SignalKind], signal_kinds_min: u8) -> ClusterSpec {
    let mut spec = spec();
    let group = spec.groups.get_mut(&group()).unwrap();
    group.policy.signal_kinds_min = signal_kinds_min;
    for kind in kinds {
        for (side, region) in [("eu", EU), ("us", US)] {
            group.probes.insert(format!("{side}-{}", kind.as_str()), probe(region, *kind));
        }
    }
    spec
}

fn automatic(spec: ClusterSpec) -> World {
    let mut world = World::with(spec);
    world.enter(Mode::Automatic);
    world.run(ms(5000));
    world
}

fn gate(world: &World, code: &str) -> Reason {
    let reasons = explain_group(&world.state, &world.view, world.now, &group());
    let mut found = reasons.into_iter().filter(|reason| reason.topic == Topic::RegionLost);
    found.find(|reason| reason.code == code).unwrap_or_else(|| panic!("no {code}"))
}

fn shown(world: &World, name: &str) -> Vec<SignalSeen> {
    let leads = "arbiter-wi".into();
    let seen = signals(&world.state, &world.view, world.now, &group(), &leads);
    seen.into_iter().filter(|seen| seen.name == name).collect()
}

#[test]
fn alerts_and_silence_decide_though_every_endpoint_answers() {
    let mut world = automatic(with(&[SignalKind::Alerts], 2));
    world.agent(EU).alive = false;
    world.run(ms(20_000));
    assert_eq!(world.group().epoch(), Epoch(1), "silence alone is one kind");
    world.shown.insert("eu-alerts".to_owned(), Some(false));
    world.run(ms(3500));
    assert!(world.group().plan.is_none(), "not before detect_after");
    world.run(ms(12_000));
    assert_eq!(world.group().epoch(), Epoch(2));
}

#[test]
fn what_agreed_is_named_in_observe() {
    let mut world = World::with(with(&[SignalKind::Alerts], 3));
    world.cut(EU);
    world.shown.insert("eu-alerts".to_owned(), Some(false));
    world.run(ms(20_000));
    let (text, _) = world.group().would_have.clone().unwrap();
    assert!(text.contains("agent-silence and health-endpoint and alerts"), "{text}");
}

#[test]
fn alerts_of_another_region_say_nothing_of_this_one() {
    let mut world = automatic(with(&[SignalKind::Alerts], 2));
    world.agent(EU).alive = false;
    world.shown.insert("us-alerts".to_owned(), Some(false));
    world.run(ms(30_000));
    assert_eq!(world.group().epoch(), Epoch(1));
}

#[test]
fn a_live_agent_with_healthy_data_vetoes_alerts_and_endpoints() {
    let mut world = automatic(with(&[SignalKind::Alerts], 2));
    world.down.insert(EU.into());
    world.shown.insert("eu-alerts".to_owned(), Some(false));
    world.run(ms(30_000));
    assert_eq!(world.group().epoch(), Epoch(1));
}

#[test]
fn what_cannot_be_read_never_counts() {
    let mut world = automatic(with(&[SignalKind::Alerts], 2));
    world.agent(EU).alive = false;
    for probe in ["eu-alerts", "eu-db"] {
        world.shown.insert(probe.to_owned(), None);
    }
    world.run(ms(60_000));
    assert_eq!(world.group().epoch(), Epoch(1));
    let alerts = gate(&world, "alerts");
    assert!(!alerts.open && alerts.text.ends_with("3 cannot tell"), "{alerts:?}");
    for seen in shown(&world, "eu-alerts") {
        assert_eq!(
            (seen.value, seen.word(), seen.counts),
            (SignalValue::Unknown, "unknown", false)
        );
    }
}

#[test]
fn one_alertmanager_that_reads_less_is_enough_against_the_sign() {
    let mut spec = with(&[SignalKind::Alerts], 2);
    let group = spec.groups.get_mut(&group()).unwrap();
    group.probes.insert("eu-other".to_owned(), probe(EU, SignalKind::Alerts));
    let mut world = automatic(spec);
    world.agent(EU).alive = false;
    world.shown.insert("eu-alerts".to_owned(), Some(false));
    world.run(ms(30_000));
    assert_eq!(world.group().epoch(), Epoch(1));
    // Unreadable it speaks neither for nor against.
    world.shown.insert("eu-other".to_owned(), None);
    world.run(ms(15_000));
    assert_eq!(world.group().epoch(), Epoch(2));
}

#[test]
fn three_kinds_must_agree_where_policy_asks_for_three() {
    let mut world = automatic(with(&[SignalKind::Alerts], 3));
    world.cut(EU);
    world.run(ms(30_000));
    assert_eq!(world.group().epoch(), Epoch(1), "silence and endpoints are two");
    world.shown.insert("eu-alerts".to_owned(), Some(false));
    world.run(ms(15_000));
    assert_eq!(world.group().epoch(), Epoch(2));
}

#[test]
fn a_provider_never_decides_whatever_it_says() {
    for signal_kinds_min in [1, 2, 3] {
        let mut spec = with(&[SignalKind::Provider], signal_kinds_min);
        let policy = &mut spec.groups.get_mut(&group()).unwrap().policy;
        policy.clients_decide = true;
        let mut world = automatic(spec);
        world.shown.insert("eu-provider-status".to_owned(), Some(false));
        world.run(ms(60_000));
        assert_eq!(world.group().epoch(), Epoch(1));
        let health = region_health(&world.state, &world.view, world.now, &group(), &EU.into());
        assert_eq!(health, Health::Healthy, "it alone changes nothing");
        let said = gate(&world, "provider-status");
        assert!(said.open && said.text.starts_with("3 of 3 arbiters read an incident"), "{said:?}");
        assert!(!gate(&world, "signal-kinds").open);
    }
}

#[test]
fn a_provider_is_no_kind_of_signal_and_does_not_make_two_of_one() {
    let mut world = automatic(with(&[SignalKind::Provider], 2));
    world.agent(EU).alive = false;
    world.shown.insert("eu-provider-status".to_owned(), Some(false));
    world.run(ms(60_000));
    assert_eq!(world.group().epoch(), Epoch(1));
    let few = automatic(with(&[SignalKind::Provider], 3));
    let reasons = explain_group(&few.state, &few.view, few.now, &group());
    assert!(reasons.iter().any(|reason| reason.code == "too-few-signals" && !reason.open));
    let enough = automatic(with(&[SignalKind::Alerts], 3));
    let reasons = explain_group(&enough.state, &enough.view, enough.now, &group());
    assert!(reasons.iter().all(|reason| reason.code != "too-few-signals" || reason.open));
}

#[test]
fn every_signal_shows_its_value_age_and_vantage_point() {
    let mut world = automatic(with(&[SignalKind::Alerts, SignalKind::Provider], 2));
    world.shown.insert("eu-alerts".to_owned(), Some(false));
    world.cut(US);
    world.run(ms(7000));
    let at = |name: &str| {
        let seen = shown(&world, name);
        seen.into_iter().map(|s| (s.seen_by.0.clone(), s.word(), s.age, s.counts)).collect()
    };
    let (fresh, old) = (Some(ms(0)), Some(ms(7000)));
    let firing: Vec<_> = at("eu-alerts");
    let expected = [
        ("arbiter-eu".to_owned(), "firing", fresh, true),
        // It told last before it was cut off: too old to count.
        ("arbiter-us".to_owned(), "quiet", old, false),
        ("arbiter-wi".to_owned(), "firing", fresh, true),
    ];
    assert_eq!(firing, expected);
    let provider: Vec<_> = at("eu-provider-status");
    assert!(provider.iter().all(|(_, word, _, counts)| *word == "no incident" && !counts));
    let endpoint: Vec<_> = at("us-db");
    assert_eq!(endpoint[0], ("arbiter-eu".to_owned(), "no answer", fresh, true));
    let agent: Vec<_> = at("agent-us-east");
    assert_eq!(agent, [("arbiter-wi".to_owned(), "silent", old, true)]);
    world.elect();
    let unheard: Vec<_> = shown(&world, "agent-us-east");
    assert_eq!((unheard[0].word(), unheard[0].age), ("unknown", None));
    assert_eq!(shown(&world, "eu-db").len(), 3, "what has told nothing is shown too");
}

#[test]
fn a_look_of_some_time_ago_makes_its_vantage_point_no_older() {
    let mut world = World::observing();
    let from = ArbiterId::from("arbiter-eu");
    let now = world.now;
    world.view.vantage(&from, now);
    let seen = now.before(ms(60_000));
    world.view.probe(&from, &group(), "eu-db", None, String::new(), seen);
    assert_eq!(world.view.vantages[&from], now);
}
