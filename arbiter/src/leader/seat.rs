//! What a leader holds for one term, and what is done to it in one critical section (design §5).
//! Knows no clock and no I/O but handing a Directive to a queue.

use super::ReportRefused;
use super::sessions::{Outbox, Session, StreamId};
use arbiter_core::{
    AgentId, Command, Directive, Incarnation, Instant, Proposal, Report, State, View, decide,
    lag_crossing, push,
};
use std::collections::BTreeMap;
use std::time::Duration;

/// Agents' Reports held for an answer at most; one an agent, so also the agents of a cluster.
pub const AGENTS_MAX: usize = 10_000;
/// A bound life that was heard within this many renewal periods keeps its identity against another.
const LIVE_PERIODS: u32 = 3;

/// A Report that waits for a quorum round.
pub(super) struct Pending {
    pub stream: StreamId,
    pub report: Report,
}

/// The seat of the leader of one term.
pub(super) struct Seat {
    pub view: View,
    sessions: BTreeMap<AgentId, Session>,
    pending: BTreeMap<AgentId, Pending>,
    /// Proposals on their way, by key, and when a refused one may be proposed again.
    in_flight: BTreeMap<String, Option<Instant>>,
    /// Lives whose leases are proposed to be dead: no longer answered, so that what was waited for
    /// stays true until the entry is applied or refused.
    barred: BTreeMap<AgentId, Incarnation>,
    /// Index of the State that was last looked through for news.
    pushed: u64,
}

impl Seat {
    pub fn new(view: View) -> Self {
        Self {
            view,
            sessions: BTreeMap::new(),
            pending: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            barred: BTreeMap::new(),
            pushed: 0,
        }
    }

    /// Take in a Report.
    pub fn hear(
        &mut self,
        state: &State,
        stream: StreamId,
        outbox: &Outbox,
        report: Report,
        now: Instant,
    ) -> Result<(), ReportRefused> {
        self.check(state, stream, &report, now)?;
        let agent = report.agent.clone();
        let same = self.sessions.get(&agent).is_some_and(|session| session.stream == stream);
        if !same {
            // Dropping the older outbox ends the older stream.
            let session = Session {
                stream,
                incarnation: report.incarnation,
                outbox: outbox.clone(),
                told: None,
            };
            self.sessions.insert(agent.clone(), session);
        }
        self.view.hear(report.clone(), now);
        self.pending.insert(agent, Pending { stream, report });
        Ok(())
    }

    fn check(
        &self,
        state: &State,
        stream: StreamId,
        report: &Report,
        now: Instant,
    ) -> Result<(), ReportRefused> {
        let wrong = |code, text: String, next: &str| {
            Err(ReportRefused::Wrong { code, text, next: next.to_owned() })
        };
        let Some(cluster) = &state.cluster_id else {
            return wrong(
                "not-initialized",
                "the cluster is not initialized".to_owned(),
                "arbiter members initialize",
            );
        };
        if report.cluster_id.as_ref().is_some_and(|theirs| theirs != cluster) {
            return wrong(
                "wrong-cluster",
                format!("agent {} serves another cluster; this is {cluster}", report.agent),
                "point it at its own arbiters, or give it a new state directory",
            );
        }
        let agent = &report.agent;
        if !state.spec.agents.contains_key(agent) || self.sessions.len() > AGENTS_MAX {
            return wrong(
                "unknown-agent",
                format!("no agent {agent} in the policy in force"),
                "add it to the cluster file and run: arbiter config apply",
            );
        }
        // One identity has one live session: another life waits until the bound one is silent.
        let Some(session) = self.sessions.get(agent).filter(|s| s.stream != stream) else {
            return Ok(());
        };
        let bound = state.bindings.get(agent).map(|binding| binding.incarnation);
        let live = self.view.reports.get(agent).is_some_and(|heard| {
            heard.connected
                && heard.report.incarnation == session.incarnation
                && now.since(heard.at) < live_for(state, agent)
        });
        if live && session.incarnation != report.incarnation && bound == Some(session.incarnation) {
            return wrong(
                "identity-in-use",
                format!("another agent speaks as {agent} and is alive"),
                "stop one of them, or give it a name of its own",
            );
        }
        Ok(())
    }

