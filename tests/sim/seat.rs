//! The hands of the core's seat, as `arbiter/src/leader` is: each event is one step in one critical
//! section, and what the seat wants goes to the fake network and Raft.

use super::clock::{MS, Nanos, SECOND};
use super::event::{Carries, Due};
use super::topology::Topology;
use super::world::World;
use arbiter_core::leader::{Applied, Confirmed, Ended, RoundId, SeatAction, SeatEvent, StreamId};
use arbiter_core::{AgentId, Directive, Proposal, Rejected, Report};
use std::collections::VecDeque;

/// Directives that wait for an agent that does not read; one more ends its stream.
const OUTBOX_MAX: usize = 16;

impl World {
    /// One event at a leader, and all that follows from it at once.
    pub(super) fn seat_step(&mut self, leader: usize, event: SeatEvent) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let state = self.raft.state(leader);
            let index = self.raft.voters[leader].applied;
            let arbiter = &mut self.arbiters[leader];
            let now = arbiter.clock.at(self.now);
            let Some(seat) = arbiter.seat.as_mut() else { return };
            let applied = Applied { state: &state, index };
            for action in seat.step(applied, event, now) {
                events.extend(self.seat_action(leader, action));
            }
        }
    }

    /// Decide, and tell agents what is new.
    pub(super) fn turn(&mut self, leader: usize) {
        let arbiter = &mut self.arbiters[leader];
        let now = arbiter.clock.at(self.now);
        if let Some(seat) = arbiter.seat.as_mut() {
            seat.view.vantage(&self.topology.arbiters[leader], now);
        }
        self.seat_step(leader, SeatEvent::Turn);
    }

    fn seat_action(&mut self, leader: usize, action: SeatAction) -> Option<SeatEvent> {
        match action {
            SeatAction::Propose { term, subject, proposal } => {
                self.propose(leader, term, *proposal, Carries::Decision(subject));
            }
            SeatAction::BeginRound { round } => self.begin_round(leader, round),
            SeatAction::Cut { term, cut } => return Some(self.leader_cuts(term, cut)),
            SeatAction::Send { stream, agent, directive } => {
                return self.hand_over(leader, stream, agent, directive);
            }
            SeatAction::End { stream, why } => self.end_stream(leader, stream, &why),
        }
        None
    }

    /// ReadIndex: a round that begins now.
    fn begin_round(&mut self, leader: usize, round: RoundId) {
        let confirmed = self
            .round(leader, round.term)
            .map(|_| Confirmed { term: round.term, index: self.raft.last() });
        let delay = 2 * self.net.delay(&mut self.rng) + self.pause();
        self.after(delay, Due::RoundEnded { leader, round, confirmed });
    }

    /// What a busy process may lose between two instructions.
    fn pause(&mut self) -> Nanos {
        if !self.healed && self.rng.chance(60) {
            self.rng.range(0, 3 * SECOND)
        } else {
            self.rng.range(0, MS)
        }
    }

    pub(super) fn round_ended(
        &mut self,
        leader: usize,
        round: RoundId,
        confirmed: Option<Confirmed>,
    ) {
        if !self.awake(leader, || Due::RoundEnded { leader, round, confirmed })
            || !self.leads(leader, round.term)
        {
            return;
        }
        let applied = &mut self.raft.voters[leader].applied;
        *applied = confirmed.map_or(0, |seen| seen.index).max(*applied);
        self.seat_step(leader, SeatEvent::RoundEnded { round, confirmed });
    }

    pub(super) fn report_in(&mut self, via: usize, at: usize, stream: StreamId, report: Report) {
        let again = report.clone();
        if !self.awake(at, || Due::ReportIn { via, at, stream, report: again }) {
            return;
        }
        if self.raft.voters[at].leads.is_some() {
            self.seat_step(at, SeatEvent::Report { stream, report });
            return self.turn(at);
        }
        // One hop: the arbiter that the agent dialled relays to whom it believes to lead.
        // It was deposed itself and knows nobody yet: the Report is lost.
        let known = self.raft.voters[at].leader;
        let Some((leader, _)) = known.filter(|(leader, _)| at == via && *leader != at) else {
            return;
        };
        for delay in self.net.send(at, leader, &mut self.rng) {
            let report = report.clone();
            self.after(delay, Due::ReportIn { via, at: leader, stream, report });
        }
    }

    fn hand_over(
        &mut self,
        leader: usize,
        stream: StreamId,
        agent: AgentId,
        directive: Directive,
    ) -> Option<SeatEvent> {
        let host = self.topology.agents.iter().position(|name| *name == agent)?;
        if self.hosts[host].unread() >= OUTBOX_MAX {
            return Some(SeatEvent::NotRead { stream, agent });
        }
        self.watch_hand_over(leader, &agent, &directive);
        let via = self.hosts[host].via;
        for delay in self.net.send(leader, via, &mut self.rng) {
            let directive = directive.clone();
            self.after(delay, Due::Relayed { host, via, directive });
        }
        None
    }

    /// A Directive reaches the arbiter that the agent dialled.
    pub(super) fn relayed(&mut self, host: usize, via: usize, directive: Directive) {
        let again = directive.clone();
        if !self.awake(via, || Due::Relayed { host, via, directive: again }) {
            return;
        }
        for delay in self.net.send(via, Topology::node(host), &mut self.rng) {
            let directive = directive.clone();
            self.after(delay, Due::DirectiveIn { host, from: via, directive });
        }
    }

    /// Propose; what it carries is told how that ended.
    pub(super) fn propose(
        &mut self,
        leader: usize,
        term: u64,
        proposal: Proposal,
        carries: Carries,
    ) {
        if self.round(leader, term).is_none() {
            let ended = Ended::Unknown;
            return self.after(SECOND, Due::Carried { leader, term, carries, ended });
        }
        let number = self.raft.propose(leader, term, proposal);
        let delay = self.net.delay(&mut self.rng) * 2 + self.rng.range(MS / 2, 5 * MS);
        self.after(delay, Due::Commit { number, carries });
    }

    pub(super) fn commit(&mut self, number: u64, carries: Carries) {
        let Some(entry) = self.raft.pending.get(&number).cloned() else { return };
        // A frozen or dead leader does not count acknowledgements.
        let leader = &self.raft.voters[entry.from];
        if !leader.up || leader.frozen {
            if leader.up {
                self.arbiters[entry.from].parked.push(Due::Commit { number, carries });
            }
            return;
        }
        let Some(committed) = self.raft.commit(number) else { return };
        self.note_commit(&committed);
        let ended = match &committed.outcome {
            Ok(_) => Ended::Done,
            Err(Rejected::Stale(_)) => Ended::Stale,
            Err(_) => Ended::Refused,
        };
        let (voter, index) = (entry.from, committed.at.index);
        let delay = self.rng.range(MS / 4, 4 * MS);
        self.after(delay, Due::Applied { voter, term: entry.term, index, carries, ended });
    }

    pub(super) fn applied(
        &mut self,
        voter: usize,
        term: u64,
        index: u64,
        carries: Carries,
        ended: Ended,
    ) {
        let again = carries.clone();
        if !self.awake(voter, || Due::Applied { voter, term, index, carries: again, ended }) {
            return;
        }
        let applied = &mut self.raft.voters[voter].applied;
        *applied = index.max(*applied);
        self.carried(voter, term, carries, ended);
    }

    /// A proposal ended at its leader.
    pub(super) fn carried(&mut self, leader: usize, term: u64, carries: Carries, ended: Ended) {
        let again = carries.clone();
        if !self.awake(leader, || Due::Carried { leader, term, carries: again, ended })
            || !self.leads(leader, term)
        {
            return;
        }
        match carries {
            Carries::Request => {}
            Carries::Decision(subject) => {
                self.seat_step(leader, SeatEvent::ProposalEnded { term, subject, ended });
            }
        }
        self.turn(leader);
    }
}
