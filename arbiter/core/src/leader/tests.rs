//! The leader's critical section, sentence by sentence. Knows a fake cluster, and plays the caller.

mod fence;
mod subject;

use super::*;
use crate::testing::{EU, US, World, group, ms};
use crate::{Command, GroupId, Mode};

/// A seat over a fake cluster, whose own leader says nothing meanwhile.
struct Bench {
    world: World,
    seat: Seat,
}

impl Bench {
    fn new() -> Self {
        let world = World::in_mode(Mode::Automatic);
        let seat = Seat::elected(world.at.term, world.now, None);
        Self { world, seat }
    }

    fn step(&mut self, event: SeatEvent) -> Vec<SeatAction> {
        let applied = Applied { state: &self.world.state, index: self.world.at.index };
        self.seat.step(applied, event, self.world.now)
    }

    fn report(&mut self, stream: u64, region: &str) -> Vec<SeatAction> {
        let report = self.world.report_of(&agent(region)).expect("it is alive");
        self.step(SeatEvent::Report { stream: StreamId(stream), report })
    }

    fn round_ends(&mut self, number: u64) -> Vec<SeatAction> {
        let (term, index) = (self.world.at.term, self.world.at.index);
        self.ends_as(number, Some(Confirmed { term, index }))
    }

    fn ends_as(&mut self, number: u64, confirmed: Option<Confirmed>) -> Vec<SeatAction> {
        let round = RoundId { term: self.world.at.term, number };
        self.step(SeatEvent::RoundEnded { round, confirmed })
    }

    fn pass(&mut self, millis: u64) {
        self.world.now = self.world.now + ms(millis);
    }

    /// A new life of the agent in `region` from now on.
    fn reborn(&mut self, region: &str, life: u64) {
        self.world.agent(region).life = Incarnation(life);
    }

    /// Turn until a life is proposed to be bound; its subject.
    fn bind_proposed(&mut self) -> Subject {
        for _ in 0..200 {
            self.pass(100);
            for (stream, region) in [(9, US), (2, EU)] {
                self.report(stream, region);
                self.round_ends(self.seat.rounds);
            }
            let bind = self.step(SeatEvent::Turn).into_iter().find_map(|action| match action {
                SeatAction::Propose { subject: subject @ Subject::Life(..), .. } => Some(subject),
                _ => None,
            });
            if let Some(bind) = bind {
                return bind;
            }
        }
        panic!("the new life is never bound");
    }
}

fn agent(region: &str) -> AgentId {
    AgentId(format!("agent-{region}"))
}

fn began(number: u64) -> SeatAction {
    SeatAction::BeginRound { round: RoundId { term: 1, number } }
}

/// To whom something is sent, on which stream, and whether it renews a lease.
fn sent(actions: &[SeatAction]) -> Vec<(u64, &str, bool)> {
    let sends = actions.iter().filter_map(|action| match action {
        SeatAction::Send { stream, agent, directive } => {
            let renews = directive.groups.values().any(|part| part.lease.is_some());
            Some((stream.0, agent.as_str(), renews))
        }
        _ => None,
    });
    sends.collect()
}

fn proposed(actions: &[SeatAction]) -> Vec<&Subject> {
    let proposals = actions.iter().filter_map(|action| match action {
        SeatAction::Propose { subject, .. } => Some(subject),
        _ => None,
    });
    proposals.collect()
}

#[test]
fn what_arrives_while_a_round_runs_waits_for_the_next() {
    let mut bench = Bench::new();
    assert_eq!(bench.report(1, EU), [began(1)]);
    assert_eq!(bench.report(2, US), []);
    let actions = bench.round_ends(1);
    assert_eq!(sent(&actions), [(1, "agent-eu-west", true)]);
    assert_eq!(actions.last(), Some(&began(2)));
    assert_eq!(sent(&bench.round_ends(2)), [(2, "agent-us-east", false)]);
    assert_eq!(bench.round_ends(2), [], "it ended already");
}

