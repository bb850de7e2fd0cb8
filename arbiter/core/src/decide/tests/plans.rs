//! Plans that an operator opens, from the first row to the last.

use crate::testing::*;
use crate::*;

#[test]
fn a_switchover_moves_everything_and_the_old_region_stands_by() {
    let mut world = World::in_mode(Mode::Manual);
    world.open(&world.request(PlanKind::Switchover)).unwrap();
    world.run(ms(1000));
    let plan = world.last_plan();
    assert_eq!(plan.end, Some(PlanEnd::Completed), "{plan:?}");
    assert!(plan.steps.iter().all(|step| step.state == StepState::Done), "{:?}", plan.steps);
    let group = world.group();
    assert_eq!((group.active(), group.epoch()), (Some(&US.into()), Epoch(2)));
    assert_eq!(group.goal(&EU.into(), Layer::Data).unwrap().goal, Goal::Standby);
    assert!(!group.holding_down);
    world.run(ms(2000));
    assert!(world.group().returning.is_empty(), "the old primary was seen as a standby");
}

#[test]
fn a_switchover_forth_and_back_five_times_ends_where_it_began() {
    let mut world = World::in_mode(Mode::Manual);
    for turn in 0..10u64 {
        world.run(ms(3000));
        world
            .open(&world.request(PlanKind::Switchover))
            .unwrap_or_else(|r| panic!("{turn}: {r:#?}"));
        world.run(ms(2000));
        assert_eq!(world.group().epoch(), Epoch(turn + 2));
    }
    assert_eq!(world.group().active(), Some(&EU.into()));
}

#[test]
fn a_failover_with_a_live_agent_uses_its_own_word() {
    let mut world = World::in_mode(Mode::Manual);
    world.open(&world.request(PlanKind::Failover)).unwrap();
    world.run(ms(1000));
    let plan = world.last_plan();
    assert_eq!(plan.end, Some(PlanEnd::Completed));
    assert_eq!(plan.evidence[&"db-eu-west".into()].kind, EvidenceKind::Confirmed);
    assert!(world.group().holding_down);
    assert!(world.group().unfenced.is_empty(), "a live agent fenced the bucket too");
}

#[test]
fn a_cut_off_source_is_proven_fenced_when_its_lease_is_dead_and_not_before() {
    let mut world = World::in_mode(Mode::Manual);
    let last_answer = world.now;
    world.cut(EU);
    world.run(ms(4000));
    world.open(&world.request(PlanKind::Failover)).unwrap();
    world.run(ms(250));
    let fence = world.plan().record(StepId::FenceSource).unwrap();
    assert_eq!(fence.state, StepState::Unanswered);
    let dead_after = policy().timing.dead_after(policy().timing.lease);
    while world.now + ms(250) < last_answer + dead_after {
        assert_eq!(world.group().epoch(), Epoch(1), "promoted while the lease may live");
        world.tick();
    }
    world.run(ms(500));
    assert_eq!(world.group().epoch(), Epoch(2));
    let kind = world.last_plan().evidence[&"db-eu-west".into()].kind;
    assert_eq!(kind, EvidenceKind::LeaseExpired);
    assert!(world.group().unfenced.contains_key(&"bucket-eu-west".into()));
}

#[test]
fn a_new_leader_waits_the_whole_lease_from_its_election() {
    let mut world = World::in_mode(Mode::Manual);
    world.cut(EU);
    world.run(ms(4000));
    world.open(&world.request(PlanKind::Failover)).unwrap();
    world.run(ms(3000));
    world.elect();
    let elected = world.now;
    let dead_after = policy().timing.dead_after(policy().timing.lease);
    while world.now + ms(250) < elected + dead_after {
        assert_eq!(world.group().epoch(), Epoch(1));
        world.tick();
    }
    world.run(ms(500));
    assert_eq!(world.group().epoch(), Epoch(2));
}

