//! Requests, evidence, lives and leases.

use crate::testing::*;
use crate::*;

fn is_stale(outcome: &Result<(), Rejected>) -> bool {
    matches!(outcome, Err(Rejected::Stale(_)))
}

/// A failover whose source is silent, at `prove-fence`.
fn proving() -> World {
    let mut world = World::in_mode(Mode::Manual);
    world.cut(EU);
    world.run(ms(4000));
    world.open(&world.request(PlanKind::Failover)).unwrap();
    assert!(world.until(StepId::ProveFence));
    world
}

fn lease_expired(world: &World) -> Evidence {
    Evidence {
        kind: EvidenceKind::LeaseExpired,
        instance: "db-eu-west".into(),
        agent: "agent-eu-west".into(),
        incarnation: world.state.bindings[&"agent-eu-west".into()].incarnation,
        token: world.plan().fence_token,
        term: world.at.term,
        waited: Some(ms(9000)),
        clean: false,
        note: String::new(),
    }
}

fn record(world: &mut World, change: impl FnOnce(&mut Evidence)) -> Result<(), Rejected> {
    let mut evidence = lease_expired(world);
    change(&mut evidence);
    let (group, plan) = (group(), world.plan().id);
    world.operator(Command::RecordEvidence { group, plan, evidence, end: None, took: ms(0) })
}

#[test]
fn evidence_counts_only_for_its_term_token_life_and_whole_wait() {
    let mut world = proving();
    assert!(is_stale(&record(&mut world, |e| e.term = 7)));
    assert!(is_stale(&record(&mut world, |e| e.token.revision.0 -= 1)));
    assert!(is_stale(&record(&mut world, |e| e.incarnation = Incarnation(1))));
    assert!(is_stale(&record(&mut world, |e| e.waited = Some(ms(8579)))));
    assert!(is_stale(&record(&mut world, |e| e.waited = None)));
    assert!(is_stale(&record(&mut world, |e| e.kind = EvidenceKind::PowerOff)));
    record(&mut world, |e| e.waited = Some(ms(8580))).unwrap();
    assert_eq!(world.plan().step(), Some(StepId::CatchUp));
}

#[test]
fn an_end_that_is_learnt_after_catch_up_is_counted_as_lost() {
    let mut world = proving();
    assert!(world.until(StepId::AdvanceEpoch));
    let (counted, reached) = (world.plan().loss.bytes, world.plan().target_end[&"db".into()]);
    let end = Position { offset: reached.offset + counted.unwrap() + 390, ..reached };
    let mut evidence = lease_expired(&world);
    (evidence.kind, evidence.waited, evidence.clean) = (EvidenceKind::Confirmed, None, true);
    let (group, plan) = (group(), world.plan().id);
    let told = Command::RecordEvidence { group, plan, evidence, end: Some(end), took: ms(0) };
    world.operator(told).unwrap();
    assert_eq!(world.plan().loss.bytes, counted.map(|counted| counted + 390));
}

#[test]
fn an_unarmed_agents_lease_proves_nothing() {
    let mut world = proving();
    world.state.bindings.get_mut(&"agent-eu-west".into()).unwrap().arming.clear();
    assert!(is_stale(&record(&mut world, |_| ())));
}

