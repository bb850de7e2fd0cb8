//! Whom a primary's commits wait for, as its order says: asked until it is so, and seen to be.

use super::super::executor::RETRY_FIRST;
use super::super::*;
use super::host::*;
use crate::Commits;
use crate::testing::{group, ms};
use std::collections::BTreeSet;

fn standbys(of: &[&str]) -> CommitWait {
    CommitWait::Standbys(of.iter().map(|name| (*name).to_owned()).collect())
}

fn waiting(wait: CommitWait) -> Order {
    or_stalling(wait, None)
}

/// `isolated`: whom it waits for once renewals stay away.
fn or_stalling(wait: CommitWait, isolated: Option<BTreeSet<String>>) -> Order {
    let commits = Some(Commits { wait, isolated });
    Order { commits, ..order("db", Goal::Active, NEW) }
}

fn set(actions: &[AgentAction]) -> Option<(u64, CommitWait)> {
    actions.iter().find_map(|action| match action {
        AgentAction::SetCommitWait { attempt, wait, .. } => Some((*attempt, wait.clone())),
        _ => None,
    })
}

fn ended(attempt: u64, result: Result<Waiting, Failure>) -> AgentEvent {
    AgentEvent::CommitWaitSet { group: group(), instance: own("db"), attempt, result }
}

fn fails() -> Result<Waiting, Failure> {
    Err(Failure::Retry("no answer".into()))
}

/// A primary that is to wait for us-east, and the first attempt to make it.
fn host() -> (Host, u64) {
    let mut host = Host::start(false, &["db"]);
    host.leased = false;
    let actions = host.serves(waiting(standbys(&["us-east"])), START);
    let (attempt, wait) = set(&actions).expect("it is asked for");
    assert_eq!(wait, standbys(&["us-east"]));
    (host, attempt)
}

#[test]
fn a_wait_that_fails_is_asked_for_again_twice_as_late_each_time() {
    let (mut host, mut attempt) = host();
    let (mut now, mut wait) = (at(7), RETRY_FIRST);
    for _ in 0..4 {
        assert_eq!(set(&host.step(ended(attempt, fails()), now)), None);
        assert_eq!(host.shown("db", now).commits, None);
        let due = now + wait;
        let again = host
            .alone(now, due)
            .into_iter()
            .filter(|(_, a)| set(std::slice::from_ref(a)).is_some());
        let again: Vec<_> = again.collect();
        assert_eq!(again.len(), 1);
        assert_eq!(again[0].0, wait);
        attempt = set(&[again[0].1.clone()]).unwrap().0;
        (now, wait) = (due, wait * 2);
    }
    // Another wait begins anew, and what comes of the one before says nothing of it.
    let told = host.told(vec![waiting(standbys(&["us-west"]))], now);
    let (newer, wanted) = set(&told).expect("at once");
    assert_eq!(wanted, standbys(&["us-west"]));
    assert_ne!(newer, attempt);
    host.step(ended(attempt, Ok(Waiting::InEffect)), now);
    assert_eq!(host.shown("db", now).commits, None);
    host.step(ended(newer, fails()), now);
    let again = host.tick(now + RETRY_FIRST);
    let (last, _) = set(&again).expect("as soon as after the first failure");
    host.settled(now + ms(1000));
    host.step(ended(last, Ok(Waiting::InEffect)), now + ms(1000));
    assert!(host.has_news(now + ms(1000)));
    assert_eq!(host.shown("db", now + ms(1000)).commits, Some(standbys(&["us-west"])));
    assert_eq!(set(&host.tick(now + ms(60_000))), None, "it is so");
}

/// Somebody else set it back, or the server forgot.
#[test]
fn a_server_that_is_seen_to_wait_for_others_is_told_again() {
    let others = |names: &[&str]| {
        let names: BTreeSet<String> = names.iter().map(|name| (*name).to_owned()).collect();
        Fact { waits_for: Some(names), ..primary() }
    };
    // When it was in effect, what a look that began at 500 ms shows; whether it is asked again.
    for (since, seen, again) in [
        (499, others(&["us-east"]), false),
        (499, others(&["us-west"]), true),
        (499, primary(), true),
        (500, others(&["us-west"]), false),
        (501, others(&["us-west"]), false),
    ] {
        let (mut host, attempt) = host();
        let in_effect = ended(attempt, Ok(Waiting::InEffect));
        if since < 500 {
            host.step(in_effect.clone(), at(since));
        }
        let look = AgentAction::Observe { group: group(), instance: own("db") };
        assert!(host.tick(at(500)).contains(&look));
        if since >= 500 {
            host.step(in_effect, at(since));
        }
        let asked = set(&host.sees("db", seen.clone(), at(600)));
        assert_eq!(asked.is_some(), again, "{since} {seen:?}");
        assert_eq!(host.shown("db", at(600)).commits.is_none(), again);
    }
}

#[test]
fn what_waits_for_nobody_by_name_cannot_be_seen_to() {
    let mut host = Host::start(false, &["db"]);
    host.leased = false;
    let actions = host.serves(waiting(CommitWait::Configured), START);
    let attempt = set(&actions).expect("it is asked for").0;
    host.step(ended(attempt, Ok(Waiting::InEffect)), at(10));
    host.tick(at(1000));
    let names = Some(BTreeSet::from(["us-east".to_owned()]));
    let seen = host.sees("db", Fact { waits_for: names, ..primary() }, at(1100));
    assert_eq!(set(&seen), None);
    assert_eq!(host.shown("db", at(1100)).commits, Some(CommitWait::Configured));
}

