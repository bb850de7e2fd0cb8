//! What an executor asks its driver again, and what it takes as done: orders that came before,
//! goals that did not last, looks that do not end.

use super::super::executor::{ASTRAY_AFTER, OBSERVE_LIMIT, RETRY_FIRST};
use super::super::*;
use super::host::*;
use crate::testing::{group, ms};
use crate::{Condition, Position, Role, TrafficFact, Upstream};

const NEWER: Token = Token::new(3, 26);

fn stopped() -> Fact {
    fact(Condition::Stopped, Role::None, false)
}

/// An unarmed host whose `resource` reached `order` at 10 ms, with `seen`.
fn reached(resource: &str, order: Order, seen: Fact) -> Host {
    let mut host = Host::start(false, &[resource]);
    host.leased = false;
    let told = host.told(vec![order], START);
    host.reaches(resource, &told, seen, at(10));
    host
}

#[test]
fn the_same_order_again_begins_nothing_anew_and_another_does_at_once() {
    let retry = || Err(Failure::Retry("no".into()));
    let failed = || {
        let mut host = Host::start(false, &["db"]);
        host.leased = false;
        let told = host.told(vec![order("db", Goal::Fenced, NEW)], START);
        host.ends("db", &told, retry(), at(1));
        host
    };
    let again = failed().told(vec![order("db", Goal::Fenced, NEW)], at(2));
    assert_eq!(goals("db", &again), [], "it waits for its time");
    let newer = failed().told(vec![order("db", Goal::Fenced, NEWER)], at(2));
    assert_eq!(goals("db", &newer), [Goal::Fenced]);
    let terms = Terms { clean_stop: Some(ms(7)), ..Terms::default() };
    let other = Order { terms, ..order("db", Goal::Fenced, NEW) };
    assert_eq!(goals("db", &failed().told(vec![other], at(2))), [Goal::Fenced]);
    let due = at(1) + RETRY_FIRST;
    let mut host = failed();
    let woken = host.alone(at(1), due).into_iter().map(|(_, action)| action);
    assert_eq!(goals("db", &woken.collect::<Vec<_>>()), [Goal::Fenced]);
}

#[test]
fn what_was_reached_counts_for_the_very_order_that_asked_for_it() {
    let standby = |token, may_create| {
        let terms = Terms { may_create, ..Terms::default() };
        Order { terms, ..order("db", Goal::Standby, token) }
    };
    for (next, wanted) in [
        (standby(NEW, false), vec![]),
        (standby(NEWER, false), vec![Goal::Standby]),
        (standby(NEW, true), vec![Goal::Standby]),
        (order("db", Goal::Fenced, NEW), vec![Goal::Fenced]),
    ] {
        let mut host = reached("db", standby(NEW, false), replica());
        let told = host.told(vec![next.clone()], at(20));
        assert_eq!(goals("db", &told), wanted, "{next:?}");
    }
}

/// Goals are level-triggered: what is seen since decides.
#[test]
fn a_goal_that_did_not_last_is_asked_for_again() {
    let traffic = |drift: &str| {
        let traffic = TrafficFact { drift: drift.to_owned(), ..TrafficFact::default() };
        Fact { traffic: Some(traffic), ..fact(Condition::Healthy, Role::None, false) }
    };
    let writable = || fact(Condition::Healthy, Role::Replica, true);
    let dead = || fact(Condition::Dead, Role::Primary, false);
    for (resource, goal, repair, seen, again) in [
        ("db", Goal::Active, false, primary(), false),
        ("db", Goal::Active, false, dead(), true),
        ("db", Goal::Active, false, stopped(), true),
        ("dns", Goal::Active, true, traffic("another record"), true),
        ("dns", Goal::Active, false, traffic("another record"), false),
        ("dns", Goal::Active, true, traffic(""), false),
        ("db", Goal::Standby, false, replica(), false),
        ("db", Goal::Standby, false, dead(), true),
        ("db", Goal::Standby, false, writable(), true),
        ("bucket", Goal::Standby, false, dead(), false),
        ("bucket", Goal::Fenced, false, stopped(), false),
        ("bucket", Goal::Fenced, false, writable(), true),
        ("bucket", Goal::Drained, false, writable(), true),
    ] {
        let terms = Terms { repair, ..Terms::default() };
        let mut host = reached(resource, Order { terms, ..order(resource, goal, NEW) }, replica());
        // A look that began before it was done, and shows nothing of it.
        let early = host.sees(resource, seen.clone(), at(10));
        assert_eq!(goals(resource, &early), [], "{resource} {goal:?} {seen:?}");
        host.tick(at(1000));
        let later = host.sees(resource, seen.clone(), at(1100));
        let wanted = if again { vec![goal] } else { vec![] };
        assert_eq!(goals(resource, &later), wanted, "{resource} {goal:?} {repair} {seen:?}");
    }
}

