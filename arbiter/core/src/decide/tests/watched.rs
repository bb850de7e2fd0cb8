//! What is only watched: seen, told of, and never moved.

use crate::testing::*;
use crate::{
    CHECKSUM, COMPARED, Control, DIFFERS, FENCE_FAULT, FENCE_PROVEN_MS, Fact, Fencing, Instance,
    InstanceId, Layer, Mode, PARITY, PlanKind, Topic, explain_group, external_fence_id, orders,
    preflight,
};

fn state_file() -> InstanceId {
    "state-eu-west".into()
}

/// A world whose EU agent watches one thing more.
fn watching() -> World {
    let mut spec = spec();
    let instances = &mut spec.groups.get_mut(&group()).unwrap().instances;
    let watched = Instance {
        fencing: Fencing::BestEffort,
        layer: Layer::Watched,
        resource: "state".into(),
        ..instances[&"db-eu-west".into()].clone()
    };
    instances.insert(state_file(), watched);
    let mut world = World::with(spec);
    world.enter(Mode::Manual);
    world
}

#[test]
fn what_is_watched_gets_no_order_and_is_never_unfenced() {
    let mut world = watching();
    let told = |world: &World| {
        orders(&world.state, &"agent-eu-west".into()).iter().any(|o| o.instance == state_file())
    };
    assert!(!told(&world));
    world.cut(EU);
    world.run(ms(6000));
    world.open(&world.request(PlanKind::Failover)).unwrap();
    world.run(ms(30_000));
    assert_eq!(world.group().active(), Some(&US.into()));
    assert!(world.group().unfenced.contains_key(&"bucket-eu-west".into()));
    assert!(!world.group().unfenced.contains_key(&state_file()));
    assert!(!told(&world));
}

#[test]
fn what_a_failover_would_miss_is_told_and_holds_nothing_up() {
    let mut world = watching();
    let said = |world: &World| -> Vec<String> {
        let reasons = explain_group(&world.state, &world.view, world.now, &group());
        let missing = reasons.into_iter().filter(|r| r.topic == Topic::Readiness && !r.open);
        missing.map(|reason| reason.text).collect()
    };
    assert_eq!(said(&world), Vec::<String>::new());
    for heard in world.view.reports.values_mut() {
        let groups = heard.report.groups.values_mut();
        for (_, shown) in
            groups.flat_map(|g| &mut g.instances).filter(|(id, _)| **id == state_file())
        {
            shown.fact.faults.push("locked: terraform force-unlock".to_owned());
        }
    }
    assert_eq!(said(&world), ["state-eu-west: locked: terraform force-unlock"]);
    world.open(&world.request(PlanKind::Switchover)).unwrap();
}

