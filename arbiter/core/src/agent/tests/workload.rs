//! What an agent does, unasked, with the workloads of a region that is cut off.

use super::super::*;
use crate::testing::{EU, group, ms, spec};
use crate::{DoneReport, GroupDirective, Layer, Profile};

const START: Instant = Instant(1_000_000_000_000);
const TOKEN: Token = Token::new(3, 20);

fn web() -> InstanceId {
    format!("web-{EU}").into()
}

fn database() -> InstanceId {
    format!("db-{EU}").into()
}

/// The agent of eu-west, with its group armed on disk and at its deadman, or not at all.
struct Agent {
    machine: AgentMachine,
    deadman: Deadman,
}

impl Agent {
    /// `obeyed`: the token that a former process stored for the workload.
    fn start(armed: bool, obeyed: Token, only: &[InstanceId]) -> Self {
        let agent: AgentId = format!("agent-{EU}").into();
        let policy = spec().groups.remove(&group()).unwrap();
        let instances = policy.beside(&agent).filter(|(id, _)| only.contains(id));
        let instances = instances.map(|(id, i)| ((group(), id.clone()), i.clone())).collect();
        let arming = Arming { expiry_counts_as: EvidenceKind::LeaseExpired };
        let stored = Stored {
            agent,
            incarnation: Incarnation(1),
            boot_id: "boot".to_owned(),
            cluster_id: Some("test".into()),
            tokens: BTreeMap::from([((group(), web()), obeyed)]),
            armed: armed.then(|| (group(), arming)).into_iter().collect(),
            leaves: None,
        };
        let timings = BTreeMap::from([(group(), Profile::Wan.timing())]);
        let machine = AgentMachine::new(stored, instances, &timings, START);
        let mut agent = Self { machine, deadman: Deadman::new() };
        if armed {
            agent.deadman.step(DeadmanEvent::Arm(group()), START);
        }
        agent.shows(START);
        agent
    }

    fn shows(&mut self, now: Instant) -> Vec<AgentAction> {
        let holds = self.deadman.holds().clone();
        let counts_as = BTreeMap::from([(group(), EvidenceKind::LeaseExpired)]);
        self.machine.step(AgentEvent::DeadmanShows { holds, counts_as }, now)
    }

    /// Time passes; the deadman is told what it must be.
    fn step(&mut self, event: AgentEvent, now: Instant) -> Vec<AgentAction> {
        let mut all = self.machine.step(event, now);
        let asked: Vec<DeadmanEvent> = all
            .iter()
            .filter_map(|action| match action {
                AgentAction::Deadman(event) => Some(event.clone()),
                _ => None,
            })
            .collect();
        for event in asked {
            self.deadman.step(event, now);
            all.extend(self.shows(now));
        }
        all
    }

    /// The leader answers a Report that leaves now.
    fn answered(&mut self, goal: Option<Goal>, leased: bool, now: Instant) -> Vec<AgentAction> {
        let sequence = self.machine.report(now).sequence;
        self.told(Some(sequence), goal, leased, now)
    }

    fn told(
        &mut self,
        answers: Option<u64>,
        goal: Option<Goal>,
        leased: bool,
        now: Instant,
    ) -> Vec<AgentAction> {
        let order = goal.map(|goal| order(goal, TOKEN));
        let told = directive(answers, order, leased, self.machine.is_armed(&group()));
        self.step(AgentEvent::Directive(told), now)
    }

    /// What is asked of the workload's driver is done.
    fn does(&mut self, actions: &[AgentAction], now: Instant) -> Vec<AgentAction> {
        let mut after = Vec::new();
        for action in actions {
            let event = match action.clone() {
                AgentAction::StoreToken { group, instance, token } => {
                    AgentEvent::TokenStored { group, instance, token, ok: true }
                }
                AgentAction::Ensure { group, instance, attempt, .. } if instance == web() => {
                    let result = Ok(Reached::default());
                    AgentEvent::EnsureEnded { group, instance, attempt, result }
                }
                _ => continue,
            };
            let next = self.step(event, now);
            after.extend(self.does(&next, now));
            after.extend(next);
        }
        after
    }

    /// It serves at [`TOKEN`], and was last answered at `now`.
    fn serve(&mut self, now: Instant) {
        let told = self.answered(Some(Goal::Active), true, now);
        let done = self.does(&told, now);
        assert!(asked(&told, &web()).chain(asked(&done, &web())).any(|goal| goal == Goal::Active));
    }