#[test]
fn an_aborted_failover_resumes_the_source_and_the_next_gathers_its_own_evidence() {
    let mut world = World::in_mode(Mode::Manual);
    // The target never catches up, so that the plan stays before its point of no return.
    world.agent(US).stubborn.insert("db-us-east".into());
    world.open(&world.request(PlanKind::Failover)).unwrap();
    world.run(ms(1000));
    let plan = world.plan().clone();
    assert_eq!(plan.step(), Some(StepId::CatchUp));
    assert!(!plan.evidence.is_empty());
    let abort =
        Command::AbortPlan { group: group(), plan: plan.id, expected_epoch: Epoch(1), took: ms(0) };
    world.operator(abort).unwrap();
    assert!(world.last_plan().evidence.is_empty(), "an abort voids the evidence");
    assert!(!world.group().lease_stopped);
    world.run(ms(2000));
    let goal = world.group().goal(&EU.into(), Layer::Data).unwrap();
    assert_eq!(goal.goal, Goal::Active);
    assert!(goal.token > plan.fence_token);
    world.agent(US).stubborn.clear();
    world.open(&world.request(PlanKind::Failover)).unwrap();
    assert!(world.plan().evidence.is_empty());
    world.run(ms(1000));
    assert_eq!(world.group().epoch(), Epoch(2));
}

#[test]
fn a_switchover_whose_source_does_not_drain_aborts_and_resumes_it() {
    let mut world = World::in_mode(Mode::Manual);
    world.agent(EU).stubborn.insert("db-eu-west".into());
    world.open(&world.request(PlanKind::Switchover)).unwrap();
    world.run(ms(5000));
    assert!(!world.group().lease_stopped, "renewals go on while it drains");
    assert!(world.agent(EU).leased);
    world.run(ms(6000));
    assert!(matches!(world.last_plan().end, Some(PlanEnd::Aborted(_))));
    assert_eq!(world.group().epoch(), Epoch(1));
}

#[test]
fn a_refused_promotion_halts_and_an_operator_lets_it_go_on() {
    let mut world = World::in_mode(Mode::Manual);
    world.agent(US).refusing.insert("web-us-east".into());
    world.open(&world.request(PlanKind::Switchover)).unwrap();
    world.run(ms(1000));
    let plan = world.plan().clone();
    assert_eq!(plan.halt.as_ref().unwrap().step, StepId::ActivateWorkloads);
    assert!(plan.halt.as_ref().unwrap().next.contains("arbiter plan resume"));
    world.agent(US).refusing.clear();
    let expected_epoch = Epoch(2);
    let (group, plan) = (group(), plan.id);
    world
        .operator(Command::ResumePlan { group, plan, expected_epoch, accept_loss: false })
        .unwrap();
    world.run(ms(1000));
    assert_eq!(world.last_plan().end, Some(PlanEnd::Completed));
}

#[test]
fn a_row_that_never_ends_is_tried_three_times_and_halts() {
    let mut world = World::in_mode(Mode::Manual);
    world.agent(US).stubborn.insert("web-us-east".into());
    world.open(&world.request(PlanKind::Switchover)).unwrap();
    world.run(ms(80_000));
    assert!(world.plan().halt.is_none());
    world.run(ms(12_000));
    let plan = world.plan();
    assert!(plan.halt.is_some());
    assert_eq!(plan.record(StepId::ActivateWorkloads).unwrap().attempts, 3);
}

#[test]
fn traffic_is_tried_without_end() {
    let mut world = World::in_mode(Mode::Manual);
    world.agent(US).stubborn.insert("dns-us-east".into());
    world.open(&world.request(PlanKind::Switchover)).unwrap();
    world.run(ms(300_000));
    assert!(world.plan().halt.is_none());
    assert_eq!(world.plan().step(), Some(StepId::SwitchTraffic));
    world.agent(US).stubborn.clear();
    world.run(ms(1000));
    assert_eq!(world.last_plan().end, Some(PlanEnd::Completed));
}