#[test]
fn evidence_that_nothing_about_the_instance_can_give_is_refused() {
    let never_given = |outcome: Result<(), Rejected>| match outcome {
        Err(Rejected::Refused { code, reason, .. }) => {
            assert!(reason.contains("db-eu-west, of kind fake, can never give"), "{reason}");
            assert_eq!(code, "never-given");
        }
        other => panic!("{other:?}"),
    };
    let says = |kind| {
        move |evidence: &mut Evidence| {
            evidence.kind = kind;
            evidence.waited = None;
        }
    };
    fn db(world: &mut World) -> &mut Instance {
        let spec = world.state.spec.groups.get_mut(&group()).unwrap();
        spec.instances.get_mut(&"db-eu-west".into()).unwrap()
    }
    let mut world = proving();
    never_given(record(&mut world, says(EvidenceKind::PowerOff)));
    never_given(record(&mut world, says(EvidenceKind::ProviderAsserted)));
    db(&mut world).control = Control::Api;
    never_given(record(&mut world, |_| ()));
    db(&mut world).control = Control::Owned;
    db(&mut world).evidence = [EvidenceKind::ProviderAsserted].into();
    never_given(record(&mut world, |_| ()));
    never_given(record(&mut world, says(EvidenceKind::Confirmed)));
    record(&mut world, says(EvidenceKind::ProviderAsserted)).unwrap();
    let fences = [(EU.into(), Default::default())];
    let spec = world.state.spec.groups.get_mut(&group()).unwrap();
    spec.policy.external_fence = fences.into();
    record(&mut world, says(EvidenceKind::PowerOff)).unwrap();
}

#[test]
fn a_loosely_held_resource_gives_evidence_a_class_lower_which_policy_may_not_want() {
    let mut world = proving();
    let loose = Arming { expiry_counts_as: EvidenceKind::ProviderAsserted };
    let binding = world.state.bindings.get_mut(&"agent-eu-west".into()).unwrap();
    binding.arming.insert(group(), loose);
    let plan = world.state.groups.get_mut(&group()).unwrap().plan.as_mut().unwrap();
    plan.by = By::Policy;
    assert!(is_stale(&record(&mut world, |_| ())));
    record(&mut world, |e| e.kind = EvidenceKind::ProviderAsserted).unwrap();
    assert_eq!(world.plan().step(), Some(StepId::ProveFence), "weaker than lease-expired");
}

#[test]
fn raising_the_longest_lease_lengthens_the_wait_that_apply_asks() {
    let mut world = proving();
    world.state.groups.get_mut(&group()).unwrap().lease_max = ms(12_000);
    assert!(is_stale(&record(&mut world, |_| ())));
    record(&mut world, |e| e.waited = Some(ms(12_620))).unwrap();
}

#[test]
fn the_longest_lease_rises_before_a_longer_grant_and_falls_after_the_old_wait() {
    let mut world = World::in_mode(Mode::Manual);
    let policy_with = |world: &World, lease: u64| {
        let mut spec = world.state.spec.clone();
        spec.groups.get_mut(&group()).unwrap().policy.timing.lease = ms(lease);
        Command::ApplyPolicy { spec }
    };
    let granted = |world: &mut World| {
        let report = world.report_of(&"agent-eu-west".into()).unwrap();
        grants(&world.state, &report)[&group()]
    };
    let longer = policy_with(&world, 12_000);
    world.operator(longer).unwrap();
    assert_eq!(granted(&mut world), ms(8000), "not before State knows");
    world.run(ms(250));
    assert_eq!(granted(&mut world), ms(12_000));
    let shorter = policy_with(&world, 6000);
    world.operator(shorter).unwrap();
    assert_eq!(granted(&mut world), ms(6000));
    world.run(ms(12_250));
    assert_eq!(world.group().lease_max, ms(12_000));
    world.run(ms(1000));
    assert_eq!(world.group().lease_max, ms(6000));
}

#[test]
fn a_new_life_voids_the_evidence_about_the_former() {
    let mut world = proving();
    let plan = world.state.groups.get_mut(&group()).unwrap().plan.as_mut().unwrap();
    plan.by = By::Policy;
    let former_dead = Some(Waited { term: 1, elapsed: ms(8580) });
    let bind = |former_dead| Command::Bind {
        agent: "agent-eu-west".into(),
        incarnation: Incarnation(7),
        boot_id: "other".to_owned(),
        former_dead,
    };
    assert!(is_stale(&world.operator(bind(None))));
    assert!(is_stale(&world.operator(bind(Some(Waited { term: 2, elapsed: ms(9000) })))));
    let early = Some(Waited { term: 1, elapsed: ms(8579) });
    assert!(matches!(world.operator(bind(early)), Err(Rejected::Refused { .. })));
    world.operator(bind(former_dead)).unwrap();
    assert!(world.plan().evidence.is_empty());
    assert!(world.state.arming(&"agent-eu-west".into(), &group()).is_none());
}

