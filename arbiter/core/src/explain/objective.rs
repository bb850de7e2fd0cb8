//! What a failover would cost now, against the objectives; whether the lease outlasts what was
//! seen; and when the next drill is due. It holds up no plan.

use super::reason;
use crate::{
    AgentId, Due, Durability, GroupId, Instant, Reason, State, Topic, View, WallMillis,
    decide::Context, decide::predicted_loss, due, predicted_recovery,
};
use std::time::Duration;

/// A gap of this many leases is an outage, which no lease should outlast.
const OUTAGE_LEASES: u32 = 3;

pub(super) fn objectives(context: &Context) -> Vec<Reason> {
    if context.group.active().is_none() {
        return Vec::new();
    }
    let mut found = vec![recovery(context), loss(context)];
    found.extend(lease(context));
    found
}

fn recovery(context: &Context) -> Reason {
    let rto = context.spec.policy.rto;
    let drill = format!("arbiter drill run --kind switchover --group {}", context.id);
    let (open, text, next) = match (predicted_recovery(context.spec, context.group), rto) {
        (None, _) => (true, "how long a failover takes no drill has shown yet".to_owned(), drill),
        (Some(time), None) => (true, format!("a failover would take {time:.1?}"), String::new()),
        (Some(time), Some(rto)) => {
            let text = format!("a failover would take {time:.1?}, the objective is {rto:?}");
            let next = format!("arbiter drill list --group {}, and its proposals", context.id);
            (time <= rto, text, next)
        }
    };
    reason(Topic::Readiness, "objective", open, text, next)
}

/// What a failover now would cost, as far as it is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Predicted {
    /// How long writes would not be possible; none: no drill has shown it yet.
    pub recovery: Option<Duration>,
    /// For how long acknowledged writes would be lost at most; none: not known.
    pub loss: Option<Duration>,
}

/// What a failover of `group` would cost now; nothing is known of one that was never activated.
pub fn predicted(state: &State, view: &View, now: Instant, group: &GroupId) -> Predicted {
    let context = Context::new(state, view, now, group);
    let Some(context) = context.filter(|context| context.group.active().is_some()) else {
        return Predicted::default();
    };
    let loss = if is_strict(&context) { Some(Duration::ZERO) } else { predicted_loss(&context) };
    Predicted { recovery: predicted_recovery(context.spec, context.group), loss }
}

/// Whoever is promoted has every acknowledged write. // I11
fn is_strict(context: &Context) -> bool {
    let counted = |resource: &crate::ResourceId| {
        context.group.synchronous.get(resource).is_some_and(|set| !set.counted.is_empty())
    };
    context.group.durability(context.spec) == Durability::Strict
        && context.spec.required_resources().into_iter().all(counted)
}

/// Whether it is within the RPO says the mark in State; this is the number.
fn loss(context: &Context) -> Reason {
    let rpo = context.spec.policy.rpo;
    let text = match predicted_loss(context) {
        _ if is_strict(context) => "it would lose no acknowledged write".to_owned(),
        None => format!("what it would lose is not known, the objective is {rpo:?}"),
        Some(loss) => format!("it would lose at most {loss:.1?}, the objective is {rpo:?}"),
    };
    reason(Topic::Readiness, "objective", true, text, String::new())
}

/// Whether L outlasts the longest time that an agent was without renewal, with half of it to
/// spare.
fn lease(context: &Context) -> Option<Reason> {
    let timing = context.spec.policy.timing;
    let (agent, worst) = worst_gap(context)?;
    let needed = worst + worst / 2;
    let open = needed <= timing.lease.saturating_sub(timing.fence);
    let advised = Duration::from_millis(round_up((timing.fence + needed).as_millis()));
    let text = format!(
        "agent {agent} was without renewal for {worst:.1?} at worst in the last week, as far as it \
         and this leader know; a lease of {advised:?} outlasts that with half of it to spare, and \
         it is {:?}",
        timing.lease
    );
    let next =
        format!("set lease = \"{}ms\", then: arbiter config apply FILE", advised.as_millis());
    Some(reason(Topic::Readiness, "lease", open, text, if open { String::new() } else { next }))
}

