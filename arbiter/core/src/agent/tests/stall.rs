//! What a primary's commits wait for while its renewals stay away (`on_isolation = "stall"`).

use super::super::*;
use crate::testing::{EU, group, ms, spec};
use crate::{Commits, GroupDirective, Layer, Profile, Role};
use std::collections::BTreeSet;

const START: Instant = Instant(1_000_000_000_000);
const TOKEN: Token = Token::new(3, 20);
/// Two renewals and a round trip after the last Report that was answered.
const CUT_OFF: Duration = Duration::from_millis(2080);

fn database() -> InstanceId {
    format!("db-{EU}").into()
}

fn standbys() -> BTreeSet<String> {
    BTreeSet::from(["db-us-east".to_owned()])
}

/// The agent of an active region, armed, renewed at [`START`], and its deadman.
struct Agent {
    machine: AgentMachine,
    deadman: Deadman,
    isolated: Option<BTreeSet<String>>,
}

impl Agent {
    fn start(isolated: Option<BTreeSet<String>>) -> Self {
        let agent: AgentId = format!("agent-{EU}").into();
        let policy = spec().groups.remove(&group()).unwrap();
        let instances = policy.beside(&agent).filter(|(id, _)| **id == database());
        let instances = instances.map(|(id, i)| ((group(), id.clone()), i.clone())).collect();
        let arming = Arming { expiry_counts_as: EvidenceKind::LeaseExpired };
        let stored = Stored {
            agent,
            incarnation: Incarnation(1),
            boot_id: "boot".to_owned(),
            cluster_id: Some("test".into()),
            tokens: BTreeMap::from([((group(), database()), TOKEN)]),
            armed: BTreeMap::from([(group(), arming)]),
            leaves: None,
        };
        let timings = BTreeMap::from([(group(), Profile::Wan.timing())]);
        let machine = AgentMachine::new(stored, instances, &timings, START);
        let mut agent = Self { machine, deadman: Deadman::new(), isolated };
        agent.deadman.step(DeadmanEvent::Arm(group()), START);
        agent.shows(START);
        let waits = agent.answered(START, START);
        assert_eq!(wait(&waits), Some(CommitWait::Configured), "{waits:?}");
        agent.waits(&waits, Ok(Waiting::InEffect), START + ms(2));
        agent
    }

    fn shows(&mut self, now: Instant) -> Vec<AgentAction> {
        let holds = self.deadman.holds().clone();
        let counts_as = BTreeMap::from([(group(), EvidenceKind::LeaseExpired)]);
        self.machine.step(AgentEvent::DeadmanShows { holds, counts_as }, now)
    }

    /// Whatever is asked of driver, disk and deadman is done, but for waits.
    fn step(&mut self, event: AgentEvent, now: Instant) -> Vec<AgentAction> {
        let mut all = self.machine.step(event, now);
        let mut next = 0;
        while next < all.len() {
            let more = match all[next].clone() {
                AgentAction::Deadman(event) => {
                    self.deadman.step(event, now);
                    self.shows(now)
                }
                AgentAction::Ensure { group, instance, attempt, goal, .. } => {
                    let role = if goal == Goal::Active { Role::Primary } else { Role::None };
                    let writable = goal == Goal::Active;
                    let fact = Fact { role, writable, ..Fact::default() };
                    let result = Ok(Reached { fact, ..Reached::default() });
                    self.machine
                        .step(AgentEvent::EnsureEnded { group, instance, attempt, result }, now)
                }
                _ => Vec::new(),
            };
            all.extend(more);
            next += 1;
        }
        all
    }

    fn tick(&mut self, now: Instant) -> Vec<AgentAction> {
        self.step(AgentEvent::Tick, now)
    }

    /// The leader answers at `now` a Report that left at `sent`.
    fn answered(&mut self, sent: Instant, now: Instant) -> Vec<AgentAction> {
        let sequence = self.machine.report(sent).sequence;
        self.answer(sequence, now)
    }

    fn answer(&mut self, sequence: u64, now: Instant) -> Vec<AgentAction> {
        let timing = Profile::Wan.timing();
        let isolated = self.isolated.clone();
        let order = Order {
            group: group(),
            instance: database(),
            layer: Layer::Data,
            goal: Goal::Active,
            token: TOKEN,
            verify: false,
            terms: Terms::default(),
            commits: Some(Commits { wait: CommitWait::Configured, isolated }),
        };
        let part = GroupDirective {
            revision: TOKEN.revision.0,
            timing,
            lease: Some(timing.lease),
            arm: true,
            serves_on: false,
            orders: vec![order],
        };
        let directive = Directive {
            cluster_id: "test".into(),
            term: 1,
            answers: Some(sequence),
            incarnation: Incarnation(1),
            groups: BTreeMap::from([(group(), part)]),
            succeeds: None,
            arbiters: Vec::new(),
        };
        self.step(AgentEvent::Directive(directive), now)
    }

