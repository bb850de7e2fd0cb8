//! What agents are told of a State made by hand: one doubt at a time.

use crate::testing::*;
use crate::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

const TOKEN: Token = Token::new(1, 40);
const FENCE: Token = Token::new(1, 50);

/// Armed, ordered, in manual, no plan.
fn quiet() -> State {
    static ONCE: OnceLock<State> = OnceLock::new();
    ONCE.get_or_init(|| World::in_mode(Mode::Manual).state).clone()
}

/// A switchover from eu-west that has just begun.
fn planned() -> State {
    static ONCE: OnceLock<State> = OnceLock::new();
    let begin = || {
        let mut world = World::in_mode(Mode::Manual);
        world.open(&world.request(PlanKind::Switchover)).unwrap();
        world.state
    };
    let mut state = ONCE.get_or_init(begin).clone();
    plan(&mut state).fence_token = FENCE;
    state
}

fn of(state: &mut State) -> &mut Group {
    state.groups.get_mut(&group()).unwrap()
}

fn plan(state: &mut State) -> &mut Plan {
    of(state).plan.as_mut().unwrap()
}

fn at_row(state: &mut State, step: StepId) {
    let plan = plan(state);
    plan.cursor = plan.steps.iter().position(|record| record.id == step).unwrap();
}

fn policy(state: &mut State) -> &mut Policy {
    &mut state.spec.groups.get_mut(&group()).unwrap().policy
}

fn instance<'a>(state: &'a mut State, id: &str) -> &'a mut Instance {
    let spec = state.spec.groups.get_mut(&group()).unwrap();
    spec.instances.get_mut(&id.into()).unwrap()
}

fn set(state: &mut State, region: &str, layer: Layer, goal: Goal) {
    let goals = of(state).goals.entry(region.into()).or_default();
    goals.insert(layer, RegionGoal { goal, token: TOKEN });
}

fn told(state: &State, id: &str) -> Option<Order> {
    let region = if id.ends_with(EU) { EU } else { US };
    let all = orders(state, &format!("agent-{region}").as_str().into());
    all.into_iter().find(|order| order.instance == id.into())
}

fn goal(state: &State, id: &str) -> Option<Goal> {
    told(state, id).map(|order| order.goal)
}

fn terms(state: &State, id: &str) -> Terms {
    told(state, id).expect("it is ordered").terms
}

/// A second node of the database in `region`.
fn add_node(state: &mut State, region: &str, control: Control) -> String {
    let id = format!("db2-{region}");
    let first = instance(state, &format!("db-{region}")).clone();
    let address = format!("db2.{region}:5432");
    let second = Instance { address, control, ..first };
    let spec = state.spec.groups.get_mut(&group()).unwrap();
    spec.instances.insert(id.as_str().into(), second);
    id
}

#[test]
fn in_observe_only_what_is_to_be_armed_or_comes_back_is_ordered() {
    let mut state = quiet();
    assert!(told(&state, "web-eu-west").is_some() && told(&state, "db-eu-west").is_some());
    of(&mut state).mode = Mode::Observe;
    assert!(told(&state, "db-eu-west").is_some(), "a fenced one is to come back");
    assert_eq!(told(&state, "web-eu-west"), None);
    of(&mut state).returning.insert("web-eu-west".into());
    assert!(told(&state, "web-eu-west").is_some());
    of(&mut state).arming_wanted = false;
    assert_eq!(told(&state, "db-eu-west"), None);
    assert_eq!(orders(&state, &"stranger".into()), []);
    state.groups.clear();
    assert_eq!(orders(&state, &"agent-eu-west".into()), []);
}

