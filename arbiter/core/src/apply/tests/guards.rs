//! Guard rails for people: modes for a time, maintenance, two persons, overrides.

use crate::testing::*;
use crate::*;
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);

fn code(outcome: Result<(), Rejected>) -> String {
    outcome.expect_err("it is refused").code().to_owned()
}

fn mode_for(mode: Mode, lasts: Duration) -> Command {
    Command::SetModeFor { group: group(), mode, lasts, expected_epoch: Epoch(1) }
}

fn by(world: &mut World, name: &str, command: Command) -> Result<(), Rejected> {
    let by = By::Operator(name.to_owned());
    let reason = "a test".to_owned();
    world.propose(&Proposal { request: None, by, reason, wall: WallMillis(0), command })
}

/// Time passes for the leader alone: an hour in small ticks would take a test an hour.
fn leap(world: &mut World, time: Duration) {
    world.now = world.now + time;
    world.run(ms(1000));
}

#[test]
fn a_mode_for_a_time_goes_back_and_not_before() {
    let mut world = World::in_mode(Mode::Automatic);
    world.operator(mode_for(Mode::Manual, 2 * HOUR)).unwrap();
    world.run(ms(1000));
    leap(&mut world, 2 * HOUR - ms(4000));
    assert_eq!(world.group().mode, Mode::Manual);
    leap(&mut world, ms(4000));
    assert_eq!((world.group().mode, &world.group().timed_mode), (Mode::Automatic, &None));
    let told = world.state.events.iter().rev().find(|e| e.kind == EventKind::ModeChanged).unwrap();
    assert!(told.message.contains("back in automatic"), "{}", told.message);
}

#[test]
fn a_new_leader_counts_the_time_anew() {
    let mut world = World::in_mode(Mode::Automatic);
    world.operator(mode_for(Mode::Manual, 2 * HOUR)).unwrap();
    world.run(ms(1000));
    leap(&mut world, HOUR + HOUR / 2);
    world.elect();
    world.run(ms(1000));
    leap(&mut world, HOUR);
    assert_eq!(world.group().mode, Mode::Manual, "late, never early");
    leap(&mut world, HOUR);
    assert_eq!(world.group().mode, Mode::Automatic);
}

#[test]
fn a_wait_of_another_term_or_too_short_is_no_wait() {
    let mut world = World::in_mode(Mode::Automatic);
    world.operator(mode_for(Mode::Manual, 2 * HOUR)).unwrap();
    let since = world.group().timed_mode.as_ref().unwrap().since;
    let mut back = |term, elapsed| {
        let waited = Waited { term, elapsed };
        code(world.operator(Command::RevertMode { group: group(), since, waited }))
    };
    assert_eq!(back(7, 2 * HOUR), "stale");
    assert_eq!(back(1, 2 * HOUR - ms(1)), "stale");
    assert_eq!(world.group().mode, Mode::Manual);
}

#[test]
fn what_cannot_go_back_stays_and_says_why() {
    let mut world = World::in_mode(Mode::Automatic);
    world.operator(mode_for(Mode::Observe, HOUR)).unwrap();
    world.operator(Command::Arm { group: group(), armed: false }).unwrap();
    world.run(ms(1000));
    leap(&mut world, HOUR);
    assert_eq!(world.group().mode, Mode::Observe);
    let because = world.group().timed_mode.as_ref().unwrap().stays_because.clone().unwrap();
    assert!(because.contains("not armed"), "{because}");
    let told = world.state.events.iter().filter(|e| e.kind == EventKind::ModeStays).count();
    assert_eq!(told, 1, "said once");
    // An operator's next word ends it.
    let mode = Command::SetMode { group: group(), mode: Mode::Observe, expected_epoch: Epoch(1) };
    world.operator(mode).unwrap();
    assert_eq!(world.group().timed_mode, None);
}

#[test]
fn a_time_on_top_of_a_time_leads_back_to_the_first_mode() {
    let mut world = World::in_mode(Mode::Automatic);
    world.operator(mode_for(Mode::Manual, HOUR)).unwrap();
    world.operator(mode_for(Mode::Observe, 3 * HOUR)).unwrap();
    assert_eq!(world.group().timed_mode.as_ref().unwrap().then, Mode::Automatic);
    assert_eq!(code(world.operator(mode_for(Mode::Automatic, HOUR))), "mode-is-so");
    assert_eq!(code(world.operator(mode_for(Mode::Manual, ms(10)))), "bad-time");
    assert_eq!(code(world.operator(mode_for(Mode::Manual, 900 * HOUR))), "bad-time");
}

#[test]
fn an_open_plan_keeps_the_mode() {
    let mut world = World::in_mode(Mode::Automatic);
    world.operator(mode_for(Mode::Manual, HOUR)).unwrap();
    world.run(ms(1000));
    world.cut(EU);
    world.run(ms(4000));
    world.open(&world.request(PlanKind::Failover)).unwrap();
    let since = world.group().timed_mode.as_ref().unwrap().since;
    let waited = Waited { term: world.at.term, elapsed: HOUR };
    let back = Command::RevertMode { group: group(), since, waited };
    assert_eq!(code(world.operator(back)), "stale");
}

