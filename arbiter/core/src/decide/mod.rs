//! `decide`: what the leader proposes now. It reads State and View; it changes neither.

mod preflight;

pub use preflight::{OpenRequest, preflight};

use crate::{
    ArbiterId, Command, GroupId, InstanceId, Instant, PlanId, Proposal, Reason, RegionId, Rejected,
    Report, State, Token, View,
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

/// The command for an operator's attestation of `instance`: refused while a Report shows the
/// resource unfenced, and until the whole lease wait has passed.
///
/// # Errors
/// [`crate::Rejected`] with code, reason and what to do.
pub fn attest(
    state: &State,
    view: &View,
    group: &GroupId,
    plan: PlanId,
    instance: &InstanceId,
    now: Instant,
) -> Result<Command, Rejected> {
    let _ = (state, view, group, plan, instance, now);
    Err(Rejected::Stale("not yet".to_owned()))
}

/// The command that closes the open plan of `request.group`, past its point of no return, and opens
/// a failover back; for an operator's failover while such a plan is open.
///
/// # Errors
/// The closed gates.
pub fn supersede(
    state: &State,
    view: &View,
    now: Instant,
    request: &OpenRequest,
) -> Result<Command, Vec<Reason>> {
    let _ = (state, view, now, request);
    Err(Vec::new())
}
