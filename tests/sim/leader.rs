//! An arbiter: its clock, its view when it leads, and the loop of the leader as the arbiter's own
//! (`arbiter/src/leader.rs`) has it: hear, note, decide, propose; answer in one critical section.

use super::clock::{Clock, MS, Nanos, SECOND};
use super::event::Due;
use super::raft::VOTERS;
use super::topology::{REGIONS, Topology};
use super::world::World;
use arbiter_core::plant::Plant;
use arbiter_core::{
    AgentId, Command, Directive, GroupId, LeaseBook, Proposal, Rejected, Report, ServiceSeen, View,
    decide, directive, lag_crossing, preferred_leader, push,
};
use std::collections::BTreeMap;

/// Between two looks of the leader at the time.
const TICK: Nanos = 50 * MS;
/// Between two heartbeats, and two looks for an election.
const RAFT_TICK: Nanos = 100 * MS;
/// Between two rounds of probes of one arbiter.
const VANTAGE: Nanos = 500 * MS;
/// What is on its way this long may be proposed again.
const IN_FLIGHT_MAX: Nanos = 2 * SECOND;

/// One arbiter.
pub struct Arbiter {
    /// Its host's clock.
    pub clock: Clock,
    /// Its view while it leads.
    pub view: View,
    /// The book of its last leadership; for a planted bug only.
    old_book: Option<LeaseBook>,
    /// It renewed a lease since it was elected.
    gave: bool,
    in_flight: Vec<(Proposal, Nanos)>,
    /// What came while its process was frozen.
    pub parked: Vec<Due>,
    /// State applied when agents were last told by themselves.
    told: u64,
}

impl Arbiter {
    /// A new one.
    pub fn new(clock: Clock) -> Self {
        Self {
            clock,
            view: View::default(),
            old_book: None,
            gave: false,
            in_flight: Vec::new(),
            parked: Vec::new(),
            told: 0,
        }
    }
}

impl World {
    /// Whether `arbiter` can take `due` now; parks it while it is frozen.
    fn awake(&mut self, arbiter: usize, due: impl FnOnce() -> Due) -> bool {
        let voter = &self.raft.voters[arbiter];
        if voter.up && voter.frozen {
            self.arbiters[arbiter].parked.push(due());
            return false;
        }
        voter.up
    }

    fn leads(&self, arbiter: usize, term: u64) -> bool {
        self.raft.voters[arbiter].leads == Some(term)
    }

    /// A quorum round of `leader`, now.
    fn round(&mut self, leader: usize, term: u64) -> Option<Vec<usize>> {
        let net = &self.net;
        self.raft.round(leader, term, |from, to| net.up(from, to))
    }

    pub(super) fn raft_tick(&mut self) {
        for leader in 0..VOTERS {
            let voter = &self.raft.voters[leader];
            let Some(term) = voter.leads.filter(|_| voter.up && !voter.frozen) else { continue };
            let Some(held) = self.round(leader, term) else { continue };
            for peer in held {
                let (now, last) = (self.now, self.raft.last());
                let voter = &mut self.raft.voters[peer];
                voter.heard = now;
                voter.term = voter.term.max(term);
                voter.leader = Some((leader, term));
                // A leader follows only what it was told is committed, which is all of it here.
                voter.applied = if peer == leader { voter.applied } else { last };
            }
        }
        // The witness looks first; windows are disjoint.
        for (place, voter) in [2, 1, 0].into_iter().enumerate() {
            let quiet = (600 + 300 * place as u64) * MS;
            let state = &self.raft.voters[voter];
            if state.leads.is_none() && self.now > state.heard + quiet {
                self.elect(voter);
            }
        }
        self.after(RAFT_TICK, Due::RaftTick);
    }

    /// `candidate` tries to become leader.
    pub(super) fn elect(&mut self, candidate: usize) {
        let (net, rng, now) = (&self.net, &mut self.rng, self.now);
        let won = self.raft.elect(candidate, now, |from, to| net.up(from, to), || rng.chance(500));
        let Some((term, _)) = won else { return };
        self.say(|| format!("arbiter {candidate} leads in term {term}"));
        self.watch.elected.insert(term, now);
        let arbiter = &mut self.arbiters[candidate];
        let local = arbiter.clock.at(now);
        let book = std::mem::take(&mut arbiter.view.leases);
        if std::mem::take(&mut arbiter.gave) {
            arbiter.old_book = Some(book);
        }
        arbiter.view = View::elected(term, local);
        arbiter.in_flight.clear();
        arbiter.told = 0;
        if self.planted(Plant::OldAnswersRemembered)
            && let Some(old) = self.arbiters[candidate].old_book.clone()
        {
            self.arbiters[candidate].view.leases = old;
        }
        let phase = self.rng.range(MS, TICK);
        self.after(phase, Due::LeaderTick { leader: candidate, term });
    }