#[test]
fn a_failover_without_possible_evidence_halts_and_an_attestation_lets_it_go_on() {
    let mut world = World::in_mode(Mode::Manual);
    world.cut(EU);
    world.run(ms(4000));
    // As if its last Report had shown less.
    let binding = world.state.bindings.get_mut(&"agent-eu-west".into()).unwrap();
    binding.arming.clear();
    world.open(&world.request(PlanKind::Failover)).unwrap();
    let plan = world.plan().id;
    let refused =
        attest(&world.state, &world.view, &group(), plan, &"db-eu-west".into(), world.now);
    assert!(matches!(refused, Err(Rejected::Refused { code, .. }) if code == "lease-alive"));
    world.run(ms(12_000));
    let halt = world.plan().halt.clone().expect("no evidence can come");
    assert!(halt.next.contains("arbiter attest"));
    let attestation =
        attest(&world.state, &world.view, &group(), plan, &"db-eu-west".into(), world.now);
    world.operator(attestation.unwrap()).unwrap();
    world.run(ms(1000));
    assert_eq!(world.group().epoch(), Epoch(2));
}

#[test]
fn a_word_that_its_driver_never_gives_counts_for_nothing() {
    let mut spec = spec();
    let group_spec = spec.groups.get_mut(&group()).unwrap();
    let db = group_spec.instances.get_mut(&"db-eu-west".into()).unwrap();
    db.evidence = [EvidenceKind::LeaseExpired].into();
    let mut world = World::with(spec);
    world.enter(Mode::Manual);
    let best = strongest_evidence(&world.state, &world.view, world.now, &group());
    assert_eq!(best, Some(EvidenceKind::LeaseExpired), "the agent is live");
    let refused = world.open(&world.request(PlanKind::Switchover)).unwrap_err();
    let codes: Vec<&str> = refused.iter().map(|reason| reason.code.as_str()).collect();
    assert_eq!(codes, ["never-confirmed"]);
    world.open(&world.request(PlanKind::Failover)).unwrap();
    world.run(ms(1000));
    let known = world.plan().evidence.get(&"db-eu-west".into());
    assert_eq!(known, None, "its agent says confirmed, and is not believed");
    world.run(ms(9000));
    let kind = world.last_plan().evidence[&"db-eu-west".into()].kind;
    assert_eq!(kind, EvidenceKind::LeaseExpired);
}

#[test]
fn what_no_deadman_holds_outlives_a_lease() {
    let mut spec = spec();
    let group_spec = spec.groups.get_mut(&group()).unwrap();
    // Beside the database, whose agent is armed, stands a store that only an API knows.
    let bucket = |region: &str| InstanceId(format!("bucket-{region}"));
    for region in [EU, US] {
        let instance = group_spec.instances.get_mut(&bucket(region)).unwrap();
        instance.control = Control::Api;
        instance.fencing = Fencing::Required;
    }
    let mut world = World::with(spec);
    world.enter(Mode::Manual);
    world.cut(EU);
    world.run(ms(4000));
    let best = strongest_evidence(&world.state, &world.view, world.now, &group());
    assert_eq!(best, None);
    world.open(&world.request(PlanKind::Failover)).unwrap();
    world.run(ms(20_000));
    assert!(world.plan().evidence.contains_key(&"db-eu-west".into()));
    let halt = world.plan().halt.as_ref().expect("it waits for an operator");
    assert!(halt.next.contains("arbiter attest bucket-eu-west"), "{halt:?}");
    assert_eq!(world.group().epoch(), Epoch(1));
}

