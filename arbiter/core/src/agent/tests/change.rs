//! From one cluster to the one that goes on from it: fenced, and on disk first.

use super::host::{Host, NEW, cancels, fact, goals, order, primary, replica};
use crate::agent::*;
use crate::testing::*;
use crate::*;
use std::collections::BTreeMap;

const START: Instant = Instant::from_millis(1_000_000);

fn db() -> InstanceId {
    "db-eu-west".into()
}

fn agent(armed: bool, leaves: Option<&str>) -> AgentMachine {
    let instance = spec().groups[&group()].instances[&db()].clone();
    let arming = Arming { expiry_counts_as: EvidenceKind::LeaseExpired };
    let stored = Stored {
        agent: "agent-eu-west".into(),
        incarnation: Incarnation(1),
        boot_id: "boot".to_owned(),
        cluster_id: Some("first".into()),
        tokens: BTreeMap::from([((group(), db()), Token::new(3, 40))]),
        armed: armed.then(|| (group(), arming)).into_iter().collect(),
        leaves: leaves.map(Into::into),
    };
    let timings = BTreeMap::from([(group(), Profile::Wan.timing())]);
    AgentMachine::new(stored, BTreeMap::from([((group(), db()), instance)]), &timings, START)
}

fn held(deadline: Option<Instant>, armed: bool) -> AgentEvent {
    let timing = Some(Profile::Wan.timing());
    let mut hold = Hold::default();
    (hold.armed, hold.deadline, hold.timing) = (armed, deadline, timing);
    AgentEvent::DeadmanShows {
        holds: BTreeMap::from([(group(), hold)]),
        counts_as: BTreeMap::from([(group(), EvidenceKind::LeaseExpired)]),
    }
}

fn sees(role: Role, writable: bool) -> AgentEvent {
    let fact = Fact { condition: Condition::Healthy, role, writable, ..Fact::default() };
    AgentEvent::Observed { group: group(), instance: db(), fact }
}

fn told(cluster: &str, succeeds: Option<&str>) -> AgentEvent {
    AgentEvent::Directive(Directive {
        cluster_id: cluster.into(),
        term: 1,
        answers: None,
        incarnation: Incarnation(1),
        groups: BTreeMap::new(),
        succeeds: succeeds.map(Into::into),
        arbiters: Vec::new(),
    })
}

fn persists(actions: &[AgentAction]) -> Option<Option<ClusterId>> {
    actions.iter().find_map(|action| match action {
        AgentAction::PersistCluster(name) => Some(name.clone()),
        _ => None,
    })
}

fn stays(actions: &[AgentAction]) -> Option<String> {
    actions.iter().find_map(|action| match action {
        AgentAction::StaysWith { why, .. } => Some(why.clone()),
        _ => None,
    })
}

fn serves(agent: &mut AgentMachine) -> Option<ClusterId> {
    agent.report(START).cluster_id
}

#[test]
fn a_replica_changes_over_and_only_once_the_name_is_on_disk() {
    let mut agent = agent(true, None);
    agent.step(held(None, true), START);
    agent.step(sees(Role::Replica, false), START);
    assert_eq!(persists(&agent.step(told("other", None), START)), None, "it goes on from nothing");
    assert_eq!(persists(&agent.step(told("other", Some("x")), START)), None, "nor from ours");
    let actions = agent.step(told("second", Some("first")), START);
    assert_eq!(persists(&actions), Some(Some("second".into())));
    assert_eq!(serves(&mut agent), Some("first".into()), "not before it is on disk");
    let failed = AgentEvent::ClusterPersisted { cluster: Some("second".into()), ok: false };
    agent.step(failed, START);
    assert_eq!(serves(&mut agent), Some("first".into()));
    let again = agent.step(AgentEvent::Tick, START + ms(1000));
    assert_eq!(persists(&again), Some(Some("second".into())), "tried again");
    agent.step(AgentEvent::ClusterPersisted { cluster: Some("second".into()), ok: true }, START);
    assert_eq!(serves(&mut agent), Some("second".into()));
    let back = agent.step(told("first", Some("second")), START);
    assert_eq!(persists(&back), Some(Some("first".into())), "any that goes on from it, fenced");
}

