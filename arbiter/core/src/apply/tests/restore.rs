//! A cluster that goes on from a backup: above all tokens of the former, with every lease foreign,
//! and nothing serving before it is known that nobody else does.

use crate::testing::*;
use crate::*;

const NEW: &str = "second";

fn asked(backup: &State) -> Restore {
    Restore {
        cluster_id: NEW.into(),
        spec: backup.spec.clone(),
        backup: backup.clone(),
        at: LogId { term: 3, index: 900 },
        taken: WallMillis(5),
        active: Default::default(),
        epoch_jump: EPOCH_JUMP,
    }
}

/// The former world goes on as another cluster; its agents do not know yet.
fn restored(former: World, change: impl FnOnce(&mut Restore)) -> World {
    let mut ask = asked(&former.state);
    change(&mut ask);
    let mut world = World { state: State::default(), at: LogId { term: 1, index: 0 }, ..former };
    world.view = View::elected(1, world.now);
    world.log.clear();
    world.operator(Command::Restore(Box::new(ask))).unwrap();
    world
}

fn code(outcome: Result<(), Rejected>) -> String {
    match outcome {
        Err(Rejected::Refused { code, next, .. }) if !next.is_empty() => code,
        other => panic!("not refused: {other:?}"),
    }
}

fn active_orders(world: &World) -> usize {
    let agents = world.state.spec.agents.keys();
    let orders = agents.flat_map(|agent| orders(&world.state, agent));
    orders.filter(|order| order.goal == Goal::Active).count()
}

fn leased(world: &mut World, region: &str) -> bool {
    let report = world.report_of(&format!("agent-{region}").into()).unwrap();
    !grants(&world.state, &report).is_empty()
}

fn why_unsettled(world: &World) -> String {
    let reasons = explain_group(&world.state, &world.view, world.now, &group());
    let found = reasons.into_iter().find(|r| r.code == "not-settled" && !r.open);
    found.map_or(String::new(), |reason| format!("{}; {}", reason.text, reason.next))
}

#[test]
fn nothing_serves_before_every_agent_has_changed_over_and_then_all_goes_on() {
    let former = World::in_mode(Mode::Manual);
    let old = former.group().goal(&EU.into(), Layer::Data).unwrap().token;
    let mut world = restored(former, |_| ());
    assert_eq!(world.group().epoch(), Epoch(1 + EPOCH_JUMP));
    assert!(world.state.bindings.values().all(|b| b.foreign && b.arming.is_empty()));
    world.run(ms(30_000));
    assert!(world.state.bindings.values().all(|b| b.foreign), "nobody has changed over");
    world.agent(EU).change_over(NEW);
    world.run(ms(30_000));
    assert!(!world.state.is_foreign(&"agent-eu-west".into()), "it is bound, without a wait");
    assert_eq!((active_orders(&world), leased(&mut world, EU)), (0, false), "us may serve");
    assert!(why_unsettled(&world).contains("agent-us-east"), "{}", why_unsettled(&world));
    world.agent(US).change_over(NEW);
    world.run(ms(5000));
    assert_eq!(world.group().unsettled, None);
    assert!(leased(&mut world, EU) && !leased(&mut world, US));
    let token = world.group().goal(&EU.into(), Layer::Data).unwrap().token;
    assert!(token > old && token.revision < old.revision, "{token} follows {old}");
    assert_eq!(why_unsettled(&world), "");
    // Armed again, so that a switchover opens and ends.
    assert!(world.state.arming(&"agent-eu-west".into(), &group()).is_some());
    world.open(&world.request(PlanKind::Switchover)).unwrap();
    world.run(ms(20_000));
    assert_eq!(world.group().active(), Some(&US.into()));
}

#[test]
fn a_foreign_lease_never_expires_and_only_proof_or_a_word_counts() {
    let mut former = World::in_mode(Mode::Manual);
    former.cut(EU);
    let mut world = restored(former, |_| ());
    world.agent(US).change_over(NEW);
    world.run(ms(5000));
    let mut request = world.request(PlanKind::Failover);
    request.accept_loss = true;
    world.open(&request).unwrap();
    world.run(ms(120_000));
    let plan = world.plan().clone();
    assert_eq!((plan.step(), plan.evidence.len()), (Some(StepId::ProveFence), 0));
    let evidence = Evidence {
        kind: EvidenceKind::LeaseExpired,
        instance: "db-eu-west".into(),
        agent: "agent-eu-west".into(),
        incarnation: world.state.bindings[&"agent-eu-west".into()].incarnation,
        token: plan.fence_token,
        term: world.at.term,
        waited: Some(ms(120_000)),
        clean: false,
        note: String::new(),
    };
    let record =
        Command::RecordEvidence { group: group(), plan: plan.id, evidence, end: None, took: ms(0) };
    assert_eq!(code(world.operator(record)), "foreign-lease");
    let (id, now) = (InstanceId::from("db-eu-west"), world.now);
    let word = attest(&world.state, &world.view, &group(), plan.id, &id, now).unwrap();
    world.operator(word).unwrap();
    world.run(ms(10_000));
    assert_eq!(world.group().active(), Some(&US.into()));
    assert_eq!(world.group().epoch(), Epoch(2 + EPOCH_JUMP));
    assert_eq!(world.group().unsettled, None);
    assert!(leased(&mut world, US));
}