#[test]
fn a_halted_failover_whose_source_returns_is_undone() {
    let mut world = World::in_mode(Mode::Manual);
    world.cut(EU);
    world.run(ms(4000));
    world.state.bindings.get_mut(&"agent-eu-west".into()).unwrap().arming.clear();
    world.open(&world.request(PlanKind::Failover)).unwrap();
    world.run(ms(12_000));
    assert!(world.plan().halt.is_some());
    world.heal(EU);
    world.agent(EU).arming = None;
    world.agent(EU).stubborn.insert("db-eu-west".into());
    world.run(ms(1000));
    assert!(matches!(world.last_plan().end, Some(PlanEnd::Aborted(_))));
}

#[test]
fn a_target_lost_after_the_point_of_no_return_is_superseded() {
    let mut world = World::in_mode(Mode::Manual);
    world.agent(US).stubborn.insert("web-us-east".into());
    world.open(&world.request(PlanKind::Failover)).unwrap();
    world.run(ms(1000));
    let first = world.plan().id;
    assert_eq!(world.group().epoch(), Epoch(2));
    world.cut(US);
    world.run(ms(10_000));
    let mut request = world.request(PlanKind::Failover);
    request.accept_loss = true;
    let command = supersede(&world.state, &world.view, world.now, &request).unwrap();
    world.operator(command).unwrap();
    assert_eq!(world.last_plan().end, Some(PlanEnd::Superseded(world.plan().id)));
    assert_eq!(world.last_plan().id, first);
    world.run(ms(2000));
    assert_eq!((world.group().active(), world.group().epoch()), (Some(&EU.into()), Epoch(3)));
}

#[test]
fn the_target_waits_only_for_what_a_clean_stop_sent() {
    for (immediate, waits) in [(false, true), (true, false)] {
        let mut world = World::in_mode(Mode::Manual);
        let request = OpenRequest { immediate, ..world.request(PlanKind::Failover) };
        world.open(&request).unwrap();
        assert!(world.until(StepId::CatchUp));
        let orders = orders(&world.state, &"agent-us-east".into());
        let db = orders.iter().find(|order| order.instance == "db-us-east".into()).unwrap();
        assert_eq!((db.goal, db.terms.until.is_some()), (Goal::Drained, waits));
        assert!(world.plan().source_end.contains_key(&"db".into()), "the loss is counted by it");
    }
}

fn fenced_from_outside() -> World {
    let mut spec = spec();
    let policy = &mut spec.groups.get_mut(&group()).unwrap().policy;
    policy.external_fence.insert(EU.into(), Default::default());
    policy.evidence_min = EvidenceKind::PowerOff;
    let mut world = World::with(spec);
    world.enter(Mode::Automatic);
    world.run(ms(5000));
    world
}

fn wanted_of_the_leader(world: &World) -> Vec<(GroupId, RegionId, Token)> {
    external_fence_wanted(&world.state, &world.view, world.now)
}

#[test]
fn the_targets_agent_runs_the_external_fence_that_proves_what_no_lease_can() {
    let mut world = fenced_from_outside();
    world.agent(US).stubborn.insert(external_fence_id(&EU.into()));
    world.cut(EU);
    world.run(ms(15_000));
    assert_eq!(world.plan().step(), Some(StepId::ProveFence), "lease-expired is too weak");
    let token = world.plan().fence_token;
    let order = orders(&world.state, &format!("agent-{US}").into())
        .into_iter()
        .find(|order| order.instance == external_fence_id(&EU.into()));
    let order = order.expect("the target's agent is ordered to");
    assert_eq!((order.goal, order.token), (Goal::Fenced, token));
    let source = orders(&world.state, &format!("agent-{EU}").into());
    assert!(source.iter().all(|order| order.instance != external_fence_id(&EU.into())));
    assert!(wanted_of_the_leader(&world).is_empty(), "who is live and able does it alone");

    world.agent(US).stubborn.clear();
    world.run(ms(1000));
    assert_eq!(world.group().epoch(), Epoch(2));
    let proof = &world.last_plan().evidence[&format!("db-{EU}").into()];
    assert_eq!(proof.kind, EvidenceKind::PowerOff);
    let left = orders(&world.state, &format!("agent-{US}").into());
    assert!(left.iter().all(|order| order.instance != external_fence_id(&EU.into())));
}