    pub(super) fn leader_tick(&mut self, leader: usize, term: u64) {
        if !self.awake(leader, || Due::LeaderTick { leader, term }) || !self.leads(leader, term) {
            return;
        }
        self.decide_now(leader, term);
        self.maybe_transfer(leader);
        self.after(TICK, Due::LeaderTick { leader, term });
    }

    fn maybe_transfer(&mut self, leader: usize) {
        let state = self.raft.state(leader);
        let local = self.arbiters[leader].clock.at(self.now);
        let me = &self.topology.arbiters[leader];
        let Some(better) = preferred_leader(&state, &self.arbiters[leader].view, me, local) else {
            return;
        };
        let Some(to) = self.topology.arbiters.iter().position(|name| *name == better) else {
            return;
        };
        if self.net.both(leader, to) && self.raft.voters[to].up && !self.raft.voters[to].frozen {
            self.elect(to);
        }
    }

    fn decide_now(&mut self, leader: usize, term: u64) {
        let state = self.raft.state(leader);
        let arbiter = &mut self.arbiters[leader];
        let local = arbiter.clock.at(self.now);
        arbiter.view.note(&state, local);
        let name = &self.topology.arbiters[leader];
        arbiter.view.vantage(name, local);
        let proposals = decide(&state, &arbiter.view, local);
        for proposal in proposals {
            self.propose(leader, term, proposal);
        }
        self.tell_agents(leader, &state);
    }

    /// State changed: agents are told without waiting for their Reports.
    fn tell_agents(&mut self, leader: usize, state: &arbiter_core::State) {
        let applied = self.raft.voters[leader].applied;
        if self.arbiters[leader].told == applied {
            return;
        }
        self.arbiters[leader].told = applied;
        for host in 0..self.hosts.len() {
            let agent = &self.topology.agents[host];
            if let Some(told) = push(state, &self.arbiters[leader].view, agent) {
                let via = self.hosts[host].via;
                self.send_directive(leader, via, host, told);
            }
        }
    }

    /// Propose, unless the same is on its way.
    pub(super) fn propose(&mut self, leader: usize, term: u64, proposal: Proposal) {
        let now = self.now;
        let arbiter = &mut self.arbiters[leader];
        arbiter.in_flight.retain(|(_, at)| now < at + IN_FLIGHT_MAX);
        let key = subject(&proposal.command);
        if arbiter.in_flight.iter().any(|(known, _)| subject(&known.command) == key) {
            return;
        }
        let Some(held) = self.round(leader, term) else { return };
        self.arbiters[leader].in_flight.push((proposal.clone(), now));
        let number = self.raft.propose(leader, term, held, proposal);
        let delay = self.net.delay(&mut self.rng) * 2 + self.rng.range(MS / 2, 5 * MS);
        self.after(delay, Due::Commit { number });
    }

    pub(super) fn commit(&mut self, number: u64) {
        let Some(entry) = self.raft.pending.get(&number).cloned() else { return };
        // A frozen or dead leader does not count acknowledgements.
        let leader = &self.raft.voters[entry.from];
        if !leader.up || leader.frozen {
            if leader.up {
                self.arbiters[entry.from].parked.push(Due::Commit { number });
            }
            return;
        }
        let Some(committed) = self.raft.commit(number) else { return };
        self.note_commit(&entry.proposal, committed.at.index, &committed.outcome);
        let delay = self.rng.range(MS / 4, 4 * MS);
        self.after(
            delay,
            Due::Applied {
                voter: entry.from,
                term: entry.term,
                index: committed.at.index,
                done: Some(entry.proposal),
            },
        );
    }

