//! What each vantage point last saw by each signal, the unknown ones among them. Knows values and
//! ages; judges nothing.

use crate::{
    AgentId, ArbiterId, GroupId, Instant, ProbeSpec, RegionId, SignalKind, State, View,
    decide::{
        Context,
        judge::{AGENT_SILENCE, is_fresh},
        session_limit,
    },
};
use std::time::Duration;

/// What one vantage point last saw by one signal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignalSeen {
    /// The region that it tells of.
    pub region: RegionId,
    /// Name of the probe, or of the agent.
    pub name: String,
    /// `agent`, or the kind of probe.
    pub kind: String,
    /// Kind of signal: `agent-silence`, `health-endpoint`, `alerts` or `provider-status`.
    pub says: &'static str,
    /// The arbiter that saw it.
    pub seen_by: ArbiterId,
    /// What it saw.
    pub value: SignalValue,
    /// How long ago; none: it has told nothing of it yet.
    pub age: Option<Duration>,
    /// In words.
    pub detail: String,
    /// It bears on whether the region is judged lost.
    pub counts: bool,
}

/// What was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SignalValue {
    /// Nothing speaks against the region.
    Well,
    /// It speaks for a loss.
    Lost,
    /// It could not be read, or nothing was told yet. Never healthy.
    Unknown,
}

impl SignalSeen {
    /// The value in the word that fits its kind of signal.
    pub fn word(&self) -> &'static str {
        let (well, lost) = match self.says {
            AGENT_SILENCE => ("reports", "silent"),
            says if says == SignalKind::Alerts.as_str() => ("quiet", "firing"),
            says if says == SignalKind::Provider.as_str() => ("no incident", "incident"),
            _ => ("answers", "no answer"),
        };
        match self.value {
            SignalValue::Well => well,
            SignalValue::Lost => lost,
            SignalValue::Unknown => "unknown",
        }
    }
}

/// Every signal of `group`, as the leader `leads` knows it: by region, agents first, then probes
/// by name and vantage point.
pub fn signals(
    state: &State,
    view: &View,
    now: Instant,
    group: &GroupId,
    leads: &ArbiterId,
) -> Vec<SignalSeen> {
    let Some(context) = Context::new(state, view, now, group) else { return Vec::new() };
    let mut found = Vec::new();
    for region in context.spec.regions() {
        let agents = context.spec.agents_in(region).into_iter();
        found.extend(agents.map(|agent| heard(&context, region, agent, leads)));
        let probes = context.spec.probes.iter().filter(|(_, probe)| probe.region == *region);
        for (name, probe) in probes {
            let voters = state.spec.voters.keys();
            found.extend(voters.map(|from| seen(&context, name, probe, from)));
        }
    }
    found
}

/// Agents are heard by the leader, whichever arbiter relays them.
fn heard(context: &Context, region: &RegionId, agent: &AgentId, leads: &ArbiterId) -> SignalSeen {
    let age = context.heard(agent).map(|heard| context.now.since(heard.at));
    let limit = session_limit(&context.spec.policy.timing);
    let (value, detail) = match age {
        None => (SignalValue::Unknown, "not heard since this arbiter leads".to_owned()),
        Some(_) if context.is_live(agent) => (SignalValue::Well, String::new()),
        Some(_) => (SignalValue::Lost, format!("a sign after {limit:.1?}")),
    };
    let (name, seen_by) = (agent.0.clone(), leads.clone());
    let (region, kind, says) = (region.clone(), "agent".to_owned(), AGENT_SILENCE);
    SignalSeen { region, name, kind, says, seen_by, value, age, detail, counts: true }
}

fn seen(context: &Context, name: &str, probe: &ProbeSpec, from: &ArbiterId) -> SignalSeen {
    let key = (from.clone(), context.id.clone(), name.to_owned());
    let result = context.view.probes.get(&key);
    let value = match result.and_then(|result| result.up) {
        Some(true) => SignalValue::Well,
        Some(false) => SignalValue::Lost,
        None => SignalValue::Unknown,
    };
    let fresh = result.is_some_and(|result| is_fresh(context.now, probe, result));
    let detail = result.map_or("it has told nothing yet", |result| result.detail.as_str());
    SignalSeen {
        region: probe.region.clone(),
        name: name.to_owned(),
        kind: probe.kind.clone(),
        says: probe.signal.as_str(),
        seen_by: from.clone(),
        value,
        age: result.map(|result| context.now.since(result.at)),
        detail: detail.to_owned(),
        counts: fresh && probe.signal.decides() && value != SignalValue::Unknown,
    }
}
