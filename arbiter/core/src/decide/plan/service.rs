//! Row `verify-service`: what every vantage point sees of the public name. It never holds a plan:
//! what is not seen in time makes the group degraded, by name.

use super::Row;
use crate::decide::Context;
use crate::{ArbiterId, Command, RegionId, ServiceSeen, StepState, VANTAGE_FRESH_MAX};

/// An arbiter that does not see the target serve under the public name.
pub(crate) struct Unseen {
    /// By name, and what it sees instead.
    pub text: String,
    /// It tells nothing at all any more: waiting brings nothing.
    silent: bool,
}

/// Each arbiter reaches the target by the public name.
pub(super) fn verify_service(row: &Row) -> Vec<Command> {
    let target = &row.plan.target;
    let voters = row.context.state.spec.voters.len();
    let unseen = unseen(row.context, target);
    if unseen.is_empty() {
        let note = format!("{voters} of {voters} arbiters reach {target}");
        return vec![row.end(StepState::Done, note)];
    }
    // Where the others reach it, nobody waits for an arbiter that is lost with its region.
    let lost = unseen.len() <= voters / 2 && unseen.iter().all(|one| one.silent);
    if !lost && !row.attempt_over() {
        return Vec::new();
    }
    let others: Vec<String> = unseen.into_iter().map(|one| one.text).collect();
    vec![row.end(StepState::Degraded, others.join("; "))]
}

/// The arbiters that do not see `target` serve, of all there are.
pub(crate) fn unseen(context: &Context, target: &RegionId) -> Vec<Unseen> {
    let voters = context.state.spec.voters.keys();
    voters.filter_map(|from| unseen_from(context, target, from)).collect()
}

fn unseen_from(context: &Context, target: &RegionId, from: &ArbiterId) -> Option<Unseen> {
    let seen = context.view.service.get(&(from.clone(), context.id.clone()));
    match seen.filter(|seen| context.now.since(seen.at) <= VANTAGE_FRESH_MAX) {
        Some(seen) if reaches(context, target, seen) => None,
        Some(seen) => Some(Unseen { text: format!("{from} sees {}", seen.detail), silent: false }),
        None => {
            let heard = context.view.vantages.get(from).copied().unwrap_or_default();
            let since = heard.max(context.view.elected);
            let silent = context.now.since(since) > VANTAGE_FRESH_MAX;
            Some(Unseen { text: format!("{from} does not tell what it sees"), silent })
        }
    }
}

/// Where a zone of the group holds the token, only that of this epoch counts. // I7
fn reaches(context: &Context, target: &RegionId, seen: &ServiceSeen) -> bool {
    let epoch = match seen.token {
        Some(token) => token.epoch >= context.group.epoch(),
        None => !context.spec.shows_token(),
    };
    seen.reached && epoch && seen.region.as_ref() == Some(target)
}
