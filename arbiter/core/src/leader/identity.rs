//! Who may speak as an agent: one identity has one live session. Knows State and what was heard.

use super::answer::Pending;
use super::sessions::Session;
use super::{Applied, Seat, SeatAction, StreamEnd, StreamId};
use crate::{AgentId, Instant, Report, State, orders::invitation};
use std::time::Duration;

/// Agents' Reports held for an answer at most; one an agent, so also the agents of a cluster.
pub const AGENTS_MAX: usize = 10_000;
/// A bound life that was heard within this many renewal periods keeps its identity against another.
const LIVE_PERIODS: u32 = 3;

impl Seat {
    /// Take in a Report; it waits for a quorum round that begins after it arrived.
    pub(super) fn hear(
        &mut self,
        applied: Applied,
        stream: StreamId,
        report: Report,
        now: Instant,
    ) -> Vec<SeatAction> {
        // An agent of the cluster that this one goes on from is told so, and not heard before it
        // has changed over.
        if let Some(directive) = invitation(applied.state, self.view.term, &report) {
            let agent = report.agent.clone();
            return vec![SeatAction::Send { stream, agent, directive }];
        }
        if let Err(why) = self.may_speak(applied.state, stream, &report, now) {
            return vec![SeatAction::End { stream, why }];
        }
        let mut actions = Vec::new();
        let agent = report.agent.clone();
        // Streams are numbered as they open: what is left of an older one takes nothing over.
        if self.sessions.get(&agent).is_some_and(|session| stream < session.stream) {
            return vec![SeatAction::End { stream, why: StreamEnd::Replaced }];
        }
        let same = self.sessions.get(&agent).is_some_and(|session| session.stream == stream);
        if !same {
            let session = Session { stream, incarnation: report.incarnation, told: None };
            let older = self.sessions.insert(agent.clone(), session);
            actions.extend(
                older.map(|older| SeatAction::End {
                    stream: older.stream,
                    why: StreamEnd::Replaced,
                }),
            );
        }
        self.view.hear(report.clone(), now);
        self.unmarked.remove(&agent);
        self.pending.insert(agent, Pending::new(stream, report));
        actions.extend(self.begin(applied, now));
        actions
    }

    fn may_speak(
        &self,
        state: &State,
        stream: StreamId,
        report: &Report,
        now: Instant,
    ) -> Result<(), StreamEnd> {
        let Some(cluster) = &state.cluster_id else {
            return wrong(
                "not-initialized",
                "the cluster is not initialized".to_owned(),
                "arbiter members initialize --config FILE",
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
                "add it to the cluster file and run: arbiter config apply FILE",
            );
        }
        if self.is_in_use(state, stream, report, now) {
            return wrong(
                "identity-in-use",
                format!("another agent speaks as {agent} and is alive"),
                "stop one of them, or give it a name of its own",
            );
        }
        Ok(())
    }

    /// Another life waits until the bound one is silent.
    fn is_in_use(&self, state: &State, stream: StreamId, report: &Report, now: Instant) -> bool {
        let agent = &report.agent;
        let Some(session) = self.sessions.get(agent).filter(|s| s.stream != stream) else {
            return false;
        };
        let bound = state.bindings.get(agent).map(|binding| binding.incarnation);
        let live = self.view.reports.get(agent).is_some_and(|heard| {
            heard.connected
                && heard.report.incarnation == session.incarnation
                && now.since(heard.at) < live_for(state, agent)
        });
        live && session.incarnation != report.incarnation && bound == Some(session.incarnation)
    }
}

fn wrong(code: &'static str, text: String, next: &str) -> Result<(), StreamEnd> {
    Err(StreamEnd::Wrong { code, text, next: next.to_owned() })
}

/// How long a life counts as live without a Report: a few renewal periods of its slowest group.
fn live_for(state: &State, agent: &AgentId) -> Duration {
    let groups = state.spec.groups.values();
    let mine = groups.filter(|group| group.instances.values().any(|i| i.agent == *agent));
    let slowest = mine.map(|group| group.policy.timing.renewal).max();
    slowest.unwrap_or(Duration::from_secs(1)) * LIVE_PERIODS
}