/// I1: State may be older than the resources.
#[test]
fn after_a_restore_only_fences_and_a_plans_target_are_ordered() {
    let mut state = planned();
    of(&mut state).unsettled = Some(Epoch(1));
    for (layer, fenced) in [(Layer::Data, Goal::Drained), (Layer::Workload, Goal::Standby)] {
        set(&mut state, US, layer, fenced);
    }
    assert_eq!(goal(&state, "db-us-east"), Some(Goal::Drained), "the target is made ready");
    assert_eq!(goal(&state, "db-eu-west"), None);
    set(&mut state, EU, Layer::Data, Goal::Fenced);
    assert_eq!(goal(&state, "db-eu-west"), Some(Goal::Fenced));
    set(&mut state, EU, Layer::Data, Goal::Standby);
    assert_eq!(goal(&state, "db-eu-west"), None, "it is no target");
    set(&mut state, US, Layer::Data, Goal::Active);
    of(&mut state).primaries.clear();
    assert_eq!(goal(&state, "db-us-east"), None, "nor is a target told to serve");
    of(&mut state).plan = None;
    set(&mut state, US, Layer::Data, Goal::Drained);
    assert_eq!(goal(&state, "db-us-east"), None);
    of(&mut state).unsettled = None;
    assert!(goal(&state, "db-us-east").is_some());
}

#[test]
fn the_chosen_node_is_primary_and_the_others_follow_it() {
    let mut state = quiet();
    let second = add_node(&mut state, EU, Control::Owned);
    set(&mut state, EU, Layer::Data, Goal::Active);
    let primary = |state: &mut State, id: &str| {
        of(state).primaries.insert("db".into(), id.into());
    };
    primary(&mut state, "db-eu-west");
    assert_eq!(goal(&state, "db-eu-west"), Some(Goal::Active));
    assert_eq!(goal(&state, &second), Some(Goal::Standby));
    assert_eq!(terms(&state, &second).upstream, "db.eu-west:5432");
    assert_eq!(terms(&state, "db-us-east").upstream, "db.eu-west:5432");
    primary(&mut state, &second);
    assert_eq!(goal(&state, "db-eu-west"), Some(Goal::Standby));
    assert_eq!(goal(&state, &second), Some(Goal::Active));
    assert_eq!(terms(&state, "db-eu-west").upstream, "db2.eu-west:5432");
    of(&mut state).primaries.clear();
    assert_eq!(goal(&state, &second), Some(Goal::Active), "nobody was chosen");
    assert_eq!(terms(&state, "db-us-east").upstream, "");
    // Where a manager chooses, each may become primary at any time.
    primary(&mut state, &second);
    instance(&mut state, "db-eu-west").control = Control::Delegated;
    assert_eq!(goal(&state, "db-eu-west"), Some(Goal::Active));
    instance(&mut state, "web-eu-west").layer = Layer::Watched;
    assert_eq!(told(&state, "web-eu-west"), None, "nobody is told");
}

#[test]
fn a_source_drains_its_primary_and_fences_who_stands_beside_it() {
    let mut state = planned();
    let second = add_node(&mut state, EU, Control::Owned);
    set(&mut state, EU, Layer::Data, Goal::Drained);
    of(&mut state).primaries.insert("db".into(), "db-eu-west".into());
    assert_eq!(goal(&state, "db-eu-west"), Some(Goal::Drained));
    assert_eq!(terms(&state, "db-eu-west").clean_stop, None);
    assert_eq!(goal(&state, &second), Some(Goal::Fenced));
    assert_eq!(terms(&state, &second).clean_stop, Some(ms(1000)));
    instance(&mut state, &second).control = Control::Delegated;
    assert_eq!(goal(&state, &second), Some(Goal::Drained), "its manager knows who is primary");
    of(&mut state).primaries.clear();
    instance(&mut state, &second).control = Control::Owned;
    assert_eq!(goal(&state, &second), Some(Goal::Drained), "nobody else is");
    // In a target all of them drain, and who has most is chosen then.
    let beside = add_node(&mut state, US, Control::Owned);
    set(&mut state, US, Layer::Data, Goal::Drained);
    for id in ["db-us-east", &beside] {
        assert_eq!(goal(&state, id), Some(Goal::Drained));
    }
}