    fn note_commit(&mut self, proposal: &Proposal, index: u64, outcome: &Result<u64, Rejected>) {
        if let Err(Rejected::Breach { invariant, detail }) = outcome {
            self.watch.breach = Some(format!("{invariant} in State: {detail}"));
        }
        match outcome {
            Ok(_) => self.say(|| format!("#{index} {:?} by {:?}", proposal.command, proposal.by)),
            Err(Rejected::Stale(_)) => {}
            Err(refused) => {
                self.say(|| format!("#{index} refused: {:?}: {refused}", proposal.command));
            }
        }
    }

    pub(super) fn applied(&mut self, voter: usize, term: u64, index: u64, done: Option<Proposal>) {
        let again = done.clone();
        if !self.awake(voter, || Due::Applied { voter, term, index, done: again }) {
            return;
        }
        let applied = &mut self.raft.voters[voter].applied;
        *applied = index.max(*applied);
        if let Some(done) = done {
            let key = subject(&done.command);
            self.arbiters[voter].in_flight.retain(|(known, _)| subject(&known.command) != key);
        }
        if self.leads(voter, term) {
            self.decide_now(voter, term);
        }
    }

    pub(super) fn report_in(&mut self, via: usize, at: usize, report: Report) {
        let again = report.clone();
        if !self.awake(at, || Due::ReportIn { via, at, report: again }) {
            return;
        }
        let Some(term) = self.raft.voters[at].leads else {
            // One hop: the arbiter that the agent dialled relays to whom it believes to lead.
            // It was deposed itself and knows nobody yet: the Report is lost.
            let known = self.raft.voters[at].leader;
            let Some((leader, _)) = known.filter(|(leader, _)| at == via && *leader != at) else {
                return;
            };
            for delay in self.net.send(at, leader, &mut self.rng) {
                let report = report.clone();
                self.after(delay, Due::ReportIn { via, at: leader, report });
            }
            return;
        };
        let state = self.raft.state(at);
        let local = self.arbiters[at].clock.at(self.now);
        let view = &mut self.arbiters[at].view;
        view.hear(report.clone(), local);
        for proposal in lag_crossing(&state, view, &report, local) {
            self.propose(at, term, proposal);
        }
        // ReadIndex: a round that begins now, after the Report arrived.
        let index = if self.planted(Plant::NoQuorumRound) {
            self.raft.voters[at].applied
        } else {
            if self.round(at, term).is_none() {
                return;
            }
            self.raft.last()
        };
        let delay = 2 * self.net.delay(&mut self.rng) + self.pause();
        self.after(delay, Due::Answer { leader: at, term, index, via, report });
        self.decide_now(at, term);
    }

    /// What a busy process may lose between two instructions.
    fn pause(&mut self) -> Nanos {
        if self.rng.chance(60) { self.rng.range(0, 3 * SECOND) } else { self.rng.range(0, MS) }
    }

    pub(super) fn answer(
        &mut self,
        leader: usize,
        term: u64,
        index: u64,
        via: usize,
        report: Report,
    ) {
        let again = report.clone();
        if !self.awake(leader, || Due::Answer { leader, term, index, via, report: again })
            || !self.leads(leader, term)
        {
            return;
        }
        let applied = &mut self.raft.voters[leader].applied;
        *applied = index.max(*applied);
        let state = self.raft.state(leader);
        let arbiter = &self.arbiters[leader];
        let local = arbiter.clock.at(self.now);
        if !lag_crossing(&state, &arbiter.view, &report, local).is_empty() {
            return;
        }
        if self.planted(Plant::AnswerRecordedAfterCheck) {
            let directive = directive(&state, &self.arbiters[leader].view, &report);
            let delay = self.pause();
            self.after(delay, Due::HandOver { leader, term, via, report, directive });
            return;
        }
        // One critical section: State, the book and the answer.
        let arbiter = &mut self.arbiters[leader];
        let directive = arbiter.view.answer(&state, &report, local);
        arbiter.gave |= directive.groups.values().any(|part| part.lease.is_some());
        self.deliver(leader, via, &report.agent, directive);
    }

    pub(super) fn hand_over(
        &mut self,
        leader: usize,
        term: u64,
        via: usize,
        report: Report,
        directive: Directive,
    ) {
        if !self.leads(leader, term) {
            return;
        }
        let arbiter = &mut self.arbiters[leader];
        let local = arbiter.clock.at(self.now);
        for (group, part) in &directive.groups {
            if part.lease.is_some() {
                arbiter.view.leases.answer(group, &report.agent, report.incarnation, local);
            }
        }
        self.deliver(leader, via, &report.agent, directive);
    }

