//! What a specification names, and what State says of a group, a plan and an agent.

use crate::testing::*;
use crate::*;
use std::collections::BTreeSet;
use std::time::Duration;

fn instance<'a>(spec: &'a mut ClusterSpec, id: &str) -> &'a mut Instance {
    spec.groups.get_mut(&group()).unwrap().instances.get_mut(&id.into()).unwrap()
}

/// Files are checked in full before; this is what keeps State whole whoever wrote it.
#[test]
fn a_specification_that_refers_to_nothing_is_refused_with_what_it_is() {
    let fault = |change: &dyn Fn(&mut ClusterSpec)| {
        let mut spec = spec();
        change(&mut spec);
        spec.fault().unwrap_or_default()
    };
    let policy = |spec: &mut ClusterSpec, change: &dyn Fn(&mut Policy)| {
        change(&mut spec.groups.get_mut(&group()).unwrap().policy);
    };
    assert_eq!(fault(&|_| ()), "");
    let stands = |spec: &mut ClusterSpec| {
        spec.agents.insert("lost".into(), "nowhere".into());
    };
    assert!(fault(&stands).contains("agent lost stands in the unknown region nowhere"));
    let witness = fault(&|spec| policy(spec, &|policy| policy.initial_active = "witness".into()));
    assert!(witness.contains("initial_active witness is not a data region"), "{witness}");
    let beside = fault(&|spec| instance(spec, "db-eu-west").region = "witness".into());
    assert!(beside.contains("instance db-eu-west stands in witness"), "{beside}");
    let agent = fault(&|spec| instance(spec, "db-eu-west").agent = "agent-us-east".into());
    assert!(agent.contains("agent-us-east of instance db-eu-west does not stand in"), "{agent}");
    let timers = fault(&|spec| policy(spec, &|policy| policy.timing.fence = ms(8000)));
    assert!(timers.contains("fence must be shorter than lease"), "{timers}");
    assert_eq!(fault(&|spec| policy(spec, &|policy| policy.timing.fence = ms(7999))), "");
    for differs in [
        fault(&|spec| instance(spec, "db-eu-west").layer = Layer::Workload),
        fault(&|spec| instance(spec, "db-eu-west").fencing = Fencing::BestEffort),
    ] {
        assert!(differs.contains("instances of resource db differ"), "{differs}");
    }
}

fn names<T: std::fmt::Display>(of: impl IntoIterator<Item = T>) -> Vec<String> {
    of.into_iter().map(|one| one.to_string()).collect()
}

#[test]
fn a_group_knows_where_its_instances_stand() {
    let mut cluster = spec();
    instance(&mut cluster, "web-eu-west").layer = Layer::Pooler;
    instance(&mut cluster, "bucket-eu-west").agent = "agent-bucket".into();
    let spec = &cluster.groups[&group()];
    let (eu, us) = (RegionId::from(EU), RegionId::from(US));
    let data = names(spec.instances_of(&eu, Layer::Data).map(|(id, _)| id));
    assert_eq!(data, ["bucket-eu-west", "db-eu-west"]);
    assert_eq!(names(spec.needing_evidence(&eu).map(|(id, _)| id)), ["db-eu-west"]);
    assert_eq!(names(spec.required_resources()), ["db"]);
    assert_eq!(names(spec.agents_in(&eu)), ["agent-bucket", "agent-eu-west"]);
    assert_eq!(names(spec.fencing_agents(&eu)), ["agent-eu-west"]);
    assert_eq!(names(spec.regions()), [EU, US]);
    assert_eq!(names(spec.poolers().map(|(id, _)| id)), ["web-eu-west"]);
    assert_eq!(names(spec.standby_regions(&eu)), [US]);
    assert_eq!(names(spec.standby_regions(&us)), [EU]);
    assert!(spec.serves(&"agent-bucket".into()) && !spec.serves(&"agent".into()));
    let beside = names(spec.beside(&"agent-bucket".into()).map(|(id, _)| id));
    assert_eq!(beside, ["bucket-eu-west"]);
    assert_eq!(names(spec.agents_to_arm(&eu)), ["agent-eu-west"]);
    instance(&mut cluster, "db-eu-west").control = Control::Api;
    assert_eq!(names(cluster.groups[&group()].agents_to_arm(&eu)), [""; 0], "none holds it");
}

