//! What arming asks of gate, deadman and disk, and what an agent may do before it is done.

use super::super::*;
use super::host::*;
use crate::agent::group::ASK_AGAIN_AFTER;
use crate::testing::{group, ms, spec};
use crate::{Condition, Profile, Role};

fn gate(armed: bool) -> AgentAction {
    AgentAction::SetGate { group: group(), armed }
}

fn persist(arming: Option<Arming>) -> AgentAction {
    AgentAction::PersistArming { group: group(), arming }
}

fn arm() -> AgentAction {
    AgentAction::Deadman(DeadmanEvent::Arm(group()))
}

/// Answers a Report that leaves now; nothing that it asks for is done.
fn told(host: &mut Host, orders: Vec<Order>, now: Instant) -> Vec<AgentAction> {
    let sequence = host.machine.report(now).sequence;
    let told = host.directive(Some(sequence), orders);
    host.step(told, now)
}

#[test]
fn it_arms_gate_deadman_disk_and_disarms_the_other_way_round() {
    let mut host = Host::start(false, &["db"]);
    (host.arm, host.leased) = (true, false);
    let all = asks(&host.told(vec![], at(37)));
    assert_eq!(all, [gate(true), arm(), persist(Some(arming()))]);
    assert!(host.machine.is_armed(&group()));
    assert_eq!(host.machine.report(at(37)).groups[&group()].arming, Some(arming()));
    assert_eq!(asks(&host.tick(at(2000))), [], "it is done");
    // By another deadman the end of a lease counts as less.
    let holds = host.deadman.holds().clone();
    let counts_as = BTreeMap::from([(group(), EvidenceKind::Attested)]);
    let weaker = Arming { expiry_counts_as: EvidenceKind::Attested };
    let shows = AgentEvent::DeadmanShows { holds, counts_as };
    assert_eq!(asks(&host.step(shows, at(2001))), [persist(Some(weaker))]);

    let mut host = Host::start(true, &["db"]);
    (host.arm, host.leased) = (false, false);
    let disarm = AgentAction::Deadman(DeadmanEvent::Disarm(group()));
    assert_eq!(asks(&host.tick(at(30))), [], "only the leader's word disarms");
    let late = host.directive(None, vec![]);
    assert_eq!(asks(&host.served(late, at(37))), [], "and not a late one");
    assert_eq!(asks(&host.told(vec![], at(40))), [persist(None), disarm, gate(false)]);
    assert_eq!(asks(&host.tick(at(2000))), []);
    assert!(!host.machine.is_armed(&group()));
}

#[test]
fn a_leader_that_answers_nothing_arms_too() {
    let mut host = Host::start(false, &["db"]);
    (host.arm, host.leased) = (true, false);
    let pushed = host.directive(None, vec![]);
    assert_eq!(asks(&host.step(pushed, at(1))), [gate(true)]);
}

#[test]
fn what_is_not_done_is_asked_again_after_its_time_and_no_sooner() {
    let mut host = Host::start(false, &["db"]);
    (host.arm, host.leased) = (true, false);
    let again = at(37) + ASK_AGAIN_AFTER;
    let quiet = |host: &mut Host| {
        host.tick(at(60));
        let asked: Vec<_> = (37..again.since(START).as_millis() as u64)
            .step_by(20)
            .flat_map(|millis| asks(&host.tick(at(millis))))
            .collect();
        assert_eq!(asked, []);
        assert_eq!(host.machine.next_wake(again.before(ms(1))), Some(again));
    };
    assert_eq!(asks(&told(&mut host, vec![], at(37))), [gate(true)]);
    quiet(&mut host);
    assert_eq!(asks(&host.tick(again)), [gate(true)]);
    // What is told to the deadman of a lease likewise.
    let mut host = Host::start(true, &["db"]);
    let timing = Profile::Wan.timing();
    let renew = |sent: Instant| {
        let (group, deadline) = (group(), sent + timing.lease);
        AgentAction::Deadman(DeadmanEvent::Renew { group, deadline, timing })
    };
    assert_eq!(asks(&told(&mut host, vec![], at(37))), [renew(at(37))]);
    quiet(&mut host);
    assert_eq!(asks(&host.tick(again)), [renew(at(37))]);
    let newer = told(&mut host, vec![], again + ms(100));
    assert_eq!(asks(&newer), [renew(again + ms(100))], "a newer one at once");
    // The deadman has it, and shows that: nothing is left to be said.
    host.served(AgentEvent::Tick, again + ms(600));
    host.told(vec![], again + ms(700));
    assert_eq!(asks(&host.tick(again + ms(1300))), []);
}

#[test]
fn a_lease_that_begins_is_told_at_once() {
    let mut host = Host::start(true, &["db"]);
    let answered = |host: &mut Host, now| {
        told(host, vec![], now);
        host.has_news(now)
    };
    assert!(answered(&mut host, at(100)));
    assert!(!answered(&mut host, at(200)), "it goes on");
    host.tick(at(6200));
    host.settled(at(6200));
    assert!(answered(&mut host, at(6300)), "it begins again");
}