fn maintain(lease: Duration, lasts: Duration) -> Command {
    Command::Maintain { group: group(), lease, lasts, expected_epoch: Epoch(1) }
}

#[test]
fn maintenance_lengthens_leases_and_gives_them_back() {
    let mut world = World::in_mode(Mode::Automatic);
    let usual = world.group().lease_max;
    let long = Duration::from_secs(60);
    world.operator(maintain(long, HOUR)).unwrap();
    world.run(ms(2000));
    assert_eq!(world.group().lease_max, long, "raised before the first longer grant");
    leap(&mut world, HOUR);
    assert_eq!(world.group().maintenance, None);
    assert_eq!(world.group().lease_max, long, "a longer lease may live");
    world.run(world.state.spec.groups[&group()].policy.timing.dead_after(long) + ms(1000));
    assert_eq!(world.group().lease_max, usual);
}

#[test]
fn a_failover_in_a_maintenance_waits_for_the_longer_lease() {
    let mut world = World::in_mode(Mode::Automatic);
    let long = Duration::from_secs(30);
    world.operator(maintain(long, HOUR)).unwrap();
    world.run(ms(5000));
    world.cut(EU);
    world.run(long);
    assert_eq!(world.group().epoch(), Epoch(1), "the longer lease may live");
    assert!(world.group().plan.is_some(), "policy opens it as ever");
    world.run(ms(12_000));
    assert_eq!(world.group().epoch(), Epoch(2));
}

#[test]
fn maintenance_has_limits_and_ends_by_command() {
    let mut world = World::in_mode(Mode::Automatic);
    let minute = Duration::from_secs(60);
    assert_eq!(code(world.operator(maintain(ms(8000), HOUR))), "bad-lease");
    assert_eq!(code(world.operator(maintain(HOUR, HOUR))), "bad-lease");
    assert_eq!(code(world.operator(maintain(minute, 24 * HOUR))), "bad-time");
    world.operator(maintain(minute, HOUR)).unwrap();
    let since = world.group().maintenance.as_ref().unwrap().since;
    let end = |since| Command::EndMaintenance { group: group(), since, waited: None };
    assert_eq!(code(world.operator(end(since + 1))), "stale");
    world.operator(end(since)).unwrap();
    assert_eq!(world.group().maintenance, None);
    world.cut(EU);
    world.run(ms(4000));
    world.open(&world.request(PlanKind::Failover)).unwrap();
    assert_eq!(code(world.operator(maintain(minute, HOUR))), "plan-open");
}

#[test]
fn two_persons_for_one_action_once() {
    let mut world = World::in_mode(Mode::Manual);
    let remove = || "remove-node arbiter-us".to_owned();
    let consume = |action| Command::UseApproval { action };
    assert_eq!(code(by(&mut world, "ada", consume(remove()))), "not-asked");
    by(&mut world, "ada", Command::AskApproval { action: remove() }).unwrap();
    assert_eq!(
        code(by(&mut world, "ada", Command::AskApproval { action: remove() })),
        "already-asked"
    );
    let id = *world.state.approvals.keys().next().unwrap();
    assert_eq!(code(by(&mut world, "ada", consume(remove()))), "not-approved");
    assert_eq!(code(by(&mut world, "ada", Command::Approve { id })), "same-person");
    assert_eq!(code(by(&mut world, "bob", Command::Approve { id: id + 1 })), "no-such-request");
    by(&mut world, "bob", Command::Approve { id }).unwrap();
    assert_eq!(code(by(&mut world, "eve", Command::Approve { id })), "already-approved");
    let other = "remove-node arbiter-eu".to_owned();
    assert_eq!(code(by(&mut world, "ada", consume(other))), "not-asked", "of that action only");
    assert_eq!(code(by(&mut world, "bob", consume(remove()))), "not-asked", "who asked alone");
    by(&mut world, "ada", consume(remove())).unwrap();
    assert_eq!(code(by(&mut world, "ada", consume(remove()))), "not-asked", "once");
    let seen: Vec<_> = world.state.audit.records().iter().map(|r| r.what.as_str()).collect();
    for what in ["ask-approval", "approve", "use-approval"] {
        assert!(seen.contains(&what), "{what} in {seen:?}");
    }
}

#[test]
fn an_agreement_ends_by_itself() {
    let mut world = World::in_mode(Mode::Manual);
    by(&mut world, "ada", Command::AskApproval { action: "x".to_owned() }).unwrap();
    let id = *world.state.approvals.keys().next().unwrap();
    world.run(ms(500));
    by(&mut world, "bob", Command::Approve { id }).unwrap();
    leap(&mut world, APPROVAL_LASTS - ms(4000));
    assert!(world.state.approvals.contains_key(&id));
    leap(&mut world, ms(4000));
    assert!(world.state.approvals.is_empty());
    for n in 0..APPROVALS_MAX {
        by(&mut world, "ada", Command::AskApproval { action: n.to_string() }).unwrap();
    }
    let more = Command::AskApproval { action: "more".to_owned() };
    assert_eq!(code(by(&mut world, "ada", more)), "too-many-requests");
}
