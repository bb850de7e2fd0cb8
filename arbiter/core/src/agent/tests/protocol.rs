//! What an agent sends, hears and does with an order: Reports when they are due, Directives of its
//! own cluster and life, tokens on disk before they are acted on, and failed attempts again.

use super::super::executor::{RETRY_FIRST, RETRY_MAX};
use super::super::*;
use crate::testing::{EU, group, ms, spec};
use crate::{GroupDirective, Layer, Profile};

const START: Instant = Instant(1_000_000_000_000);
const OLD: Token = Token::new(3, 20);
const NEW: Token = Token::new(3, 25);

fn bucket() -> InstanceId {
    format!("bucket-{EU}").into()
}

fn stored() -> Stored {
    Stored {
        agent: format!("agent-{EU}").into(),
        incarnation: Incarnation(1),
        boot_id: "boot".to_owned(),
        cluster_id: Some("test".into()),
        leaves: None,
        tokens: BTreeMap::new(),
        armed: BTreeMap::new(),
    }
}

fn machine_of(stored: Stored) -> AgentMachine {
    let instance = spec().groups[&group()].instances[&bucket()].clone();
    let instances = BTreeMap::from([((group(), bucket()), instance)]);
    let timings = BTreeMap::from([(group(), Profile::Wan.timing())]);
    AgentMachine::new(stored, instances, &timings, START)
}

fn shows() -> AgentEvent {
    AgentEvent::DeadmanShows { holds: BTreeMap::new(), counts_as: BTreeMap::new() }
}

/// An agent that was shown what its deadman holds, which is nothing.
fn machine() -> AgentMachine {
    let mut machine = machine_of(stored());
    machine.step(shows(), START);
    machine.report(START);
    machine
}

fn order(goal: Goal, token: Token) -> Order {
    Order {
        group: group(),
        instance: bucket(),
        layer: Layer::Data,
        goal,
        token,
        verify: false,
        terms: Terms::default(),
        commits: None,
    }
}

fn directive(orders: Vec<Order>) -> Directive {
    let revision =
        orders.iter().map(|order| order.token.revision.0).max().unwrap_or(NEW.revision.0);
    let timing = Profile::Wan.timing();
    let part =
        GroupDirective { revision, timing, lease: None, arm: false, serves_on: false, orders };
    Directive {
        cluster_id: "test".into(),
        term: 5,
        answers: None,
        incarnation: Incarnation(1),
        groups: BTreeMap::from([(group(), part)]),
        succeeds: None,
        arbiters: Vec::new(),
    }
}

fn sends(actions: &[AgentAction]) -> bool {
    actions.contains(&AgentAction::SendReport)
}

fn attempt(actions: &[AgentAction]) -> Option<(u64, Goal, Token)> {
    actions.iter().find_map(|action| match action {
        AgentAction::Ensure { attempt, goal, token, .. } => Some((*attempt, *goal, *token)),
        _ => None,
    })
}

fn stores(actions: &[AgentAction]) -> Option<Token> {
    actions.iter().find_map(|action| match action {
        AgentAction::StoreToken { token, .. } => Some(*token),
        _ => None,
    })
}

fn token_stored(token: Token, ok: bool) -> AgentEvent {
    AgentEvent::TokenStored { group: group(), instance: bucket(), token, ok }
}

fn ended(attempt: u64, result: Result<Reached, Failure>) -> AgentEvent {
    AgentEvent::EnsureEnded { group: group(), instance: bucket(), attempt, result }
}

fn shown(machine: &mut AgentMachine, now: Instant) -> crate::InstanceReport {
    machine.report(now).groups[&group()].instances[&bucket()].clone()
}

#[test]
fn it_reports_once_it_knows_its_deadman_then_every_renewal_and_news_at_once() {
    let mut machine = machine_of(stored());
    assert!(!sends(&machine.step(AgentEvent::Tick, START)), "it would show less than there is");
    assert!(sends(&machine.step(shows(), START)));
    assert_eq!(machine.report(START).sequence, START.0 + 1);
    let renewal = Profile::Wan.timing().renewal;
    assert!(!sends(&machine.step(AgentEvent::Tick, START + ms(10))));
    assert!(!sends(&machine.step(AgentEvent::Tick, START + renewal - ms(1))));
    assert!(sends(&machine.step(AgentEvent::Tick, START + renewal)));
    let at = START + renewal;
    machine.report(at);
    let fact = Fact { condition: crate::Condition::Healthy, ..Fact::default() };
    let seen = AgentEvent::Observed { group: group(), instance: bucket(), fact };
    assert!(!sends(&machine.step(seen.clone(), at + ms(1))), "news, and nothing else, can wait");
    assert_eq!(machine.next_wake(at + ms(1)), Some(at + REPORT_SPACING));
    assert!(sends(&machine.step(AgentEvent::Tick, at + REPORT_SPACING)));
    machine.report(at + REPORT_SPACING);
    machine.step(seen, at + REPORT_SPACING + ms(1));
    assert!(!sends(&machine.step(AgentEvent::Tick, at + ms(60))), "the same again is no news");
}

