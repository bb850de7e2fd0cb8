//! Commands about one group outside its plans: first activation, mode, lag, hold-down, judgement.

use super::arming::unarmed_in;
use super::entry::{Entry, Outcome, refusal, refuse, stale};
use crate::RegionGoal;
use crate::{
    Epoch, EventKind, Goal, Group, GroupId, GroupSpec, InstanceId, LagMark, Layer, LogId, Mode,
    PlanKind, RegionId, RegionKind, Rejected, ResourceId, Revision, State, Token, Waited,
};
use std::collections::BTreeMap;

/// What a plan moves; what is only watched has no goal.
const LAYERS: [Layer; 3] = [Layer::Data, Layer::Workload, Layer::Traffic];

impl Group {
    /// Each goal carries the token of the entry that set it (I10), but for [`Group::drain_region`].
    pub(super) fn set_goal(
        &mut self,
        region: &RegionId,
        layer: Layer,
        goal: Goal,
        at: LogId,
    ) -> Token {
        let token = Token { epoch: self.epoch(), revision: Revision(at.index) };
        self.put_goal(region, layer, RegionGoal { goal, token }, at);
        token
    }

    fn put_goal(&mut self, region: &RegionId, layer: Layer, set: RegionGoal, at: LogId) {
        self.revision = at.index;
        self.goals.entry(region.clone()).or_default().insert(layer, set);
    }

    /// `region` is to stop cleanly, by the token that its plan opened with: evidence names it.
    pub(super) fn drain_region(&mut self, region: &RegionId, token: Token, at: LogId) {
        for layer in [Layer::Workload, Layer::Data] {
            self.put_goal(region, layer, RegionGoal { goal: Goal::Drained, token }, at);
        }
    }

    /// Every layer of `region` is to serve.
    pub(super) fn resume_region(&mut self, region: &RegionId, at: LogId) {
        for layer in LAYERS {
            self.set_goal(region, layer, Goal::Active, at);
        }
    }

    /// Nothing in `region` may write; only the active region writes traffic (I7).
    pub(super) fn fence_region(&mut self, region: &RegionId, at: LogId) -> Token {
        self.set_goal(region, Layer::Workload, Goal::Fenced, at);
        self.set_goal(region, Layer::Traffic, Goal::Standby, at);
        self.set_goal(region, Layer::Data, Goal::Fenced, at)
    }

    /// Every layer of `region` is to stand by.
    pub(super) fn stand_by(&mut self, region: &RegionId, at: LogId) {
        for layer in LAYERS {
            self.set_goal(region, layer, Goal::Standby, at);
        }
    }
}

/// Every command on a group that somebody asks for names the epoch they believe in.
pub(super) fn expect_epoch(entry: &Entry, group: &GroupId, expected: Epoch) -> Outcome {
    let (_, found) = entry.group(group)?;
    if found.epoch() == expected {
        return Ok(());
    }
    Err(wrong_epoch(group, found.epoch(), expected))
}

fn wrong_epoch(group: &GroupId, epoch: Epoch, expected: Epoch) -> Rejected {
    refusal(
        "wrong-epoch",
        format!("group {group} is at epoch {epoch}, not {expected}: the active region changed"),
        format!("arbiter status --group {group}, then ask again"),
    )
}

/// I2: epoch 0 to 1, only for the region that policy names.
pub(super) fn activate_first(
    entry: &mut Entry,
    group: &GroupId,
    region: &RegionId,
    primaries: &BTreeMap<ResourceId, InstanceId>,
) -> Outcome {
    let at = entry.at;
    let (spec, found) = entry.group(group)?;
    if found.active().is_some() {
        return stale(format!("group {group} is activated"));
    }
    // I8
    if spec.policy.initial_active != *region
        || entry.next.spec.regions.get(region) != Some(&RegionKind::Data)
    {
        return stale(format!("policy does not name {region} active for group {group}"));
    }
    covers(spec, region, primaries)?;
    let others: Vec<RegionId> = spec.standby_regions(region).cloned().collect();
    let found = entry.group_mut(group)?;
    found.activation.begin(region);
    found.primaries = primaries.clone();
    found.resume_region(region, at);
    for other in &others {
        found.stand_by(other, at);
    }
    let message = format!("{region} is active for group {group} at epoch {}", found.epoch());
    entry.tell(EventKind::ActiveChanged, Some(group), message, "arbiter status".to_owned());
    Ok(())
}

/// Each required resource has one of its instances in `region` named.
pub(super) fn covers(
    spec: &GroupSpec,
    region: &RegionId,
    named: &BTreeMap<ResourceId, InstanceId>,
) -> Outcome {
    for (resource, id) in named {
        let fits = |i: &crate::Instance| i.resource == *resource && i.region == *region;
        if !spec.instances.get(id).is_some_and(fits) {
            return stale(format!("{id} is no instance of {resource} in {region}"));
        }
    }
    match spec.required_resources().into_iter().find(|r| !named.contains_key(*r)) {
        None => Ok(()),
        Some(missing) => refuse(
            "no-candidate",
            format!("resource {missing} has no instance ready in {region}"),
            "arbiter explain, which says what is missing",
        ),
    }
}