/// What an operator gave up is not waited for, and what was killed may never arrive.
#[test]
fn a_target_receives_up_to_the_clean_end_of_its_source() {
    let end = Position { timeline: 1, offset: 900 };
    let until = |kind, accept_loss, clean: Option<bool>| {
        let mut state = planned();
        of(&mut state).primaries.insert("db".into(), "db-eu-west".into());
        set(&mut state, US, Layer::Data, Goal::Drained);
        let plan = plan(&mut state);
        (plan.kind, plan.accept_loss) = (kind, accept_loss);
        plan.source_end.insert("db".into(), end);
        plan.evidence =
            clean.map(|clean| evidence(EvidenceKind::Confirmed, clean)).into_iter().collect();
        terms(&state, "db-us-east").until
    };
    assert_eq!(until(PlanKind::Switchover, false, Some(true)), Some(end));
    assert_eq!(until(PlanKind::Switchover, true, Some(true)), Some(end), "none is given up");
    assert_eq!(until(PlanKind::Failover, false, Some(true)), Some(end));
    assert_eq!(until(PlanKind::Failover, true, Some(true)), None);
    assert_eq!(until(PlanKind::Failover, false, Some(false)), None);
    assert_eq!(until(PlanKind::Failover, false, None), None);
}

fn evidence(kind: EvidenceKind, clean: bool) -> (InstanceId, Evidence) {
    let of = Evidence {
        kind,
        instance: "db-eu-west".into(),
        agent: "agent-eu-west".into(),
        incarnation: Incarnation(1),
        token: FENCE,
        term: 1,
        waited: None,
        clean,
        note: String::new(),
    };
    ("db-eu-west".into(), of)
}

#[test]
fn a_fence_lets_it_stop_cleanly_where_its_plan_has_the_time() {
    for (planned_one, token, immediate, clean_stop) in [
        (true, FENCE, false, ms(1000)),
        (true, FENCE, true, ms(0)),
        (true, TOKEN, false, ms(0)),
        (false, FENCE, false, ms(0)),
    ] {
        let mut state = planned();
        plan(&mut state).immediate = immediate;
        if !planned_one {
            of(&mut state).plan = None;
        }
        for (layer, id) in [(Layer::Data, "db-eu-west"), (Layer::Workload, "web-eu-west")] {
            let goals = of(&mut state).goals.get_mut(&EU.into()).unwrap();
            goals.insert(layer, RegionGoal { goal: Goal::Fenced, token });
            let case = format!("{id} {planned_one} {token} {immediate}");
            assert_eq!(terms(&state, id).clean_stop, Some(clean_stop), "{case}");
        }
    }
}