#[test]
fn an_answer_is_in_the_book_before_it_leaves() {
    let mut bench = Bench::new();
    bench.report(1, EU);
    bench.pass(700);
    bench.round_ends(1);
    let life = bench.world.agent(EU).life;
    bench.pass(300);
    let book = &bench.seat.view.leases;
    assert_eq!(book.silent_for(&group(), &agent(EU), life, bench.world.now), ms(300));
}

#[test]
fn a_round_without_quorum_or_of_another_term_answers_nothing() {
    let mut bench = Bench::new();
    let (term, index) = (bench.world.at.term, bench.world.at.index);
    let none = [
        None,
        Some(Confirmed { term: term + 1, index }),
        Some(Confirmed { term, index: index + 1 }),
    ];
    for (confirmed, number) in none.into_iter().zip(1..) {
        bench.pass(100);
        assert_eq!(bench.report(1, EU), [began(number)]);
        assert_eq!(bench.ends_as(number, confirmed), []);
        assert_eq!(bench.report(1, EU), [], "it rests after a failure");
        assert_eq!(sent(&bench.ends_as(number, None)), []);
        bench.seat.pending.clear();
    }
    bench.report(1, EU);
    bench.pass(100);
    assert!(bench.step(SeatEvent::Turn).contains(&began(4)));
}

#[test]
fn a_report_whose_round_failed_waits_for_the_next_round() {
    let mut bench = Bench::new();
    bench.report(1, EU);
    bench.report(2, US);
    assert_eq!(bench.ends_as(1, None), []);
    assert_eq!(bench.step(SeatEvent::Turn).iter().filter(|a| **a == began(2)).count(), 0);
    bench.pass(100);
    assert!(bench.step(SeatEvent::Turn).contains(&began(2)));
    // Its agent dialled anew meanwhile: the older stream's Report waits for nothing any more.
    bench.report(3, US);
    assert_eq!(bench.ends_as(2, None), []);
    bench.pass(100);
    assert!(bench.step(SeatEvent::Turn).contains(&began(3)));
    let answers = bench.round_ends(3);
    assert_eq!(sent(&answers), [(1, "agent-eu-west", true), (3, "agent-us-east", false)]);
}

#[test]
fn a_round_of_an_earlier_term_is_not_this_ones() {
    let mut bench = Bench::new();
    bench.report(1, EU);
    bench.world.elect();
    bench.seat = Seat::elected(2, bench.world.now, None);
    bench.report(1, EU);
    let (round, index) = (RoundId { term: 1, number: 1 }, bench.world.at.index);
    let confirmed = Some(Confirmed { term: 2, index });
    assert_eq!(bench.step(SeatEvent::RoundEnded { round, confirmed }), []);
    assert_eq!(sent(&bench.round_ends(1)), [(1, "agent-eu-west", true)]);
}

#[test]
fn a_leader_elected_again_forgets_its_answers() {
    let mut bench = Bench::new();
    bench.report(1, EU);
    bench.round_ends(1);
    bench.pass(60_000);
    let former = std::mem::replace(&mut bench.seat, Seat::elected(2, bench.world.now, None));
    bench.seat = Seat::elected(3, bench.world.now, Some(former));
    let life = bench.world.agent(EU).life;
    let book = &bench.seat.view.leases;
    assert_eq!(book.silent_for(&group(), &agent(EU), life, bench.world.now), ms(0));
    assert!(bench.seat.sessions.is_empty());
}

#[test]
fn only_the_stream_that_asked_is_answered() {
    let mut bench = Bench::new();
    bench.report(1, EU);
    let replaced = SeatAction::End { stream: StreamId(1), why: StreamEnd::Replaced };
    assert_eq!(bench.report(2, EU), [replaced]);
    let actions = bench.round_ends(1);
    assert_eq!(actions, [began(2)], "the older stream's Report has no answer");
    assert_eq!(sent(&bench.round_ends(2)), [(2, "agent-eu-west", true)]);
    bench.step(SeatEvent::Closed { stream: StreamId(1), agent: agent(EU) });
    assert!(bench.seat.view.reports[&agent(EU)].connected, "an older stream's end is no news");
    bench.report(2, EU);
    bench.step(SeatEvent::Closed { stream: StreamId(2), agent: agent(EU) });
    assert!(!bench.seat.view.reports[&agent(EU)].connected);
    assert_eq!(bench.round_ends(3), []);
}

