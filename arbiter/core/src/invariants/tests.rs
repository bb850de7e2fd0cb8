//! Each invariant by itself: what breaks it, and what looks like it and does not. No entry that
//! `apply` accepts does the former, so that States are made by hand here.

use super::*;
use crate::testing::*;
use crate::{
    Activation, Epoch, Evidence, LagMark, PlanId, Position, Restored, Revision, Synchronous, Token,
};
use std::collections::BTreeSet;
use std::sync::OnceLock;

fn breach(before: &State, after: &State) -> Option<&'static str> {
    check_invariants(before, after).err().map(|breach| breach.invariant)
}

fn of(state: &mut State) -> &mut Group {
    state.groups.get_mut(&group()).unwrap()
}

fn activation(active: Option<&str>, epoch: u64) -> Activation {
    serde_json::from_value(serde_json::json!({ "active": active, "epoch": epoch })).unwrap()
}

fn set_goal(group: &mut Group, region: &str, layer: Layer, goal: Goal, token: Token) {
    let goals = group.goals.entry(region.into()).or_default();
    goals.insert(layer, crate::RegionGoal { goal, token });
}

const LATER: Token = Token { epoch: Epoch(50), revision: Revision(9000) };

/// What an entry makes of `state`: something at least, so that the group is looked at.
fn then(state: &State, change: impl FnOnce(&mut Group)) -> State {
    let mut after = state.clone();
    of(&mut after).revision += 1;
    change(of(&mut after));
    after
}

/// us-east is active from now on, and ordered so.
fn moves(group: &mut Group) {
    group.activation = activation(Some(US), group.epoch().0 + 1);
    for layer in [Layer::Data, Layer::Traffic] {
        set_goal(group, EU, layer, Goal::Fenced, LATER);
        set_goal(group, US, layer, Goal::Active, LATER);
    }
}

/// Armed and ordered, no plan.
fn quiet() -> State {
    static ONCE: OnceLock<State> = OnceLock::new();
    ONCE.get_or_init(|| World::in_mode(Mode::Manual).state).clone()
}

/// An open failover, its fence proven.
fn proven() -> State {
    static ONCE: OnceLock<State> = OnceLock::new();
    let begin = || {
        let mut world = World::in_mode(Mode::Manual);
        world.cut(EU);
        world.run(ms(4000));
        world.open(&world.request(PlanKind::Failover)).unwrap();
        assert!(world.until(StepId::AdvanceEpoch));
        world.state
    };
    ONCE.get_or_init(begin).clone()
}

fn plan(group: &mut Group) -> &mut Plan {
    group.plan.as_mut().unwrap()
}

/// The plan has ended so.
fn ends(group: &mut Group, end: PlanEnd) {
    let mut plan = group.plan.take().unwrap();
    plan.evidence.clear();
    plan.end = Some(end);
    group.plans.push(plan);
}

#[test]
fn one_region_alone_is_ordered_to_write_and_to_be_named() {
    let state = quiet();
    assert_eq!(breach(&state, &then(&state, |_| ())), None);
    for (layer, invariant) in [(Layer::Data, "I1"), (Layer::Traffic, "I7")] {
        let second = then(&state, |group| set_goal(group, US, layer, Goal::Active, LATER));
        assert_eq!(breach(&state, &second), Some(invariant));
        let standby = then(&state, |group| set_goal(group, US, layer, Goal::Standby, LATER));
        assert_eq!(breach(&state, &standby), None);
        // What was so before, and without a plan, is not looked at again.
        assert_eq!(breach(&second, &second), None);
    }
    let planned = proven();
    let second = then(&planned, |group| set_goal(group, US, Layer::Data, Goal::Active, LATER));
    assert_eq!(breach(&second, &second), Some("I1"), "with a plan it is");
}