#[test]
fn an_attestation_is_enough_where_what_came_by_itself_is_too_weak_for_policy() {
    let mut world = fenced_from_outside();
    world.agent(US).stubborn.insert(external_fence_id(&EU.into()));
    world.cut(EU);
    let waits = ms(400_000);
    let began = world.now;
    while world.group().plan.as_ref().is_none_or(|plan| plan.halt.is_none()) {
        assert!(world.now.since(began) < waits, "it waits in silence");
        world.run(ms(1000));
    }
    let db = format!("db-{EU}").into();
    let (plan, halt) = (world.plan().id, world.plan().halt.clone().unwrap());
    assert!(halt.next.contains("arbiter attest"), "{halt:?}");
    assert_eq!(world.plan().evidence[&db].kind, EvidenceKind::LeaseExpired);
    let attestation = attest(&world.state, &world.view, &group(), plan, &db, world.now);
    world.operator(attestation.unwrap()).unwrap();
    assert_eq!(world.plan().step(), Some(StepId::CatchUp));
    world.run(ms(3000));
    assert_eq!(world.group().epoch(), Epoch(2));
    assert_eq!(world.last_plan().evidence[&db].kind, EvidenceKind::Attested);
}

#[test]
fn the_leader_runs_an_external_fence_where_no_agent_of_the_target_can() {
    let mut world = fenced_from_outside();
    world.agent(US).refusing.insert(external_fence_id(&EU.into()));
    world.cut(EU);
    world.run(ms(15_000));
    assert_eq!(world.plan().step(), Some(StepId::ProveFence));
    let (group, region, token) = wanted_of_the_leader(&world).remove(0);
    assert_eq!((&region, token), (&EU.into(), world.plan().fence_token));
    world.view.powered_off(&group, &region, token);
    world.run(ms(1000));
    assert_eq!(world.group().epoch(), Epoch(2));
    assert!(wanted_of_the_leader(&world).is_empty());
}

#[test]
fn a_region_lost_after_the_point_of_no_return_is_superseded_by_itself_where_policy_says_so() {
    let mut spec = spec();
    let group_spec = spec.groups.get_mut(&group()).unwrap();
    group_spec.policy.supersede_by_itself = true;
    group_spec.policy.signal_kinds_min = 1;
    let mut world = World::with(spec);
    world.enter(Mode::Automatic);
    world.agent(US).stubborn.insert("web-us-east".into());
    world.open(&world.request(PlanKind::Failover)).unwrap();
    world.run(ms(1000));
    assert_eq!(world.group().epoch(), Epoch(2));
    world.cut(US);
    world.run(ms(15_000));
    assert_eq!((world.group().active(), world.group().epoch()), (Some(&EU.into()), Epoch(3)));
}

#[test]
fn drift_is_said_once_and_taken_over_only_by_an_operator() {
    let mut world = World::in_mode(Mode::Manual);
    world.agent(EU).drift = "the address was changed by hand".to_owned();
    world.run(ms(1000));
    assert_eq!(world.group().drift.len(), 1);
    let said = |world: &World| {
        world.state.events.iter().filter(|event| event.kind == EventKind::Drift).count()
    };
    assert_eq!(said(&world), 1);
    let before = world.group().goal(&EU.into(), Layer::Traffic).unwrap().token;
    let adopt =
        Command::AdoptTraffic { group: group(), zone: "dns".to_owned(), expected_epoch: Epoch(1) };
    world.operator(adopt).unwrap();
    let order = orders(&world.state, &"agent-eu-west".into());
    let dns = order.iter().find(|order| order.layer == Layer::Traffic).unwrap();
    assert!(dns.terms.adopt && dns.token > before);
    world.agent(EU).drift.clear();
    world.run(ms(500));
    let order = orders(&world.state, &"agent-eu-west".into());
    let dns = order.iter().find(|order| order.layer == Layer::Traffic).unwrap();
    assert!(!dns.terms.adopt && !dns.terms.may_create, "one write only");
    assert!(world.group().drift.is_empty());
}

