//! What opens by itself, and what does not.

use crate::testing::*;
use crate::*;

#[test]
fn a_lost_region_fails_over_by_itself_within_dead_after_and_a_second() {
    let mut world = World::in_mode(Mode::Automatic);
    world.run(ms(5000));
    let cut = world.now;
    world.cut(EU);
    while world.group().epoch() == Epoch(1) {
        world.tick();
        assert!(world.now.since(cut) < ms(9600), "{:#?}", world.group());
    }
    assert!(world.now.since(cut) >= ms(8580) - ms(250));
}

#[test]
fn a_live_agent_with_healthy_data_vetoes() {
    let mut world = World::in_mode(Mode::Automatic);
    world.down.insert(EU.into());
    world.run(ms(60_000));
    assert_eq!(world.group().epoch(), Epoch(1));
    assert!(world.group().plan.is_none());
}

#[test]
fn one_kind_of_signal_is_not_enough() {
    let mut world = World::in_mode(Mode::Automatic);
    world.agent(EU).alive = false;
    world.run(ms(60_000));
    assert!(world.group().plan.is_none());
    let reasons = explain_group(&world.state, &world.view, world.now, &group());
    let kinds = reasons.iter().find(|reason| reason.code == "signal-kinds").unwrap();
    assert!(!kinds.open, "{kinds:?}");
}

#[test]
fn observe_records_what_it_would_have_done_and_orders_nothing() {
    let mut world = World::observing();
    world.cut(EU);
    world.run(ms(20_000));
    assert!(world.group().plan.is_none());
    let (text, _) = world.group().would_have.clone().unwrap();
    assert!(text.contains("would have opened") && text.contains("agent-silence"), "{text}");
    for agent in world.state.spec.agents.keys() {
        assert!(orders(&world.state, agent).is_empty());
    }
    let before = world.at.index;
    world.run(ms(20_000));
    assert_eq!(world.at.index, before, "the same judgement is written once");
    world.heal(EU);
    world.run(ms(5000));
    assert!(!world.group().judged_lost);
    assert!(world.group().would_have.is_some());
}

#[test]
fn a_second_failover_waits_for_the_hold_down() {
    let mut world = World::in_mode(Mode::Automatic);
    world.run(ms(5000));
    world.cut(EU);
    world.run(ms(12_000));
    assert_eq!(world.group().epoch(), Epoch(2));
    assert!(world.group().holding_down);
    let request = OpenRequest::plain(&group(), PlanKind::Failover, true);
    let reasons = preflight(&world.state, &world.view, world.now, &request).unwrap_err();
    assert!(reasons.iter().any(|reason| reason.code == "hold-down"), "{reasons:?}");
    world.run(ms(900_000));
    assert!(!world.group().holding_down);
}

#[test]
fn a_standby_that_falls_behind_is_marked_before_its_source_is_answered() {
    let mut world = World::in_mode(Mode::Automatic);
    world.run(ms(5000));
    assert_eq!(world.group().lag, LagMark::Within);
    world.link_cut = true;
    world.written += 1000;
    world.run(ms(70_000));
    assert_eq!(world.group().lag, LagMark::Over);
    world.cut(EU);
    world.run(ms(20_000));
    assert!(world.group().plan.is_none(), "unknown or over is out of RPO");
    let reasons =
        preflight(&world.state, &world.view, world.now, &world.request(PlanKind::Failover));
    assert!(reasons.unwrap_err().iter().any(|reason| reason.code == "rpo"));
    let accepting = OpenRequest { accept_loss: true, ..world.request(PlanKind::Failover) };
    world.open(&accepting).unwrap();
    world.run(ms(2000));
    assert_eq!(world.group().epoch(), Epoch(2));
}