#[test]
fn another_life_waits_until_the_bound_one_is_silent() {
    let mut bench = Bench::new();
    bench.report(1, EU);
    bench.round_ends(1);
    bench.reborn(EU, 999);
    let refused = bench.report(2, EU);
    let code = match refused.as_slice() {
        [SeatAction::End { stream: StreamId(2), why: StreamEnd::Wrong { code, .. } }] => *code,
        other => panic!("{other:?}"),
    };
    assert_eq!(code, "identity-in-use");
    assert_eq!(bench.seat.view.reports[&agent(EU)].report.incarnation, Incarnation(100));
    bench.pass(3000);
    let replaced = SeatAction::End { stream: StreamId(1), why: StreamEnd::Replaced };
    assert_eq!(bench.report(2, EU), [replaced, began(2)]);
}

#[test]
fn a_life_that_is_called_dead_is_not_answered_meanwhile() {
    let mut bench = Bench::new();
    bench.reborn(EU, 999);
    let bind = bench.bind_proposed();
    let answered = |bench: &mut Bench, stream| {
        bench.report(stream, EU);
        let actions = bench.round_ends(bench.seat.rounds);
        !sent(&actions).is_empty()
    };
    bench.reborn(EU, 100);
    assert!(!answered(&mut bench, 3), "its leases are proposed to be dead");
    let ended = |ended| SeatEvent::ProposalEnded { term: 1, subject: bind.clone(), ended };
    bench.step(ended(Ended::Unknown));
    assert!(!answered(&mut bench, 3), "it may be applied yet");
    bench.step(ended(Ended::NotProposed));
    assert!(!answered(&mut bench, 3), "one before may be applied yet");
    bench.step(SeatEvent::ProposalEnded { term: 0, subject: bind.clone(), ended: Ended::Done });
    assert!(!answered(&mut bench, 3), "that was another term's");
    bench.step(ended(Ended::Refused));
    assert!(answered(&mut bench, 3));
}

#[test]
fn a_life_that_speaks_again_is_barred_only_until_it_is_known_what_became_of_the_entry() {
    let mut bench = Bench::new();
    bench.reborn(EU, 999);
    let bind = bench.bind_proposed();
    let life = |life| Subject::Life(agent(EU), Incarnation(life), "boot".to_owned());
    assert_eq!(bind, life(999));
    bench.reborn(EU, 100);
    bench.report(3, EU);
    assert_eq!(proposed(&bench.step(SeatEvent::Turn)), Vec::<&Subject>::new(), "it may yet end");
    bench.step(SeatEvent::ProposalEnded { term: 1, subject: bind, ended: Ended::Unknown });
    bench.pass(200);
    bench.report(3, EU);
    // What is barred goes in once more: it is bound, so nothing changes.
    let actions = bench.step(SeatEvent::Turn);
    assert_eq!(proposed(&actions), [&life(100)]);
    let settling = actions.into_iter().find_map(|action| match action {
        SeatAction::Propose { proposal, .. } => Some(proposal),
        _ => None,
    });
    let refused = bench.world.propose(&settling.unwrap());
    assert!(matches!(refused, Err(crate::Rejected::Stale(_))), "{refused:?}");
    let subject = life(100);
    bench.step(SeatEvent::ProposalEnded { term: 1, subject, ended: Ended::Stale });
    bench.report(3, EU);
    let actions = bench.round_ends(bench.seat.rounds);
    assert_eq!(sent(&actions), [(3, "agent-eu-west", true)]);
    bench.pass(200);
    assert_eq!(proposed(&bench.step(SeatEvent::Turn)), Vec::<&Subject>::new());
}