#[test]
fn what_is_leased_or_not_fenced_yet_stays() {
    let mut agent = agent(true, None);
    let deadline = START + ms(8000);
    agent.step(held(Some(deadline), true), START);
    agent.step(sees(Role::Primary, true), START);
    let actions = agent.step(told("second", Some("first")), START + ms(10));
    assert_eq!(stays(&actions).as_deref(), Some("group default: its lease lives"));
    let lapsed = deadline.before(Profile::Wan.timing().fence);
    let actions = agent.step(told("second", Some("first")), lapsed);
    let why = stays(&actions).expect("its fence has begun, and not ended");
    assert!(why.contains("is not fenced yet"), "{why}");
    assert_eq!(persists(&actions), None);
    let attempt = actions.iter().find_map(|action| match action {
        AgentAction::Ensure { attempt, goal: Goal::Fenced, .. } => Some(*attempt),
        _ => None,
    });
    let result = Ok(Reached {
        evidence: Some(EvidenceKind::Confirmed),
        fact: Fact { condition: Condition::Stopped, role: Role::Primary, ..Fact::default() },
        ..Reached::default()
    });
    let attempt = attempt.expect("it fences");
    agent.step(AgentEvent::EnsureEnded { group: group(), instance: db(), attempt, result }, lapsed);
    let actions = agent.step(told("second", Some("first")), lapsed + ms(10));
    assert_eq!(persists(&actions), Some(Some("second".into())));
}

#[test]
fn an_unarmed_primary_leaves_only_by_an_operators_word() {
    let mut asked = agent(false, None);
    asked.step(held(None, false), START);
    asked.step(sees(Role::Primary, true), START);
    let actions = asked.step(told("second", Some("first")), START);
    let why = stays(&actions).expect("nobody holds it");
    assert!(why.contains("--leave-cluster"), "{why}");
    let mut worded = agent(false, Some("first"));
    worded.step(held(None, false), START);
    let actions = worded.step(sees(Role::Primary, true), START);
    let before = persists(&actions).or_else(|| persists(&worded.step(AgentEvent::Tick, START)));
    assert!(before.is_none() || before == Some(None));
    worded.step(AgentEvent::ClusterPersisted { cluster: None, ok: true }, START);
    assert_eq!(serves(&mut worded), None, "it learns another");
    let actions = worded.step(told("second", None), START);
    assert_eq!(persists(&actions), Some(Some("second".into())));
}

/// What was done to it, and what is seen, decides whether anything could be written there.
#[test]
fn an_armed_instance_leaves_only_where_nothing_of_it_can_be_written() {
    let none = || fact(Condition::Stopped, Role::None, false);
    let unseen_writes = || fact(Condition::Healthy, Role::Replica, true);
    for (goal, seen, leaves) in [
        (None, None, false),
        (None, Some(replica()), true),
        (None, Some(none()), false),
        (None, Some(unseen_writes()), false),
        (None, Some(primary()), false),
        (Some(Goal::Fenced), Some(none()), true),
        (Some(Goal::Standby), Some(replica()), true),
        (Some(Goal::Standby), Some(unseen_writes()), false),
        (Some(Goal::Active), Some(primary()), false),
        (Some(Goal::Active), Some(replica()), false),
    ] {
        let mut host = Host::start(true, &["db"]);
        host.serves_on = true;
        let told = host.told(goal.map(|goal| order("db", goal, NEW)).into_iter().collect(), START);
        let case = format!("{goal:?} {seen:?}");
        if goal.is_some() {
            host.reaches("db", &told, replica(), START);
        }
        if let Some(seen) = seen {
            host.sees("db", seen, START + ms(10));
        }
        let actions = host.step(self::told("second", Some("test")), START + ms(20));
        assert_eq!(persists(&actions).is_some(), leaves, "{case}");
    }
    let mut fencing = Host::start(true, &["db"]);
    fencing.sees("db", replica(), START);
    fencing.step(AgentEvent::DeadmanGone, START);
    let actions = fencing.step(told("second", Some("test")), START + ms(20));
    assert_eq!(persists(&actions), None, "a fence runs");
}

