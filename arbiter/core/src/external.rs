//! External fences: an operator's command that cuts a region off from outside, and its check. They
//! are run by the agents of the plan's target, and by the leader where none of those can.
//!
//! Knows who runs one, for which fence goal; never what the command does.

use crate::decide::Context;
use crate::{
    AgentId, Control, DoneReport, EvidenceKind, Fact, FenceProof, Fencing, Goal, Group, GroupId,
    GroupSpec, Instance, InstanceId, InstanceReport, Instant, Layer, Order, PlanKind, RegionId,
    State, StepId, Terms, Token, View,
};
use std::collections::BTreeSet;

/// The kind of driver that runs one.
pub const EXTERNAL_FENCE: &str = "external-fence";

/// Under which name an agent runs the external fence of `region`. No name in a cluster file holds a
/// colon, so no instance of a file is called so.
pub fn external_fence_id(region: &RegionId) -> InstanceId {
    InstanceId(format!("fence:{region}"))
}

/// The external fences that `agent` may be ordered to run: of each region but its own, where it
/// stands beside data. The commands are those of its own file: none ever crosses the wire.
pub fn external_fences_beside(spec: &GroupSpec, agent: &AgentId) -> Vec<(InstanceId, Instance)> {
    let mut beside = spec.beside(agent).map(|(_, instance)| instance);
    let Some(own) = beside.find(|instance| instance.needs_evidence()) else { return Vec::new() };
    let others = spec.policy.external_fence.iter().filter(|(region, _)| **region != own.region);
    others
        .map(|(region, settings)| {
            let fence = Instance {
                resource: EXTERNAL_FENCE.into(),
                region: region.clone(),
                agent: agent.clone(),
                kind: EXTERNAL_FENCE.to_owned(),
                layer: Layer::Data,
                // Never what an agent fences by itself.
                fencing: Fencing::BestEffort,
                control: Control::Api,
                evidence: BTreeSet::from([EvidenceKind::PowerOff]),
                waits: false,
                address: String::new(),
                settings: settings.clone(),
            };
            (external_fence_id(region), fence)
        })
        .collect()
}

/// The region to cut off and the token of the fence goal, while a plan waits for its proof.
fn wanted<'a>(spec: &GroupSpec, group: &'a Group) -> Option<(&'a RegionId, Token)> {
    let plan = group.plan.as_ref()?;
    let proving =
        plan.step().is_some_and(|step| step >= StepId::ProveFence && step <= StepId::AdvanceEpoch);
    let asked = plan.kind == PlanKind::Failover
        && proving
        && spec.policy.external_fence.contains_key(&plan.source)
        && FenceProof::establish(spec, group, plan).is_err();
    asked.then_some((&plan.source, plan.fence_token))
}

/// What `agent` is ordered to cut off now.
pub(crate) fn external_order(
    spec: &GroupSpec,
    group: &Group,
    id: &GroupId,
    agent: &AgentId,
) -> Option<Order> {
    let (source, token) = wanted(spec, group)?;
    let target = &group.plan.as_ref()?.target;
    let beside = |instance: &Instance| instance.needs_evidence() && instance.region == *target;
    spec.beside(agent).any(|(_, instance)| beside(instance)).then(|| Order {
        group: id.clone(),
        instance: external_fence_id(source),
        layer: Layer::Data,
        goal: Goal::Fenced,
        token,
        verify: false,
        terms: Terms::default(),
        commits: None,
    })
}

/// The external fences of the target's agents, as they show them.
fn shown<'a>(context: &Context<'a>, source: &RegionId) -> Vec<(&'a AgentId, &'a InstanceReport)> {
    let Some(plan) = &context.group.plan else { return Vec::new() };
    let id = external_fence_id(source);
    let agents = context.spec.agents_in(&plan.target).into_iter();
    agents.filter_map(|agent| Some((agent, context.shown(agent)?.instances.get(&id)?))).collect()
}

/// The external fences that live agents stand ready to run: of which region, and as last shown.
pub(crate) fn beside<'a>(context: &Context<'a>) -> Vec<(&'a RegionId, &'a AgentId, &'a Fact)> {
    let mut found = Vec::new();
    for region in context.spec.policy.external_fence.keys() {
        let id = external_fence_id(region);
        let agents: BTreeSet<&AgentId> =
            context.spec.instances.values().map(|i| &i.agent).collect();
        for agent in agents.into_iter().filter(|agent| context.is_live(agent)) {
            let shown = context.shown(agent).and_then(|shown| shown.instances.get(&id));
            found.extend(shown.map(|shown| (region, agent, &shown.fact)));
        }
    }
    found
}

/// The check came back true, for this goal, at the leader or at an agent of the target.
pub(crate) fn is_cut_off(context: &Context, source: &RegionId, token: Token) -> bool {
    let said = |done: &DoneReport| {
        done.goal == Goal::Fenced
            && done.token == token
            && done.evidence == Some(EvidenceKind::PowerOff)
    };
    let here = (context.id.clone(), source.clone(), token);
    context.view.powered_off.contains(&here)
        || shown(context, source).iter().any(|(_, fence)| fence.done.as_ref().is_some_and(said))
}

/// Regions that the leader must cut off itself, with the token of the fence goal: no live agent of
/// the target can, or those that can are refused by what they ran. Checks that come back true go
/// into [`View::powered_off`].
pub fn external_fence_wanted(
    state: &State,
    view: &View,
    now: Instant,
) -> Vec<(GroupId, RegionId, Token)> {
    let groups = state.groups.keys().filter_map(|id| Context::new(state, view, now, id));
    groups
        .filter_map(|context| {
            let (source, token) = wanted(context.spec, context.group)?;
            let able = |(agent, fence): &(&AgentId, &InstanceReport)| {
                let failed = fence.error.as_ref().is_some_and(|error| error.token == token);
                context.is_live(agent) && !failed
            };
            let theirs = shown(&context, source).iter().any(able);
            (!theirs && !is_cut_off(&context, source, token))
                .then(|| (context.id.clone(), source.clone(), token))
        })
        .collect()
}