#[test]
fn commits_wait_as_policy_the_set_and_a_drill_say() {
    let wait = |change: &dyn Fn(&mut State)| {
        let mut state = quiet();
        change(&mut state);
        told(&state, "db-eu-west").unwrap().commits
    };
    let strict = |state: &mut State, alone: StrictAlone, named: &[&str]| {
        policy(state).durability = Durability::Strict;
        policy(state).strict_alone = alone;
        let named = named.iter().map(|id| (*id).into()).collect();
        let set = Synchronous { named, ..Synchronous::default() };
        of(state).synchronous.insert("db".into(), set);
    };
    let names = |of: &[&str]| of.iter().map(|one| (*one).to_owned()).collect::<BTreeSet<_>>();
    let plain = |wait| Some(Commits { wait, isolated: None });
    assert_eq!(wait(&|_| ()), plain(CommitWait::Configured));
    assert_eq!(wait(&|state| instance(state, "db-eu-west").waits = false), None);
    assert_eq!(
        wait(&|state| strict(state, StrictAlone::Accept, &["db-us-east"])),
        plain(CommitWait::Standbys(names(&["db-us-east"])))
    );
    assert_eq!(wait(&|state| strict(state, StrictAlone::Accept, &[])), plain(CommitWait::Alone));
    assert_eq!(wait(&|state| strict(state, StrictAlone::Block, &[])), plain(CommitWait::Blocked));
    // Cut off, whoever else has the resource in another region will do.
    let stalls = |state: &mut State| {
        policy(state).on_isolation = OnIsolation::Stall;
        add_node(state, EU, Control::Owned);
        let named = ("application_name".to_owned(), "east".to_owned());
        instance(state, "db-us-east").settings.extend([named]);
    };
    let isolated = Some(names(&["east"]));
    let stalled = Some(Commits { wait: CommitWait::Configured, isolated: isolated.clone() });
    assert_eq!(wait(&stalls), stalled);
    let drilled = |state: &mut State, stalling: bool| {
        stalls(state);
        strict(state, StrictAlone::Accept, &["db-us-east"]);
        policy(state).durability = Durability::Async;
        of(state).drill = Some(drill(stalling));
    };
    let waits = CommitWait::Standbys(names(&["east"]));
    assert_eq!(wait(&|state| drilled(state, true)), Some(Commits { wait: waits, isolated }));
    assert_eq!(wait(&|state| drilled(state, false)), stalled);
    let alone = |state: &mut State| {
        drilled(state, true);
        of(state).synchronous.clear();
    };
    assert_eq!(wait(&alone), stalled);
    let standby = told(&quiet(), "db-us-east").unwrap();
    assert_eq!((standby.goal, standby.commits), (Goal::Standby, None), "it commits nothing");
}

fn drill(stalls: bool) -> Drill {
    Drill {
        id: DrillId(7),
        kind: DrillKind::Switchover,
        by: By::Policy,
        reason: String::new(),
        began: WallMillis(0),
        home: EU.into(),
        away: US.into(),
        accept_loss: false,
        stalls,
        phase: DrillPhase::Execute,
        token: TOKEN,
        out: Some(PlanId(8)),
        back: Some(PlanId(9)),
        measured: None,
        said: BTreeMap::new(),
        faults: Vec::new(),
        end: None,
        ended: WallMillis(0),
    }
}

#[test]
fn a_new_primary_waits_for_nobody_that_only_the_former_had() {
    for (durability, alone, wait) in [
        (Durability::Async, StrictAlone::Block, CommitWait::Configured),
        (Durability::Strict, StrictAlone::Accept, CommitWait::Alone),
        (Durability::Strict, StrictAlone::Block, CommitWait::Blocked),
    ] {
        let mut state = quiet();
        policy(&mut state).durability = durability;
        policy(&mut state).strict_alone = alone;
        assert_eq!(terms(&state, "db-eu-west").promoted, wait);
    }
}

#[test]
fn traffic_is_told_what_it_may_do_with_its_zone() {
    let dns = |change: &dyn Fn(&mut State)| {
        let mut state = quiet();
        set(&mut state, EU, Layer::Traffic, Goal::Active);
        of(&mut state).zones.clear();
        change(&mut state);
        let terms = terms(&state, "dns-eu-west");
        assert_eq!(terms.names, Some(EU.into()));
        (terms.may_create, terms.adopt, terms.repair)
    };
    let zone = |initialised, adopt| {
        move |state: &mut State| {
            of(state).zones.insert("dns".into(), ZoneState { initialised, adopt });
        }
    };
    assert_eq!(dns(&|_| ()), (true, false, false));
    assert_eq!(dns(&zone(true, None)), (false, false, false));
    assert_eq!(dns(&zone(true, Some(TOKEN))), (false, true, false));
    assert_eq!(dns(&zone(true, Some(FENCE))), (false, false, false), "it was for another write");
    assert_eq!(dns(&|state| policy(state).on_drift = OnDrift::Repair), (true, false, true));
}