#[test]
fn the_lag_is_within_again_once_the_standby_has_caught_up() {
    let mut world = World::in_mode(Mode::Manual);
    world.link_cut = true;
    world.run(ms(70_000));
    assert_eq!(world.group().lag, LagMark::Over);
    world.link_cut = false;
    world.run(ms(1000));
    assert_eq!(world.group().lag, LagMark::Within);
}

#[test]
fn a_dead_primary_is_restarted_where_it_is_by_default() {
    let mut world = World::in_mode(Mode::Automatic);
    world.agent(EU).conditions.insert("db-eu-west".into(), Condition::Dead);
    world.run(ms(120_000));
    assert!(world.group().plan.is_none());
}

#[test]
fn a_primary_that_does_not_start_within_its_limit_fails_over_where_policy_says_so() {
    let mut spec = spec();
    let policy = &mut spec.groups.get_mut(&group()).unwrap().policy;
    policy.on_primary_failure = OnPrimaryFailure::RestartThenFailover;
    let mut world = World::with(spec);
    world.enter(Mode::Automatic);
    world.run(ms(2000));
    world.agent(EU).conditions.insert("db-eu-west".into(), Condition::Recovering);
    world.run(ms(29_000));
    assert_eq!(world.group().epoch(), Epoch(1));
    world.run(ms(3000));
    assert_eq!(world.group().epoch(), Epoch(2));
}

#[test]
fn an_armed_agent_that_lapsed_counts_as_silent() {
    let mut world = World::in_mode(Mode::Automatic);
    world.run(ms(5000));
    world.down.insert(EU.into());
    world.agent(EU).lapsed = true;
    world.run(ms(5000));
    assert_eq!(world.group().epoch(), Epoch(2), "its own word is quick");
}

#[test]
fn a_new_life_is_bound_when_the_leases_of_the_former_are_dead() {
    let mut world = World::in_mode(Mode::Manual);
    world.run(ms(2000));
    let last_answer = world.now;
    world.agent(EU).life = Incarnation(7);
    world.agent(EU).arming = None;
    world.run(ms(8000));
    assert_ne!(world.state.bindings[&"agent-eu-west".into()].incarnation, Incarnation(7));
    world.run(ms(1000));
    let binding = &world.state.bindings[&"agent-eu-west".into()];
    assert_eq!(binding.incarnation, Incarnation(7));
    assert!(world.now.since(last_answer) >= ms(8580));
}

#[test]
fn a_standbys_new_life_is_bound_at_once() {
    let mut world = World::in_mode(Mode::Manual);
    world.agent(US).life = Incarnation(7);
    world.run(ms(250));
    assert_eq!(world.state.bindings[&"agent-us-east".into()].incarnation, Incarnation(7));
}

#[test]
fn leadership_leaves_the_active_region_for_the_witness() {
    let mut world = World::in_mode(Mode::Manual);
    world.run(ms(6000));
    let prefer = |world: &World, me: &str| {
        preferred_leader(&world.state, &world.view, &me.into(), world.now)
    };
    assert_eq!(prefer(&world, "arbiter-eu"), Some("arbiter-wi".into()));
    assert_eq!(prefer(&world, "arbiter-us"), None);
    assert_eq!(prefer(&world, "arbiter-wi"), None);
    world.agent(EU).stubborn.insert("db-eu-west".into());
    world.open(&world.request(PlanKind::Switchover)).unwrap();
    assert_eq!(prefer(&world, "arbiter-eu"), None, "not while a plan can be undone");
}

#[test]
fn what_spoke_against_a_region_before_it_served_says_nothing_after() {
    let mut spec = spec();
    let policy = &mut spec.groups.get_mut(&group()).unwrap().policy;
    policy.signal_kinds_min = 1;
    policy.clients_decide = true;
    policy.supersede_by_itself = true;
    let mut world = World::with(spec);
    world.enter(Mode::Automatic);
    world.open(&world.request(PlanKind::Switchover)).unwrap();
    world.run(ms(2000));
    // Its probes fail while it stands by, and for long.
    world.down.insert(EU.into());
    world.run(ms(60_000));
    world.open(&world.request(PlanKind::Switchover)).unwrap();
    world.run(ms(3000));
    assert_eq!((world.group().active(), world.group().epoch()), (Some(&EU.into()), Epoch(3)));
    world.run(ms(2000));
    assert_ne!(world.group().epoch(), Epoch(3), "clients decide, after detect_after");
}