#[test]
fn the_epoch_rises_by_one_where_the_active_region_changes_and_nowhere_else() {
    let state = proven();
    let epoch = state.groups[&group()].epoch().0;
    let with = |region, epoch| {
        then(&state, |group| {
            moves(group);
            group.activation = activation(Some(region), epoch);
            if region == EU {
                set_goal(group, EU, Layer::Data, Goal::Active, LATER);
                group.goals.get_mut(&US.into()).unwrap().clear();
                group.goals.get_mut(&EU.into()).unwrap().remove(&Layer::Traffic);
            }
        })
    };
    for (region, epoch, invariant) in [
        (US, epoch + 1, None),
        (US, epoch, Some("I2")),
        (US, epoch + 2, Some("I2")),
        (US, epoch - 1, Some("I2")),
        (EU, epoch, None),
        (EU, epoch + 1, Some("I2")),
        (EU, epoch - 1, Some("I2")),
    ] {
        assert_eq!(breach(&state, &with(region, epoch)), invariant, "{region} {epoch}");
    }
}

#[test]
fn a_region_becomes_active_by_a_plan_with_evidence_for_every_instance_of_the_other() {
    let state = proven();
    let promoted = |change: &dyn Fn(&mut Group)| {
        let after = then(&state, |group| {
            moves(group);
            change(group);
        });
        breach(&state, &after)
    };
    assert_eq!(promoted(&|_| ()), None);
    assert_eq!(promoted(&|group| ends(group, PlanEnd::Completed)), Some("I3"), "it kept none");
    assert_eq!(promoted(&|group| group.plan = None), Some("I3"));
    assert_eq!(promoted(&|group| plan(group).source = US.into()), Some("I3"));
    assert_eq!(promoted(&|group| plan(group).target = EU.into()), Some("I3"));
    assert_eq!(promoted(&|group| plan(group).evidence.clear()), Some("I3"));
    let weak = |group: &mut Group| {
        plan(group).by = crate::By::Policy;
        let evidence = plan(group).evidence.values_mut();
        evidence.for_each(|e| e.kind = EvidenceKind::ProviderAsserted);
    };
    assert_eq!(promoted(&weak), Some("I3"));
    // The first region of all is activated by policy alone.
    let (mut before, after) = (state.clone(), then(&quiet(), |_| ()));
    of(&mut before).activation = Activation::default();
    *of(&mut before) = Group { mode: Mode::Manual, ..Group::default() };
    assert_eq!(breach(&before, &after), None);
}

#[test]
fn evidence_answers_its_own_plan_and_none_outlives_an_abort() {
    let state = proven();
    let foreign = |e: &mut Evidence| e.token.revision.0 += 1;
    let other = then(&state, |group| plan(group).evidence.values_mut().for_each(foreign));
    assert_eq!(breach(&state, &other), Some("I3"));
    let evidence = state.groups[&group()].plan.as_ref().unwrap().evidence.clone();
    let quiet = quiet();
    for (end, keeps, invariant) in [
        (PlanEnd::Aborted("why".into()), true, Some("I3")),
        (PlanEnd::Aborted("why".into()), false, None),
        (PlanEnd::Completed, true, None),
    ] {
        let ended = then(&quiet, |group| {
            group.plan = state.groups[&crate::testing::group()].plan.clone();
            ends(group, end.clone());
            if keeps {
                group.plans[0].evidence = evidence.clone();
            }
        });
        assert_eq!(breach(&quiet, &ended), invariant, "{end:?} {keeps}");
    }
}