/// A write is what an active one is for.
#[test]
fn what_serves_and_accepts_writes_is_done() {
    let mut host = reached("db", order("db", Goal::Active, NEW), primary());
    host.tick(at(1000));
    host.sees("db", primary(), at(1100));
    assert_eq!(host.shown("db", at(1200)).done.map(|done| done.goal), Some(Goal::Active));
}

/// One that was never to follow anybody cannot have lost its way.
#[test]
fn only_who_has_an_upstream_goes_astray() {
    let away = Upstream { position: Position::default(), age: ms(0), streaming: false };
    let seen = || Fact { upstream: Some(away), ..replica() };
    for (upstream, again) in [("", false), ("db.us:5432", true)] {
        let terms = Terms { upstream: upstream.to_owned(), ..Terms::default() };
        let order = Order { terms, ..order("db", Goal::Standby, NEW) };
        let mut host = reached("db", order, replica());
        host.tick(at(1000));
        assert_eq!(goals("db", &host.sees("db", seen(), at(1100))), []);
        host.tick(at(20_000));
        let late = host.sees("db", seen(), at(1100) + ASTRAY_AFTER);
        assert_eq!(!goals("db", &late).is_empty(), again, "{upstream}");
    }
}

/// I4: what was fenced stays so; anything else is fenced, whatever was done before.
#[test]
fn what_must_be_fenced_is_asked_for_unless_it_is() {
    let armed = |told: &[Order]| {
        let mut host = Host::start(true, &["db"]);
        for order in told {
            let actions = host.told(vec![order.clone()], START);
            let quiet = order.goal != Goal::Active;
            host.reaches("db", &actions, if quiet { stopped() } else { primary() }, at(10));
        }
        host
    };
    let gone = |mut host: Host| goals("db", &host.step(AgentEvent::DeadmanGone, at(20)));
    let fenced = order("db", Goal::Fenced, NEW);
    assert_eq!(gone(armed(&[])), [Goal::Fenced]);
    assert_eq!(gone(armed(std::slice::from_ref(&fenced))), []);
    assert_eq!(gone(armed(&[order("db", Goal::Standby, NEW)])), [Goal::Fenced]);
    assert_eq!(gone(armed(&[order("db", Goal::Active, NEW)])), [Goal::Fenced]);
    let mut tries = armed(&[fenced]);
    let told = tries.told(vec![order("db", Goal::Active, NEWER)], at(15));
    assert_eq!(goals("db", &told), [Goal::Active]);
    assert_eq!(gone(tries), [Goal::Fenced], "it may be half-way up");
}

/// A fence that the leader ordered without a clean stop is as good as its own, and goes on.
#[test]
fn its_own_fence_overtakes_whatever_may_take_longer() {
    let at_once = Some(Duration::ZERO);
    for (goal, clean_stop, overtaken) in [
        (Goal::Fenced, at_once, false),
        (Goal::Fenced, Some(ms(1000)), true),
        (Goal::Fenced, None, true),
        (Goal::Standby, at_once, true),
        (Goal::Active, at_once, true),
    ] {
        let mut host = Host::start(true, &["db"]);
        let terms = Terms { clean_stop, ..Terms::default() };
        let told = host.told(vec![Order { terms, ..order("db", goal, NEW) }], START);
        assert_eq!(goals("db", &told), [goal]);
        let gone = host.step(AgentEvent::DeadmanGone, at(10));
        assert_eq!(cancels("db", &gone), overtaken, "{goal:?} {clean_stop:?}");
        let wanted = if overtaken { vec![Goal::Fenced] } else { vec![] };
        assert_eq!(goals("db", &gone), wanted, "{goal:?} {clean_stop:?}");
    }
    let mut host = Host::start(true, &["db"]);
    host.step(AgentEvent::DeadmanGone, START);
    let told = host.told(vec![order("db", Goal::Standby, NEW)], at(10));
    assert!(!cancels("db", &told), "another token on disk is no other fence: {told:?}");
}

#[test]
fn a_look_is_asked_for_twice_a_renewal_and_one_that_hangs_is_given_up() {
    let look = AgentAction::Observe { group: group(), instance: own("db") };
    let mut host = Host::start(false, &["db"]);
    let looks: Vec<_> =
        host.alone(START, at(25_000)).into_iter().filter(|(_, a)| *a == look).collect();
    let twice = [OBSERVE_LIMIT, OBSERVE_LIMIT * 2].map(|after| (after, look.clone()));
    assert_eq!(looks, twice, "none ended, the first of the start neither");
    for wait in 1..4 {
        host.sees("db", replica(), at(25_000 + wait * 500) - ms(500));
        let due = at(25_000 + wait * 500);
        assert!(!host.tick(due - ms(1)).contains(&look));
        assert_eq!(host.machine.next_wake(due - ms(1)), Some(due));
        assert!(host.tick(due).contains(&look));
    }
}

