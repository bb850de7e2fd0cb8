//! One event for an agent of the model, and all that its machine asks for. Looks, the disk, the
//! gate and the deadman answer at once; drivers when the model says so, or never.

use super::cluster::group;
use super::host::Work;
use super::scope::Flaw;
use super::shared::Shared;
use super::world::{Broken, Seen, World};
use arbiter_core::agent::{AgentAction, AgentEvent, AgentMachine, Failure, Reached, Waiting};
use arbiter_core::{EvidenceKind, Goal, InstanceId, Report, Terms, Token};
use std::collections::{BTreeMap, VecDeque};

impl World {
    /// Take in `event`. `reports`: what it wants to report may leave.
    pub fn agent_step(&mut self, at: usize, event: AgentEvent, reports: bool) {
        let local = self.hosts[at].local(self.now);
        let mut machine = (*self.hosts[at].agent).clone();
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            self.stored(at, &event);
            for action in machine.step(event, local) {
                if action == AgentAction::SendReport {
                    if reports && self.left.reports > 0 {
                        self.left.reports -= 1;
                        let report = machine.report(local);
                        self.report_leaves(at, report);
                    }
                    continue;
                }
                self.carry_out(at, &mut machine, action, &mut events);
            }
        }
        self.hosts[at].agent = Shared::new(machine);
    }

    /// A report that is not sent by itself, but asked for.
    pub fn report_of(&mut self, at: usize) -> Report {
        let local = self.hosts[at].local(self.now);
        let mut machine = (*self.hosts[at].agent).clone();
        let report = machine.report(local);
        self.hosts[at].agent = Shared::new(machine);
        self.watch_report(at, &report);
        report
    }

    fn report_leaves(&mut self, at: usize, report: Report) {
        self.watch_report(at, &report);
        super::world::keep_newest(&mut self.up[at], Shared::new(report));
    }

    fn carry_out(
        &mut self,
        at: usize,
        machine: &mut AgentMachine,
        action: AgentAction,
        events: &mut VecDeque<AgentEvent>,
    ) {
        let now = self.now;
        let host = &mut self.hosts[at];
        match action {
            AgentAction::SendReport | AgentAction::StartAsIs { .. } => {}
            AgentAction::StaysWith { .. } | AgentAction::LearnArbiters(_) => {}
            AgentAction::PersistCluster(id) => {
                self.write_disk(at, |disk| disk.cluster_id = id);
            }
            AgentAction::Observe { group, instance } => {
                let fact = host.fact(&instance, &self.zone, now);
                events.push_back(AgentEvent::Observed { group, instance, fact });
            }
            AgentAction::StoreToken { group, instance, token } => {
                events.push_back(AgentEvent::TokenStored { group, instance, token, ok: true });
            }
            AgentAction::Ensure { instance, attempt, goal, token, terms, .. } => {
                self.asked(at, instance, attempt, goal, token, terms);
            }
            AgentAction::CancelEnsure { instance, .. } => {
                host.works.retain(|work| work.instance != instance);
            }
            AgentAction::SetCommitWait { group, instance, attempt, .. } => {
                let result = Ok(Waiting::InEffect);
                events.push_back(AgentEvent::CommitWaitSet { group, instance, attempt, result });
            }
            AgentAction::Verify { group, instance, token } => {
                let fact = host.fact(&instance, &self.zone, now);
                let no = Failure::Retry("it accepts no write".to_owned());
                let result = if fact.writable { Ok(fact) } else { Err(no) };
                events.push_back(AgentEvent::VerifyEnded { group, instance, token, result });
            }
            AgentAction::SetGate { group, armed } => {
                events.push_back(AgentEvent::GateSet { group, armed, ok: true });
            }
            AgentAction::PersistArming { group, arming } => {
                let of = group.clone();
                self.write_disk(at, |disk| match arming {
                    Some(arming) => _ = disk.armed.insert(of, arming),
                    None => _ = disk.armed.remove(&of),
                });
                events.push_back(AgentEvent::ArmingPersisted { group, arming, ok: true });
            }
            AgentAction::Deadman(event) => {
                host.deadman_step(event, now);
                events.push_back(self.shown(at));
            }
        }
        debug_assert!(machine.lease(&group()).is_some(), "the agent serves the group");
    }

    /// A token is on disk once its agent hears so, and not while it still asks for other things.
    fn stored(&mut self, at: usize, event: &AgentEvent) {
        let AgentEvent::TokenStored { group, instance, token, .. } = event else { return };
        let key = (group.clone(), instance.clone());
        if self.hosts[at].disk.tokens.get(&key).is_some_and(|stored| stored > token) {
            self.breaks(Broken::I10);
        }
        if self.rules.flaw != Some(Flaw::TokenNotKept) {
            self.write_disk(at, |disk| _ = disk.tokens.insert(key, *token));
        }
    }

    /// What the deadman of a host shows.
    pub fn shown(&self, at: usize) -> AgentEvent {
        let holds = self.hosts[at].deadman.holds().clone();
        let counts_as = BTreeMap::from([(group(), EvidenceKind::LeaseExpired)]);
        AgentEvent::DeadmanShows { holds, counts_as }
    }

    fn write_disk(&mut self, at: usize, change: impl FnOnce(&mut arbiter_core::agent::Stored)) {
        let mut disk = (*self.hosts[at].disk).clone();
        change(&mut disk);
        self.hosts[at].disk = Shared::new(disk);
    }

    /// A driver is asked. I10: at no token below the highest, and what is on disk first.
    fn asked(
        &mut self,
        at: usize,
        instance: InstanceId,
        attempt: u64,
        goal: Goal,
        token: Token,
        terms: Terms,
    ) {
        let host = &mut self.hosts[at];
        let key = (group(), instance.clone());
        let stored = host.disk.tokens.get(&key).copied().unwrap_or_default();
        let acted = host.acted.entry(instance.clone()).or_default();
        let lower = token < stored.max(*acted);
        let unstored = goal != Goal::Fenced && stored < token;
        if goal != Goal::Fenced {
            *acted = token.max(*acted);
        }
        if instance == host.database() && goal == Goal::Fenced {
            // First of all nobody starts it any more.
            host.server.start_file = false;
        }
        host.works.retain(|work| work.instance != instance);
        host.works.push(Work { instance, attempt, goal: Shared::new((goal, terms)), token });
        if lower || unstored {
            self.breaks(Broken::I10);
        }
    }

    /// I10: what could not be stored is never reported.
    fn watch_report(&mut self, at: usize, report: &Report) {
        let parts = report.groups.values().flat_map(|part| &part.instances);
        let unstored = parts.into_iter().any(|(instance, shown)| {
            let key = (group(), instance.clone());
            let stored = self.hosts[at].disk.tokens.get(&key).copied().unwrap_or_default();
            shown.done.as_ref().is_some_and(|done| done.token > stored)
        });
        if unstored {
            self.breaks(Broken::I10);
        }
    }

    /// A driver ends well.
    pub fn work_ends(&mut self, at: usize, index: usize, reports: bool) {
        let work = self.hosts[at].works.remove(index);
        let (goal, terms) = &*work.goal;
        let result = if work.instance == self.hosts[at].database() {
            let evidence = self.hosts[at].made(*goal);
            let fact = self.hosts[at].fact(&work.instance, &self.zone, self.now);
            let end = (*goal != Goal::Active).then(|| self.hosts[at].end());
            Ok(Reached { evidence, end, clean: true, fact })
        } else {
            self.write_zone(&work, *goal, terms).map(|()| {
                let fact = self.hosts[at].fact(&work.instance, &self.zone, self.now);
                Reached { evidence: None, end: None, clean: false, fact }
            })
        };
        let (instance, attempt) = (work.instance, work.attempt);
        let event = AgentEvent::EnsureEnded { group: group(), instance, attempt, result };
        self.agent_step(at, event, reports);
    }

    /// I7: the zone refuses a token below the one that it holds.
    fn write_zone(&mut self, work: &Work, goal: Goal, terms: &Terms) -> Result<(), Failure> {
        if goal != Goal::Active {
            return Ok(());
        }
        let lower = self.zone.token.filter(|held| *held > work.token);
        match lower {
            Some(held) if self.rules.flaw != Some(Flaw::ZoneTakesAll) => {
                self.sees(Seen::ZoneRefused);
                return Err(Failure::Stale(held));
            }
            Some(_) => self.breaks(Broken::I7),
            None => {}
        }
        let names = terms.names.as_ref();
        let names = super::cluster::REGIONS.iter().position(|r| names.is_some_and(|n| n.0 == *r));
        if names != self.zone.names && self.zone.names.is_some() {
            self.sees(Seen::TrafficMoved);
        }
        self.zone = super::host::Zone { token: Some(work.token), names };
        Ok(())
    }
}