/// Two renewals and a round trip after the Report of [`START`].
const CUT_OFF: u64 = 2080;

fn pause() -> AgentAction {
    AgentAction::Deadman(DeadmanEvent::Pause(group()))
}

fn go_on() -> AgentAction {
    AgentAction::Deadman(DeadmanEvent::Continue(group()))
}

/// Armed or not, answered last at [`START`]; commits wait for nobody until it is cut off.
fn primary_beside(armed: bool, isolated: bool) -> Host {
    let mut host = Host::start(armed, &["db"]);
    let standbys = isolated.then(|| BTreeSet::from(["us-east".to_owned()]));
    let actions = host.serves(or_stalling(CommitWait::Configured, standbys), START);
    let attempt = set(&actions).expect("it is asked for").0;
    host.step(ended(attempt, Ok(Waiting::InEffect)), START);
    host
}

fn paused(actions: &[(Duration, AgentAction)]) -> Vec<(Duration, AgentAction)> {
    let of = |action: &AgentAction| [pause(), go_on()].contains(action);
    actions.iter().filter(|(_, action)| of(action)).cloned().collect()
}

#[test]
fn it_wakes_to_stall_and_to_pause_and_asks_again_until_it_is() {
    let mut host = primary_beside(true, true);
    // The driver never answers, nor does the deadman.
    let all = host.alone(START, at(3400));
    let stalls: Vec<_> = all
        .iter()
        .filter_map(|(after, a)| Some((*after, set(std::slice::from_ref(a))?.1)))
        .collect();
    let isolated = CommitWait::Isolated(BTreeSet::from(["us-east".to_owned()]));
    assert_eq!(stalls, [(ms(CUT_OFF), isolated)]);
    let (first, again) = (ms(CUT_OFF + 200), ms(CUT_OFF + 700));
    assert_eq!(paused(&all), [(first, pause()), (again, pause()), (ms(CUT_OFF + 1200), pause())]);
    assert!(!host.tick(at(CUT_OFF + 1699)).contains(&pause()), "not at every step");
    // It was done meanwhile; renewed, it goes on at once.
    host.deadman.step(DeadmanEvent::Pause(group()), at(3790));
    host.shows(at(3790));
    assert!(!host.tick(at(5000)).contains(&pause()));
    let order = or_stalling(CommitWait::Configured, Some(BTreeSet::from(["us-east".to_owned()])));
    let sequence = host.machine.report(at(5100)).sequence;
    let told = host.directive(Some(sequence), vec![order]);
    assert!(host.step(told, at(5110)).contains(&go_on()));
    let later = paused(&host.alone(at(5110), at(5700)));
    assert_eq!(later, [(ms(500), go_on())], "until the deadman shows that it does");
}

#[test]
fn a_pause_that_is_not_wanted_any_more_is_lifted_though_it_was_just_asked_for() {
    let mut host = primary_beside(true, true);
    host.alone(START, at(CUT_OFF + 200));
    host.deadman.step(DeadmanEvent::Pause(group()), at(2290));
    host.shows(at(2290));
    let lifted = host.told(vec![order("db", Goal::Active, NEW)], at(2300));
    assert!(lifted.contains(&go_on()), "{lifted:?}");
    assert_eq!(paused(&host.alone(at(2300), at(3300))), []);
}

/// What is frozen could not be stopped cleanly, and nothing of it is writable any more.
#[test]
fn what_was_fenced_while_it_was_paused_goes_on() {
    let mut host = primary_beside(true, true);
    host.alone(START, at(CUT_OFF + 200));
    host.deadman.step(DeadmanEvent::Pause(group()), at(2290));
    host.shows(at(2290));
    host.revision += 1;
    let fence = order("db", Goal::Fenced, Token::new(3, 26));
    let pushed = host.directive(None, vec![fence]);
    let actions = host.served(pushed, at(2300));
    assert!(!actions.contains(&go_on()));
    let seen = fact(crate::Condition::Stopped, crate::Role::None, false);
    host.reaches("db", &actions, seen, at(2400));
    let after = host.served(AgentEvent::Tick, at(2450));
    assert!(after.contains(&go_on()) || !host.deadman.holds()[&group()].paused, "{after:?}");
}

#[test]
fn nothing_stalls_that_is_not_armed_or_not_to() {
    for (armed, isolated) in [(true, false), (false, true)] {
        let mut host = primary_beside(armed, isolated);
        host.alone(START, at(CUT_OFF - 30));
        host.settled(at(CUT_OFF - 30));
        host.sees("db", primary(), at(CUT_OFF - 20));
        let wake = host.machine.next_wake(at(CUT_OFF - 10));
        assert_ne!(wake, Some(at(CUT_OFF)), "{armed} {isolated}");
        assert_eq!(set(&host.tick(at(CUT_OFF))), None);
        assert!(!host.has_news(at(CUT_OFF)), "{armed} {isolated}");
        assert_eq!(paused(&host.alone(at(CUT_OFF), at(5000))), []);
    }
}
