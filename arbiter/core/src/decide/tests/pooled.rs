//! Poolers: a switchover's source stops when they hold clients back, and they lead to the new
//! primary once there is one.

use crate::testing::*;
use crate::*;
use std::collections::BTreeSet;

fn pool(region: &str) -> InstanceId {
    format!("pool-{region}").into()
}

/// A cluster whose clients come through a pooler in each region.
pub(super) fn pooled() -> ClusterSpec {
    let mut spec = spec();
    let instances = &mut spec.groups.get_mut(&group()).unwrap().instances;
    for region in [EU, US] {
        let pooler = Instance {
            resource: "pool".into(),
            layer: Layer::Pooler,
            fencing: Fencing::BestEffort,
            control: Control::Api,
            evidence: BTreeSet::new(),
            waits: false,
            address: format!("pool.{region}:6432"),
            ..instances[&format!("db-{region}").into()].clone()
        };
        instances.insert(pool(region), pooler);
    }
    spec
}

fn world() -> World {
    let mut world = World::with(pooled());
    world.enter(Mode::Manual);
    world
}

/// What the pooler of `region` is ordered: the goal, its token, and where it leads.
fn ordered(world: &World, region: &str) -> Option<(Goal, Token, String)> {
    let agent = format!("agent-{region}").into();
    let mut orders = orders(&world.state, &agent).into_iter();
    let order = orders.find(|order| order.instance == pool(region))?;
    Some((order.goal, order.token, order.terms.upstream))
}

fn goal(world: &World, region: &str) -> Option<Goal> {
    ordered(world, region).map(|(goal, ..)| goal)
}

fn leads(world: &World, to: &str) {
    for region in [EU, US] {
        let (goal, _, upstream) = ordered(world, region).expect("an order");
        assert_eq!((goal, upstream), (Goal::Active, format!("db.{to}:5432")), "{region}");
    }
}

#[test]
fn the_source_stops_when_every_pooler_holds_its_clients_back() {
    let mut world = world();
    leads(&world, EU);
    world.agent(US).stubborn.insert(pool(US));
    world.open(&world.request(PlanKind::Switchover)).unwrap();
    world.run(ms(3000));
    let plan = world.plan().clone();
    assert_eq!(plan.step(), Some(StepId::StopLease));
    let source = world.group().goal(&EU.into(), Layer::Data).unwrap();
    assert_eq!(source.goal, Goal::Active, "the source serves meanwhile");
    assert!(world.agent(EU).leased);
    for region in [EU, US] {
        let held = (Goal::Drained, plan.fence_token, String::new());
        assert_eq!(ordered(&world, region), Some(held), "{region}");
    }
    assert!(plan.fence_token > source.token);

    world.agent(US).stubborn.clear();
    assert!(world.until(StepId::FenceSource));
    let drained = world.group().goal(&EU.into(), Layer::Data).unwrap();
    assert_eq!(drained, RegionGoal { goal: Goal::Drained, token: plan.fence_token });
    let note = &world.plan().record(StepId::StopLease).unwrap().note;
    assert!(note.contains("paused: pool-eu-west, pool-us-east"), "{note}");

    for step in [StepId::CatchUp, StepId::PromoteData] {
        assert!(world.until(step));
        assert_eq!(
            (goal(&world, EU), goal(&world, US)),
            (Some(Goal::Drained), Some(Goal::Drained))
        );
    }
    assert!(world.until(StepId::ActivateWorkloads), "clients go on before the plan ends");
    leads(&world, US);
    let promoted = world.group().goal(&US.into(), Layer::Data).unwrap().token;
    assert_eq!(ordered(&world, EU).map(|(_, token, _)| token), Some(promoted));
    world.run(ms(2000));
    assert_eq!(world.last_plan().end, Some(PlanEnd::Completed));
    leads(&world, US);
}

#[test]
fn a_pooler_that_does_not_pause_holds_a_plan_up_for_the_drain_limit_and_is_named() {
    let mut world = world();
    world.agent(EU).stubborn.insert(pool(EU));
    world.open(&world.request(PlanKind::Switchover)).unwrap();
    world.run(policy().drain_limit - ms(500));
    assert_eq!(world.plan().step(), Some(StepId::StopLease));
    world.run(ms(2000));
    let plan = world.last_plan();
    assert_eq!(plan.end, Some(PlanEnd::Completed));
    let note = &plan.record(StepId::StopLease).unwrap().note;
    let named = "paused: pool-us-east; not paused: pool-eu-west: not in 10s: it is not there yet";
    assert!(note.ends_with(named), "{note}");
}