#[test]
fn an_instance_is_known_by_its_settings_or_its_id() {
    let mut cluster = spec();
    let named = ("application_name".to_owned(), "standby1".to_owned());
    instance(&mut cluster, "db-us-east").settings.extend([named]);
    let spec = &cluster.groups[&group()];
    assert_eq!(spec.replicates_as(&"db-us-east".into()), "standby1");
    assert_eq!(spec.replicates_as(&"db-eu-west".into()), "db-eu-west");
    assert_eq!(GroupSpec::zone(&spec.instances[&"dns-eu-west".into()]), "dns");
    assert_eq!(GroupSpec::zone(&spec.instances[&"web-eu-west".into()]), "web");
    assert!(spec.shows_token());
    for region in [EU, US] {
        instance(&mut cluster, &format!("dns-{region}")).settings.clear();
    }
    let zoned = ("zone".to_owned(), "dns".to_owned());
    instance(&mut cluster, "web-eu-west").settings.extend([zoned]);
    assert!(!cluster.groups[&group()].shows_token(), "no traffic of it has a zone");
}

#[test]
fn what_an_instances_own_word_is_worth_is_known_before_it_is_needed() {
    use EvidenceKind::{Confirmed, LeaseExpired, ProviderAsserted};
    let mut cluster = spec();
    let db = instance(&mut cluster, "db-eu-west");
    assert_eq!((db.own_word(), db.dies_with_lease()), (Some(Confirmed), true));
    db.evidence = BTreeSet::from([LeaseExpired, ProviderAsserted]);
    assert_eq!((db.own_word(), db.dies_with_lease()), (Some(ProviderAsserted), true));
    db.evidence = BTreeSet::from([LeaseExpired]);
    assert_eq!(db.own_word(), None);
    db.control = Control::Api;
    assert!(!db.dies_with_lease(), "no deadman holds it");
    db.control = Control::Owned;
    db.evidence.clear();
    assert!(!db.dies_with_lease());
    assert!(db.needs_evidence());
    db.fencing = Fencing::BestEffort;
    assert!(!db.needs_evidence());
    assert!(!instance(&mut cluster, "web-eu-west").needs_evidence());
}

#[test]
fn state_answers_for_groups_plans_and_agents() {
    let mut world = World::in_mode(Mode::Manual);
    world.open(&world.request(PlanKind::Switchover)).unwrap();
    let id = world.plan().id;
    let found =
        |world: &World, id| world.state.plan(id).map(|(name, plan)| (name.clone(), plan.id));
    assert_eq!(found(&world, id), Some((group(), id)));
    assert_eq!(found(&world, PlanId(id.0 + 1)), None);
    assert!(world.plan().before_point_of_no_return() && !world.plan().advanced());
    assert!(world.until(StepId::AdvanceEpoch));
    assert!(world.plan().before_point_of_no_return() && !world.plan().advanced());
    assert!(world.until(StepId::PromoteData));
    assert!(!world.plan().before_point_of_no_return() && world.plan().advanced());
    world.run(ms(60_000));
    assert_eq!(found(&world, id), Some((group(), id)), "kept");
    assert_eq!((world.last_plan().step(), world.last_plan().advanced()), (None, true));
    let state = &mut world.state;
    assert!(state.group(&group()).is_some() && state.group(&"other".into()).is_none());
    assert!(state.arming(&"agent-eu-west".into(), &group()).is_some());
    assert!(state.arming(&"agent-eu-west".into(), &"other".into()).is_none());
    assert!(!state.is_foreign(&"agent-eu-west".into()) && !state.is_foreign(&"nobody".into()));
    state.bindings.get_mut(&"agent-eu-west".into()).unwrap().foreign = true;
    assert!(state.is_foreign(&"agent-eu-west".into()));
}

#[test]
fn no_arbiters_number_is_given_twice() {
    let mut state = World::observing().state;
    assert_eq!(state.next_node_id(), 4);
    let mut next = state.spec.voters.values().next().unwrap().clone();
    next.node_id = 9;
    state.joining.insert("arbiter-new".into(), next);
    assert_eq!(state.next_node_id(), 10);
    state.node_ids.insert(20);
    assert_eq!(state.next_node_id(), 21);
    assert_eq!(State::default().next_node_id(), 1);
}

