//! `decide`: what the leader proposes now. It reads State and View; it changes neither.

mod preflight;

pub use preflight::{OpenRequest, preflight};

use crate::{
    ArbiterId, GroupId, InstanceId, Instant, PlanId, Proposal, RegionId, Report, State, Token, View,
};

/// What the leader proposes now. `wall` is left 0: the leader stamps it when it proposes. The
/// caller must not propose again what is still on its way into the log.
pub fn decide(state: &State, view: &View, now: Instant) -> Vec<Proposal> {
    let _ = (state, view, now);
    Vec::new()
}

/// A lag mark that must be committed before `report` is answered; none when the mark in State
/// already says it.
pub fn lag_crossing(state: &State, view: &View, report: &Report, now: Instant) -> Vec<Proposal> {
    let _ = (state, view, report, now);
    Vec::new()
}

/// Who should lead instead of `me`: none when `me` is right where it is. Keeps leadership out of
/// active regions, with hysteresis, and never moves it while a plan can still be undone.
pub fn preferred_leader(
    state: &State,
    view: &View,
    me: &ArbiterId,
    now: Instant,
) -> Option<ArbiterId> {
    let _ = (state, view, me, now);
    None
}

/// Regions that the leader must cut by their external fence command, with the token of the fence
/// goal. Checks that come back true go into `view.powered_off`.
pub fn external_fence_wanted(state: &State) -> Vec<(GroupId, RegionId, Token)> {
    let _ = state;
    Vec::new()
}

/// Why an operator's attestation of `instance` is refused, as far as Reports tell; none: it may be
/// proposed.
pub fn attest_refusal(
    state: &State,
    view: &View,
    group: &GroupId,
    plan: PlanId,
    instance: &InstanceId,
    now: Instant,
) -> Option<crate::Rejected> {
    let _ = (state, view, group, plan, instance, now);
    None
}