    /// The stream ended, unless another has taken its place.
    pub fn closed(&mut self, stream: StreamId, agent: &AgentId) {
        if self.sessions.get(agent).is_some_and(|session| session.stream == stream) {
            self.sessions.remove(agent);
            self.pending.remove(agent);
            self.view.disconnected(agent);
        }
    }

    /// The Reports that wait, and the lag marks to commit before they are answered.
    pub fn take_pending(&mut self, state: &State, now: Instant) -> (Vec<Pending>, Vec<Proposal>) {
        self.view.note(state, now);
        let batch: Vec<_> = std::mem::take(&mut self.pending).into_values().collect();
        let mut marks: Vec<Proposal> = Vec::new();
        for pending in &batch {
            for mark in lag_crossing(state, &self.view, &pending.report, now) {
                if !marks.iter().any(|known| known.command == mark.command) {
                    marks.push(mark);
                }
            }
        }
        (batch, marks)
    }

    /// Answer a Report: State is checked, the answer time recorded and the answer handed over in
    /// this one section, which the decision to stop or expire a lease also holds.
    pub fn answer(&mut self, state: &State, pending: &Pending, now: Instant) {
        let report = &pending.report;
        if self.barred.get(&report.agent) == Some(&report.incarnation) {
            return;
        }
        let session = self.sessions.get_mut(&report.agent);
        let Some(session) = session.filter(|session| session.stream == pending.stream) else {
            return;
        };
        let directive = self.view.answer(state, report, now);
        if !session.send(directive) {
            self.drop_session(&report.agent);
        }
    }

    /// Tell every agent whose orders changed by `index`, without leases.
    pub fn push_news(&mut self, state: &State, index: u64) {
        if std::mem::replace(&mut self.pushed, index) == index {
            return;
        }
        let mut gone = Vec::new();
        for (agent, session) in &mut self.sessions {
            let Some(directive): Option<Directive> = push(state, &self.view, agent) else {
                continue;
            };
            // An agent that was never answered is not pushed to: its first answer tells it all.
            if session.told.is_some() && session.is_news(&directive) && !session.send(directive) {
                gone.push(agent.clone());
            }
        }
        for agent in gone {
            self.drop_session(&agent);
        }
    }

    fn drop_session(&mut self, agent: &AgentId) {
        tracing::info!(%agent, "its stream is closed: it does not read");
        self.sessions.remove(agent);
        self.view.disconnected(agent);
    }

    /// What to propose now, without what is on its way already; what is returned is on its way.
    pub fn decide(&mut self, state: &State, now: Instant) -> Vec<(String, Proposal)> {
        self.view.note(state, now);
        self.in_flight.retain(|_, rests| rests.is_none_or(|until| now < until));
        let mut wanted = Vec::new();
        for proposal in decide(state, &self.view, now) {
            let key = super::propose::key(&proposal.command);
            if self.in_flight.contains_key(&key) {
                continue;
            }
            self.in_flight.insert(key.clone(), None);
            self.bar(state, &proposal);
            wanted.push((key, proposal));
        }
        self.barred.retain(|agent, life| {
            state.bindings.get(agent).is_some_and(|binding| binding.incarnation == *life)
        });
        wanted
    }

    /// A proposal ended. `rest`: it is not taken again before. `unknown`: it may be applied yet, so
    /// what it bars stays barred.
    pub fn proposed(
        &mut self,
        key: &str,
        proposal: &Proposal,
        rest: Option<Instant>,
        unknown: bool,
    ) {
        match rest {
            Some(until) => self.in_flight.insert(key.to_owned(), Some(until)),
            None => self.in_flight.remove(key),
        };
        if let Command::Bind { agent, .. } = &proposal.command
            && !unknown
        {
            self.barred.remove(agent);
        }
    }

    fn bar(&mut self, state: &State, proposal: &Proposal) {
        let Command::Bind { agent, former_dead: Some(_), .. } = &proposal.command else {
            return;
        };
        if let Some(binding) = state.bindings.get(agent) {
            self.barred.insert(agent.clone(), binding.incarnation);
        }
    }
}

/// How long a life counts as live without a Report: a few renewal periods of its slowest group.
fn live_for(state: &State, agent: &AgentId) -> Duration {
    let groups = state.spec.groups.values();
    let mine = groups.filter(|group| group.instances.values().any(|i| i.agent == *agent));
    let slowest = mine.map(|group| group.policy.timing.renewal).max();
    slowest.unwrap_or(Duration::from_secs(1)) * LIVE_PERIODS
}
