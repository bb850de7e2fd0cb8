//! Which instance of the target is promoted: of those that have drained the one that received most.
//! Chosen after the fence, as the source may have written, and sent, until then; who is behind
//! would lose what another has, and the other could not follow it. // I11

use super::Row;
use crate::{
    Condition, Goal, InstanceId, PlanKind, Position, ResourceId, Token, decide::lag,
    orders::clean_end,
};
use std::cmp::Reverse;
use std::time::Duration;

/// How long the one foreseen is waited for where another has all: no more is to be had, and it is
/// the one that an operator was told of.
const FORESEEN_WAIT: Duration = Duration::from_secs(1);

/// How far the choice for one resource is.
pub(super) enum Choice<'a> {
    /// This one, and where its stream ends.
    Made(&'a InstanceId, Option<Position>),
    /// None can be, and why.
    Never(String),
    /// What is waited for.
    Waiting(String),
}

/// An instance of the target that has drained, best last.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Drained<'a> {
    /// It has not left the stream of the source: of these any is before one that has.
    follows: bool,
    end: Option<Position>,
    /// It was chosen when the plan opened; then the first by name.
    foreseen: bool,
    id: Reverse<&'a InstanceId>,
}

/// The choice for `resource`. `over`: what has not drained by now is not waited for any more.
pub(super) fn choose<'a>(
    row: &Row<'a>,
    resource: &ResourceId,
    token: Token,
    over: bool,
) -> Choice<'a> {
    let best = fitting(row, resource).filter_map(|id| drained(row, resource, id, token)).max();
    let all = clean_end(row.context.group, row.plan, resource);
    let soon = row.context.row_ran() < FORESEEN_WAIT;
    if let Some(best) = best.filter(|best| best.follows && all.is_some() && best.end >= all)
        && (best.foreseen || !soon)
    {
        return Choice::Made(best.id.0, best.end);
    }
    let mut refused = None;
    let others = fitting(row, resource).filter(|id| drained(row, resource, id, token).is_none());
    for id in others {
        let error = row.error(id, token);
        let never = over || error.is_some_and(|error| error.refused);
        let text = error.map_or("is not there yet", |error| &error.message);
        let ahead = best.is_none_or(|best| is_ahead(row, resource, id, &best));
        let healthy = row.context.condition(id) == Condition::Healthy;
        if !never && (ahead || healthy) {
            return Choice::Waiting(format!("{id}: {text}"));
        }
        if ahead {
            refused = Some(format!("{id}: {text}"));
        }
    }
    match (best, refused) {
        (None, Some(why)) => Choice::Never(why),
        (None, None) => Choice::Waiting(format!("no instance of {resource} is there yet")),
        (Some(best), Some(why)) if !may_be_behind(row, resource, best.id.0) => Choice::Never(
            format!("it has received more than {}, and stays behind: {why}", best.id.0),
        ),
        // What it lacks of the source nobody knows.
        (Some(best), None) if !best.follows && !may_be_behind(row, resource, best.id.0) => {
            Choice::Never(format!("{} has left the stream of its source", best.id.0))
        }
        (Some(best), _) => Choice::Made(best.id.0, best.end),
    }
}

/// Instances of the target that hold the primary's data, as far as is known.
fn fitting<'a>(row: &Row<'a>, resource: &ResourceId) -> impl Iterator<Item = &'a InstanceId> {
    let context = row.context;
    let here = context.spec.needing_evidence(&row.plan.target);
    let here = here.filter(move |(id, instance)| {
        let foreign = |shown: &crate::InstanceReport| {
            context.holds_other_data(&instance.resource, &shown.fact)
        };
        let has_all = !row.asks_counted() || context.is_counted(resource, id);
        instance.resource == *resource && has_all && !context.instance(id).is_some_and(foreign)
    });
    here.map(|(id, _)| id)
}

/// What has drained and can be promoted: its agent reports.
fn drained<'a>(
    row: &Row,
    resource: &ResourceId,
    id: &'a InstanceId,
    token: Token,
) -> Option<Drained<'a>> {
    row.context.live_fact(id)?;
    let end = row.done(id, Goal::Drained, token)?.end;
    let follows = !row.context.left_stream(resource, id);
    let foreseen = row.plan.candidates.get(resource) == Some(id);
    Some(Drained { follows, end, foreseen, id: Reverse(id) })
}

/// What was last shown of it is further than `best`.
fn is_ahead(row: &Row, resource: &ResourceId, id: &InstanceId, best: &Drained) -> bool {
    let shown = row.context.instance(id).and_then(|shown| shown.fact.position);
    (!row.context.left_stream(resource, id), shown) > (best.follows, best.end)
}

/// An operator accepted it, or what is missing is within the RPO: what left the stream never is. A
/// switchover loses nothing.
fn may_be_behind(row: &Row, resource: &ResourceId, id: &InstanceId) -> bool {
    let rpo = row.context.spec.policy.rpo;
    let behind = || lag::behind(row.context, resource, id);
    let within =
        || !row.context.left_stream(resource, id) && behind().is_some_and(|behind| behind <= rpo);
    row.plan.kind == PlanKind::Failover && (row.plan.accept_loss || within())
}