#[test]
fn what_the_deadman_holds_is_told_when_it_changes() {
    let mut host = Host::start(false, &["db"]);
    let mut now = START;
    let mut news = |armed, deadline| {
        now = now + ms(100);
        let mut hold = Hold::default();
        (hold.armed, hold.deadline) = (armed, deadline);
        let holds = BTreeMap::from([(group(), hold)]);
        host.settled(now);
        host.step(AgentEvent::DeadmanShows { holds, counts_as: BTreeMap::new() }, now);
        host.has_news(now)
    };
    assert!(!news(false, None));
    assert!(news(true, None));
    assert!(!news(true, None));
    assert!(news(true, Some(at(8000))));
    assert!(!news(true, Some(at(9000))), "a renewal is none");
    assert!(news(true, None));
    assert!(news(false, None));
}

/// I4: it is fenced by whatever says that it is armed, or is to be.
#[test]
fn whoever_enforces_or_is_about_to_fences_at_the_end_of_a_lease() {
    let mut about_to = Host::start(false, &["db"]);
    about_to.arm = true;
    assert_eq!(asks(&told(&mut about_to, vec![], START))[0], gate(true));
    assert_eq!(goals("db", &about_to.tick(at(5999))), []);
    assert_eq!(goals("db", &about_to.tick(at(6000))), [Goal::Fenced]);

    // Only the disk says so: the host was rebooted.
    let mut rebooted = Host::start(true, &["web"]);
    rebooted.deadman = Deadman::new();
    rebooted.shows(START);
    assert_eq!(goals("web", &rebooted.tick(at(6000))), [Goal::Fenced]);

    // Only the deadman does, which outlived what wrote the disk.
    let mut held = Host::begun(false, &Host::beside(&["db"]));
    held.deadman.step(DeadmanEvent::Arm(group()), START);
    let (timing, deadline) = (Profile::Wan.timing(), at(8000));
    held.deadman.step(DeadmanEvent::Renew { group: group(), deadline, timing }, START);
    held.shows(START);
    assert_eq!(goals("db", &held.tick(at(5999))), []);
    assert_eq!(goals("db", &held.tick(at(6000))), [Goal::Fenced]);

    let mut unarmed = Host::start(false, &["db"]);
    told(&mut unarmed, vec![], START);
    assert_eq!(goals("db", &unarmed.tick(at(6000))), [], "nobody asked it to");
}

/// I4: the host was rebooted, or the deadman died.
#[test]
fn armed_by_the_disk_and_held_by_nobody_it_fences_at_once() {
    let mut host = Host::begun(true, &Host::beside(&["db"]));
    assert_eq!(goals("db", &host.shows(START)), [Goal::Fenced]);
    let mut host = Host::begun(true, &Host::beside(&["db"]));
    host.deadman.step(DeadmanEvent::Arm(group()), START);
    assert_eq!(goals("db", &host.shows(START)), [], "somebody did");
}

/// I4: nothing is primary without a deadline that runs, and unarmed not without the leader's word.
#[test]
fn what_a_group_lets_its_database_do() {
    // Told to be armed, has a lease, serves on, whether it was answered; what it then begins.
    let cases = [
        (true, true, false, true, Goal::Active, true),
        (true, false, false, true, Goal::Active, false),
        (true, false, true, true, Goal::Active, true),
        (true, false, false, true, Goal::Standby, true),
        (false, true, false, true, Goal::Active, true),
        (false, false, false, true, Goal::Active, true),
        (false, true, false, false, Goal::Active, false),
        (false, true, false, false, Goal::Standby, true),
    ];
    for (armed, leased, serves_on, answered, goal, begins) in cases {
        let mut host = Host::start(armed, &["db"]);
        (host.leased, host.serves_on) = (leased, serves_on);
        let sequence = host.machine.report(START).sequence;
        let told = host.directive(answered.then_some(sequence), vec![order("db", goal, NEW)]);
        let actions = host.served(told, START);
        let wanted = if begins { vec![goal] } else { vec![] };
        assert_eq!(
            goals("db", &actions),
            wanted,
            "{armed} {leased} {serves_on} {answered} {goal:?}"
        );
    }
}

/// A lease that runs is one that the deadman knows of: it may be about to kill.
#[test]
fn a_standby_waits_for_a_deadline_that_is_over_and_other_data_does_not() {
    let mut host = Host::start(true, &["db", "bucket"]);
    let orders = |token| ["db", "bucket"].map(|of| order(of, Goal::Standby, token)).to_vec();
    host.deadman.step(DeadmanEvent::Tick, START);
    host.told(vec![order("db", Goal::Active, NEW)], START);
    let gone = host.step(AgentEvent::DeadmanGone, at(10));
    assert_eq!(goals("db", &gone), [Goal::Fenced]);
    host.reaches("db", &gone, replica(), at(20));
    host.revision += 1;
    let held = host.told(orders(Token::new(3, 26)), at(30));
    assert_eq!(goals("db", &held), [], "nobody knows what holds it");
    assert_eq!(goals("bucket", &held), [Goal::Standby], "nobody has to");
    let mut unarmed = Host::start(false, &["db"]);
    unarmed.step(AgentEvent::DeadmanGone, START);
    let standby = unarmed.told(vec![order("db", Goal::Standby, NEW)], at(10));
    assert_eq!(goals("db", &standby), [Goal::Standby], "it is held by nobody anyway");
}

