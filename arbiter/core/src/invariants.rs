//! Invariants I1 to I11 as far as State can see them (design §4): what each entry must leave true.
//! Knows States before and after; never a Report or a clock.

use crate::{
    EvidenceKind, Goal, Group, GroupId, GroupSpec, Layer, Mode, Plan, PlanEnd, PlanKind,
    RegionKind, Rejected, State, StepId, apply::may_lose, apply::unarmed_in, weakest_allowed,
    worth,
};

/// A broken invariant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breach {
    /// `I1` to `I11`.
    pub invariant: &'static str,
    /// Which sentence, with what values.
    pub detail: String,
}

impl From<Breach> for Rejected {
    fn from(breach: Breach) -> Self {
        Rejected::Breach { invariant: breach.invariant.to_owned(), detail: breach.detail }
    }
}

/// One group before and after an entry.
struct Step<'a> {
    id: &'a GroupId,
    before: &'a Group,
    after: &'a Group,
    spec: &'a GroupSpec,
    state: &'a State,
}

type Holds = Result<(), String>;
type Check = fn(&Step) -> Holds;

const CHECKS: &[(&str, Check)] = &[
    ("I1", one_region_writes),
    ("I2", epoch_rises_with_active),
    ("I3", nothing_promoted_without_evidence),
    ("I3", evidence_answers_this_plan),
    ("I5", one_plan_open),
    ("I6", no_way_back),
    ("I7", traffic_names_the_active_region),
    ("I8", witness_never_active),
    ("I9", mode_needs_arming),
    ("I10", tokens_never_fall),
    ("I11", loss_is_bounded_before_promotion),
    ("I11", counted_is_waited_for),
];

/// Whether the step from `before` to `after` keeps every invariant.
///
/// # Errors
/// The first breach.
pub fn check_invariants(before: &State, after: &State) -> Result<(), Breach> {
    armed_means_bound_and_serving(after).map_err(|detail| Breach { invariant: "I4", detail })?;
    foreign_means_unarmed(after).map_err(|detail| Breach { invariant: "I4", detail })?;
    if before.cluster_id.is_none() && after.restored.is_some() {
        return restored_above(after).map_err(|detail| Breach { invariant: "I2", detail });
    }
    let unborn = Group::default();
    for (id, group) in &after.groups {
        let Some(spec) = after.spec.groups.get(id) else { continue };
        let before = before.groups.get(id).unwrap_or(&unborn);
        // An unchanged group without a plan is not checked again: a thousand cost no more.
        if before == group && group.plan.is_none() {
            continue;
        }
        let step = Step { id, before, after: group, spec, state: after };
        for (invariant, check) in CHECKS {
            check(&step)
                .map_err(|detail| Breach { invariant, detail: format!("group {id}: {detail}") })?;
        }
    }
    Ok(())
}

fn require(holds: bool, otherwise: impl FnOnce() -> String) -> Holds {
    if holds { Ok(()) } else { Err(otherwise()) }
}

fn regions_with(group: &Group, layer: Layer, goal: Goal) -> Vec<&crate::RegionId> {
    let has = |goals: &std::collections::BTreeMap<Layer, crate::RegionGoal>| {
        goals.get(&layer).is_some_and(|set| set.goal == goal)
    };
    group.goals.iter().filter(|(_, goals)| has(goals)).map(|(region, _)| region).collect()
}

/// Data is ordered to be active in the active region only.
fn one_region_writes(step: &Step) -> Holds {
    let writers = regions_with(step.after, Layer::Data, Goal::Active);
    require(writers.iter().all(|region| Some(*region) == step.after.active()), || {
        format!("data active in {writers:?}, active is {:?}", step.after.active())
    })
}

/// The epoch never decreases, and rises by one exactly when `active` changes.
fn epoch_rises_with_active(step: &Step) -> Holds {
    let (before, after) = (step.before, step.after);
    let rise = after.epoch().0.checked_sub(before.epoch().0);
    let expected = u64::from(before.active() != after.active());
    require(rise == Some(expected), || {
        format!(
            "epoch {} with {:?}, then {} with {:?}",
            before.epoch(),
            before.active(),
            after.epoch(),
            after.active()
        )
    })
}

fn proving_plan<'a>(step: &'a Step) -> Option<&'a Plan> {
    step.after.plan.as_ref().or(step.after.plans.last())
}

fn activated_by_plan(step: &Step) -> bool {
    step.before.active().is_some() && step.before.active() != step.after.active()
}