#[test]
fn nobody_waits_for_a_pooler_that_refuses_is_down_or_cannot_be_asked() {
    type Break = fn(&mut World);
    let breaks: [(Break, &str); 3] = [
        (|world| world.agent(EU).refusing.extend([pool(EU)]), "it refuses"),
        (
            |world| {
                world.agent(EU).stubborn.insert(pool(EU));
                world.agent(EU).conditions.insert(pool(EU), Condition::Dead);
            },
            "it does not run",
        ),
        (
            |world| {
                world.agents.get_mut(&"agent-pools".into()).expect("its agent").alive = false;
                world.run(ms(6000));
            },
            "agent agent-pools does not report",
        ),
    ];
    for (breaks, why) in breaks {
        let mut spec = pooled();
        spec.agents.insert("agent-pools".into(), EU.into());
        if why.contains("agent-pools") {
            let instances = &mut spec.groups.get_mut(&group()).unwrap().instances;
            instances.get_mut(&pool(EU)).unwrap().agent = "agent-pools".into();
        }
        let mut world = World::with(spec);
        world.enter(Mode::Manual);
        breaks(&mut world);
        world.open(&world.request(PlanKind::Switchover)).unwrap();
        world.run(ms(1000));
        let plan = world.last_plan();
        assert_eq!(plan.end, Some(PlanEnd::Completed), "{why}");
        let note = &plan.record(StepId::StopLease).unwrap().note;
        assert!(note.ends_with(&format!("not paused: pool-eu-west: {why}")), "{note}");
    }
}

#[test]
fn an_aborted_switchover_lets_clients_go_on_where_they_were() {
    let mut world = world();
    world.agent(EU).stubborn.extend([pool(EU), "db-eu-west".into()]);
    world.open(&world.request(PlanKind::Switchover)).unwrap();
    world.run(ms(1000));
    let (plan, fence) = (world.plan().id, world.plan().fence_token);
    assert_eq!(world.plan().step(), Some(StepId::StopLease));
    let abort =
        Command::AbortPlan { group: group(), plan, expected_epoch: Epoch(1), took: ms(1000) };
    world.operator(abort).unwrap();
    leads(&world, EU);
    assert!(ordered(&world, EU).is_some_and(|(_, token, _)| token > fence));

    // Neither does the source drain: the plan is undone by itself.
    world.agent(EU).stubborn.remove(&pool(EU));
    world.run(ms(1000));
    world.open(&world.request(PlanKind::Switchover)).unwrap();
    assert!(world.until(StepId::FenceSource));
    assert_eq!(goal(&world, EU), Some(Goal::Drained));
    world.run(policy().drain_limit + ms(1000));
    assert!(matches!(world.last_plan().end, Some(PlanEnd::Aborted(_))));
    leads(&world, EU);
}

#[test]
fn a_failover_holds_nobody_back_and_leads_both_sides_to_the_new_primary() {
    let mut world = world();
    world.cut(EU);
    world.run(ms(6000));
    world.open(&world.request(PlanKind::Failover)).unwrap();
    let stop = world.plan().record(StepId::StopLease).unwrap().state;
    assert_eq!(stop, StepState::Done, "nothing is waited for");
    for step in [StepId::ProveFence, StepId::PromoteData] {
        assert!(world.until(step));
        assert_eq!((ordered(&world, EU), ordered(&world, US)), (None, None), "{step}");
    }
    assert!(world.until(StepId::ActivateWorkloads));
    leads(&world, US);
    world.run(ms(5000));
    let unfenced = &world.group().unfenced;
    assert!(unfenced.contains_key(&"bucket-eu-west".into()));
    assert!(!unfenced.contains_key(&pool(EU)), "nothing is fenced through it");
}

#[test]
fn a_pooler_leads_to_the_resource_that_it_names_or_to_the_only_one() {
    let mut spec = pooled();
    let instances = &mut spec.groups.get_mut(&group()).unwrap().instances;
    for region in [EU, US] {
        let db = instances[&format!("db-{region}").into()].clone();
        let (resource, address) = ("orders".into(), format!("orders.{region}:5432"));
        let id = format!("orders-{region}").into();
        instances.insert(id, Instance { resource, address, ..db });
    }
    let named = instances.get_mut(&pool(US)).unwrap();
    named.settings.insert("pools".to_owned(), "orders".to_owned());
    let mut world = World::with(spec);
    world.enter(Mode::Manual);
    let upstream = |region| ordered(&world, region).map(|(_, _, upstream)| upstream);
    assert_eq!(upstream(US).as_deref(), Some("orders.eu-west:5432"));
    assert_eq!(upstream(EU).as_deref(), Some(""), "which of two is not guessed");
}

/// No plan waits for it, so it must be told after.
#[test]
fn a_pooler_that_is_not_led_to_the_new_primary_makes_its_group_degraded() {
    let mut world = world();
    let told = |world: &World| -> Vec<String> {
        let reasons = explain_group(&world.state, &world.view, world.now, &group());
        let poolers = reasons.into_iter().filter(|r| r.code == "pooler");
        poolers.map(|reason| reason.text).collect()
    };
    assert_eq!(told(&world), Vec::<String>::new());
    world.open(&world.request(PlanKind::Switchover)).unwrap();
    assert!(world.until(StepId::ActivateWorkloads));
    world.agent(US).refusing.insert(pool(US));
    world.run(ms(2000));
    assert_eq!(world.last_plan().end, Some(PlanEnd::Completed));
    assert_eq!(told(&world), ["pool-us-east: it refuses"]);
}

#[test]
fn a_mode_that_orders_nothing_leaves_poolers_alone() {
    let world = World::with(pooled());
    assert_eq!((ordered(&world, EU), ordered(&world, US)), (None, None));
}