    fn done(&mut self, now: Instant) -> Option<DoneReport> {
        self.machine.report(now).groups[&group()].instances[&web()].done.clone()
    }
}

fn asked<'a>(
    actions: &'a [AgentAction],
    wanted: &'a InstanceId,
) -> impl Iterator<Item = Goal> + 'a {
    actions.iter().filter_map(move |action| match action {
        AgentAction::Ensure { instance, goal, .. } if instance == wanted => Some(*goal),
        _ => None,
    })
}

fn goals(actions: &[AgentAction]) -> Vec<Goal> {
    asked(actions, &web()).collect()
}

#[test]
fn a_workload_is_stopped_when_nobody_is_heard_for_a_lease_and_comes_back_by_an_answer() {
    let timing = Profile::Wan.timing();
    let mut agent = Agent::start(true, Token::default(), &[web()]);
    let old = agent.machine.report(START).sequence;
    agent.serve(START);
    let stops = START + timing.lease.checked_sub(timing.fence).unwrap();
    let before = agent.step(AgentEvent::Tick, Instant(stops.0 - 1));
    assert_eq!(goals(&before), []);
    assert!(agent.machine.next_wake(Instant(stops.0 - 1)).is_some_and(|at| at <= stops));

    let lapsed = agent.step(AgentEvent::Tick, stops);
    assert_eq!(goals(&lapsed), [Goal::Fenced], "{lapsed:?}");
    let after = agent.does(&lapsed, stops);
    assert_eq!(goals(&after), [], "the old order to serve is not obeyed again");
    assert_eq!(agent.done(stops), None, "nobody ordered it");

    // The deadman shows again what it holds: no lease to hear somebody begins anew.
    agent.shows(stops + ms(5));
    // A leader that nobody confirms, and an answer to what was sent a lease ago.
    let pushed = agent.told(None, Some(Goal::Active), false, stops + ms(10));
    let late = agent.told(Some(old), Some(Goal::Active), true, stops + ms(20));
    assert_eq!((goals(&pushed), goals(&late)), (vec![], vec![]));
    let later = agent.step(AgentEvent::Tick, stops + ms(60_000));
    assert_eq!(goals(&later), []);

    let back = agent.answered(Some(Goal::Active), true, stops + ms(61_000));
    assert_eq!(goals(&back), [Goal::Active]);
    agent.does(&back, stops + ms(61_000));
    assert_eq!(agent.done(stops + ms(61_000)).map(|done| done.goal), Some(Goal::Active));
}

/// What it says of the region's writes would be over before it came.
#[test]
fn an_answer_that_comes_when_its_workloads_must_stop_is_none() {
    for (after, stops) in [(ms(5999), vec![]), (ms(6000), vec![Goal::Fenced])] {
        let mut agent = Agent::start(true, Token::default(), &[web()]);
        agent.serve(START);
        let sequence = agent.machine.report(START).sequence;
        let told = agent.told(Some(sequence), Some(Goal::Active), true, START + after);
        assert_eq!(goals(&told), stops);
    }
}

#[test]
fn a_stop_that_has_not_ended_is_given_up_for_whatever_the_answer_orders() {
    for goal in [Goal::Active, Goal::Standby, Goal::Fenced] {
        let mut agent = Agent::start(true, Token::default(), &[web()]);
        agent.serve(START);
        let lapsed = agent.step(AgentEvent::Tick, START + ms(7000));
        assert_eq!(goals(&lapsed), [Goal::Fenced]);
        // The token is the same only for the goal that stands; State never changes a goal without.
        let token = if goal == Goal::Active { 20 } else { 21 };
        let sequence = agent.machine.report(START + ms(7100)).sequence;
        let order = order(goal, Token::new(3, token));
        let told = directive(Some(sequence), Some(order), goal == Goal::Active, true);
        let told = agent.step(AgentEvent::Directive(told), START + ms(7100));
        let stored = agent.does(&told, START + ms(7100));
        let all: Vec<Goal> = goals(&told).into_iter().chain(goals(&stored)).collect();
        assert_eq!(all, [goal], "{told:?}");
    }
}

fn order(goal: Goal, token: Token) -> Order {
    Order {
        group: group(),
        instance: web(),
        layer: Layer::Workload,
        goal,
        token,
        verify: false,
        terms: Terms::default(),
        commits: None,
    }
}