#[test]
fn what_differs_between_the_sides_is_told() {
    let mut world = watching();
    let said = |world: &World| -> Vec<String> {
        let reasons = explain_group(&world.state, &world.view, world.now, &group());
        let unlike = reasons.into_iter().filter(|r| r.code == "parity");
        unlike.map(|reason| reason.text).collect()
    };
    let tell = |world: &mut World, id: &str, value: &str| {
        shows(world, id, &format!("{PARITY}collation"), value);
    };
    tell(&mut world, "db-eu-west", "2.36");
    assert!(said(&world).is_empty(), "one side alone is not compared");
    tell(&mut world, "db-us-east", "2.36");
    assert!(said(&world).is_empty());
    tell(&mut world, "db-us-east", "2.41");
    assert_eq!(said(&world), [r#"db-us-east: collation is "2.41", and on db-eu-west "2.36""#]);
    tell(&mut world, "db-us-east", "2.36");
    // What has no primary is compared with what stands in the active region.
    tell(&mut world, "web-eu-west", "one");
    tell(&mut world, "web-us-east", "two");
    assert_eq!(said(&world), [r#"web-us-east: collation is "two", and on web-eu-west "one""#]);
}

/// The last Report shows this detail of `id`.
fn shows(world: &mut World, id: &str, key: &str, value: &str) {
    for heard in world.view.reports.values_mut() {
        let groups = heard.report.groups.values_mut();
        for (_, shown) in groups.flat_map(|g| &mut g.instances).filter(|(of, _)| of.as_str() == id)
        {
            shown.fact.detail.insert(key.to_owned(), value.to_owned());
        }
    }
}

#[test]
fn a_switchover_waits_where_rows_of_one_time_differ() {
    let mut world = World::in_mode(Mode::Manual);
    let closed = |world: &World, kind| -> Vec<String> {
        let request = world.request(kind);
        let closed = preflight(&world.state, &world.view, world.now, &request).err();
        closed.unwrap_or_default().into_iter().map(|reason| reason.code).collect()
    };
    let key = format!("{CHECKSUM}orders");
    shows(&mut world, "db-eu-west", &key, "13:00 aaaa");
    assert!(closed(&world, PlanKind::Switchover).is_empty(), "one side alone is not compared");
    shows(&mut world, "db-us-east", &key, "13:00 aaaa");
    assert!(closed(&world, PlanKind::Switchover).is_empty());
    shows(&mut world, "db-us-east", &key, "14:00 bbbb");
    assert!(closed(&world, PlanKind::Switchover).is_empty(), "of two times nothing is known");
    shows(&mut world, "db-us-east", &key, "13:00 bbbb");
    assert_eq!(closed(&world, PlanKind::Switchover), ["checksum"]);
    assert!(closed(&world, PlanKind::Failover).is_empty(), "a lost region cannot be compared");
}

/// A bucket is best-effort, and what an instance compares by itself needs no sum of the primary.
#[test]
fn what_differs_closes_a_switchover_is_a_fault_and_what_is_alike_stands_in_the_plan() {
    let mut world = World::in_mode(Mode::Manual);
    let asked = |world: &World| {
        let request = world.request(PlanKind::Switchover);
        preflight(&world.state, &world.view, world.now, &request)
            .map_err(|closed| closed.into_iter().map(|reason| reason.text).collect::<Vec<String>>())
    };
    let told = |world: &World| -> Vec<(bool, String)> {
        let reasons = explain_group(&world.state, &world.view, world.now, &group());
        let of = reasons.into_iter().filter(|r| r.topic == Topic::Readiness);
        of.filter(|r| r.code == "checksum").map(|reason| (reason.open, reason.text)).collect()
    };
    let key = format!("{CHECKSUM}invoices");
    shows(&mut world, "bucket-eu-west", &key, "settled 7");
    shows(&mut world, "bucket-us-east", &key, "settled 6");
    let differs = "checksum.invoices of bucket-us-east is not as on bucket-eu-west".to_owned();
    assert_eq!(asked(&world).unwrap_err(), [differs.as_str()]);
    assert_eq!(told(&world), [(false, differs)]);
    shows(&mut world, "bucket-us-east", &key, "settled 7");
    let own = format!("{COMPARED}sessions");
    shows(&mut world, "db-us-east", &own, &format!("{DIFFERS}1 of 9 keys"));
    assert_eq!(asked(&world).unwrap_err(), ["checksum.sessions of db-us-east: 1 of 9 keys"]);
    shows(&mut world, "db-us-east", &own, "9 keys are alike");
    let alike = [
        "checksum.invoices of bucket-us-east is as on bucket-eu-west",
        "checksum.sessions of db-us-east: 9 keys are alike",
    ];
    assert_eq!(asked(&world).unwrap().compared, alike);
    assert!(told(&world).iter().all(|(open, _)| *open) && told(&world).len() == 2);
    world.open(&world.request(PlanKind::Switchover)).unwrap();
    let plan = world.group().plan.as_ref().unwrap();
    assert!(plan.steps[0].note.ends_with(&alike.join("; ")), "{}", plan.steps[0].note);
}

/// A bucket's fence is an API's, and one from outside belongs to no instance: both are rehearsed.
#[test]
fn fences_that_hold_no_process_say_when_they_were_proven() {
    let mut world = World::in_mode(Mode::Manual);
    let policy = &mut world.state.spec.groups.get_mut(&group()).unwrap().policy;
    policy.external_fence.insert(EU.into(), Default::default());
    let told = |world: &World| -> Vec<(bool, String)> {
        let reasons = explain_group(&world.state, &world.view, world.now, &group());
        let of = reasons.into_iter().filter(|reason| reason.code == "fence");
        of.map(|reason| (reason.open, reason.text)).collect()
    };
    assert!(told(&world).is_empty());
    world.state.spec.groups.get_mut(&group()).unwrap().instances.iter_mut().for_each(|(id, i)| {
        if id.as_str().starts_with("bucket") {
            i.control = Control::Api;
        }
    });
    shows(&mut world, "bucket-eu-west", FENCE_PROVEN_MS, "60000");
    assert_eq!(
        told(&world),
        [(true, "the fence of bucket-eu-west was last proven 1 min ago".into())]
    );
    let heard = world.view.reports.get_mut(&"agent-us-east".into()).unwrap();
    let shown = heard.report.groups.get_mut(&group()).unwrap();
    let mut outside = shown.instances.values().next().unwrap().clone();
    outside.fact = Fact::default();
    outside.fact.detail.insert(FENCE_FAULT.to_owned(), "fence_check took longer".into());
    shown.instances.insert(external_fence_id(&EU.into()), outside);
    let (open, text) = told(&world).pop().unwrap();
    let wanted = "the fence of eu-west from outside, by agent-us-east, could not be proven: \
        fence_check took longer; last proven never";
    assert_eq!((open, text.as_str()), (false, wanted));
}