#[test]
fn what_is_left_of_an_older_stream_takes_nothing_over() {
    let mut bench = Bench::new();
    bench.report(2, EU);
    bench.round_ends(1);
    let replaced = SeatAction::End { stream: StreamId(1), why: StreamEnd::Replaced };
    assert_eq!(bench.report(1, EU), [replaced]);
    bench.report(2, EU);
    assert_eq!(sent(&bench.round_ends(2)), [(2, "agent-eu-west", true)]);
}

#[test]
fn what_an_agent_makes_up_is_kept_no_longer_than_it_says_it() {
    let mut bench = Bench::new();
    for round in 0..100 {
        let mut report = bench.world.report_of(&agent(EU)).expect("it is alive");
        let part = report.groups[&group()].clone();
        let lapsed = crate::GroupReport { lapsed: true, ..part };
        report.groups.insert(format!("made-up-{round}").as_str().into(), lapsed);
        bench.step(SeatEvent::Report { stream: StreamId(1), report });
    }
    assert_eq!(bench.seat.view.lapsed_since.len(), 1);
}

#[test]
fn who_does_not_read_loses_its_stream() {
    let mut bench = Bench::new();
    bench.report(1, EU);
    bench.round_ends(1);
    let not_read = |stream| SeatEvent::NotRead { stream: StreamId(stream), agent: agent(EU) };
    assert_eq!(bench.step(not_read(7)), []);
    let end = SeatAction::End { stream: StreamId(1), why: StreamEnd::NotRead };
    assert_eq!(bench.step(not_read(1)), [end]);
    assert!(!bench.seat.view.reports[&agent(EU)].connected);
}

/// A bench whose standby is behind by more than the RPO at the next Report, in one of two groups
/// that the agent serves.
fn crossing() -> Bench {
    let mut bench = Bench::new();
    let (state, other) = (&mut bench.world.state, GroupId::from("other"));
    let mut spec = state.spec.groups[&group()].clone();
    spec.policy.rpo = ms(3_600_000);
    state.spec.groups.insert(other.clone(), spec);
    let held = state.groups[&group()].clone();
    state.groups.insert(other.clone(), held);
    for binding in state.bindings.values_mut() {
        let arming = binding.arming[&group()];
        binding.arming.insert(other.clone(), arming);
    }
    bench.both(2, US);
    bench.round_ends(1);
    bench.both(1, EU);
    bench.round_ends(2);
    bench.world.link_cut = true;
    bench.pass(61_000);
    bench.both(2, US);
    bench.round_ends(3);
    bench
}

impl Bench {
    /// As [`Bench::report`], for both groups.
    fn both(&mut self, stream: u64, region: &str) -> Vec<SeatAction> {
        let mut report = self.world.report_of(&agent(region)).expect("it is alive");
        let part = report.groups[&group()].clone();
        report.groups.insert("other".into(), part);
        self.step(SeatEvent::Report { stream: StreamId(stream), report })
    }
}

/// The groups that each Directive speaks of.
fn told(actions: &[SeatAction]) -> Vec<Vec<&str>> {
    let sends = actions.iter().filter_map(|action| match action {
        SeatAction::Send { directive, .. } => {
            let renewed = directive.groups.iter().filter(|(_, part)| part.lease.is_some());
            assert_eq!(renewed.count(), directive.groups.len(), "{directive:?}");
            Some(directive.groups.keys().map(GroupId::as_str).collect())
        }
        _ => None,
    });
    sends.collect()
}

fn marked(bench: &mut Bench, actions: &[SeatAction]) {
    let mark = actions.iter().find_map(|action| match action {
        SeatAction::Propose { proposal, .. } => Some(proposal),
        _ => None,
    });
    bench.world.propose(mark.expect("a mark")).unwrap();
}