#[test]
fn news_is_whatever_the_leader_decides_by() {
    let (group, instance) = (group(), own("db"));
    let seen =
        |fact| AgentEvent::Observed { group: group.clone(), instance: instance.clone(), fact };
    let news = |before: Fact, event: AgentEvent| {
        let mut host = Host::start(false, &["db"]);
        host.sees("db", before, START);
        host.settled(at(100));
        host.step(event, at(100));
        host.has_news(at(100))
    };
    assert!(!news(replica(), seen(replica())));
    assert!(news(replica(), seen(fact(Condition::Starting, Role::Replica, false))));
    assert!(news(replica(), seen(fact(Condition::Healthy, Role::Primary, false))));
    assert!(news(replica(), seen(fact(Condition::Healthy, Role::Replica, true))));
    // Ends of what it asked for; of what it did not ask for nothing is news.
    let mut host = Host::start(false, &["bucket"]);
    host.leased = false;
    let told = Order { verify: true, ..order("bucket", Goal::Active, NEW) };
    let sequence = host.machine.report(at(1)).sequence;
    let told = host.directive(Some(sequence), vec![told]);
    assert!(host.step(told, at(1)).iter().any(|a| matches!(a, AgentAction::StoreToken { .. })));
    let instance = own("bucket");
    let (id, of) = (instance.clone(), group.clone());
    let stored = AgentEvent::TokenStored { group: of, instance: id, token: NEW, ok: true };
    host.settled(at(100));
    let begins = host.step(stored, at(100));
    assert!(host.has_news(at(100)), "a token on disk");
    host.settled(at(200));
    let verifies = host.reaches("bucket", &begins, replica(), at(200));
    assert!(host.has_news(at(200)), "a goal reached");
    let (id, of) = (instance.clone(), group.clone());
    let verify = AgentAction::Verify { group: of, instance: id, token: NEW };
    assert!(verifies.contains(&verify));
    for (token, result, wanted) in
        [(NEWER, Ok(primary()), false), (NEW, Ok(primary()), true), (NEW, Ok(primary()), false)]
    {
        host.settled(at(300));
        let (group, instance) = (group.clone(), instance.clone());
        host.step(AgentEvent::VerifyEnded { group, instance, token, result }, at(300));
        assert_eq!(host.has_news(at(300)), wanted, "a write that came through, once");
    }
}

#[test]
fn a_goal_is_verified_once_and_a_write_that_fails_is_tried_again_in_time() {
    let (group, instance) = (group(), own("db"));
    let of = (group.clone(), instance.clone());
    let verify = AgentAction::Verify { group: of.0, instance: of.1, token: NEW };
    let ended = |result| {
        let (group, instance) = (group.clone(), instance.clone());
        AgentEvent::VerifyEnded { group, instance, token: NEW, result }
    };
    let asked = Order { verify: true, ..order("db", Goal::Active, NEW) };
    let mut host = Host::start(false, &["db"]);
    host.leased = false;
    let told = host.told(vec![asked.clone()], START);
    assert!(!told.contains(&verify), "it is not reached yet");
    let done = host.reaches("db", &told, primary(), at(10));
    assert!(done.contains(&verify));
    assert!(!host.tick(at(20)).contains(&verify), "it is on its way");
    let failed = host.step(ended(Err(Failure::Retry("read only".into()))), at(30));
    assert!(!failed.contains(&verify));
    let error = host.shown("db", at(30)).error.expect("it is told");
    assert_eq!((error.message.as_str(), error.token), ("read only", NEW));
    assert!(!host.tick(at(129)).contains(&verify));
    assert!(host.tick(at(30) + RETRY_FIRST).contains(&verify));
    host.step(ended(Ok(primary())), at(200));
    let shown = host.shown("db", at(200));
    assert_eq!((shown.verified, shown.error, shown.age), (Some(NEW), None, ms(0)));
    assert!(!host.tick(at(1000)).contains(&verify));
    let plain = reached("db", order("db", Goal::Active, NEW), primary()).tick(at(1000));
    assert!(!plain.contains(&verify), "nobody asked for it");
}

#[test]
fn an_answer_to_one_of_the_last_reports_alone_renews() {
    for (ago, renews) in [(SENT_KEPT_MAX as u64 - 1, true), (SENT_KEPT_MAX as u64, false)] {
        let mut host = Host::start(true, &["db"]);
        let mut last = 0;
        for _ in 0..=SENT_KEPT_MAX {
            last = host.machine.report(at(1)).sequence;
        }
        let told = host.directive(Some(last - ago), vec![]);
        host.step(told, at(2));
        let lease = host.machine.lease(&group()).unwrap();
        assert_eq!(lease.deadline().is_some(), renews, "{ago}");
    }
}