#[test]
fn a_target_is_verified_from_its_promotion_on_and_nobody_else() {
    let verified = |step: StepId, id: &str| {
        let mut state = planned();
        at_row(&mut state, step);
        for region in [EU, US] {
            set(&mut state, region, Layer::Data, Goal::Active);
            set(&mut state, region, Layer::Workload, Goal::Active);
        }
        of(&mut state).primaries.clear();
        told(&state, id).unwrap().verify
    };
    for step in STEPS {
        let wanted = step.id >= StepId::PromoteData && step.id <= StepId::VerifyTarget;
        assert_eq!(verified(step.id, "db-us-east"), wanted, "{}", step.id);
        assert!(!verified(step.id, "db-eu-west") && !verified(step.id, "web-us-east"));
    }
    let mut quiet = quiet();
    set(&mut quiet, US, Layer::Data, Goal::Active);
    assert!(!told(&quiet, "db-eu-west").unwrap().verify);
    let mut standby = planned();
    at_row(&mut standby, StepId::PromoteData);
    set(&mut standby, US, Layer::Data, Goal::Standby);
    assert!(!told(&standby, "db-us-east").unwrap().verify, "only what is to be active");
}

/// A switchover holds clients back until there is a new primary; a failover holds nobody back.
#[test]
fn poolers_lead_to_the_active_primary_and_hold_clients_back_in_a_switchover() {
    let pooled = |state: &mut State, pools: Option<&str>| {
        let pooler = instance(state, "web-us-east");
        pooler.layer = Layer::Pooler;
        pooler.settings.extend(pools.map(|name| ("pools".to_owned(), name.to_owned())));
        told(state, "web-us-east").map(|order| (order.goal, order.token, order.terms.upstream))
    };
    let data = quiet().groups[&group()].goal(&EU.into(), Layer::Data).unwrap().token;
    let leads = |to: &str| Some((Goal::Active, data, to.to_owned()));
    assert_eq!(pooled(&mut quiet(), None), leads("db.eu-west:5432"));
    assert_eq!(pooled(&mut quiet(), Some("db")), leads("db.eu-west:5432"));
    assert_eq!(pooled(&mut quiet(), Some("other")), leads(""));
    let mut two = quiet();
    instance(&mut two, "bucket-eu-west").fencing = Fencing::Required;
    assert_eq!(pooled(&mut two, None), leads(""), "it could be either");
    let mut inactive = quiet();
    of(&mut inactive).activation = Activation::default();
    assert_eq!(pooled(&mut inactive, None), None);
    let mut fenced = quiet();
    set(&mut fenced, EU, Layer::Data, Goal::Fenced);
    assert_eq!(pooled(&mut fenced, None), None, "nobody serves");
    for step in STEPS {
        for kind in [PlanKind::Switchover, PlanKind::Failover] {
            let mut state = planned();
            at_row(&mut state, step.id);
            plan(&mut state).kind = kind;
            set(&mut state, EU, Layer::Data, Goal::Active);
            let told = pooled(&mut state, None).map(|(goal, token, _)| (goal, token));
            let wanted = match (step.id <= StepId::PromoteData, kind) {
                (true, PlanKind::Switchover) => Some((Goal::Drained, FENCE)),
                (true, PlanKind::Failover) => None,
                (false, _) => Some((Goal::Active, TOKEN)),
            };
            assert_eq!(told, wanted, "{} {kind:?}", step.id);
        }
    }
}

