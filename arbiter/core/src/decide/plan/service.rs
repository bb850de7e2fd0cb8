//! Row `verify-service`: what every vantage point sees of the public name. It never holds a plan:
//! what is not seen in time makes the group degraded, by name.

use super::Row;
use crate::{ArbiterId, Command, ServiceSeen, StepState, VANTAGE_FRESH_MAX};

/// Each arbiter that is heard reaches the target by the public name.
pub(super) fn verify_service(row: &Row) -> Vec<Command> {
    let voters = row.context.state.spec.voters.len();
    let fresh: Vec<(&ArbiterId, &ServiceSeen)> = row
        .context
        .view
        .service
        .iter()
        .filter(|((_, group), seen)| {
            group == row.context.id && row.context.now.since(seen.at) <= VANTAGE_FRESH_MAX
        })
        .map(|((from, _), seen)| (from, seen))
        .collect();
    let others: Vec<String> = fresh
        .iter()
        .filter(|(_, seen)| !reaches_target(row, seen))
        .map(|(from, seen)| format!("{from} sees {}", seen.detail))
        .collect();
    let enough = fresh.len() > voters / 2;
    if enough && others.is_empty() {
        let note = format!("{} of {voters} arbiters reach {}", fresh.len(), row.plan.target);
        return vec![row.end(StepState::Done, note)];
    }
    if !row.attempt_over() {
        return Vec::new();
    }
    let note = if others.is_empty() {
        format!("only {} of {voters} arbiters tell what they see", fresh.len())
    } else {
        others.join("; ")
    };
    vec![row.end(StepState::Degraded, note)]
}

fn reaches_target(row: &Row, seen: &ServiceSeen) -> bool {
    let epoch = seen.token.is_none_or(|token| token.epoch >= row.context.group.epoch());
    seen.reached && epoch && seen.region.as_ref() == Some(&row.plan.target)
}