/// What nobody orders is started again where its settings leave that to the agent, and seldom.
#[test]
fn what_is_down_unordered_is_started_as_it_is_where_settings_say_so() {
    let starts = |actions: &[AgentAction]| {
        let start = AgentAction::StartAsIs { group: group(), instance: own("db") };
        actions.contains(&start)
    };
    let with_setting = |resource: &str, who: Option<&str>| {
        let mut of = Host::beside(&["db"]);
        of[0].1 = spec().groups[&group()].instances[&own(resource)].clone();
        let setting = who.map(|who| ("start".to_owned(), who.to_owned()));
        of[0].1.settings.extend(setting);
        of
    };
    let host = |resource: &str, who: Option<&str>, told: bool| {
        let of = with_setting(resource, who);
        let mut host = Host::begun(false, &of);
        host.leased = false;
        host.shows(START);
        if told {
            host.told(vec![], START);
        }
        host
    };
    for (resource, who, told, condition, wanted) in [
        ("db", Some("agent"), true, Condition::Stopped, true),
        ("db", Some("agent"), true, Condition::Dead, true),
        ("db", Some("agent"), true, Condition::Healthy, false),
        ("db", Some("agent"), false, Condition::Stopped, false),
        ("db", Some("operator"), true, Condition::Stopped, false),
        ("db", None, true, Condition::Stopped, false),
        ("web", Some("agent"), true, Condition::Stopped, false),
    ] {
        let mut host = host(resource, who, told);
        let seen = host.sees("db", fact(condition, Role::None, false), at(10));
        assert_eq!(starts(&seen), wanted, "{resource} {who:?} {told} {condition:?}");
    }
    let mut host = host("db", Some("agent"), true);
    let down = || fact(Condition::Stopped, Role::None, false);
    assert!(starts(&host.sees("db", down(), at(10))));
    assert!(!starts(&host.sees("db", down(), at(5009))));
    assert!(starts(&host.sees("db", down(), at(5010))), "it did not last");
    // The gate is not out yet: its start would fail, or pass by it.
    let mut early = Host::begun(false, &with_setting("db", Some("agent")));
    early.shows(START);
    (early.arm, early.leased) = (false, false);
    self::told(&mut early, vec![], START);
    let (group, instance) = (group(), own("db"));
    let seen = AgentEvent::Observed { group, instance, fact: down() };
    assert!(!starts(&early.step(seen, at(10))));
    // The leader wants it armed: a start could be a second primary.
    let mut gated = Host::start(true, &["db"]);
    gated.told(vec![], START);
    assert!(!starts(&gated.sees("db", down(), at(10))));
}

/// A deadline that nobody renews would only kill what is harmless; any doubt keeps it.
#[test]
fn only_what_is_not_writable_nor_shall_be_lets_go_of_its_deadline() {
    let none = || None::<Goal>;
    let stopped = || fact(Condition::Stopped, Role::None, false);
    for (goal, seen, granted, kept) in [
        (none(), Some(replica()), false, false),
        (none(), Some(replica()), true, true),
        (none(), Some(fact(Condition::Healthy, Role::Replica, true)), false, true),
        (none(), Some(fact(Condition::Healthy, Role::Primary, false)), false, true),
        (none(), Some(stopped()), false, true),
        (none(), None, false, true),
        (Some(Goal::Active), Some(replica()), false, true),
        (Some(Goal::Standby), Some(replica()), false, false),
    ] {
        let mut host = Host::start(true, &["db"]);
        host.told(vec![], START);
        if let Some(seen) = seen.clone() {
            host.sees("db", seen, at(10));
        }
        let sequence = host.machine.report(at(20)).sequence;
        host.leased = granted;
        // Its token is on no disk yet: nothing was done.
        let orders = goal.map(|goal| order("db", goal, NEW)).into_iter().collect();
        let told = host.directive(Some(sequence), orders);
        let actions = host.step(told, at(20));
        let clear = AgentAction::Deadman(DeadmanEvent::Clear(group()));
        assert_eq!(asks(&actions).contains(&clear), !kept, "{goal:?} {seen:?} {granted}");
        assert_eq!(host.machine.lease(&group()).unwrap().deadline().is_some(), kept);
    }
    let mut fencing = Host::start(true, &["db"]);
    fencing.told(vec![], START);
    fencing.step(AgentEvent::DeadmanGone, at(10));
    fencing.shows(at(20));
    fencing.sees("db", replica(), at(30));
    fencing.leased = false;
    fencing.told(vec![], at(40));
    assert!(fencing.machine.lease(&group()).unwrap().deadline().is_some(), "its fence runs");
    let mut standby = Host::start(true, &["db"]);
    standby.leased = false;
    standby.sees("db", replica(), at(10));
    assert_eq!(asks(&standby.told(vec![], at(20))), [], "there is none");
    assert_eq!(asks(&standby.tick(at(1000))), []);
}