#[test]
fn a_life_that_is_not_bound_is_told_to_hold_still_and_nothing_else() {
    let mut world = World::in_mode(Mode::Manual);
    world.run(ms(500));
    let report = world.report_of(&"agent-eu-west".into()).unwrap();
    let (view, base) = (world.view, world.state);
    let goals = |state: &State, report: &Report| {
        let told = directive(state, &view, report);
        let part = told.groups.get(&group()).cloned();
        part.map(|part| part.orders.into_iter().map(|order| order.goal).collect::<Vec<_>>())
    };
    assert!(goals(&base, &report).unwrap().contains(&Goal::Active));
    let mut other = report.clone();
    other.incarnation.0 += 1;
    assert_eq!(goals(&base, &other), Some(vec![]));
    let mut fenced = base.clone();
    set(&mut fenced, EU, Layer::Data, Goal::Fenced);
    let told = goals(&fenced, &other).unwrap();
    assert!(!told.is_empty() && told.iter().all(|goal| *goal == Goal::Fenced), "{told:?}");
    let mut foreign = report.clone();
    foreign.cluster_id = Some("other".into());
    assert_eq!(goals(&base, &foreign), None, "another cluster's agent is told nothing");
    foreign.cluster_id = None;
    assert!(goals(&base, &foreign).is_some());
    let mut holds = base.clone();
    let part = |state: &State| directive(state, &view, &report).groups[&group()].clone();
    assert!(!part(&holds).serves_on && part(&holds).lease.is_some() && part(&holds).arm);
    policy(&mut holds).on_quorum_loss = OnQuorumLoss::Hold;
    assert!(part(&holds).serves_on);
    let pushed = push(&base, &view, &"agent-eu-west".into()).unwrap();
    assert_eq!((pushed.answers, pushed.groups[&group()].lease), (None, None));
    assert_eq!(push(&base, &view, &"nobody".into()), None);
    assert_eq!(pushed.arbiters, ["eu-west:7400", "us-east:7400", "witness:7400"]);
}

/// A drill asks more of commits and of its own plan than policy, until that is through.
#[test]
fn a_drill_is_asked_for_by_its_number_and_holds_its_plan_to_more() {
    let mut state = planned();
    let plan_id = plan(&mut state).id;
    let spec = state.spec.groups[&group()].clone();
    let with = |open: Option<Drill>, ended: Option<Drill>, plan: bool| {
        let mut group = state.groups[&crate::testing::group()].clone();
        (group.drill, group.drills) = (open, ended.into_iter().collect());
        if !plan {
            group.plan = None;
        }
        group
    };
    let out = |id| Drill { out: Some(id), ..drill(true) };
    let now = |group: &Group| group.durability(&spec) == Durability::Strict;
    assert!(!now(&with(None, None, true)));
    assert!(now(&with(Some(out(PlanId(1))), None, false)));
    assert!(!now(&with(Some(Drill { stalls: false, ..out(PlanId(1)) }), None, true)));
    let checks = Drill { phase: DrillPhase::Check, ..out(PlanId(1)) };
    assert!(!now(&with(Some(checks), None, true)));
    assert!(now(&with(None, Some(out(plan_id)), true)), "its plan halted");
    assert!(!now(&with(None, Some(out(PlanId(1))), true)));
    assert!(!now(&with(None, Some(Drill { out: None, ..drill(true) }), false)));
    let may = |group: &Group, plan| group.durability_of(&spec, plan) == Durability::Strict;
    let both = with(Some(out(PlanId(1))), Some(out(PlanId(2))), true);
    assert!(may(&both, PlanId(1)) && may(&both, PlanId(2)) && !may(&both, PlanId(3)));
    let lax = with(Some(Drill { stalls: false, ..out(PlanId(1)) }), None, true);
    assert!(!may(&lax, PlanId(1)));
    let open = with(Some(drill(true)), Some(Drill { id: DrillId(3), ..drill(true) }), true);
    let found = [7, 3, 4].map(|id| open.drill(DrillId(id)).map(|drill| drill.id.0));
    assert_eq!(found, [Some(7), Some(3), None]);
    assert!(open.is_drill_plan(PlanId(8)) && open.is_drill_plan(PlanId(9)));
    assert!(!open.is_drill_plan(PlanId(7)));
    let waits =
        [DrillPhase::Rehearse, DrillPhase::Execute, DrillPhase::Check, DrillPhase::FailBack]
            .map(|phase| Drill { phase, ..drill(true) }.plan());
    assert_eq!(waits, [None, Some(PlanId(8)), None, Some(PlanId(9))]);
}
