//! From one cluster to the one that goes on from it: fenced, and on disk first.

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
