//! Who should lead. Losing the active region costs no election when leadership is elsewhere.

use super::context::VANTAGE_FRESH_MAX;
use crate::{ArbiterId, Instant, RegionKind, State, View};
use std::time::Duration;

/// A leader stays at least this long before it hands over.
pub const LEADERSHIP_MIN: Duration = Duration::from_secs(5);

/// Who should lead instead of `me`: none when `me` is right where it is. Keeps leadership out of
/// active regions, with hysteresis, and never moves it while a plan can still be undone.
pub fn preferred_leader(
    state: &State,
    view: &View,
    me: &ArbiterId,
    now: Instant,
) -> Option<ArbiterId> {
    let undoable = |plan: &crate::Plan| plan.before_point_of_no_return();
    let moving = state.groups.values().filter_map(|g| g.plan.as_ref()).any(undoable);
    if moving || now.since(view.elected) < LEADERSHIP_MIN {
        return None;
    }
    let mine = weight(state, me)?;
    let fresh = view.vantages.iter().filter(|(_, at)| now.since(**at) <= VANTAGE_FRESH_MAX);
    let others = fresh.map(|(arbiter, _)| arbiter).filter(|arbiter| *arbiter != me);
    let best = others.filter_map(|arbiter| Some((weight(state, arbiter)?, arbiter))).min()?;
    // Only a region with fewer active groups is worth an election.
    (best.0.0 < mine.0).then(|| best.1.clone())
}

/// Groups active where `arbiter` stands, then whether it is not the witness.
fn weight(state: &State, arbiter: &ArbiterId) -> Option<(usize, bool)> {
    let region = &state.spec.voters.get(arbiter)?.region;
    let active = state.groups.values().filter(|group| group.active() == Some(region)).count();
    Some((active, state.spec.regions.get(region) != Some(&RegionKind::Witness)))
}
