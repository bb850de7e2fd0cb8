//! Judging: is the active region lost, is its primary lost (design §6). Knows signs and since when
//! they hold; never what is done about them.

use super::context::{Context, VANTAGE_FRESH_MAX, session_limit};
use crate::{AgentId, Condition, InstanceId, Instant, OnPrimaryFailure, RegionId};
use std::collections::BTreeSet;

const AGENT_SILENCE: &str = "agent-silence";
const HEALTH_ENDPOINT: &str = "health-endpoint";

/// One kind of signal, and since when it says that the active region is lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Signal {
    /// `agent-silence` or `health-endpoint`.
    pub kind: &'static str,
    /// None: it does not say so.
    pub since: Option<Instant>,
    /// With the numbers.
    pub text: String,
}

/// Everything that is judged about the active region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Judgement {
    /// Every kind of signal.
    pub signals: Vec<Signal>,
    /// A live agent reports its data healthy, and policy lets that count.
    pub vetoed_by: Option<InstanceId>,
    /// Since when enough kinds agree and nothing speaks against it.
    pub since: Option<Instant>,
}

impl Judgement {
    /// The signs have held for `detect_after`.
    pub fn is_lost(&self, context: &Context) -> bool {
        let limit = context.spec.policy.detect_after;
        self.since.is_some_and(|since| context.now.since(since) >= limit)
    }

    /// No agent beside the data is heard, among whatever else speaks against the region.
    pub fn is_silent(&self) -> bool {
        self.signals.iter().any(|s| s.kind == AGENT_SILENCE && s.since.is_some())
    }

    /// Some sign of loss.
    pub fn is_suspect(&self) -> bool {
        self.signals.iter().any(|signal| signal.since.is_some())
    }
}

/// How many kinds of signal can ever say that `region` is lost.
pub(super) fn signal_kinds(context: &Context, region: &RegionId) -> usize {
    let probed = context.spec.probes.values().any(|probe| probe.region == *region);
    1 + usize::from(probed)
}

/// Judge the active region of a group.
pub(crate) fn judge(context: &Context) -> Judgement {
    let mut signals = vec![agent_silence(context), health_endpoint(context)];
    // What spoke against a region before it was told to serve says nothing about it now.
    if let Some((_, serving)) = context.view.serving_since.get(context.id) {
        for signal in &mut signals {
            signal.since = signal.since.map(|since| since.max(*serving));
        }
    }
    let policy = &context.spec.policy;
    let vetoed_by = if policy.clients_decide { None } else { healthy_data(context) };
    let mut agreeing: Vec<Instant> = signals.iter().filter_map(|signal| signal.since).collect();
    agreeing.sort();
    let kinds_min = usize::from(policy.signal_kinds_min.max(1));
    let enough = agreeing.get(kinds_min - 1).copied();
    let clients = signals.iter().find(|s| s.kind == HEALTH_ENDPOINT).and_then(|s| s.since);
    let since = match (&vetoed_by, policy.clients_decide) {
        (Some(_), _) => None,
        (None, true) => enough.or(clients),
        (None, false) => enough,
    };
    Judgement { signals, vetoed_by, since }
}

/// Agents whose silence means something.
fn watched<'a>(context: &Context<'a>) -> BTreeSet<&'a AgentId> {
    let Some(active) = context.group.active() else { return BTreeSet::new() };
    let fencing = context.spec.fencing_agents(active);
    if fencing.is_empty() { context.spec.agents_in(active) } else { fencing }
}

/// Every agent beside the data is silent, or has fenced itself by lapse and stays so.
fn agent_silence(context: &Context) -> Signal {
    let kind = AGENT_SILENCE;
    let agents = watched(context);
    let Some(since) = agents.iter().map(|agent| lost_since(context, agent)).max() else {
        return Signal { kind, since: None, text: "no agent is watched".to_owned() };
    };
    let quiet = context.now.since(since);
    let limit = session_limit(&context.spec.policy.timing);
    let text = format!("agents last heard {quiet:.1?} ago, a sign after {limit:.1?}");
    Signal { kind, since: (quiet > limit).then_some(since), text }
}

/// Since when nothing good was heard of `agent`.
fn lost_since(context: &Context, agent: &AgentId) -> Instant {
    let lapsed = context.view.lapsed_since.get(&(context.id.clone(), agent.clone()));
    let armed = context.shown(agent).is_some_and(|shown| shown.arming.is_some());
    match (lapsed, context.view.reports.get(agent)) {
        (Some(lapsed), _) if armed => *lapsed,
        (_, Some(heard)) => heard.at.max(context.view.elected),
        (_, None) => context.view.elected,
    }
}

/// A majority of arbiters finds every probe of the region down.
fn health_endpoint(context: &Context) -> Signal {
    let kind = HEALTH_ENDPOINT;
    let voters = context.state.spec.voters.len();
    let majority = voters / 2 + 1;
    let mut down: Vec<Instant> =
        context.state.spec.voters.keys().filter_map(|from| down_since(context, from)).collect();
    down.sort();
    let text =
        format!("{} of {voters} arbiters find its probes down, {majority} needed", down.len());
    Signal { kind, since: down.get(majority - 1).copied(), text }
}

/// Since when `from` finds the probes of the active region down; none when one is up, or nothing
/// fresh is known.
fn down_since(context: &Context, from: &crate::ArbiterId) -> Option<Instant> {
    let active = context.group.active()?;
    let probes = context.spec.probes.iter().filter(|(_, probe)| probe.region == *active);
    let results = probes.filter_map(|(name, _)| {
        let key = (from.clone(), context.id.clone(), name.clone());
        let result = context.view.probes.get(&key)?;
        (context.now.since(result.at) <= VANTAGE_FRESH_MAX).then_some(result)
    });
    let known: Vec<_> = results.filter(|result| result.up.is_some()).collect();
    if known.iter().any(|result| result.up == Some(true)) {
        return None;
    }
    known.iter().map(|result| result.since).max()
}

/// A primary that a live agent shows healthy, unless that agent has fenced itself.
fn healthy_data(context: &Context) -> Option<InstanceId> {
    let healthy = |id: &&InstanceId| {
        let fenced = context.spec.instances.get(*id).is_some_and(|instance| {
            let shown = context.shown(&instance.agent);
            shown.is_some_and(|shown| shown.lapsed && shown.arming.is_some())
        });
        !fenced && context.condition(id) == Condition::Healthy
    };
    context.group.primaries.values().find(healthy).cloned()
}

/// A required primary that a live agent reports not to serve.
pub(crate) fn failed_primary(context: &Context) -> Option<(InstanceId, Condition)> {
    let required = context.spec.required_resources();
    let primaries = context.group.primaries.iter().filter(|(r, _)| required.contains(r));
    primaries
        .map(|(_, id)| (id.clone(), context.condition(id)))
        .find(|(_, c)| matches!(c, Condition::Dead | Condition::Starting | Condition::Recovering))
}

/// Whether a live agent's dead primary counts as lost, as policy says.
pub(crate) fn primary_lost(context: &Context) -> bool {
    let Some((_, condition)) = failed_primary(context) else { return false };
    let Some(since) = context.view.primary_dead.get(context.id) else { return false };
    let policy = &context.spec.policy;
    let over = context.now.since(*since) >= policy.start_limit;
    match policy.on_primary_failure {
        OnPrimaryFailure::Restart => false,
        OnPrimaryFailure::RestartThenFailover => over,
        OnPrimaryFailure::Failover => over || condition == Condition::Dead,
    }
}
