//! What proves a fence, and who cuts a region off from outside, of States made by hand.

use crate::testing::*;
use crate::*;
use std::sync::OnceLock;

/// A failover from eu-west whose fence is wanted from outside, and proven by nothing yet.
fn proving() -> World {
    static ONCE: OnceLock<(State, View, Instant)> = OnceLock::new();
    let begin = || {
        let mut spec = spec();
        let policy = &mut spec.groups.get_mut(&group()).unwrap().policy;
        policy.external_fence.insert(EU.into(), Default::default());
        let mut world = World::with(spec);
        world.enter(Mode::Manual);
        world.agent(US).stubborn.insert(external_fence_id(&EU.into()));
        world.cut(EU);
        world.run(ms(4000));
        world.open(&world.request(PlanKind::Failover)).unwrap();
        assert!(world.until(StepId::ProveFence));
        world.report(&"agent-us-east".into());
        (world.state, world.view, world.now)
    };
    let (state, view, now) = ONCE.get_or_init(begin).clone();
    let mut world = World::observing();
    (world.state, world.view, world.now) = (state, view, now);
    world
}

fn of(state: &mut State) -> &mut Group {
    state.groups.get_mut(&group()).unwrap()
}

fn plan(state: &mut State) -> &mut Plan {
    of(state).plan.as_mut().unwrap()
}

fn spec_of(state: &mut State) -> &mut GroupSpec {
    state.spec.groups.get_mut(&group()).unwrap()
}

fn evidence(state: &State, kind: EvidenceKind) -> Evidence {
    Evidence {
        kind,
        instance: "db-eu-west".into(),
        agent: "agent-eu-west".into(),
        incarnation: Incarnation(1),
        token: state.groups[&group()].plan.as_ref().unwrap().fence_token,
        term: 1,
        waited: None,
        clean: false,
        note: String::new(),
    }
}

fn holds(state: &mut State, kind: EvidenceKind) {
    let evidence = evidence(state, kind);
    plan(state).evidence.insert("db-eu-west".into(), evidence);
}

#[test]
fn a_fence_from_outside_is_ordered_of_the_targets_agents_until_it_is_proven() {
    let ordered = |agent: &str, change: &dyn Fn(&mut State)| {
        let mut state = proving().state;
        change(&mut state);
        let all = orders(&state, &agent.into());
        let order = all.into_iter().find(|order| order.instance == external_fence_id(&EU.into()));
        order.map(|order| (order.goal, order.token))
    };
    let token = plan(&mut proving().state).fence_token;
    let fence = Some((Goal::Fenced, token));
    assert_eq!(ordered("agent-us-east", &|_| ()), fence);
    assert_eq!(ordered("agent-eu-west", &|_| ()), None, "it stands in the region itself");
    let elsewhere = |state: &mut State| {
        let instances = &mut spec_of(state).instances;
        instances.get_mut(&"db-us-east".into()).unwrap().agent = "agent-db".into();
    };
    assert_eq!(ordered("agent-us-east", &elsewhere), None, "it stands beside no data");
    assert_eq!(ordered("agent-db", &elsewhere), fence);
    let switchover = |state: &mut State| plan(state).kind = PlanKind::Switchover;
    assert_eq!(ordered("agent-us-east", &switchover), None);
    let none = |state: &mut State| spec_of(state).policy.external_fence.clear();
    assert_eq!(ordered("agent-us-east", &none), None);
    let proven = |state: &mut State| holds(state, EvidenceKind::PowerOff);
    assert_eq!(ordered("agent-us-east", &proven), None);
    assert_eq!(ordered("agent-us-east", &|state| of(state).plan = None), None);
    for step in STEPS {
        let at_row = |state: &mut State| {
            let plan = plan(state);
            plan.cursor = plan.steps.iter().position(|row| row.id == step.id).unwrap();
        };
        let wanted = (StepId::ProveFence..=StepId::AdvanceEpoch).contains(&step.id);
        assert_eq!(ordered("agent-us-east", &at_row).is_some(), wanted, "{}", step.id);
    }
}

