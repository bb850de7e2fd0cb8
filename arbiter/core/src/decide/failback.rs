//! Failback: a switchover to the preferred region, when it would succeed. Knows the gates of a
//! switchover and what policy says of failback; runs no plan.

use super::context::Context;
use super::preflight::{OpenRequest, preflight};
use crate::{Command, Failback, GroupId, Instant, OpenPlan, PlanKind, Reason, State, View};

/// The switchover that leads back to the preferred region, or every reason why it would not open;
/// none where the preferred region is active, none is preferred, or a plan is open.
pub fn failback(
    state: &State,
    view: &View,
    now: Instant,
    group: &GroupId,
) -> Option<Result<OpenPlan, Vec<Reason>>> {
    let context = Context::new(state, view, now, group)?;
    let request = request(&context)?;
    Some(preflight(state, view, now, &request))
}

/// What policy would ask for: an operator may ask for it at any time.
pub(crate) fn request(context: &Context) -> Option<OpenRequest> {
    let preferred = context.spec.policy.preferred.clone()?;
    let active = context.group.active()?;
    // A drill goes back by itself.
    let busy = context.group.plan.is_some() || context.group.drill.is_some();
    if *active == preferred || busy {
        return None;
    }
    let by_policy = context.spec.policy.failback == Failback::Automatic;
    let plain = OpenRequest::plain(context.id, PlanKind::Switchover, by_policy);
    Some(OpenRequest { target: Some(preferred), ..plain })
}

/// Open it, where policy lets it be done without a command.
pub(super) fn open(context: &Context) -> Option<Command> {
    let request = request(context).filter(|request| request.by_policy)?;
    preflight(context.state, context.view, context.now, &request).ok().map(Command::OpenPlan)
}
