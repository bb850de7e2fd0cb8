//! The loss that would follow if the active region were lost now (design §6). Knows positions and
//! when they were true; never how many writes a byte is.

use super::context::{Context, session_limit};
use crate::{Epoch, InstanceId, Instant, LagMark, Position, ResourceId};
use std::time::Duration;

/// How far the standby side follows one resource, by this leader's clock.
///
/// One mark is enough: once the standby has received what the source had at some instant, nothing
/// written before that instant would be lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LagTrack {
    /// The epoch it belongs to.
    pub epoch: Epoch,
    /// When this leader began to follow.
    pub began: Instant,
    /// Everything written before this instant is at the standby; none: never seen to be.
    pub safe_until: Option<Instant>,
    /// Where the source stood when, not yet seen at the standby.
    pub mark: Option<(Position, Instant)>,
}

impl LagTrack {
    fn new(epoch: Epoch, now: Instant) -> Self {
        Self { epoch, began: now, safe_until: None, mark: None }
    }

    /// A new look at both sides. `source`: its position and when that was true.
    fn look(&mut self, source: Option<(Position, Instant)>, standby: Option<Position>) {
        let reached = |position: Position| standby.is_some_and(|received| received >= position);
        if let Some((position, at)) = self.mark
            && reached(position)
        {
            self.safe_until = self.safe_until.max(Some(at));
            self.mark = None;
        }
        let Some((position, at)) = source else { return };
        // It began to count anew, as a Redis that was restarted does: nobody comes to an old mark.
        self.mark.take_if(|(mark, _)| position < *mark);
        if reached(position) {
            self.safe_until = self.safe_until.max(Some(at));
        } else if self.mark.is_none() {
            self.mark = Some((position, at));
        }
    }
}

/// Follow every required resource of a group one step further.
pub(crate) fn follow(context: &Context, track: Option<LagTrack>, of: &ResourceId) -> LagTrack {
    let mut track = track.unwrap_or_else(|| LagTrack::new(context.group.epoch(), context.now));
    let standby = standby_position(context, of);
    track.look(source_position(context, of), standby);
    track
}

/// Follow one standby instance a step further.
pub(crate) fn follow_instance(
    context: &Context,
    track: Option<LagTrack>,
    of: &ResourceId,
    instance: &InstanceId,
) -> LagTrack {
    let mut track = track.unwrap_or_else(|| LagTrack::new(context.group.epoch(), context.now));
    let received = context.instance(instance).filter(|_| !context.left_stream(of, instance));
    track.look(source_position(context, of), received.and_then(|shown| shown.fact.position));
    track
}

/// By how much what `instance` has is older than the newest word of the source; none where this
/// leader did not hear both. What it heard of neither is bounded by the mark.
pub(crate) fn behind(
    context: &Context,
    of: &ResourceId,
    instance: &InstanceId,
) -> Option<Duration> {
    let track = context.view.received.get(&(context.id.clone(), instance.clone()))?;
    let (_, at) = source_position(context, of)?;
    Some(at.since(track.safe_until.unwrap_or(track.began)))
}

/// How much would be lost, in time, if the active region were lost now; none where of a required
/// resource nothing was ever seen at the standby.
pub(crate) fn predicted_loss(context: &Context) -> Option<Duration> {
    let behind = |resource: &ResourceId| {
        let track = context.view.lag.get(&(context.id.clone(), resource.clone()))?;
        Some(context.now.since(track.safe_until?))
    };
    let required = context.spec.required_resources();
    required.into_iter().map(behind).try_fold(Duration::ZERO, |one, next| Some(one.max(next?)))
}

fn source_position(context: &Context, resource: &ResourceId) -> Option<(Position, Instant)> {
    let primary = context.primary(resource)?;
    let agent = &context.spec.instances.get(primary)?.agent;
    let at = context.heard(agent)?.at;
    let shown = context.instance(primary)?;
    Some((shown.fact.position?, at.before(shown.age)))
}

/// The furthest that any standby region has received. What left the stream has received none of
/// it. // I11
fn standby_position(context: &Context, resource: &ResourceId) -> Option<Position> {
    let active = context.group.active()?;
    let instances = context.spec.instances.iter();
    let others = instances.filter(|(_, i)| i.resource == *resource && i.region != *active);
    let received = others.filter(|(id, _)| !context.left_stream(resource, id));
    received.filter_map(|(id, _)| context.instance(id)?.fact.position).max()
}

/// What would be lost now, at most, in time; none while this leader does not know yet.
pub(crate) fn bound(context: &Context) -> Option<Duration> {
    let timing = &context.spec.policy.timing;
    let mut worst = Duration::ZERO;
    for resource in context.spec.required_resources() {
        let track = context.view.lag.get(&(context.id.clone(), resource.clone()))?;
        worst = worst.max(match track.safe_until {
            Some(safe) => context.now.since(safe),
            // A new leader gives both sides time to be heard; then unknown is out of RPO.
            None if context.now.since(track.began) <= session_limit(timing) => return None,
            None => Duration::MAX,
        });
    }
    Some(worst)
}

/// The mark that State should carry, if it does not. Going back within needs some distance, so that
/// a standby at the edge does not fill the log.
pub(crate) fn crossing(context: &Context) -> Option<LagMark> {
    context.group.active()?;
    let rpo = context.spec.policy.rpo;
    let bound = bound(context)?;
    let mark = if bound > rpo {
        LagMark::Over
    } else if bound <= rpo * 3 / 4 || context.group.lag == LagMark::Unknown {
        LagMark::Within
    } else {
        return None;
    };
    (mark != context.group.lag).then_some(mark)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_that_counts_anew_is_caught_up_with_anew() {
        let at = |millis| Instant::default() + Duration::from_millis(millis);
        let offset = |offset| Position { timeline: 0, offset };
        let mut track = LagTrack::new(Epoch(1), at(0));
        track.look(Some((offset(1_000_000), at(1))), Some(offset(900_000)));
        assert_eq!(track.mark, Some((offset(1_000_000), at(1))));
        // It was restarted; its standby does not have the new history yet.
        track.look(Some((offset(10), at(2))), None);
        assert_eq!((track.mark, track.safe_until), (Some((offset(10), at(2))), None));
        track.look(Some((offset(20), at(3))), Some(offset(12)));
        assert_eq!(track.safe_until, Some(at(2)), "what is there now is what counts");
    }
}