/// The active region changes only by a plan that holds evidence for every instance of the old one.
fn nothing_promoted_without_evidence(step: &Step) -> Holds {
    if !activated_by_plan(step) || crate::planted!(FenceSkipped) {
        return Ok(());
    }
    let Some(plan) = proving_plan(step) else { return Err("no plan".to_owned()) };
    require(
        Some(&plan.source) == step.before.active() && Some(&plan.target) == step.after.active(),
        || format!("plan {} moves {} to {}", plan.id, plan.source, plan.target),
    )?;
    let least = weakest_allowed(plan, &step.spec.policy);
    for (id, _) in step.spec.needing_evidence(&plan.source) {
        let kind: Option<EvidenceKind> = plan.evidence.get(id).map(|evidence| evidence.kind);
        require(kind.is_some_and(|kind| worth(plan, &step.spec.policy, kind).0), || {
            format!("evidence for {id} is {kind:?}, {least} is needed")
        })?;
    }
    Ok(())
}

/// Evidence of an open plan answers its own fence goal; an aborted plan keeps none.
fn evidence_answers_this_plan(step: &Step) -> Holds {
    if let Some(plan) = &step.after.plan {
        let foreign = plan.evidence.values().find(|e| e.token != plan.fence_token);
        require(foreign.is_none(), || format!("plan {} holds {foreign:?}", plan.id))?;
    }
    let aborted = step.after.plans.iter().filter(|p| matches!(p.end, Some(PlanEnd::Aborted(_))));
    let unvoided = aborted.into_iter().find(|plan| !plan.evidence.is_empty());
    require(unvoided.is_none() || crate::planted!(EvidenceOfAbortedPlan), || {
        "an aborted plan keeps evidence".to_owned()
    })
}

/// Only a bound life that serves the group is known as armed, and only where arming is wanted.
fn armed_means_bound_and_serving(state: &State) -> Holds {
    for (agent, binding) in &state.bindings {
        for group in binding.arming.keys() {
            let serves = state.spec.groups.get(group).is_some_and(|spec| spec.serves(agent));
            let wanted = state.groups.get(group).is_some_and(|group| group.arming_wanted);
            require(serves && wanted, || format!("{agent} is known as armed for {group}"))?;
            // I9
            let holds = state.spec.groups.get(group).map(|spec| spec.policy.on_quorum_loss);
            let fences = holds == Some(crate::OnQuorumLoss::Fence);
            require(fences, || format!("{agent} is known as armed for {group}, which holds"))?;
        }
    }
    Ok(())
}

/// The lease of a life that was bound before a restore counts for nothing.
fn foreign_means_unarmed(state: &State) -> Holds {
    let counted = state.bindings.iter().find(|(_, b)| b.foreign && !b.arming.is_empty());
    require(counted.is_none(), || format!("{counted:?} was bound before the restore"))
}

/// A restored cluster begins above all epochs of the former, with nothing proven and nobody leased.
fn restored_above(state: &State) -> Holds {
    let jump = state.restored.as_ref().map_or(0, |restored| restored.epoch_jump);
    require(state.bindings.values().all(|b| b.foreign), || "a binding was taken over".to_owned())?;
    for (id, group) in &state.groups {
        let old = group.epoch() > crate::Epoch(0);
        require(!old || group.epoch().0 >= jump, || format!("{id} is at {}", group.epoch()))?;
        let waits = group.active().is_none() || group.unsettled.is_some();
        require(waits && group.plan.is_none() && group.plans.is_empty(), || {
            format!("{id} goes on as if nothing had happened")
        })?;
        let goals = group.goals.values().flat_map(|layers| layers.values());
        let lower = goals.into_iter().find(|goal| goal.token.epoch != group.epoch());
        require(lower.is_none(), || format!("{id} keeps the goal {lower:?}"))?;
        let serving = regions_with(group, Layer::Data, Goal::Active);
        require(serving.iter().all(|region| Some(*region) == group.active()), || {
            format!("{id}: data active in {serving:?}")
        })?;
    }
    Ok(())
}

/// The open plan is open, and those kept have ended.
fn one_plan_open(step: &Step) -> Holds {
    let open = step.after.plan.as_ref().is_none_or(|plan| plan.end.is_none());
    let ended = step.after.plans.iter().all(|plan| plan.end.is_some());
    require(open && ended, || "a kept plan is open, or the open one ended".to_owned())
}