fn directive(answers: Option<u64>, order: Option<Order>, leased: bool, arm: bool) -> Directive {
    let timing = Profile::Wan.timing();
    let part = GroupDirective {
        revision: order.as_ref().map_or(TOKEN, |order| order.token).revision.0,
        timing,
        lease: leased.then_some(timing.lease),
        arm,
        serves_on: false,
        orders: order.into_iter().collect(),
    };
    Directive {
        cluster_id: "test".into(),
        term: 1,
        answers,
        incarnation: Incarnation(1),
        groups: BTreeMap::from([(group(), part)]),
        succeeds: None,
        arbiters: Vec::new(),
    }
}

/// It neither needs a lease nor delays the end of one: the deadman is cleared while it stops.
#[test]
fn a_workload_that_stops_keeps_no_deadline_running() {
    let mut agent = Agent::start(true, Token::default(), &[web()]);
    agent.serve(START);
    let told = agent.answered(Some(Goal::Active), false, START + ms(500));
    agent.does(&told, START + ms(500));
    agent.step(AgentEvent::Tick, START + ms(600));
    assert_eq!(agent.deadman.holds()[&group()].deadline, None);
    // Answered last at 0.5 s, and cut off since: nothing else wakes it so late.
    agent.machine.report(START + ms(6000));
    assert_eq!(agent.machine.next_wake(START + ms(6100)), Some(START + ms(6500)));
    let lapsed = agent.step(AgentEvent::Tick, START + ms(6500));
    assert_eq!(goals(&lapsed), [Goal::Fenced]);
    agent.step(AgentEvent::Tick, START + ms(20_000));
    assert_eq!(agent.deadman.holds()[&group()].deadline, None);
    assert!(!agent.deadman.holds()[&group()].frozen);
}

/// The database beside it is fenced by its lease, neither earlier nor later than without it.
#[test]
fn the_fence_of_the_data_waits_for_no_workload() {
    let mut agent = Agent::start(true, Token::default(), &[web(), database()]);
    // Armed with no deadline: the fence of the boot is done, whatever the workload does.
    agent.serve(START);
    let lapsed = agent.step(AgentEvent::Tick, START + ms(6500));
    assert_eq!(goals(&lapsed), [Goal::Fenced]);
    assert!(agent.machine.lease(&group()).unwrap().is_lapsed());
    let hold = &agent.deadman.holds()[&group()];
    assert_eq!(hold.deadline, Some(START + Profile::Wan.timing().lease));
}

#[test]
fn nothing_is_stopped_where_nothing_is_enforced_or_nothing_serves() {
    let mut unarmed = Agent::start(false, Token::default(), &[web()]);
    unarmed.serve(START);
    let later = unarmed.step(AgentEvent::Tick, START + ms(60_000));
    assert_eq!(goals(&later), []);

    let mut standby = Agent::start(true, Token::default(), &[web()]);
    let told = standby.answered(Some(Goal::Standby), false, START);
    standby.does(&told, START);
    let later = standby.step(AgentEvent::Tick, START + ms(60_000));
    assert_eq!(goals(&later), []);

    // Mode `observe`: nothing is ordered, so nothing would be told to come back.
    let mut observed = Agent::start(true, TOKEN, &[web()]);
    observed.answered(None, true, START);
    let later = observed.step(AgentEvent::Tick, START + ms(60_000));
    assert_eq!(goals(&later), []);
}

/// The agent was restarted inside a region that is cut off, and knows no order any more.
#[test]
fn a_new_process_that_hears_nobody_stops_what_a_former_one_was_ordered_about() {
    for (obeyed, stops) in [(TOKEN, vec![Goal::Fenced]), (Token::default(), vec![])] {
        let mut agent = Agent::start(true, obeyed, &[web()]);
        let early = agent.step(AgentEvent::Tick, START + ms(5000));
        assert_eq!(goals(&early), []);
        let late = agent.step(AgentEvent::Tick, START + ms(6000));
        assert_eq!(goals(&late), stops, "{obeyed}");
    }
    let mut heard = Agent::start(true, TOKEN, &[web()]);
    let told = heard.answered(Some(Goal::Active), true, START + ms(5000));
    heard.does(&told, START + ms(5000));
    let later = heard.step(AgentEvent::Tick, START + ms(6000));
    assert_eq!(goals(&later), []);
}