#[test]
fn only_a_bound_life_that_serves_and_is_to_be_armed_is_known_as_armed() {
    let state = quiet();
    let with = |change: &dyn Fn(&mut State)| {
        let mut after = state.clone();
        change(&mut after);
        breach(&state, &after)
    };
    assert!(state.bindings.values().any(|binding| !binding.arming.is_empty()));
    assert_eq!(with(&|_| ()), None);
    assert_eq!(with(&|state| of(state).arming_wanted = false), Some("I4"));
    let elsewhere = |state: &mut State| {
        let binding = state.bindings[&"agent-eu-west".into()].clone();
        state.bindings.insert("stranger".into(), binding);
    };
    assert_eq!(with(&elsewhere), Some("I4"));
    let holds = |state: &mut State| {
        let spec = state.spec.groups.get_mut(&group()).unwrap();
        spec.policy.on_quorum_loss = crate::OnQuorumLoss::Hold;
    };
    assert_eq!(with(&holds), Some("I4"));
    let foreign = |state: &mut State| state.bindings.values_mut().for_each(|b| b.foreign = true);
    assert_eq!(with(&foreign), Some("I4"));
    let unarmed = |state: &mut State| {
        foreign(state);
        state.bindings.values_mut().for_each(|binding| binding.arming.clear());
    };
    assert_eq!(with(&unarmed), None);
}

#[test]
fn one_plan_is_open_and_those_kept_have_ended() {
    let state = proven();
    let ended = then(&state, |group| plan(group).end = Some(PlanEnd::Completed));
    assert_eq!(breach(&state, &ended), Some("I5"));
    let kept = then(&state, |group| {
        let open = Plan { evidence: Default::default(), ..group.plan.clone().unwrap() };
        group.plans.push(open);
    });
    assert_eq!(breach(&state, &kept), Some("I5"));
    let past = then(&state, |group| {
        let plan = group.plan.clone();
        ends(group, PlanEnd::Completed);
        group.plan = plan;
    });
    assert_eq!(breach(&state, &past), None);
}

#[test]
fn past_the_point_of_no_return_a_plan_goes_forward_or_a_failover_takes_over() {
    let mut past = proven();
    plan(of(&mut past)).cursor += 1;
    let id = past.groups[&group()].plan.as_ref().unwrap().id;
    let next = |kind: PlanKind, by: u64| {
        move |group: &mut Group| {
            let other = Plan {
                id: PlanId(by),
                kind,
                evidence: Default::default(),
                ..group.plan.clone().unwrap()
            };
            ends(group, PlanEnd::Superseded(PlanId(77)));
            group.plan = Some(other);
        }
    };
    let ended = |change: &dyn Fn(&mut Group)| breach(&past, &then(&past, change));
    assert_eq!(ended(&|_| ()), None);
    assert_eq!(ended(&|group| plan(group).cursor += 1), None);
    assert_eq!(ended(&|group| plan(group).cursor -= 1), Some("I6"));
    assert_eq!(ended(&|group| ends(group, PlanEnd::Completed)), None);
    assert_eq!(ended(&|group| ends(group, PlanEnd::Aborted("why".into()))), Some("I6"));
    assert_eq!(ended(&|group| group.plan = None), Some("I6"));
    let another = |group: &mut Group| {
        ends(group, PlanEnd::Completed);
        group.plans[0].id = PlanId(id.0 + 1);
    };
    assert_eq!(ended(&another), Some("I6"));
    assert_eq!(ended(&next(PlanKind::Failover, 77)), None);
    assert_eq!(ended(&next(PlanKind::Failover, 78)), Some("I6"));
    assert_eq!(ended(&next(PlanKind::Switchover, 77)), Some("I6"));
    let before = proven();
    let aborted = then(&before, |group| ends(group, PlanEnd::Aborted("why".into())));
    assert_eq!(breach(&before, &aborted), None, "up to there it may");
}

#[test]
fn a_witness_is_neither_active_nor_led_to() {
    let state = proven();
    let led = then(&state, |group| plan(group).target = "witness".into());
    assert_eq!(breach(&state, &led), Some("I8"));
    let mut unborn = state;
    *of(&mut unborn) = Group::default();
    unborn.bindings.clear();
    for (region, invariant) in [(EU, None), ("witness", Some("I8")), ("nowhere", Some("I8"))] {
        let first = then(&unborn, |group| group.activation = activation(Some(region), 1));
        assert_eq!(breach(&unborn, &first), invariant, "{region}");
    }
}