#[test]
fn the_leader_runs_it_where_no_live_agent_of_the_target_can_and_it_is_not_done() {
    let agent: AgentId = "agent-us-east".into();
    let wanted = |change: &dyn Fn(&mut InstanceReport, Token), late: bool, off: Option<u64>| {
        let mut world = proving();
        let token = world.plan().fence_token;
        let heard = world.view.reports.get_mut(&agent).unwrap();
        let shown = heard.report.groups.get_mut(&group()).unwrap();
        change(shown.instances.get_mut(&external_fence_id(&EU.into())).unwrap(), token);
        if let Some(above) = off {
            let token = Token::new(token.epoch.0, token.revision.0 + above);
            world.view.powered_off(&group(), &EU.into(), token);
        }
        let now = if late { world.now + ms(60_000) } else { world.now };
        external_fence_wanted(&world.state, &world.view, now).len() == 1
    };
    let fails = |above: u64| {
        move |shown: &mut InstanceReport, token: Token| {
            let token = Token::new(token.epoch.0, token.revision.0 + above);
            let message = "no".to_owned();
            shown.error = Some(ErrorReport { token, refused: true, stale: None, message });
        }
    };
    assert!(!wanted(&|_, _| (), false, None), "who is live and able does it alone");
    assert!(wanted(&|_, _| (), true, None), "it is not heard any more");
    assert!(wanted(&fails(0), false, None));
    assert!(wanted(&fails(0), true, None));
    assert!(!wanted(&fails(1), false, None), "what failed was another goal");
    assert!(!wanted(&fails(0), false, Some(0)), "the check came back true here");
    assert!(wanted(&fails(0), false, Some(1)), "for another goal");
    let said = |goal: Goal, above: u64, kind: EvidenceKind| {
        let done = move |shown: &mut InstanceReport, token: Token| {
            fails(0)(shown, token);
            let token = Token::new(token.epoch.0, token.revision.0 + above);
            let evidence = Some(kind);
            shown.done = Some(DoneReport { goal, token, evidence, end: None, clean: false });
        };
        wanted(&done, false, None)
    };
    assert!(!said(Goal::Fenced, 0, EvidenceKind::PowerOff), "or there");
    assert!(said(Goal::Drained, 0, EvidenceKind::PowerOff));
    assert!(said(Goal::Fenced, 1, EvidenceKind::PowerOff));
    assert!(said(Goal::Fenced, 0, EvidenceKind::Confirmed));
}

#[test]
fn fences_of_other_regions_stand_beside_data_alone() {
    let spec = spec_of(&mut proving().state).clone();
    let beside = |spec: &GroupSpec, agent: &str| {
        let all = external_fences_beside(spec, &agent.into());
        all.into_iter()
            .map(|(id, fence)| (id.to_string(), fence.agent.to_string()))
            .collect::<Vec<_>>()
    };
    let one = [("fence:eu-west".to_owned(), "agent-us-east".to_owned())];
    assert_eq!(beside(&spec, "agent-us-east"), one);
    assert_eq!(beside(&spec, "agent-eu-west"), [], "not of its own");
    let mut elsewhere = spec;
    let db = elsewhere.instances.get_mut(&"db-us-east".into()).unwrap();
    db.agent = "agent-db".into();
    assert_eq!(beside(&elsewhere, "agent-us-east"), []);
}

/// I3: of its epoch, from the active region, for every instance, and strong enough.
#[test]
fn a_proof_is_established_by_the_whole_of_it() {
    let proof = |kind, change: &dyn Fn(&mut Plan)| {
        let mut state = proving().state;
        holds(&mut state, kind);
        change(plan(&mut state));
        let (spec, group) = state.group(&group()).unwrap();
        FenceProof::establish(spec, group, group.plan.as_ref().unwrap()).err()
    };
    let db = || InstanceId::from("db-eu-west");
    let by_policy = |plan: &mut Plan| plan.by = By::Policy;
    assert_eq!(proof(EvidenceKind::PowerOff, &|_| ()), None);
    let other = Some(vec![Unproven::OtherEpoch]);
    assert_eq!(proof(EvidenceKind::PowerOff, &|plan| plan.epoch.0 += 1), other);
    let elsewhere = proof(EvidenceKind::PowerOff, &|plan| plan.source = US.into());
    assert!(elsewhere.unwrap().contains(&Unproven::OtherEpoch));
    let missing = Some(vec![Unproven::Missing(db())]);
    assert_eq!(proof(EvidenceKind::PowerOff, &|plan| plan.evidence.clear()), missing);
    assert_eq!(proof(EvidenceKind::PowerOff, &|plan| plan.fence_token.revision.0 += 1), missing);
    assert_eq!(proof(EvidenceKind::ProviderAsserted, &|_| ()), None, "an operator may use any");
    let weak = Some(vec![Unproven::TooWeak(db(), EvidenceKind::ProviderAsserted)]);
    assert_eq!(proof(EvidenceKind::ProviderAsserted, &by_policy), weak);
    assert_eq!(proof(EvidenceKind::Attested, &by_policy), None, "who attests answers by name");
    let switchover = |plan: &mut Plan| plan.kind = PlanKind::Switchover;
    let weak = Some(vec![Unproven::TooWeak(db(), EvidenceKind::Attested)]);
    assert_eq!(proof(EvidenceKind::Attested, &switchover), weak);
}

#[test]
fn evidence_can_be_given_by_driver_lease_fence_or_operator() {
    use EvidenceKind::{Attested, Confirmed, LeaseExpired, PowerOff, ProviderAsserted};
    let mut spec = spec_of(&mut proving().state).clone();
    let db = spec.instances[&"db-eu-west".into()].clone();
    assert!(spec.can_give(&db, Confirmed, false) && spec.can_give(&db, Attested, false));
    assert!(!spec.can_give(&db, ProviderAsserted, false));
    assert!(spec.can_give(&db, LeaseExpired, true) && spec.can_give(&db, ProviderAsserted, true));
    let api = Instance { control: Control::Api, ..db.clone() };
    assert!(!spec.can_give(&api, LeaseExpired, true));
    assert!(spec.can_give(&db, PowerOff, false));
    let web = &spec.instances[&"web-eu-west".into()];
    assert!(!spec.can_be_cut_off(web) && spec.can_be_cut_off(&db));
    spec.policy.external_fence.clear();
    assert!(!spec.can_give(&db, PowerOff, false) && !spec.can_be_cut_off(&db));
}