#[test]
fn a_lease_is_policys_or_the_longer_one_of_a_maintenance() {
    let world = World::observing();
    let (spec, mut group) = (world.state.spec.groups[&group()].clone(), world.group().clone());
    assert_eq!(group.lease_wanted(&spec), ms(8000));
    for (lease, wanted) in [(30_000, 30_000), (5000, 8000)] {
        group.maintenance = Some(Maintenance {
            lease: ms(lease),
            since: 1,
            lasts: Duration::ZERO,
            until: WallMillis(0),
        });
        assert_eq!(group.lease_wanted(&spec), ms(wanted));
    }
}

/// I6: what ends before the fork lacks writes that were the target's.
#[test]
fn a_source_returns_from_the_fork_on() {
    let mut world = World::in_mode(Mode::Manual);
    world.open(&world.request(PlanKind::Switchover)).unwrap();
    let mut plan = world.plan().clone();
    let at = |offset| Some(Position { timeline: 1, offset });
    assert_eq!(plan.unfit_to_return(&"db".into(), None), None, "nothing is known of a fork");
    plan.target_end.insert("db".into(), Position { timeline: 1, offset: 900 });
    let unfit = |position| plan.unfit_to_return(&"db".into(), position);
    assert_eq!(unfit(None).as_deref(), Some("its position is not known"));
    assert!(unfit(at(899)).is_some_and(|why| why.contains("before the fork at 1:0/384")));
    assert_eq!((unfit(at(900)), unfit(at(901))), (None, None));
}

/// I1, I4: everything must be right for a renewal.
#[test]
fn a_lease_is_renewed_for_the_bound_and_armed_agent_of_the_active_region_alone() {
    let mut world = World::in_mode(Mode::Manual);
    let report = world.report_of(&"agent-eu-west".into()).unwrap();
    let base = world.state;
    let granted = |change: &dyn Fn(&mut State, &mut Report)| {
        let (mut state, mut report) = (base.clone(), report.clone());
        change(&mut state, &mut report);
        grants(&state, &report).get(&group()).copied()
    };
    fn of(state: &mut State) -> &mut Group {
        state.groups.get_mut(&group()).unwrap()
    }
    fn shown(report: &mut Report) -> &mut GroupReport {
        report.groups.get_mut(&group()).unwrap()
    }
    let weaker = Arming { expiry_counts_as: EvidenceKind::Attested };
    let stronger = Arming { expiry_counts_as: EvidenceKind::Confirmed };
    assert_eq!(granted(&|_, _| ()), Some(ms(8000)));
    assert_eq!(granted(&|state, _| of(state).lease_max = ms(6000)), Some(ms(6000)));
    assert_eq!(granted(&|_, report| report.cluster_id = None), Some(ms(8000)));
    assert_eq!(granted(&|_, report| report.cluster_id = Some("other".into())), None);
    assert_eq!(granted(&|_, report| report.agent = "agent-us-east".into()), None);
    assert_eq!(granted(&|_, report| report.incarnation.0 += 1), None);
    assert_eq!(granted(&|_, report| report.boot_id = "another".into()), None);
    let foreign = |state: &mut State| state.bindings.values_mut().for_each(|b| b.foreign = true);
    assert_eq!(granted(&|state, _| foreign(state)), None);
    assert_eq!(granted(&|state, _| state.bindings.clear()), None);
    assert_eq!(granted(&|state, _| of(state).activation = Activation::default()), None);
    assert_eq!(granted(&|state, _| of(state).unsettled = Some(Epoch(1))), None);
    assert_eq!(granted(&|state, _| of(state).lease_stopped = true), None);
    let elsewhere = |state: &mut State| {
        state.spec.agents.insert("agent-eu-west".into(), US.into());
    };
    assert_eq!(granted(&|state, _| elsewhere(state)), None);
    assert_eq!(granted(&|_, report| shown(report).arming = None), None);
    assert_eq!(granted(&|_, report| shown(report).arming = Some(weaker)), None);
    assert_eq!(granted(&|_, report| shown(report).arming = Some(stronger)), Some(ms(8000)));
    let unarmed = |state: &mut State| state.bindings.values_mut().for_each(|b| b.arming.clear());
    let both = |state: &mut State, report: &mut Report| {
        unarmed(state);
        shown(report).arming = None;
    };
    assert_eq!(granted(&both), Some(ms(8000)), "a shadow that only counts");
    let strange = |state: &mut State| {
        let instances = &mut state.spec.groups.get_mut(&group()).unwrap().instances;
        instances.retain(|_, instance| instance.region == RegionId::from(US));
    };
    assert_eq!(granted(&|state, _| strange(state)), None, "it stands beside nothing");
}