#[test]
fn a_mode_that_acts_is_entered_with_every_region_armed() {
    let armed = quiet();
    let mut unarmed = armed.clone();
    unarmed.bindings.get_mut(&"agent-us-east".into()).unwrap().arming.clear();
    let mut inactive = armed.clone();
    of(&mut inactive).activation = Activation::default();
    of(&mut inactive).goals.clear();
    for (state, before, after, invariant) in [
        (&armed, Mode::Observe, Mode::Manual, None),
        (&unarmed, Mode::Observe, Mode::Manual, Some("I9")),
        (&unarmed, Mode::Manual, Mode::Automatic, Some("I9")),
        (&unarmed, Mode::Manual, Mode::Manual, None),
        (&unarmed, Mode::Manual, Mode::Observe, None),
        (&inactive, Mode::Observe, Mode::Manual, Some("I9")),
    ] {
        let mut from = state.clone();
        of(&mut from).mode = before;
        let to = then(&from, |group| group.mode = after);
        assert_eq!(breach(&from, &to), invariant, "{before:?} {after:?}");
    }
}

#[test]
fn a_goal_that_changes_has_a_higher_token_and_no_token_falls() {
    let state = quiet();
    let was = state.groups[&group()].goal(&US.into(), Layer::Data).unwrap();
    let (lower, higher) =
        (Token::new(0, 1), Token { revision: Revision(was.token.revision.0 + 1), ..was.token });
    for (goal, token, invariant) in [
        (was.goal, was.token, None),
        (was.goal, higher, None),
        (Goal::Fenced, higher, None),
        (Goal::Fenced, was.token, Some("I10")),
        (was.goal, lower, Some("I10")),
    ] {
        let after = then(&state, |group| set_goal(group, US, Layer::Data, goal, token));
        assert_eq!(breach(&state, &after), invariant, "{goal:?} {token}");
    }
}

#[test]
fn a_promotion_loses_what_policy_or_somebody_by_name_accepts() {
    let failover = |lag, accept_loss| {
        let mut state = proven();
        of(&mut state).lag = lag;
        plan(of(&mut state)).accept_loss = accept_loss;
        breach(&state, &then(&state, moves))
    };
    assert_eq!(failover(LagMark::Within, false), None);
    assert_eq!(failover(LagMark::Over, false), Some("I11"));
    assert_eq!(failover(LagMark::Unknown, false), Some("I11"));
    assert_eq!(failover(LagMark::Over, true), None);
    let end = |offset| Some(Position { timeline: 1, offset });
    let switchover = |source: Option<Position>, target: Option<Position>| {
        let mut state = proven();
        let plan = plan(of(&mut state));
        plan.kind = PlanKind::Switchover;
        plan.evidence.values_mut().for_each(|e| e.kind = EvidenceKind::Confirmed);
        plan.source_end = source.map(|end| ("db".into(), end)).into_iter().collect();
        plan.target_end = target.map(|end| ("db".into(), end)).into_iter().collect();
        breach(&state, &then(&state, moves))
    };
    assert_eq!(switchover(end(900), end(900)), None);
    assert_eq!(switchover(end(900), end(901)), None);
    assert_eq!(switchover(end(900), end(899)), Some("I11"));
    assert_eq!(switchover(end(900), None), Some("I11"));
    assert_eq!(switchover(None, None), None, "nothing of it has an end");
}