#[test]
fn it_hears_its_own_cluster_and_life_alone() {
    let orders = || vec![order(Goal::Active, OLD)];
    let other = |change: fn(&mut Directive)| {
        let mut directive = directive(orders());
        change(&mut directive);
        stores(&machine().step(AgentEvent::Directive(directive), START))
    };
    assert_eq!(other(|_| {}), Some(OLD));
    assert_eq!(other(|d| d.incarnation = Incarnation(2)), None);
    assert_eq!(other(|d| d.cluster_id = "".into()), None);
    assert_eq!(other(|d| d.cluster_id = "another".into()), None);
}

#[test]
fn the_first_cluster_that_it_hears_is_its_own() {
    let mut machine = machine_of(Stored { cluster_id: None, ..stored() });
    machine.step(shows(), START);
    let named = |actions: Vec<AgentAction>| {
        actions.into_iter().any(|a| a == AgentAction::PersistCluster(Some("test".into())))
    };
    assert!(named(machine.step(AgentEvent::Directive(directive(vec![])), START)));
    assert!(!named(machine.step(AgentEvent::Directive(directive(vec![])), START)), "once");
    assert_eq!(machine.report(START).cluster_id, Some("test".into()));
}

#[test]
fn orders_of_a_leader_of_an_older_term_are_not_obeyed() {
    let mut machine = machine();
    machine.step(AgentEvent::Directive(directive(vec![])), START);
    let of = |term, token| Directive { term, ..directive(vec![order(Goal::Active, token)]) };
    let older = machine.step(AgentEvent::Directive(of(4, NEW)), START);
    assert_eq!(stores(&older), None);
    let same = machine.step(AgentEvent::Directive(of(5, NEW)), START);
    assert_eq!(stores(&same), Some(NEW));
}

/// I10: on disk first.
#[test]
fn nothing_is_made_active_before_its_token_is_on_disk() {
    let mut machine = machine();
    let told = AgentEvent::Directive(directive(vec![order(Goal::Active, OLD)]));
    let asked = machine.step(told.clone(), START);
    assert_eq!((stores(&asked), attempt(&asked)), (Some(OLD), None));
    assert_eq!(stores(&machine.step(told, START)), None, "it is on its way");
    let full = machine.step(token_stored(OLD, false), START);
    assert_eq!((stores(&full), attempt(&full)), (None, None));
    assert!(shown(&mut machine, START).error.is_some());
    let early = machine.step(AgentEvent::Tick, START + RETRY_FIRST - ms(1));
    assert_eq!(stores(&early), None);
    let again = machine.step(AgentEvent::Tick, START + RETRY_FIRST);
    assert_eq!((stores(&again), attempt(&again)), (Some(OLD), None));
    let good = machine.step(token_stored(OLD, true), START + RETRY_FIRST);
    let (number, goal, token) = attempt(&good).expect("it may begin");
    assert_eq!((goal, token), (Goal::Active, OLD));
    machine.step(ended(number, Ok(Reached::default())), START + ms(200));
    let report = shown(&mut machine, START + ms(200));
    assert_eq!((report.token, report.done.map(|done| done.goal)), (OLD, Some(Goal::Active)));
}

/// I10: a fence is carried out first and recorded after, and told of only then.
#[test]
fn a_fence_waits_for_no_disk_and_is_reported_once_it_is_there() {
    let mut machine = machine();
    let told = AgentEvent::Directive(directive(vec![order(Goal::Fenced, OLD)]));
    let asked = machine.step(told, START);
    let (number, goal, token) = attempt(&asked).expect("it begins at once");
    assert_eq!((goal, token, stores(&asked)), (Goal::Fenced, OLD, None));
    let after = machine.step(ended(number, Ok(Reached::default())), START + ms(1));
    assert_eq!(stores(&after), Some(OLD));
    assert_eq!(shown(&mut machine, START + ms(1)).done, None);
    machine.step(token_stored(OLD, true), START + ms(2));
    assert!(shown(&mut machine, START + ms(2)).done.is_some());
}