fn worst_gap<'a>(context: &Context<'a>) -> Option<(&'a AgentId, Duration)> {
    let outage = context.spec.policy.timing.lease * OUTAGE_LEASES;
    let agents = context.view.renewal_gaps.iter().filter(|(id, _)| context.spec.serves(id));
    let gaps = agents.flat_map(|(id, days)| days.values().map(move |gap| (id, *gap)));
    gaps.filter(|(_, gap)| *gap < outage).max_by_key(|(_, gap)| *gap)
}

/// To half a second.
fn round_up(millis: u128) -> u64 {
    u64::try_from(millis.div_ceil(500) * 500).unwrap_or(u64::MAX)
}

/// Whether a drill is due, for people: it counts by the wall clock.
pub fn drill_due(state: &State, group: &GroupId, wall: WallMillis) -> Option<Reason> {
    let (spec, found) = state.group(group)?;
    found.active()?;
    let (open, text) = match due(spec, found, wall) {
        Due::Never => return None,
        Due::Later(_) => (true, "no drill is due".to_owned()),
        Due::NoneYet => (true, "a drill is due: none has moved this group yet".to_owned()),
        Due::Due(..) => (true, "a drill is due".to_owned()),
        Due::Overdue(_) => (false, "a drill is overdue".to_owned()),
    };
    let next = format!("arbiter drill run --kind switchover --group {group}");
    Some(reason(Topic::Readiness, "drill", open, text, next))
}

#[cfg(test)]
mod tests {
    use crate::testing::*;
    use crate::*;

    fn said(world: &World, code: &str) -> Vec<(bool, String)> {
        let reasons = explain_group(&world.state, &world.view, world.now, &group());
        let of = reasons.into_iter().filter(|r| r.topic == Topic::Readiness && r.code == code);
        of.map(|reason| (reason.open, reason.text)).collect()
    }

    #[test]
    fn a_loss_is_predicted_from_live_lag_and_a_recovery_from_drills() {
        let mut world = World::in_mode(Mode::Manual);
        let before = said(&world, "objective");
        assert!(before[0].1.contains("no drill has shown"), "{before:?}");
        assert!(before[1].1.starts_with("it would lose at most 0"), "{before:?}");
        world.link_cut = true;
        world.written += 100;
        world.run(ms(5_000));
        let after = said(&world, "objective");
        assert!(after[1].1.starts_with("it would lose at most 5"), "{after:?}");
        let cost = predicted(&world.state, &world.view, world.now, &group());
        assert_eq!((cost.recovery, cost.loss.map(|loss| loss.as_secs())), (None, Some(5)));
    }

    #[test]
    fn a_lease_is_advised_from_the_worst_gap_but_no_outage_counts() {
        let mut world = World::in_mode(Mode::Manual);
        assert!(said(&world, "lease")[0].0);
        world.agent(US).alive = false;
        world.run(ms(5_000));
        world.agent(US).alive = true;
        world.run(ms(500));
        let (open, text) = said(&world, "lease").remove(0);
        assert!(!open && text.contains("agent-us-east"), "{text}");
        assert!(
            text.contains("a lease of 10"),
            "2 s of fence and one and a half of 5.25 s: {text}"
        );
        world.agent(EU).alive = false;
        world.run(ms(25_000));
        world.agent(EU).alive = true;
        world.run(ms(500));
        assert_eq!(said(&world, "lease")[0].1, text, "an outage is no gap");
        // Another leader saw none of it, and the agents did.
        world.elect();
        world.run(ms(1000));
        assert!(said(&world, "lease")[0].0);
        world.agent(EU).gaps = vec![ms(400), ms(0), ms(6_000)];
        world.run(ms(1000));
        let (open, text) = said(&world, "lease").remove(0);
        assert!(!open && text.contains("agent-eu-west was without renewal for 6.0s"), "{text}");
    }
}
