//! Whether a plan would open now. The same predicates serve `decide`, `explain` and the admin face.

use crate::{Epoch, GroupId, Instant, OpenPlan, PlanKind, Reason, RegionId, State, View};

/// What somebody wants opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenRequest {
    /// The group.
    pub group: GroupId,
    /// The kind of plan.
    pub kind: PlanKind,
    /// The region to activate; none: the only other data region of the group.
    pub target: Option<RegionId>,
    /// The epoch the asker believes in; none: whatever it is.
    pub expected_epoch: Option<Epoch>,
    /// Skip the clean stop.
    pub immediate: bool,
    /// Loss over the RPO is accepted.
    pub accept_loss: bool,
    /// Policy asks, not an operator: mode, hold-down and evidence count.
    pub by_policy: bool,
}

/// The plan that would open, or every reason why not.
///
/// # Errors
/// The closed gates, each with code, sentence and the command to run next.
pub fn preflight(
    state: &State,
    view: &View,
    now: Instant,
    request: &OpenRequest,
) -> Result<OpenPlan, Vec<Reason>> {
    let _ = (state, view, now, request);
    Err(Vec::new())
}