/// After the point of no return a plan goes forward, halts, or is superseded by a failover.
fn no_way_back(step: &Step) -> Holds {
    let Some(before) = step.before.plan.as_ref() else { return Ok(()) };
    if before.step().is_none_or(|at| at <= StepId::AdvanceEpoch) {
        return Ok(());
    }
    if let Some(after) = step.after.plan.as_ref().filter(|plan| plan.id == before.id) {
        return require(after.cursor >= before.cursor, || format!("plan {} went back", after.id));
    }
    let end = step.after.plans.iter().find(|plan| plan.id == before.id).map(|plan| &plan.end);
    let good = match end {
        Some(Some(PlanEnd::Completed)) => true,
        Some(Some(PlanEnd::Superseded(by))) => step
            .after
            .plan
            .as_ref()
            .is_some_and(|plan| plan.id == *by && plan.kind == PlanKind::Failover),
        _ => false,
    };
    require(good, || format!("plan {} ended as {end:?}", before.id))
}

/// Traffic is ordered from the active region only.
fn traffic_names_the_active_region(step: &Step) -> Holds {
    let writers = regions_with(step.after, Layer::Traffic, Goal::Active);
    require(writers.iter().all(|region| Some(*region) == step.after.active()), || {
        format!("traffic active in {writers:?}, active is {:?}", step.after.active())
    })
}

/// A witness is never active, nor the target of a plan.
fn witness_never_active(step: &Step) -> Holds {
    let plan = step.after.plan.as_ref().map(|plan| &plan.target);
    let witness = step
        .after
        .active()
        .into_iter()
        .chain(plan)
        .find(|region| step.state.spec.regions.get(*region) != Some(&RegionKind::Data));
    require(witness.is_none(), || format!("{witness:?} is not a data region"))
}

/// A mode that acts is entered only where both regions are armed.
fn mode_needs_arming(step: &Step) -> Holds {
    if step.after.mode == Mode::Observe || step.after.mode == step.before.mode {
        return Ok(());
    }
    let mut regions = step.spec.regions().into_iter();
    let unarmed = regions.find_map(|region| unarmed_in(step.state, step.id, region));
    require(unarmed.is_none() && step.after.active().is_some(), || {
        format!("mode {:?} without arming of {unarmed:?}", step.after.mode)
    })
}

/// The token of a goal never falls, and a changed goal has a higher one.
fn tokens_never_fall(step: &Step) -> Holds {
    for (region, layers) in &step.before.goals {
        for (layer, was) in layers {
            let Some(is) = step.after.goal(region, *layer) else { continue };
            let kept = is == *was || is.token > was.token;
            require(kept, || format!("{layer:?} in {region}: {was:?}, then {is:?}"))?;
        }
    }
    Ok(())
}

/// What a promotion loses was within the RPO, or accepted by name; a switchover loses nothing.
fn loss_is_bounded_before_promotion(step: &Step) -> Holds {
    if !activated_by_plan(step) {
        return Ok(());
    }
    let Some(plan) = proving_plan(step) else { return Err("no plan".to_owned()) };
    if plan.kind == PlanKind::Failover {
        let within = match step.before.durability_of(step.spec, plan.id) {
            crate::Durability::Async => step.before.lag == crate::LagMark::Within,
            crate::Durability::Strict => may_lose(step.spec, step.before, plan).is_none(),
        };
        let bounded = within || plan.accept_loss;
        return require(bounded, || format!("plan {} may lose more than the RPO", plan.id));
    }
    let short = step.spec.required_resources().into_iter().find(|resource| {
        let end = plan.source_end.get(*resource);
        end.is_some_and(|end| plan.target_end.get(*resource).is_none_or(|reached| reached < end))
    });
    require(short.is_none(), || format!("{short:?} is behind its source"))
}

/// Who is counted was named in an earlier entry, so that its primary could be told first.
fn counted_is_waited_for(step: &Step) -> Holds {
    let broken = step.after.synchronous.iter().find(|(resource, set)| {
        let before = step.before.synchronous.get(*resource);
        let new = |id: &&crate::InstanceId| !before.is_some_and(|b| b.counted.contains(*id));
        let named = |id: &crate::InstanceId| before.is_some_and(|b| b.named.contains(id));
        !set.counted.is_subset(&set.named) || !set.counted.iter().filter(new).all(named)
    });
    require(broken.is_none(), || format!("{broken:?} counts whom nobody waits for"))
}

#[cfg(test)]
mod tests;