pub(super) fn set_mode(
    entry: &mut Entry,
    group: &GroupId,
    mode: Mode,
    expected_epoch: Epoch,
) -> Outcome {
    expect_epoch(entry, group, expected_epoch)?;
    if entry.group(group)?.1.mode != mode {
        change_mode(entry, group, mode)?;
        let message = format!("group {group} is in mode {}", mode_word(mode));
        let next = format!("arbiter explain --group {group}");
        entry.tell(EventKind::ModeChanged, Some(group), message, next);
    }
    // What was set without a time stands until somebody sets another.
    entry.group_mut(group)?.timed_mode = None;
    Ok(())
}

/// The mode is `mode` from now on, if it can be; tells nobody.
pub(super) fn change_mode(entry: &mut Entry, group: &GroupId, mode: Mode) -> Outcome {
    let (_, found) = entry.group(group)?;
    if mode == Mode::Observe && found.plan.is_some() {
        return refuse(
            "plan-open",
            format!("a plan of group {group} is open; observe would leave it half-way"),
            format!("arbiter plan abort --group {group}, or let it end"),
        );
    }
    if mode == Mode::Automatic && !entry.group(group)?.0.policy.allow_automatic {
        return refuse(
            "automatic-not-allowed",
            format!("the policy of group {group} has allow_automatic = false"),
            "set allow_automatic = true in the file, then: arbiter config apply FILE",
        );
    }
    if mode != Mode::Observe {
        mode_can_hold(&entry.next, group)?;
    }
    if mode == Mode::Observe {
        super::drill::interrupt(entry, group, "the mode was set to observe")?;
    }
    entry.group_mut(group)?.mode = mode;
    Ok(())
}

/// `manual` and `automatic` need an active region, and both regions armed.
pub(crate) fn mode_can_hold(state: &State, group: &GroupId) -> Result<(), Rejected> {
    let (spec, found) = state.group(group).ok_or_else(|| super::unknown_group(group))?;
    if found.active().is_none() {
        return refuse(
            "not-activated",
            format!("group {group} has no active region yet"),
            format!("arbiter explain --group {group}, which says what it waits for"),
        );
    }
    for region in spec.regions() {
        if let Some(agent) = unarmed_in(state, group, region) {
            return refuse(
                "not-armed",
                format!("agent {agent} in {region} is not armed for group {group}"),
                format!("arbiter arm --group {group}, then ask again"),
            );
        }
    }
    Ok(())
}

pub(crate) fn mode_word(mode: Mode) -> &'static str {
    match mode {
        Mode::Observe => "observe",
        Mode::Manual => "manual",
        Mode::Automatic => "automatic",
    }
}

/// I11: the loss that would follow is known before the decision. While a failover is open its
/// source is silent, and the mark of the decision stands.
pub(super) fn mark_lag(entry: &mut Entry, group: &GroupId, lag: LagMark) -> Outcome {
    let (spec, found) = entry.group(group)?;
    if found.lag == lag {
        return stale(format!("the lag of group {group} is marked so"));
    }
    if found.plan.as_ref().is_some_and(|plan| plan.kind == PlanKind::Failover) {
        return stale(format!("a failover of group {group} is open"));
    }
    let rpo = spec.policy.rpo;
    let (message, next) = match lag {
        LagMark::Within => (format!("group {group} would lose less than {rpo:?}"), String::new()),
        LagMark::Over | LagMark::Unknown => (
            format!("group {group} would lose more than {rpo:?}: no failover by itself"),
            format!("arbiter explain --group {group}"),
        ),
    };
    entry.group_mut(group)?.lag = lag;
    entry.tell(EventKind::LagChanged, Some(group), message, next);
    Ok(())
}

pub(super) fn end_hold_down(entry: &mut Entry, group: &GroupId, waited: Waited) -> Outcome {
    let (spec, found) = entry.group(group)?;
    if !found.holding_down {
        return stale(format!("group {group} is not in hold-down"));
    }
    if waited.term != entry.at.term || waited.elapsed < spec.policy.hold_down {
        return stale("the hold-down has not passed in this term");
    }
    entry.group_mut(group)?.holding_down = false;
    Ok(())
}

pub(super) fn record_judgement(entry: &mut Entry, group: &GroupId, would: &str) -> Outcome {
    let wall = entry.proposal.wall;
    let found = entry.group_mut(group)?;
    if found.judged_lost != would.is_empty() {
        return stale(format!("the judgement about group {group} is known"));
    }
    found.judged_lost = !would.is_empty();
    if would.is_empty() {
        let message = format!("the signs of loss of group {group} are gone");
        entry.tell(EventKind::WouldHave, Some(group), message, String::new());
        return Ok(());
    }
    found.would_have = Some((would.to_owned(), wall));
    let next = format!("arbiter explain --group {group}");
    entry.tell(EventKind::WouldHave, Some(group), would.to_owned(), next);
    Ok(())
}