    /// The wait asked for in `actions` ended.
    fn waits(
        &mut self,
        actions: &[AgentAction],
        result: Result<Waiting, Failure>,
        now: Instant,
    ) -> Vec<AgentAction> {
        let attempt = actions.iter().find_map(|action| match action {
            AgentAction::SetCommitWait { attempt, .. } => Some(*attempt),
            _ => None,
        });
        let (attempt, instance) = (attempt.expect("a wait was asked for"), database());
        self.step(AgentEvent::CommitWaitSet { group: group(), instance, attempt, result }, now)
    }

    fn paused(&self) -> bool {
        self.deadman.holds()[&group()].paused
    }
}

fn wait(actions: &[AgentAction]) -> Option<CommitWait> {
    actions.iter().find_map(|action| match action {
        AgentAction::SetCommitWait { wait, .. } => Some(wait.clone()),
        _ => None,
    })
}

#[test]
fn two_missed_renewals_make_commits_wait_and_a_later_one_ends_it() {
    let mut agent = Agent::start(Some(standbys()));
    let early = agent.machine.report(START + ms(1000)).sequence;
    assert_eq!(wait(&agent.tick(START + ms(2079))), None);
    let stalls = agent.tick(START + CUT_OFF);
    assert_eq!(wait(&stalls), Some(CommitWait::Isolated(standbys())));
    agent.waits(&stalls, Ok(Waiting::InEffect), START + ms(2100));
    // What was sent before the stall says nothing of now, though it renews the lease.
    assert_eq!(wait(&agent.answer(early, START + ms(2200))), None);
    let lifted = agent.answered(START + ms(2300), START + ms(2400));
    assert_eq!(wait(&lifted), Some(CommitWait::Configured));
    assert!(!agent.paused());
}

#[test]
fn what_cannot_be_made_to_wait_is_frozen_until_a_renewal() {
    let mut agent = Agent::start(Some(standbys()));
    let stalls = agent.tick(START + CUT_OFF);
    agent.waits(&stalls, Err(Failure::Retry("no answer".into())), START + ms(2150));
    assert!(!agent.paused());
    let at = START + CUT_OFF + STALL_LIMIT;
    assert!(agent.machine.next_wake(START + ms(2200)).is_some_and(|wake| wake <= at));
    agent.tick(at);
    assert!(agent.paused(), "the server did not confirm it in time");
    agent.answered(START + ms(3000), START + ms(3100));
    assert!(!agent.paused());
}

#[test]
fn a_driver_that_does_not_answer_is_not_waited_for() {
    let mut agent = Agent::start(Some(standbys()));
    agent.tick(START + CUT_OFF);
    agent.tick(START + CUT_OFF + STALL_LIMIT);
    assert!(agent.paused());
    // Frozen or not, it is dead by its deadline, and what comes after it runs.
    let lease = Profile::Wan.timing().lease;
    agent.deadman.step(DeadmanEvent::Tick, START + lease);
    let hold = &agent.deadman.holds()[&group()];
    assert!(hold.frozen && !hold.paused);
}

#[test]
fn a_standby_that_has_all_is_looked_at_again() {
    let mut agent = Agent::start(Some(standbys()));
    let stalls = agent.tick(START + CUT_OFF);
    agent.waits(&stalls, Ok(Waiting::StandbyHasAll), START + ms(2150));
    let again = agent.tick(START + ms(2150) + STALL_AGAIN_AFTER);
    assert_eq!(wait(&again), Some(CommitWait::Isolated(standbys())));
    agent.tick(START + ms(2150) + STALL_AGAIN_AFTER + ms(199));
    assert!(!agent.paused());
    agent.tick(START + ms(2150) + STALL_AGAIN_AFTER + STALL_LIMIT);
    assert!(agent.paused(), "since the last good word");
}

#[test]
fn an_agent_that_begins_anew_lifts_nothing_without_a_renewal() {
    let mut agent = Agent::start(Some(standbys()));
    agent.tick(START + CUT_OFF);
    agent.tick(START + CUT_OFF + STALL_LIMIT);
    let deadman = agent.deadman.clone();
    let mut next = Agent::start(Some(standbys()));
    next.deadman = deadman.clone();
    // A process of its own, which knows only what deadman and disk tell.
    let instances = spec().groups.remove(&group()).unwrap();
    let instance = instances.instances[&database()].clone();
    let stored = Stored {
        agent: format!("agent-{EU}").into(),
        incarnation: Incarnation(1),
        boot_id: "boot".to_owned(),
        cluster_id: Some("test".into()),
        tokens: BTreeMap::from([((group(), database()), TOKEN)]),
        armed: BTreeMap::from([(group(), Arming { expiry_counts_as: EvidenceKind::LeaseExpired })]),
        leaves: None,
    };
    let timings = BTreeMap::from([(group(), Profile::Wan.timing())]);
    let now = START + ms(2500);
    let instances = BTreeMap::from([((group(), database()), instance)]);
    next.machine = AgentMachine::new(stored, instances, &timings, now);
    next.shows(now);
    next.tick(now + ms(100));
    assert!(next.paused(), "nobody renewed");
    next.answered(now + ms(200), now + ms(300));
    assert!(!next.paused());
}

#[test]
fn by_default_nothing_changes() {
    let mut agent = Agent::start(None);
    assert_eq!(wait(&agent.tick(START + ms(5900))), None);
    assert!(!agent.paused());
}
