//! Judging: is the active region lost, is its primary lost (design §6). Knows signs and since when
//! they hold; never what is done about them.

use super::context::{Context, VANTAGE_FRESH_MAX, session_limit};
use crate::{
    AgentId, ArbiterId, Condition, InstanceId, Instant, OnPrimaryFailure, ProbeSpec, Probed,
    RegionId, SignalKind,
};
use std::collections::BTreeSet;

pub(crate) const AGENT_SILENCE: &str = "agent-silence";
const HEALTH_ENDPOINT: &str = "health-endpoint";
const ALERTS: &str = "alerts";
const PROVIDER_STATUS: &str = "provider-status";

impl SignalKind {
    /// The word that `explain` has for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Health => HEALTH_ENDPOINT,
            Self::Alerts => ALERTS,
            Self::Provider => PROVIDER_STATUS,
        }
    }

    /// Whether it can count among the kinds that must agree. What a provider says of itself is
    /// late, written by hand, and about more than one customer's region.
    pub const fn decides(self) -> bool {
        !matches!(self, Self::Provider)
    }
}

/// One kind of signal, and since when it says that the active region is lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Signal {
    /// `agent-silence`, `health-endpoint` or `alerts`.
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

/// How many kinds of signal can ever say that `region` is lost: the silence of its agents, and the
/// kinds of its probes that decide.
pub(super) fn signal_kinds(context: &Context, region: &RegionId) -> usize {
    let probes = context.spec.probes.values().filter(|probe| probe.region == *region);
    let kinds: BTreeSet<SignalKind> =
        probes.map(|probe| probe.signal).filter(|signal| signal.decides()).collect();
    1 + kinds.len()
}

/// Judge the active region of a group.
pub(crate) fn judge(context: &Context) -> Judgement {
    let mut signals = vec![agent_silence(context), health_endpoint(context)];
    signals.extend(alerts(context));
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
    let votes = Votes::of(context, SignalKind::Health);
    let text = votes.text("find its probes down");
    Signal { kind: HEALTH_ENDPOINT, since: votes.lost_since(), text }
}

/// A majority of arbiters reads that enough of the region's services are alerted of; none where no
/// probe looks for alerts of it.
fn alerts(context: &Context) -> Option<Signal> {
    let votes = Votes::of(context, SignalKind::Alerts);
    let text = votes.text("read that enough of its alerts fire");
    let signal = Signal { kind: ALERTS, since: votes.lost_since(), text };
    votes.asked.then_some(signal)
}

/// What arbiters read of the provider's own word about the active region: whether any reads an
/// incident, and in words. It is no part of a [`Judgement`]. None where no probe reads it.
pub(crate) fn provider_status(context: &Context) -> Option<(bool, String)> {
    let votes = Votes::of(context, SignalKind::Provider);
    let (incidents, voters, unknown) = (votes.lost.len(), votes.voters, votes.unknown);
    let text = format!(
        "{incidents} of {voters} arbiters read an incident, {unknown} cannot tell; it corroborates \
         and never decides"
    );
    votes.asked.then_some((incidents > 0, text))
}

/// What arbiters say of the active region by one kind of signal.
struct Votes {
    /// Some probe gives this kind of signal of it.
    asked: bool,
    voters: usize,
    /// Since when each that finds it lost does, the longest first.
    lost: Vec<Instant>,
    /// How many cannot tell: nothing fresh is known, or nothing could be read.
    unknown: usize,
}

impl Votes {
    fn of(context: &Context, kind: SignalKind) -> Self {
        let voters = context.state.spec.voters.keys();
        let votes: Vec<Vote> = voters.map(|from| vote(context, from, kind)).collect();
        let mut lost: Vec<Instant> = votes.iter().filter_map(|vote| vote.lost).collect();
        lost.sort();
        Self {
            asked: probes(context, kind).next().is_some(),
            voters: votes.len(),
            lost,
            unknown: votes.iter().filter(|vote| vote.unknown).count(),
        }
    }

    fn majority(&self) -> usize {
        self.voters / 2 + 1
    }

    /// Since when a majority finds it lost.
    fn lost_since(&self) -> Option<Instant> {
        self.lost.get(self.majority() - 1).copied()
    }

    fn text(&self, find: &str) -> String {
        let (lost, voters, majority) = (self.lost.len(), self.voters, self.majority());
        let told = format!("{lost} of {voters} arbiters {find}, {majority} needed");
        match self.unknown {
            0 => told,
            unknown => format!("{told}; {unknown} cannot tell"),
        }
    }
}

/// What one arbiter says.
struct Vote {
    /// Since when it finds the region lost.
    lost: Option<Instant>,
    /// It cannot tell.
    unknown: bool,
}

/// Probes of the active region that give one kind of signal.
fn probes<'a>(
    context: &Context<'a>,
    kind: SignalKind,
) -> impl Iterator<Item = (&'a String, &'a ProbeSpec)> {
    let active = context.group.active();
    let named = context.spec.probes.iter();
    named.filter(move |(_, probe)| probe.signal == kind && Some(&probe.region) == active)
}

/// Whether a result says something about now. What a provider says changes slowly, and is asked
/// for seldom.
pub(crate) fn is_fresh(now: Instant, probe: &ProbeSpec, result: &Probed) -> bool {
    !probe.signal.decides() || now.since(result.at) <= VANTAGE_FRESH_MAX
}

/// `from` finds it lost since all of its probes that could be read say so; one that says otherwise
/// is enough against it, and one that could not be read counts for nothing.
fn vote(context: &Context, from: &ArbiterId, kind: SignalKind) -> Vote {
    let results = probes(context, kind).filter_map(|(name, probe)| {
        let key = (from.clone(), context.id.clone(), name.clone());
        let result = context.view.probes.get(&key)?;
        is_fresh(context.now, probe, result).then_some(result)
    });
    let known: Vec<_> = results.filter(|result| result.up.is_some()).collect();
    let well = known.iter().any(|result| result.up == Some(true));
    let lost = known.iter().map(|result| result.since).max().filter(|_| !well);
    Vote { lost, unknown: known.is_empty() }
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
    let resources = context.group.primaries.keys();
    resources.filter_map(|resource| context.primary(resource)).find(healthy).cloned()
}

/// A required primary that a live agent reports not to serve.
pub(crate) fn failed_primary(context: &Context) -> Option<(InstanceId, Condition)> {
    let required = context.spec.required_resources();
    let resources = context.group.primaries.keys().filter(|resource| required.contains(*resource));
    resources
        .filter_map(|resource| context.primary(resource))
        .map(|id| (id.clone(), context.condition(id)))
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
