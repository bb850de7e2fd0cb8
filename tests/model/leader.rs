//! The arbiters of the model: the real seat of a leader over a State that is one linearizable
//! register. One that was deposed keeps its seat and what it had applied, and does not know.

use super::cluster::{REGIONS, group};
use super::shared::Shared;
use super::world::{Broken, Seen, World, keep_newest};
use arbiter_core::leader::{
    Applied, Confirmed, Ended, RoundId, Seat, SeatAction, SeatEvent, StreamId, Subject,
};
use arbiter_core::{
    By, Command, Instant, LogId, PlanEnd, Proposal, Rejected, Report, State, StepId, StepState,
    WallMillis, apply,
};
use std::time::Duration;

/// Commands that follow one another without anybody's choice, at most.
const SETTLED_MAX: usize = 64;
/// What the clocks of arbiters show in the beginning.
const BOOTED: Instant = Instant::from_millis(1_000_000);

/// What is committed.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct Log {
    /// All of it.
    pub state: Shared<State>,
    /// The last index.
    pub index: u64,
    /// The latest term.
    pub term: u64,
    /// Its leader.
    pub leader: usize,
}

/// A proposal on its way into the log.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct Flight {
    /// The term in which it may enter.
    pub term: u64,
    /// What it is about, and itself.
    pub what: Shared<(Subject, Proposal)>,
}

/// An arbiter.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct Arbiter {
    /// Its seat, once it led.
    pub seat: Option<Shared<Seat>>,
    /// What it has applied, once it was deposed.
    pub stale: Option<(Shared<State>, u64)>,
    /// A quorum round that runs, and whether it began while this arbiter led.
    pub round: Option<(u64, u64, bool)>,
    /// Proposals on their way.
    pub flight: Vec<Flight>,
}

impl Arbiter {
    /// One that never led.
    pub fn new() -> Self {
        Self { seat: None, stale: None, round: None, flight: Vec::new() }
    }
}

/// What an arbiter's clock shows.
pub fn arbiter_clock(now: u64) -> Instant {
    BOOTED + Duration::from_millis(now)
}

/// Commands whose moment matters: every other is committed as soon as it is proposed.
fn is_choice(command: &Command) -> bool {
    match command {
        Command::EndStep { step, .. } => *step == StepId::AdvanceEpoch,
        Command::RecordEvidence { .. }
        | Command::AbortPlan { .. }
        | Command::Bind { .. }
        | Command::RecordArmed { .. }
        | Command::RecordUnarmed { .. } => true,
        _ => false,
    }
}

impl World {
    /// One event for the seat of an arbiter, if it has one.
    pub fn seat_step(&mut self, at: usize, event: SeatEvent) {
        let arbiter = &self.arbiters[at];
        let Some(seat) = &arbiter.seat else { return };
        let mut seat = (**seat).clone();
        let (state, index) =
            arbiter.stale.clone().unwrap_or_else(|| (self.log.state.clone(), self.log.index));
        let applied = Applied { state: &state, index };
        let actions = seat.step(applied, event, arbiter_clock(self.now));
        seat.view.renewal_gaps.clear();
        self.arbiters[at].seat = Some(Shared::new(seat));
        for action in actions {
            self.seat_asks(at, action);
        }
    }

    fn seat_asks(&mut self, at: usize, action: SeatAction) {
        match action {
            SeatAction::Propose { term, subject, proposal } => {
                let what = Shared::new((subject, *proposal));
                self.arbiters[at].flight.push(Flight { term, what });
            }
            SeatAction::BeginRound { round } => {
                let leads = self.log.leader == at;
                self.arbiters[at].round = Some((round.term, round.number, leads));
            }
            SeatAction::Send { agent, directive, .. } => {
                let host = REGIONS.iter().position(|r| agent.0.ends_with(r));
                let to = host.expect("an agent a region");
                keep_newest(&mut self.down[to], Shared::new(directive));
            }
            SeatAction::Cut { .. } | SeatAction::End { .. } => {}
        }
    }

    /// A Report reaches an arbiter.
    pub fn hear(&mut self, at: usize, host: usize, report: Report) {
        let stream = StreamId(2 * self.hosts[host].process + host as u64);
        self.seat_step(at, SeatEvent::Report { stream, report });
        self.turn(at);
        if !self.rules.rounds && self.log.leader == at {
            self.round_ends(at);
        }
    }

    /// The quorum round of an arbiter ends well.
    pub fn round_ends(&mut self, at: usize) {
        let Some((term, number, _)) = self.arbiters[at].round.take() else { return };
        let round = RoundId { term, number };
        let stale = self.arbiters[at].stale.as_ref().map(|(_, index)| *index);
        let index = stale.unwrap_or(self.log.index);
        let confirmed = Some(Confirmed { term, index });
        self.seat_step(at, SeatEvent::RoundEnded { round, confirmed });
        self.turn(at);
    }

    /// The leader looks at what has changed.
    pub fn turn(&mut self, at: usize) {
        if self.log.leader == at {
            self.seat_step(at, SeatEvent::Turn);
            self.settle();
        }
    }