    fn deliver(&mut self, leader: usize, via: usize, agent: &AgentId, directive: Directive) {
        self.watch_hand_over(leader, agent, &directive);
        if let Some(host) = self.topology.agents.iter().position(|name| name == agent) {
            self.send_directive(leader, via, host, directive);
        }
    }

    fn send_directive(&mut self, leader: usize, via: usize, host: usize, directive: Directive) {
        for first in self.net.send(leader, via, &mut self.rng) {
            for second in self.net.send(via, Topology::node(host), &mut self.rng) {
                let directive = directive.clone();
                self.after(first + second, Due::DirectiveIn { host, from: via, directive });
            }
        }
    }

    pub(super) fn vantage(&mut self, from: usize) {
        self.after(VANTAGE, Due::Vantage { from });
        let voter = &self.raft.voters[from];
        if !voter.up || voter.frozen {
            return;
        }
        let Some((leader, _)) = voter.leader else { return };
        let reached = self.raft.voters[leader].up
            && !self.raft.voters[leader].frozen
            && self.net.up(from, leader)
            && self.raft.voters[leader].leads.is_some();
        if !reached {
            return;
        }
        let groups: BTreeMap<GroupId, ()> =
            self.topology.spec.groups.keys().map(|id| (id.clone(), ())).collect();
        let name = self.topology.arbiters[from].clone();
        for group in groups.keys() {
            for (index, region) in REGIONS.iter().enumerate() {
                let up = self.region_serves(from, group, index);
                let local = self.arbiters[leader].clock.at(self.now);
                let probe = format!("{region}-db");
                let view = &mut self.arbiters[leader].view;
                view.probe(&name, group, &probe, Some(up), String::new(), local);
            }
            let at = self.arbiters[leader].clock.at(self.now);
            let dns = self.topology.dns();
            let read = self.dns.read(group).filter(|_| self.net.both(from, dns));
            let region = read.as_ref().map(|(_, region)| region.clone());
            let served = REGIONS
                .iter()
                .position(|name| region.as_ref().is_some_and(|region| region.as_str() == *name));
            let seen = ServiceSeen {
                at,
                token: read.map(|(token, _)| token),
                region,
                reached: served.is_some_and(|index| self.region_serves(from, group, index)),
                detail: String::new(),
            };
            self.arbiters[leader].view.service_seen(&name, group, seen);
        }
    }

    /// Whether a server of `group` in a region answers `arbiter`.
    fn region_serves(&self, arbiter: usize, group: &GroupId, region: usize) -> bool {
        self.hosts.iter().enumerate().any(|(index, host)| {
            self.topology.region(Topology::node(index)) == region
                && host.up
                && self.net.both(arbiter, Topology::node(index))
                && host
                    .servers
                    .iter()
                    .any(|((of, _), server)| of == group && server.running && !server.frozen)
        })
    }
}

/// What a command is about, whatever it measured: two of one subject need not be on their way.
fn subject(command: &Command) -> String {
    let text = format!("{command:?}");
    let name = text.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
    let about = match command {
        Command::RecordEvidence { evidence, .. } => evidence.instance.to_string(),
        Command::Bind { agent, .. } => agent.to_string(),
        Command::RecordArmed { group, agent, .. } | Command::RecordUnarmed { group, agent, .. } => {
            format!("{group} {agent}")
        }
        Command::RecordFenced { group, instance } | Command::RecordStandby { group, instance } => {
            format!("{group} {instance}")
        }
        Command::OpenPlan(open) | Command::Supersede { open, .. } => open.group.to_string(),
        Command::EndStep { group, step, .. } | Command::RetryStep { group, step, .. } => {
            format!("{group} {step}")
        }
        Command::MarkLag { group, .. }
        | Command::ActivateFirst { group, .. }
        | Command::EndHoldDown { group, .. }
        | Command::RecordJudgement { group, .. }
        | Command::RaiseLease { group, .. }
        | Command::LowerLease { group, .. }
        | Command::HaltPlan { group, .. }
        | Command::AbortPlan { group, .. }
        | Command::RecordZone { group, .. } => group.to_string(),
        _ => text.clone(),
    };
    format!("{name} {about}")
}