/// I10: of the highest token seen, and of that on disk.
#[test]
fn a_lower_token_is_refused_also_after_a_restart() {
    let tokens = BTreeMap::from([((group(), bucket()), NEW)]);
    let mut machine = machine_of(Stored { tokens, ..stored() });
    machine.step(shows(), START);
    let lower =
        machine.step(AgentEvent::Directive(directive(vec![order(Goal::Fenced, OLD)])), START);
    assert_eq!(attempt(&lower), None);
    let equal =
        machine.step(AgentEvent::Directive(directive(vec![order(Goal::Active, NEW)])), START);
    assert_eq!(attempt(&equal).map(|(_, goal, token)| (goal, token)), Some((Goal::Active, NEW)));
    // At one token the first goal stands, but for a fence.
    let same = |goal| AgentEvent::Directive(directive(vec![order(goal, NEW)]));
    assert_eq!(attempt(&machine.step(same(Goal::Standby), START)), None);
    let fence = machine.step(same(Goal::Fenced), START);
    assert_eq!(attempt(&fence).map(|(_, goal, _)| goal), Some(Goal::Fenced));
}

#[test]
fn a_newer_order_or_none_drops_what_runs() {
    let mut machine = machine();
    machine.step(AgentEvent::Directive(directive(vec![order(Goal::Fenced, OLD)])), START);
    let dropped = AgentAction::CancelEnsure { group: group(), instance: bucket() };
    let newer = AgentEvent::Directive(directive(vec![order(Goal::Fenced, NEW)]));
    let actions = machine.step(newer.clone(), START);
    assert!(actions.contains(&dropped) && attempt(&actions).is_some(), "{actions:?}");
    assert!(!machine.step(newer, START).contains(&dropped), "the same again");
    let none = machine.step(AgentEvent::Directive(directive(vec![])), START);
    assert!(none.contains(&dropped) && attempt(&none).is_none(), "{none:?}");
}

#[test]
fn a_failed_attempt_is_tried_again_twice_as_late_each_time() {
    let mut machine = machine();
    let told = AgentEvent::Directive(directive(vec![order(Goal::Fenced, OLD)]));
    let mut running = attempt(&machine.step(told, START)).expect("it begins").0;
    let (mut now, mut wait) = (START, RETRY_FIRST);
    for _ in 0..9 {
        let failed = machine.step(ended(running, Err(Failure::Retry("no".into()))), now);
        assert_eq!(attempt(&failed), None);
        let error = shown(&mut machine, now).error.expect("it is told");
        assert_eq!((error.refused, error.token, error.stale), (false, OLD, None));
        assert_eq!(error.message, "no");
        assert_eq!(attempt(&machine.step(AgentEvent::Tick, now + wait - ms(1))), None);
        now = now + wait;
        running = attempt(&machine.step(AgentEvent::Tick, now)).expect("again").0;
        wait = (wait * 2).min(RETRY_MAX);
    }
    assert_eq!(wait, RETRY_MAX);
    // An end of an attempt that is over says nothing.
    machine.step(ended(running - 1, Ok(Reached::default())), now);
    machine.step(token_stored(OLD, true), now);
    assert_eq!(shown(&mut machine, now).done, None);
}

#[test]
fn what_is_refused_is_said_so_and_tried_seldom() {
    let cases = [
        (Failure::Refused("a table is missing".into()), "a table is missing", None),
        (Failure::Stale(NEW), "the resource has seen the higher token 3.25", Some(NEW)),
    ];
    for (failure, message, stale) in cases {
        assert_eq!(failure.to_string(), message);
        let mut machine = machine();
        let told = AgentEvent::Directive(directive(vec![order(Goal::Fenced, OLD)]));
        let running = attempt(&machine.step(told, START)).expect("it begins").0;
        machine.step(ended(running, Err(failure)), START);
        let error = shown(&mut machine, START).error.expect("it is told");
        assert_eq!((error.refused, error.stale, error.message.as_str()), (true, stale, message));
        assert_eq!(attempt(&machine.step(AgentEvent::Tick, START + RETRY_MAX - ms(1))), None);
        assert!(attempt(&machine.step(AgentEvent::Tick, START + RETRY_MAX)).is_some());
        // Another order begins anew.
        let newer = AgentEvent::Directive(directive(vec![order(Goal::Fenced, NEW)]));
        assert!(attempt(&machine.step(newer, START + RETRY_MAX)).is_some());
        assert_eq!(shown(&mut machine, START + RETRY_MAX).error, None);
    }
}