    /// Commit what nobody chooses the moment of.
    fn settle(&mut self) {
        for _ in 0..SETTLED_MAX {
            let leader = self.log.leader;
            let flight = &self.arbiters[leader].flight;
            let next = flight.iter().position(|one| !is_choice(&one.what.1.command));
            let Some(next) = next else { return };
            self.enters(leader, next);
        }
    }

    /// A proposal of the leader enters the log.
    pub fn commit(&mut self, at: usize, index: usize) {
        self.enters(at, index);
        self.settle();
    }

    fn enters(&mut self, at: usize, index: usize) {
        let Flight { term, what } = self.arbiters[at].flight.remove(index);
        let (subject, proposal) = (*what).clone();
        let ended = match self.append(&proposal) {
            Ok(()) => Ended::Done,
            Err(Rejected::Stale(_)) => Ended::Stale,
            Err(_) => Ended::Refused,
        };
        self.seat_step(at, SeatEvent::ProposalEnded { term, subject, ended });
        self.seat_step(at, SeatEvent::Turn);
    }

    /// An operator's command.
    pub fn operate(&mut self, command: Command) -> bool {
        let by = By::Operator("ada".to_owned());
        let reason = "a model".to_owned();
        let wall = WallMillis(0);
        let done = self.append(&Proposal { request: None, by, reason, wall, command }).is_ok();
        self.turn(self.log.leader);
        done
    }

    /// Apply to the register; what is refused leaves no trace.
    pub fn append(&mut self, proposal: &Proposal) -> Result<(), Rejected> {
        let at = LogId { term: self.log.term, index: self.log.index + 1 };
        let settled = apply(&self.log.state, proposal, at);
        if let Err(Rejected::Breach { invariant, .. }) = &settled {
            self.breaks(Broken::named(invariant));
        }
        let (mut state, _) = settled?;
        forget_words(&mut state);
        self.watch_entry(&state, &proposal.command);
        self.log.index += 1;
        self.log.state = share(state);
        Ok(())
    }

    /// Another arbiter, or the same again, is elected.
    pub fn elect(&mut self, at: usize) {
        let before = self.log.leader;
        if before != at {
            let applied = (self.log.state.clone(), self.log.index);
            self.arbiters[before].stale = Some(applied);
        }
        self.arbiters[before].flight.clear();
        self.log.term += 1;
        self.log.leader = at;
        let now = arbiter_clock(self.now);
        let former = self.arbiters[at].seat.take().map(|seat| (*seat).clone());
        let seat = Seat::elected(self.log.term, now, former);
        self.arbiters[at] = Arbiter { seat: Some(Shared::new(seat)), ..Arbiter::new() };
        self.turn(at);
    }

    fn watch_entry(&mut self, after: &State, command: &Command) {
        let before = self.log.state.clone();
        let (old, new) = (&before.groups.get(&group()), after.groups.get(&group()));
        let (Some(old), Some(new)) = (old, new) else { return };
        // I2, and I8: a witness is never active.
        let rise = u64::from(old.active() != new.active());
        if new.epoch().0 != old.epoch().0 + rise {
            self.breaks(Broken::I2);
        }
        if new.active().is_some_and(|active| !REGIONS.contains(&active.as_str())) {
            self.breaks(Broken::I8);
        }
        let ended = new.plans.last().filter(|_| new.plans.len() > old.plans.len());
        if let Some(plan) = ended {
            let advanced = plan.advanced();
            match plan.end {
                Some(PlanEnd::Completed) => self.sees(Seen::Completed),
                // I6: what has raised the epoch is not undone.
                Some(PlanEnd::Aborted(_)) if advanced => self.breaks(Broken::I6),
                Some(PlanEnd::Aborted(_)) => self.sees(Seen::Aborted),
                Some(PlanEnd::Superseded(_)) => self.sees(Seen::Superseded),
                None => self.breaks(Broken::I5),
            }
        }
        match command {
            Command::RecordEvidence { evidence, .. } if evidence.waited.is_some() => {
                self.sees(Seen::LeaseRanOut);
            }
            Command::RecordEvidence { .. } => self.sees(Seen::Confirmed),
            Command::Arm { armed: false, .. } => self.sees(Seen::Disarmed),
            Command::Bind { .. } => self.sees(Seen::Bound),
            _ => {}
        }
    }
}

/// State, told apart by what is not the same for ever.
pub fn share(state: State) -> Shared<State> {
    let bindings = state.bindings.clone();
    let groups = state.groups.clone();
    Shared::by(state, &(groups, bindings))
}

/// What is for people only, and differs by when something was done.
fn forget_words(state: &mut State) {
    state.events.clear();
    for group in state.groups.values_mut() {
        group.would_have = None;
        for plan in group.plan.iter_mut().chain(&mut group.plans) {
            plan.times = Default::default();
            plan.took = Duration::ZERO;
            plan.reason.clear();
            for record in &mut plan.steps {
                record.took = Duration::ZERO;
                if record.state != StepState::Running {
                    record.note.clear();
                }
            }
            for evidence in plan.evidence.values_mut() {
                evidence.note.clear();
                evidence.waited = None;
            }
        }
    }
}