#[test]
fn a_lease_lowered_twice_waits_for_the_longer_of_the_two() {
    let mut world = World::in_mode(Mode::Manual);
    for lease in [6000, 5000] {
        let mut spec = world.state.spec.clone();
        spec.groups.get_mut(&group()).unwrap().policy.timing.lease = ms(lease);
        world.operator(Command::ApplyPolicy { spec }).unwrap();
        world.run(ms(8000));
        assert_eq!(world.group().lease_max, ms(8000), "leases of more than {lease} may be out");
    }
    world.run(ms(1000));
    assert_eq!(world.group().lease_max, ms(5000));
}

/// The mark is of the furthest standby, which is not always the one that can be promoted. // I11
#[test]
fn a_candidate_that_is_behind_does_not_hide_behind_the_mark() {
    let mut world = World::in_mode(Mode::Automatic);
    let gate = |world: &World| {
        let request = world.request(PlanKind::Failover);
        let gates = preflight(&world.state, &world.view, world.now, &request).err();
        gates.unwrap_or_default().iter().any(|reason| reason.code == "candidate-behind")
    };
    assert!(!gate(&world));
    world.link_cut = true;
    world.run(ms(61_000));
    assert!(gate(&world), "it received nothing for longer than the RPO");
}

/// What lost the active role counts as following only once it was seen as a standby. // I11
#[test]
fn an_old_primary_that_has_not_come_back_has_received_nothing() {
    let mut world = World::in_mode(Mode::Manual);
    world.agent(EU).stubborn.insert(format!("db-{EU}").into());
    let request = OpenRequest { accept_loss: true, ..world.request(PlanKind::Failover) };
    world.cut(EU);
    world.open(&request).unwrap();
    world.run(ms(20_000));
    assert_eq!(world.group().epoch(), Epoch(2));
    world.heal(EU);
    world.run(ms(70_000));
    assert!(!world.group().returning.is_empty());
    assert_eq!(world.group().lag, LagMark::Over);
}

#[test]
fn automatic_is_not_ready_where_too_few_kinds_of_signal_can_come() {
    let mut spec = spec();
    spec.groups.get_mut(&group()).unwrap().probes.remove("us-db");
    let mut world = World::with(spec);
    world.enter(Mode::Automatic);
    let reasons = explain_group(&world.state, &world.view, world.now, &group());
    let blocking = reasons.iter().filter(|r| r.topic == Topic::Automatic && !r.open);
    let blocking: Vec<_> = blocking.collect();
    assert_eq!(blocking.len(), 1, "{blocking:?}");
    assert_eq!(blocking[0].code, "too-few-signals");
    assert!(blocking[0].text.contains(US) && !blocking[0].next.is_empty(), "{blocking:?}");
}

#[test]
fn a_second_life_that_speaks_first_after_an_election_takes_no_identity() {
    let mut world = World::in_mode(Mode::Manual);
    let bound = |world: &World| world.state.bindings[&"agent-us-east".into()].incarnation;
    let first = bound(&world);
    world.elect();
    world.agent(US).life = Incarnation(7);
    world.run(ms(3000));
    assert_eq!(bound(&world), first, "the bound life may not have dialled yet");
    world.agent(US).life = first;
    world.run(ms(10_000));
    assert_eq!(bound(&world), first);
    world.elect();
    world.agent(US).life = Incarnation(7);
    world.run(ms(3500));
    assert_eq!(bound(&world), Incarnation(7), "it was silent since the election");
}