#[test]
fn who_is_counted_was_waited_for_before() {
    let set = |named: &[&str], counted: &[&str]| {
        let ids = |of: &[&str]| of.iter().map(|id| (*id).into()).collect::<BTreeSet<_>>();
        Synchronous { named: ids(named), counted: ids(counted), ..Synchronous::default() }
    };
    for (before, after, invariant) in [
        (None, set(&["a"], &[]), None),
        (None, set(&["a"], &["a"]), Some("I11")),
        (Some(set(&["a"], &[])), set(&["a"], &["a"]), None),
        (Some(set(&["a"], &[])), set(&[], &["a"]), Some("I11")),
        (Some(set(&["a"], &[])), set(&["a", "b"], &["a", "b"]), Some("I11")),
        (Some(set(&["b"], &["a"])), set(&["a"], &["a"]), None),
    ] {
        let mut state = quiet();
        of(&mut state).synchronous =
            before.clone().map(|set| ("db".into(), set)).into_iter().collect();
        let next = then(&state, |group| {
            group.synchronous.insert("db".into(), after.clone());
        });
        assert_eq!(breach(&state, &next), invariant, "{before:?} {after:?}");
    }
}

const JUMP: u64 = 100;

/// What a restore makes of a State, all as it is to be.
fn restored() -> State {
    let mut state = quiet();
    state.restored = Some(Restored {
        from: vec!["former".into()],
        taken: crate::WallMillis(0),
        at: crate::LogId { term: 1, index: 1 },
        epoch_jump: JUMP,
    });
    for binding in state.bindings.values_mut() {
        binding.foreign = true;
        binding.arming.clear();
    }
    let group = of(&mut state);
    group.unsettled = Some(Epoch(1));
    rises(group, JUMP + 1);
    state
}

fn rises(group: &mut Group, epoch: u64) {
    group.activation = activation(group.active().map(crate::RegionId::as_str), epoch);
    let goals = group.goals.values_mut().flat_map(|layers| layers.values_mut());
    goals.for_each(|goal| goal.token.epoch = Epoch(epoch));
}

#[test]
fn a_restored_cluster_begins_above_the_former_with_nobody_leased() {
    let begins = |change: &dyn Fn(&mut State)| {
        let mut state = restored();
        change(&mut state);
        breach(&State::default(), &state)
    };
    assert_eq!(begins(&|_| ()), None);
    let bound = |state: &mut State| state.bindings.values_mut().next().unwrap().foreign = false;
    assert_eq!(begins(&bound), Some("I2"));
    assert_eq!(begins(&|state| rises(of(state), JUMP)), None);
    assert_eq!(begins(&|state| rises(of(state), JUMP - 1)), Some("I2"));
    let unborn = |state: &mut State| *of(state) = Group::default();
    assert_eq!(begins(&unborn), None, "it was never activated");
    assert_eq!(begins(&|state| of(state).unsettled = None), Some("I2"));
    let inactive = |state: &mut State| {
        of(state).unsettled = None;
        of(state).activation = activation(None, JUMP + 1);
        of(state).goals.clear();
    };
    assert_eq!(begins(&inactive), None);
    let proven = proven().groups[&group()].plan.clone();
    assert_eq!(begins(&|state| of(state).plan = proven.clone()), Some("I2"));
    assert_eq!(begins(&|state| of(state).plans.extend(proven.clone())), Some("I2"));
    let former = |state: &mut State| {
        let epoch = Epoch(JUMP);
        let token = Token { epoch, revision: Revision(1) };
        set_goal(of(state), US, Layer::Data, Goal::Standby, token);
    };
    assert_eq!(begins(&former), Some("I2"));
    let second = |state: &mut State| {
        let token = Token { epoch: Epoch(JUMP + 1), revision: Revision(1) };
        set_goal(of(state), US, Layer::Data, Goal::Active, token);
    };
    assert_eq!(begins(&second), Some("I2"));
    // One that goes on is held to the others, and so is one that begins by itself.
    let mut goes_on = quiet();
    goes_on.restored = restored().restored;
    assert_eq!(breach(&goes_on, &then(&goes_on, |_| ())), None);
    let mut by_itself = quiet();
    set_goal(of(&mut by_itself), US, Layer::Data, Goal::Active, LATER);
    assert_eq!(breach(&State::default(), &by_itself), Some("I1"));
}