#[test]
fn a_request_asked_twice_is_done_once_and_refused_twice_alike() {
    let world = World::observing();
    let ask = |request: &str, command: Command| Proposal {
        request: Some(request.into()),
        by: By::Operator("ada".to_owned()),
        reason: String::new(),
        wall: WallMillis(1),
        command,
    };
    let at = |index| LogId { term: 1, index };
    let arm = ask("one", Command::Arm { group: group(), armed: true });
    let first = settle(&world.state, &arm, at(1000));
    assert_eq!(first.outcome, Ok(1000));
    let again = settle(&first.state, &arm, at(1001));
    assert_eq!((again.outcome, &again.state), (Ok(1000), &first.state));
    let mode = Command::SetMode { group: group(), mode: Mode::Manual, expected_epoch: Epoch(1) };
    let refused = settle(&first.state, &ask("two", mode.clone()), at(1002));
    let mut armed = refused.state.clone();
    let counts = Arming { expiry_counts_as: EvidenceKind::LeaseExpired };
    for binding in armed.bindings.values_mut() {
        binding.arming.insert(group(), counts);
    }
    let same = settle(&armed, &ask("two", mode.clone()), at(1003));
    assert_eq!(same.outcome, refused.outcome, "the answer of the first time stands");
    assert!(settle(&armed, &ask("three", mode), at(1004)).outcome.is_ok());
}

#[test]
fn what_is_kept_is_bounded() {
    let mut world = World::observing();
    for n in 0..REQUESTS_KEPT_MAX + 10 {
        let proposal = Proposal {
            request: Some(format!("request-{n}").into()),
            by: By::Policy,
            reason: String::new(),
            wall: WallMillis(1),
            command: Command::Arm { group: group(), armed: n % 2 == 0 },
        };
        world.propose(&proposal).unwrap();
    }
    assert_eq!(world.state.requests.len(), REQUESTS_KEPT_MAX);
    assert!(!world.state.requests.contains_key(&"request-0".into()));
    assert_eq!(world.state.events.len(), EVENTS_KEPT_MAX);
}

#[test]
fn a_version_above_this_build_is_refused() {
    let mut world = World::observing();
    world.state.version = 1;
    let raise = |version| Command::RaiseVersion { version };
    let outcome = world.operator(raise(STATE_VERSION_MAX + 1));
    assert!(matches!(outcome, Err(Rejected::Unsupported { .. })));
    world.operator(raise(STATE_VERSION_MAX)).unwrap();
    assert!(is_stale(&world.operator(raise(STATE_VERSION_MAX))));
}

#[test]
fn only_the_bound_life_of_an_armed_agent_of_the_active_region_is_renewed() {
    let mut world = World::in_mode(Mode::Manual);
    let renews = |state: &State, report: &Report| !grants(state, report).is_empty();
    let report = world.report_of(&"agent-eu-west".into()).unwrap();
    assert!(renews(&world.state, &report));
    let standby = world.report_of(&"agent-us-east".into()).unwrap();
    assert!(!renews(&world.state, &standby));
    assert!(!renews(&world.state, &Report { incarnation: Incarnation(1), ..report.clone() }));
    assert!(!renews(&world.state, &Report { boot_id: "other".into(), ..report.clone() }));
    assert!(!renews(&world.state, &Report { cluster_id: Some("b".into()), ..report.clone() }));
    let mut less = report.clone();
    less.groups.get_mut(&group()).unwrap().arming = None;
    assert!(!renews(&world.state, &less));
    world.open(&world.request(PlanKind::Switchover)).unwrap();
    assert!(renews(&world.state, &report), "while it drains");
    assert!(world.until(StepId::CatchUp));
    assert!(!renews(&world.state, &report), "it has confirmed");
    assert!(world.until(StepId::PromoteData));
    assert!(renews(&world.state, &standby), "it is the active region now");
}