#[test]
fn a_crossing_is_committed_before_its_group_is_answered_and_holds_up_no_other() {
    let mut bench = crossing();
    let over = Subject::Lag(group(), crate::LagMark::Over);
    let actions = bench.both(1, EU);
    assert_eq!(proposed(&actions), [&over]);
    assert_eq!(actions.last(), Some(&began(4)), "nobody waits for the mark");
    assert_eq!(told(&bench.round_ends(4)), [["other"]]);
    bench.pass(50);
    assert!(!bench.step(SeatEvent::Turn).contains(&began(5)), "the mark is not in State");
    let life = bench.world.agent(EU).life;
    let silent = |bench: &Bench, group: &str| {
        bench.seat.view.leases.silent_for(&group.into(), &agent(EU), life, bench.world.now)
    };
    assert_eq!((silent(&bench, "default"), silent(&bench, "other")), (ms(61_050), ms(50)));
    marked(&mut bench, &actions);
    assert!(bench.step(SeatEvent::Turn).contains(&began(5)), "the same Report waits again");
    assert_eq!(told(&bench.round_ends(5)), [["default", "other"]]);
    assert_eq!(silent(&bench, "default"), ms(0));
    bench.pass(50);
    assert!(!bench.step(SeatEvent::Turn).contains(&began(6)), "it is answered");
}

#[test]
fn a_later_report_takes_the_place_of_one_that_waits_for_its_mark() {
    let mut bench = crossing();
    let actions = bench.both(1, EU);
    bench.round_ends(4);
    bench.both(1, EU);
    assert_eq!(told(&bench.round_ends(5)), [["other"]]);
    marked(&mut bench, &actions);
    bench.both(1, EU);
    bench.step(SeatEvent::Turn);
    assert_eq!(told(&bench.round_ends(6)), [["default", "other"]]);
    assert!(bench.seat.unmarked.is_empty() && bench.seat.pending.is_empty());
}

#[test]
fn a_decision_is_on_its_way_once() {
    let mut bench = Bench::new();
    bench.report(1, EU);
    bench.report(2, US);
    bench.seat.begin(Applied { state: &bench.world.state, index: 0 }, bench.world.now);
    let mut disarmed = bench.world.report_of(&agent(EU)).expect("it is alive");
    disarmed.groups.values_mut().for_each(|part| part.arming = None);
    bench.step(SeatEvent::Report { stream: StreamId(1), report: disarmed });
    let unarmed = Subject::Arming(group(), agent(EU), bench.world.agent(EU).life, None);
    assert_eq!(proposed(&bench.step(SeatEvent::Turn)), [&unarmed]);
    bench.pass(10);
    assert_eq!(proposed(&bench.step(SeatEvent::Turn)), Vec::<&Subject>::new());
    let subject = unarmed.clone();
    bench.step(SeatEvent::ProposalEnded { term: 1, subject, ended: Ended::Stale });
    assert_eq!(proposed(&bench.step(SeatEvent::Turn)), Vec::<&Subject>::new(), "it rests");
    bench.pass(20);
    assert_eq!(proposed(&bench.step(SeatEvent::Turn)), [&unarmed]);
}

#[test]
fn news_goes_to_whom_was_answered() {
    let mut bench = Bench::new();
    bench.report(1, EU);
    bench.round_ends(1);
    bench.report(2, US);
    bench.step(SeatEvent::Turn);
    let expected_epoch = bench.world.group().epoch();
    let mode = Mode::Manual;
    bench.world.operator(Command::SetMode { group: group(), mode, expected_epoch }).unwrap();
    assert_eq!(sent(&bench.step(SeatEvent::Turn)), [], "a mode is no news to an agent");
    let request = bench.world.request(crate::PlanKind::Switchover);
    bench.world.open(&request).unwrap();
    bench.world.until(crate::StepId::FenceSource);
    assert_eq!(sent(&bench.step(SeatEvent::Turn)), [(1, "agent-eu-west", false)]);
    assert_eq!(sent(&bench.step(SeatEvent::Turn)), []);
}

#[test]
fn a_subject_forgets_what_differs_each_time() {
    let wait = |seconds: u64| {
        let elapsed = ms(seconds * 1000);
        Command::EndHoldDown { group: group(), waited: crate::Waited { term: 1, elapsed } }
    };
    assert_eq!(Subject::of(&wait(1)), Subject::of(&wait(2)));
    let mark = |lag| Subject::of(&Command::MarkLag { group: group(), lag });
    assert_ne!(mark(crate::LagMark::Over), mark(crate::LagMark::Within));
}
