//! What a restored group waits for: that nobody else serves, and that nothing knows of a newer
//! epoch than its backup. Knows bindings and Reports; State checks the first again.

use super::context::Context;
use crate::{
    AgentId, Command, Epoch, InstanceId, Instant, RegionId, Rejected, State, Token, View, Waited,
    apply::{foreign_beside, leases_to_outlive, refusal},
};

/// The group goes on where it was.
pub(super) fn settle(context: &Context) -> Option<Command> {
    context.group.unsettled?;
    let waits = unsettled(context).is_some() || context.group.plan.is_some();
    (!waits).then(|| Command::SettleGroup { group: context.id.clone() })
}

/// Why not yet, and what to do; none: it is settled, or about to be.
pub(crate) fn unsettled(context: &Context) -> Option<(String, String)> {
    let backup = context.group.unsettled?;
    let active = context.group.active()?;
    if let Some(agent) = foreign_beside(context.state, context.spec, &[]) {
        return Some((foreign(context, &agent), forgive(context, &agent)));
    }
    if let Some((id, seen)) = newer(context, backup) {
        return Some(overtaken(context, id, seen, backup, active));
    }
    let mut agents = context.spec.instances.values().filter(|i| i.needs_evidence());
    let silent = agents.find(|i| {
        // Who was attested instead of bound is not waited for.
        context.state.bindings.contains_key(&i.agent) && !context.is_live(&i.agent)
    });
    silent.map(|instance| {
        let text = format!("agent {} has changed over and does not report", instance.agent);
        (text, "start it, or see its log".to_owned())
    })
}

fn foreign(context: &Context, agent: &AgentId) -> String {
    let from = context.state.restored.as_ref().and_then(|restored| restored.from.last());
    let from = from.map_or("", |id| id.as_str());
    format!(
        "agent {agent} has not changed over from cluster {from}, which it does only fenced: what \
         it holds may serve"
    )
}

fn forgive(context: &Context, agent: &AgentId) -> String {
    let group = context.id;
    format!(
        "see its log; if its host is gone for good: arbiter attest --agent {agent} --group {group} \
         --reason \"…\", or arbiter failover --group {group} --to REGION"
    )
}

/// An instance that obeyed a later epoch than the backup knows of: the former cluster went on.
fn newer<'a>(context: &Context<'a>, backup: Epoch) -> Option<(&'a InstanceId, Token)> {
    let ours = context.group.epoch();
    let later = |token: &Token| token.epoch > backup && token.epoch != ours;
    context.spec.instances.keys().find_map(|id| {
        let shown = context.instance(id)?;
        Some((id, shown.token)).filter(|(_, token)| later(token))
    })
}

fn overtaken(
    context: &Context,
    id: &InstanceId,
    seen: Token,
    backup: Epoch,
    active: &RegionId,
) -> (String, String) {
    let text = format!(
        "{id} has obeyed {seen}, and the backup is of epoch {backup}: {active} may not be the \
         region that was active last"
    );
    let next = format!(
        "restore again, under another cluster id, with --active {}=REGION and a larger \
         --epoch-jump; or arbiter failover --group {} --to REGION",
        context.id, context.id
    );
    (text, next)
}

/// The command by which an operator attests a foreign agent, with the wait as this leader knows it.
///
/// # Errors
/// There is no such agent.
pub fn attest_agent(
    state: &State,
    view: &View,
    agent: &AgentId,
    now: Instant,
) -> Result<Command, Rejected> {
    if !state.spec.agents.contains_key(agent) {
        let next = "arbiter status, which lists the agents";
        return Err(refusal("unknown-agent", format!("policy names no agent {agent}"), next));
    }
    let life = state.bindings.get(agent).map(|binding| binding.incarnation);
    let groups = leases_to_outlive(state, agent);
    let silent = groups
        .keys()
        .filter_map(|group| life.map(|life| view.leases.silent_for(group, agent, life, now)));
    let elapsed = silent.min().unwrap_or_else(|| now.since(view.elected));
    let waited = Waited { term: view.term, elapsed };
    Ok(Command::AttestAgent { agent: agent.clone(), waited })
}