#[test]
fn an_agent_whose_host_is_gone_is_attested_after_the_whole_wait() {
    let mut former = World::in_mode(Mode::Manual);
    former.cut(US);
    let mut world = restored(former, |_| ());
    world.agent(EU).change_over(NEW);
    let us = AgentId::from("agent-us-east");
    let early = attest_agent(&world.state, &world.view, &us, world.now).unwrap();
    assert_eq!(code(world.operator(early)), "lease-alive");
    world.run(ms(10_000));
    assert_ne!(world.group().unsettled, None);
    let word = attest_agent(&world.state, &world.view, &us, world.now).unwrap();
    world.operator(word).unwrap();
    let again = attest_agent(&world.state, &world.view, &us, world.now).unwrap();
    assert_eq!(code(world.operator(again)), "not-foreign");
    world.run(ms(3000));
    assert!(world.group().unsettled.is_none() && leased(&mut world, EU));
}

#[test]
fn a_backup_that_was_overtaken_lets_nothing_serve_until_somebody_says_where() {
    let backup = World::in_mode(Mode::Manual).state;
    let mut former = World::in_mode(Mode::Manual);
    former.open(&former.request(PlanKind::Switchover)).unwrap();
    former.run(ms(20_000));
    assert_eq!(former.group().active(), Some(&US.into()), "after the backup was taken");
    let change = |world: &mut World| {
        [EU, US].into_iter().for_each(|region| world.agent(region).change_over(NEW));
        world.run(ms(20_000));
    };
    let mut world = restored(former, |ask| ask.backup = backup.clone());
    change(&mut world);
    assert_eq!((active_orders(&world), leased(&mut world, EU)), (0, false));
    let why = why_unsettled(&world);
    assert!(why.contains("--active default=REGION"), "{why}");
    // The operator knows better: that region goes on, above both clusters.
    let mut again = restored(world, |ask| {
        ask.backup = backup;
        ask.cluster_id = "third".into();
        ask.epoch_jump = 2 * EPOCH_JUMP;
        ask.active = [(group(), US.into())].into();
    });
    for region in [EU, US] {
        again.agent(region).change_over("third");
        let orders = again.agent(region).orders.values_mut();
        orders.for_each(|order| order.token.epoch = Epoch(1));
    }
    again.run(ms(20_000));
    assert_eq!(again.group().active(), Some(&US.into()));
    assert!(leased(&mut again, US) && !leased(&mut again, EU));
}

#[test]
fn what_was_in_the_making_proves_nothing_any_more() {
    let mut former = World::in_mode(Mode::Manual);
    former.cut(EU);
    former.run(ms(5000));
    former.open(&former.request(PlanKind::Failover)).unwrap();
    assert!(former.until(StepId::CatchUp));
    assert!(!former.plan().evidence.is_empty());
    let early = restored(World { log: Vec::new(), ..former }, |_| ());
    assert_eq!((&early.group().plan, early.group().active()), (&None, Some(&EU.into())));
    let mut former = World::in_mode(Mode::Manual);
    former.cut(EU);
    former.run(ms(5000));
    former.open(&former.request(PlanKind::Failover)).unwrap();
    assert!(former.until(StepId::SwitchTraffic));
    let late = restored(former, |_| ());
    assert_eq!(late.group().active(), Some(&US.into()));
    let goal = |layer| late.group().goal(&US.into(), layer).unwrap();
    for layer in [Layer::Data, Layer::Workload, Layer::Traffic] {
        assert_eq!(goal(layer).goal, Goal::Active, "what the plan had not reached is asked for");
        assert_eq!(goal(layer).token.epoch, Epoch(2 + EPOCH_JUMP));
    }
    assert!(late.group().returning.contains(&"db-eu-west".into()));
}

#[test]
fn what_cannot_be_restored_is_refused_with_the_reason() {
    let former = World::in_mode(Mode::Manual);
    let backup = former.state.clone();
    let refused = |change: &dyn Fn(&mut Restore)| {
        let mut ask = asked(&backup);
        change(&mut ask);
        let empty = State::default();
        let proposal = Proposal {
            request: None,
            by: By::Operator("ada".to_owned()),
            reason: String::new(),
            wall: WallMillis(0),
            command: Command::Restore(Box::new(ask)),
        };
        code(apply(&empty, &proposal, LogId { term: 1, index: 1 }).map(drop))
    };
    assert_eq!(refused(&|ask| ask.cluster_id = "test".into()), "same-cluster");
    assert_eq!(refused(&|ask| ask.epoch_jump = 5), "epoch-jump");
    assert_eq!(refused(&|ask| ask.epoch_jump = u64::MAX), "epoch-jump");
    assert_eq!(refused(&|ask| ask.backup = State::default()), "bad-backup");
    let drop_one = |ask: &mut Restore| {
        let group = ask.spec.groups.get_mut(&group()).unwrap();
        group.instances.remove(&"web-us-east".into());
    };
    assert_eq!(refused(&drop_one), "instances-changed");
    assert_eq!(refused(&|ask| drop(ask.active.insert("x".into(), US.into()))), "unknown-group");
    let witness = |ask: &mut Restore| drop(ask.active.insert(group(), "witness".into()));
    assert_eq!(refused(&witness), "active-region");
    let mut world = former;
    let again = Command::Restore(Box::new(asked(&backup)));
    assert_eq!(code(world.operator(again)), "already-initialized");
}