/// Unarmed it may start by itself: its role is what counts.
#[test]
fn an_unarmed_instance_leaves_only_where_its_data_is_no_primarys() {
    let stopped = |role| fact(Condition::Stopped, role, false);
    let writes = fact(Condition::Healthy, Role::Replica, true);
    for (goal, ends, seen, leaves) in [
        (None, true, None, false),
        (None, true, Some(replica()), true),
        (None, true, Some(stopped(Role::None)), true),
        (None, true, Some(stopped(Role::Primary)), false),
        (None, true, Some(writes), false),
        (Some(Goal::Standby), true, Some(replica()), true),
        (Some(Goal::Standby), false, Some(replica()), false),
        (Some(Goal::Active), true, Some(replica()), false),
    ] {
        let mut host = Host::start(false, &["db"]);
        let case = format!("{goal:?} {ends} {seen:?}");
        let told = host.told(goal.map(|goal| order("db", goal, NEW)).into_iter().collect(), START);
        if goal.is_some() && ends {
            host.reaches("db", &told, replica(), START);
        }
        if let Some(seen) = seen {
            host.sees("db", seen, START + ms(10));
        }
        let actions = host.step(self::told("second", Some("test")), START + ms(20));
        assert_eq!(persists(&actions).is_some(), leaves, "{case}");
    }
    // What no deadman could hold asks for no care.
    let mut other = Host::start(false, &["bucket"]);
    assert!(persists(&other.step(told("second", Some("test")), START)).is_some());
}

#[test]
fn nothing_that_the_former_cluster_said_is_left() {
    let mut host = Host::start(true, &["db"]);
    host.revision = 900;
    host.leased = false;
    let actions = host.told(vec![order("db", Goal::Fenced, NEW)], START);
    host.reaches("db", &actions, fact(Condition::Stopped, Role::None, false), START);
    host.step(told("second", Some("test")), START + ms(10));
    // The name is not on disk yet: nobody is obeyed.
    host.revision = 901;
    let newer = || vec![order("db", Goal::Standby, Token::new(3, 30))];
    let former = host.told(newer(), START + ms(20));
    assert_eq!(goals("db", &former), []);
    host.revision = 30;
    let second = ClusterId::from("second");
    let changed = AgentEvent::ClusterPersisted { cluster: Some(second.clone()), ok: true };
    host.step(changed, START + ms(30));
    let shown = host.machine.report(START + ms(40)).groups.remove(&group()).unwrap();
    assert_eq!((shown.obeyed, shown.remaining), (0, None));
    assert!(shown.arming.is_some(), "what is armed stays so");
    let sequence = host.machine.report(START + ms(50)).sequence;
    let AgentEvent::Directive(told) = host.directive(Some(sequence), newer()) else { panic!() };
    let told = Directive { cluster_id: second, ..told };
    let obeyed = host.served(AgentEvent::Directive(told), START + ms(60));
    assert_eq!(goals("db", &obeyed), [Goal::Standby], "though its revisions are lower");
}

#[test]
fn an_order_of_the_former_cluster_is_not_carried_out_for_the_next() {
    let mut host = Host::start(false, &["bucket"]);
    host.leased = false;
    let actions = host.told(vec![order("bucket", Goal::Standby, NEW)], START);
    assert_eq!(goals("bucket", &actions), [Goal::Standby]);
    host.step(told("second", Some("test")), START + ms(10));
    let second = Some(ClusterId::from("second"));
    let changed = AgentEvent::ClusterPersisted { cluster: second, ok: true };
    assert!(cancels("bucket", &host.step(changed, START + ms(20))));
}

#[test]
fn it_learns_where_arbiters_are_once_and_never_that_there_are_none() {
    let mut agent = agent(true, None);
    let mut learns = |arbiters: &[&str]| {
        let AgentEvent::Directive(told) = told("first", None) else { panic!() };
        let arbiters: Vec<String> = arbiters.iter().map(|one| (*one).to_owned()).collect();
        let told = Directive { arbiters: arbiters.clone(), ..told };
        let actions = agent.step(AgentEvent::Directive(told), START);
        actions.contains(&AgentAction::LearnArbiters(arbiters))
    };
    assert!(!learns(&[]));
    assert!(learns(&["a:7400"]));
    assert!(!learns(&["a:7400"]));
    assert!(!learns(&[]));
    assert!(learns(&["a:7400", "b:7400"]));
}