/// After an abort of the failover back, the former switch is the standing goal's to end. // I7
#[test]
fn traffic_that_names_another_region_is_said_where_no_plan_says_it() {
    let mut world = World::in_mode(Mode::Manual);
    let said = |world: &World| {
        let reasons = explain_group(&world.state, &world.view, world.now, &group());
        reasons.into_iter().find(|reason| reason.code == "traffic").map(|reason| reason.text)
    };
    let named = |world: &mut World, region: &str| {
        let mut report = world.report_of(&"agent-eu-west".into()).unwrap();
        for shown in report.groups.values_mut().flat_map(|part| part.instances.values_mut()) {
            if let Some(traffic) = &mut shown.fact.traffic {
                traffic.names = Some(region.into());
            }
        }
        world.view.hear(report, world.now);
    };
    named(&mut world, US);
    assert_eq!(
        said(&world).as_deref(),
        Some("dns-eu-west: traffic names us-east, and is moved to eu-west")
    );
    named(&mut world, EU);
    assert_eq!(said(&world), None);
}

#[test]
fn an_arbiter_lost_with_its_region_is_named_and_degrades_until_it_sees_the_target() {
    let mut world = World::in_mode(Mode::Manual);
    world.cut(EU);
    world.run(ms(6000));
    world.open(&world.request(PlanKind::Failover)).unwrap();
    world.run(ms(6000));
    let step = world.last_plan().record(StepId::VerifyService).unwrap().clone();
    assert_eq!(step.state, StepState::Degraded, "{step:?}");
    assert_eq!(step.note, "arbiter-eu does not tell what it sees");
    let degraded = |world: &World| {
        let reasons = explain_group(&world.state, &world.view, world.now, &group());
        reasons.iter().any(|r| r.topic == Topic::Degraded && r.code == "verify")
    };
    assert!(degraded(&world));
    world.heal(EU);
    world.run(ms(1000));
    assert!(!degraded(&world), "it sees the target now");
}

#[test]
fn a_name_without_a_token_of_this_epoch_is_not_served_where_a_zone_holds_one() {
    let mut world = World::in_mode(Mode::Manual);
    world.open(&world.request(PlanKind::Switchover)).unwrap();
    assert!(world.until(StepId::VerifyService));
    world.tokenless = true;
    world.run(ms(31_000));
    let step = world.last_plan().record(StepId::VerifyService).unwrap();
    assert_eq!(step.state, StepState::Degraded, "{step:?}");
}

/// It serves; it is no failure of a step, and holds up no plan.
#[test]
fn a_primary_that_does_not_archive_makes_its_group_degraded() {
    let mut world = World::in_mode(Mode::Manual);
    let degraded = |world: &World| -> Vec<String> {
        let reasons = explain_group(&world.state, &world.view, world.now, &group());
        let archive = |r: &&Reason| r.topic == Topic::Degraded && r.code == "archive";
        reasons.iter().filter(archive).map(|r| r.text.clone()).collect()
    };
    assert_eq!(degraded(&world), Vec::<String>::new());
    for heard in world.view.reports.values_mut() {
        let groups = heard.report.groups.values_mut();
        let shown = groups.flat_map(|group| &mut group.instances);
        for (_, shown) in shown.filter(|(id, _)| id.as_str().starts_with("db")) {
            let why = "the last attempt failed".to_owned();
            shown.fact.detail.insert(ARCHIVE_FAILS.to_owned(), why);
        }
    }
    let said = degraded(&world);
    assert_eq!(said.len(), 1, "of the primary alone: {said:?}");
    assert!(said[0].ends_with("does not archive its WAL: the last attempt failed"), "{said:?}");
}
