//! An operator's attestation, as far as Reports speak for or against it.

use super::context::Context;
use super::plan::waited_for;
use crate::{
    Command, Condition, Fact, GroupId, InstanceId, Instant, PlanId, Rejected, State, View, Waited,
    apply::{lease_alive, refusal, unknown_group},
};

/// It runs, or is on its way up: what starts as a primary accepts writes a moment later.
fn is_unfenced(fact: &Fact) -> bool {
    let up =
        matches!(fact.condition, Condition::Healthy | Condition::Starting | Condition::Recovering);
    fact.writable || up
}

/// The command for an operator's attestation of `instance`: refused while a Report shows the
/// resource unfenced, and until the whole lease wait has passed.
///
/// # Errors
/// [`Rejected`] with code, reason and what to do.
pub fn attest(
    state: &State,
    view: &View,
    group: &GroupId,
    plan: PlanId,
    instance: &InstanceId,
    now: Instant,
) -> Result<Command, Rejected> {
    let context = Context::new(state, view, now, group).ok_or_else(|| unknown_group(group))?;
    let open = context.group.plan.as_ref().filter(|open| open.id == plan).ok_or_else(|| {
        refusal(
            "no-such-plan",
            format!("plan {plan} is not open for group {group}"),
            format!("arbiter plan show --group {group}"),
        )
    })?;
    let known = context.spec.instances.get(instance).ok_or_else(|| {
        refusal(
            "unknown-instance",
            format!("group {group} has no instance {instance}"),
            format!("arbiter status --group {group}"),
        )
    })?;
    if let Some(fact) = context.live_fact(instance).filter(|fact| is_unfenced(fact)) {
        let condition = format!("{:?}", fact.condition).to_lowercase();
        return Err(refusal(
            "unfenced",
            format!(
                "agent {} reports that {instance} is {condition}: it is not fenced",
                known.agent
            ),
            "stop it, then attest again".to_owned(),
        ));
    }
    let (elapsed, required) = waited_for(&context, known);
    if elapsed < required {
        return Err(lease_alive(required, elapsed));
    }
    Ok(Command::Attest {
        group: group.clone(),
        plan,
        instance: instance.clone(),
        token: open.fence_token,
        waited: Waited { term: view.term, elapsed },
    })
}
