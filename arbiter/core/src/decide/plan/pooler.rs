//! Row `stop-lease` of a switchover whose clients come through poolers: the source goes on until
//! each pooler holds its clients back, or cannot be waited for. Knows what they report.

use super::Row;
use crate::{Command, Condition, Goal, Instance, InstanceId, StepState, apply::RENEWED};

/// How far one pooler is.
enum Hold {
    /// Every transaction through it has ended, and no other begins.
    Paused,
    /// It will be there, or may be; what is missing.
    Awaited(String),
    /// The plan goes on without it, and why.
    Without(String),
}

/// Never held up for longer than a drain may take, nor by what cannot be reached.
pub(super) fn stop_lease(row: &Row) -> Vec<Command> {
    let limit = row.context.spec.policy.drain_limit;
    let over = row.context.row_ran() >= limit;
    let (mut paused, mut without) = (Vec::new(), Vec::new());
    for (id, instance) in row.context.spec.poolers() {
        match hold(row, id, instance) {
            Hold::Paused => paused.push(id.0.as_str()),
            Hold::Without(why) => without.push(format!("{id}: {why}")),
            Hold::Awaited(why) if over => without.push(format!("{id}: not in {limit:?}: {why}")),
            Hold::Awaited(_) => return Vec::new(),
        }
    }
    let mut note = RENEWED.to_owned();
    for (word, which) in [("paused", paused.join(", ")), ("not paused", without.join("; "))] {
        if !which.is_empty() {
            note = format!("{note}; {word}: {which}");
        }
    }
    vec![row.end(StepState::Done, note)]
}

fn hold(row: &Row, id: &InstanceId, instance: &Instance) -> Hold {
    let token = row.plan.fence_token;
    if !row.context.is_live(&instance.agent) {
        return Hold::Without(format!("agent {} does not report", instance.agent));
    }
    if row.done(id, Goal::Drained, token).is_some() {
        return Hold::Paused;
    }
    // Nobody is served through what does not run.
    if row.context.condition(id) == Condition::Dead {
        return Hold::Without("it does not run".to_owned());
    }
    match row.error(id, token) {
        Some(error) if error.refused => Hold::Without(error.message.clone()),
        Some(error) => Hold::Awaited(error.message.clone()),
        None => Hold::Awaited("it is not there yet".to_owned()),
    }
}
