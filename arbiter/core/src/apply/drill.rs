//! Drills: how they begin, go on as their phases and plans end, and end. Their plans are ordinary
//! plans (I5).

use super::entry::{Entry, Outcome, refuse, stale};
use super::group::expect_epoch;
use super::{open, plan_end, rows};
use crate::{
    By, DRILLS_KEPT_MAX, Drill, DrillEnd, DrillId, DrillKind, DrillPhase, Durability, Epoch,
    EventKind, Group, GroupId, GroupSpec, InstanceId, Measured, Mode, OpenPlan, Plan, PlanEnd,
    PlanId, PlanKind, Rejected, Revision, Token, WallMillis, drill_parts,
};
use std::collections::BTreeMap;
use std::time::Duration;

/// The commands of this family.
pub(super) fn run(entry: &mut Entry) -> Outcome {
    use crate::Command::{AbortDrill, EndDrillPhase, OpenDrillPlan, RunDrill};
    match &entry.proposal.command {
        RunDrill { group, kind, accept_loss, expected_epoch } => {
            begin(entry, group, *kind, *accept_loss, *expected_epoch)
        }
        OpenDrillPlan { drill, open } => open_plan(entry, *drill, open),
        EndDrillPhase { group, drill, phase, said, failed } => {
            its_own(entry, group, *drill, Some(*phase))?;
            phase_ended(entry, group, said, failed.as_deref())
        }
        AbortDrill { group, drill, expected_epoch, took } => {
            abort(entry, group, *drill, *expected_epoch, *took)
        }
        _ => stale("no command about a drill"),
    }
}

fn begin(
    entry: &mut Entry,
    group: &GroupId,
    kind: DrillKind,
    accept_loss: bool,
    epoch: Epoch,
) -> Outcome {
    expect_epoch(entry, group, epoch)?;
    let (spec, found) = entry.group(group)?;
    may_begin(spec, found, group, entry.proposal.wall)?;
    let there = found.active().and_then(|home| Some((home, spec.standby_regions(home).next()?)));
    let Some((home, away)) = there else {
        let next = format!("arbiter explain --group {group}");
        return refuse("not-activated", "no region is active yet, or there is no other", next);
    };
    let bounded = spec.policy.durability == Durability::Strict || accept_loss;
    let stalls = kind == DrillKind::RegionLoss && !bounded;
    if let Some(id) = cannot_wait(spec, found).filter(|_| stalls) {
        let why = format!(
            "a drill of kind region-loss may lose acknowledged writes of {id}: commits there \
             cannot be made to wait for the standby"
        );
        let next = format!("arbiter drill run --kind region-loss --accept-loss --group {group}");
        return refuse("accept-loss", why, next);
    }
    let drill = Drill {
        id: DrillId(entry.at.index),
        kind,
        by: entry.proposal.by.clone(),
        reason: entry.proposal.reason.clone(),
        began: entry.proposal.wall,
        home: home.clone(),
        away: away.clone(),
        accept_loss,
        stalls,
        phase: DrillPhase::Execute,
        token: Token::default(),
        out: None,
        back: None,
        measured: None,
        said: BTreeMap::new(),
        faults: Vec::new(),
        end: None,
        ended: WallMillis(0),
    };
    let message = format!("drill {} of group {group} ({}) has begun", drill.id, kind.as_str());
    let first = match kind {
        DrillKind::Rehearsal => DrillPhase::Rehearse,
        DrillKind::Switchover | DrillKind::RegionLoss => DrillPhase::Execute,
    };
    let found = entry.group_mut(group)?;
    if drill.stalls {
        // I11: whom an earlier drill counted on, nobody waits for any more.
        found.synchronous.clear();
    }
    found.drill = Some(drill);
    let next = format!("arbiter drill show --group {group}");
    entry.tell(EventKind::DrillBegan, Some(group), message, next);
    enter(entry, group, first)
}

fn may_begin(spec: &GroupSpec, found: &Group, group: &GroupId, wall: WallMillis) -> Outcome {
    if let Some(drill) = &found.drill {
        let next = format!("arbiter drill abort --group {group}");
        return refuse("drill-open", format!("drill {} is open", drill.id), next);
    }
    if let Some(plan) = &found.plan {
        let next = format!("arbiter plan show --group {group}");
        return refuse("plan-open", format!("plan {} is open", plan.id), next);
    }
    if found.mode == Mode::Observe {
        let next = format!("arbiter mode manual --group {group}");
        return refuse("mode", "in observe nothing is ordered, no drill either", next);
    }
    if spec.policy.drill.blocked.iter().any(|window| window.holds(wall)) {
        let next = "arbiter config check FILE, which shows blocked of the group's drill";
        return refuse("blocked-window", "no drill may begin now, as policy says", next);
    }
    Ok(())
}

/// The first primary of a required resource whose commits cannot be made to wait.
fn cannot_wait<'a>(spec: &'a GroupSpec, group: &'a Group) -> Option<&'a InstanceId> {
    let required = spec.required_resources();
    let mut primaries = group.primaries.iter().filter(|(resource, _)| required.contains(resource));
    let waits = |id: &InstanceId| spec.instances.get(id).is_some_and(|instance| instance.waits);
    primaries.find(|(_, id)| !waits(id)).map(|(_, id)| id)
}

/// A phase begins: what agents are ordered in it carries a token of its own.
fn enter(entry: &mut Entry, group: &GroupId, phase: DrillPhase) -> Outcome {
    let at = entry.at.index;
    let (spec, _) = entry.group(group)?;
    let unchecked = phase == DrillPhase::Check && spec.policy.drill.check.is_empty();
    let found = entry.group_mut(group)?;
    let token = Token { epoch: found.epoch(), revision: Revision(at) };
    let Some(drill) = &mut found.drill else { return stale("no drill is open") };
    drill.phase = if unchecked { DrillPhase::FailBack } else { phase };
    drill.token = token;
    found.revision = at;
    let (spec, found) = entry.group(group)?;
    let parts = found.drill.as_ref().map(|drill| drill_parts(spec, drill)).unwrap_or_default();
    if phase == DrillPhase::Rehearse && parts.is_empty() {
        let next = "arbiter status, which lists the resources";
        return refuse("nothing-to-rehearse", "no resource stands by that is rehearsed", next);
    }
    Ok(())
}

/// The next plan of the drill opens, with every check of any other.
fn open_plan(entry: &mut Entry, id: DrillId, plan: &OpenPlan) -> Outcome {
    let drill = its_own(entry, &plan.group, id, None)?;
    let fits = match drill.phase {
        DrillPhase::Execute => drill.kind.plan() == Some(plan.kind) && plan.target == drill.away,
        DrillPhase::FailBack => plan.kind == PlanKind::Switchover && plan.target == drill.home,
        DrillPhase::Rehearse | DrillPhase::Check => false,
    };
    if drill.plan().is_some() || !fits {
        return stale(format!("drill {id} opens no such plan now"));
    }
    let opened = PlanId(entry.at.index);
    // Named before it opens: any other plan would interrupt the drill.
    if let Some(drill) = &mut entry.group_mut(&plan.group)?.drill {
        match drill.phase {
            DrillPhase::Execute => drill.out = Some(opened),
            _ => drill.back = Some(opened),
        }
    }
    open::open(entry, plan)
}

/// What agents did in a phase, or why it failed. Only what the checks say lets a drill go on.
fn phase_ended(
    entry: &mut Entry,
    group: &GroupId,
    said: &BTreeMap<InstanceId, String>,
    failed: Option<&str>,
) -> Outcome {
    let found = entry.group_mut(group)?;
    let Some(drill) = &mut found.drill else { return stale("no drill is open") };
    drill.said.extend(said.iter().map(|(id, text)| (id.clone(), text.clone())));
    let phase = drill.phase;
    match (phase, failed) {
        (DrillPhase::Check, why) => {
            drill.faults.extend(why.map(str::to_owned));
            enter(entry, group, DrillPhase::FailBack)
        }
        (DrillPhase::Rehearse, None) => end(entry, group, DrillEnd::Completed),
        (_, Some(why)) => end(entry, group, DrillEnd::Failed(why.to_owned())),
        (DrillPhase::Execute | DrillPhase::FailBack, None) => {
            stale("this phase ends with its plan")
        }
    }
}

/// An operator ends it. What a plan of it has not done yet, it does not do.
fn abort(entry: &mut Entry, group: &GroupId, id: DrillId, epoch: Epoch, took: Duration) -> Outcome {
    expect_epoch(entry, group, epoch)?;
    its_own(entry, group, id, None)?;
    let why = entry.proposal.reason.clone();
    // Ended first: a plan that is undone after it ends no drill any more.
    end(entry, group, DrillEnd::Aborted(why.clone()))?;
    let (_, found) = entry.group(group)?;
    let undone = found.plan.as_ref().is_some_and(Plan::before_point_of_no_return);
    if undone {
        rows::stop_clock(entry, group, took)?;
        plan_end::undo(entry, group, &format!("its drill was ended: {why}"))?;
    }
    Ok(())
}

/// The open drill, which must be `id`, in `phase` where that matters.
fn its_own(
    entry: &Entry,
    group: &GroupId,
    id: DrillId,
    phase: Option<DrillPhase>,
) -> Result<Drill, Rejected> {
    match &entry.group(group)?.1.drill {
        Some(drill) if drill.id == id && phase.is_none_or(|phase| phase == drill.phase) => {
            Ok(drill.clone())
        }
        _ => stale(format!("drill {id} is not open, or elsewhere")),
    }
}

/// Something took precedence.
pub(super) fn interrupt(entry: &mut Entry, group: &GroupId, why: &str) -> Outcome {
    end(entry, group, DrillEnd::Interrupted(why.to_owned()))
}

/// Plan `opened` opens: where it is none of the drill's own, the drill is interrupted.
pub(super) fn plan_opens(entry: &mut Entry, group: &GroupId, opened: PlanId) -> Outcome {
    if entry.group(group)?.1.is_drill_plan(opened) {
        return Ok(());
    }
    interrupt(entry, group, &format!("plan {opened} took precedence"))
}

/// A plan ended, and the drill goes on with what that means, in the same entry.
pub(super) fn plan_ended(entry: &mut Entry, group: &GroupId, plan: &Plan) -> Outcome {
    let by_operator = entry.proposal.by != By::Policy
        && matches!(entry.proposal.command, crate::Command::AbortPlan { .. });
    let found = entry.group_mut(group)?;
    let Some(drill) = found.drill.as_mut().filter(|drill| drill.plan() == Some(plan.id)) else {
        return Ok(());
    };
    match (&plan.end, drill.phase) {
        (Some(PlanEnd::Completed), DrillPhase::Execute) => {
            drill.measured = Some(Measured::of(plan));
            enter(entry, group, DrillPhase::Check)
        }
        (Some(PlanEnd::Completed), _) => {
            let faults = drill.faults.join("; ");
            let how =
                if faults.is_empty() { DrillEnd::Completed } else { DrillEnd::Failed(faults) };
            end(entry, group, how)
        }
        (Some(PlanEnd::Aborted(why)), _) if by_operator => {
            interrupt(entry, group, &format!("an operator undid plan {}: {why}", plan.id))
        }
        (Some(PlanEnd::Aborted(why)), _) => {
            end(entry, group, DrillEnd::Failed(format!("plan {} was undone: {why}", plan.id)))
        }
        _ => interrupt(entry, group, &format!("plan {} was superseded", plan.id)),
    }
}

/// The oldest that nothing is told by: of each kind the newest that was completed says when the
/// next is due, and what to expect.
fn least_missed(drills: &[Drill]) -> usize {
    let missed = |at: usize| {
        let same =
            |drill: &Drill| drill.kind == drills[at].kind && drill.end == Some(DrillEnd::Completed);
        same(&drills[at]) && !drills[at + 1..].iter().any(same)
    };
    (0..drills.len()).find(|at| !missed(*at)).unwrap_or_default()
}

/// It ends, and is kept. Where nothing is open, nothing is to be done.
fn end(entry: &mut Entry, group: &GroupId, how: DrillEnd) -> Outcome {
    let (at, wall) = (entry.at.index, entry.proposal.wall);
    let found = entry.group_mut(group)?;
    let Some(drill) = found.drill.take() else { return Ok(()) };
    let (word, why) = how.words();
    let why = if why.is_empty() { String::new() } else { format!(": {why}") };
    let message = format!("drill {} of group {group} is {word}{why}", drill.id);
    let next = if found.active() == Some(&drill.home) {
        format!("arbiter drill show {} --group {group}", drill.id)
    } else {
        format!("arbiter switchover --group {group} --to {}, to go back", drill.home)
    };
    // What agents were ordered in it is withdrawn by this entry.
    let token = Token { epoch: found.epoch(), revision: Revision(at) };
    found.revision = at;
    found.drills.push(Drill { end: Some(how), ended: wall, token, ..drill });
    while found.drills.len() > DRILLS_KEPT_MAX {
        found.drills.remove(least_missed(&found.drills));
    }
    let kind = if word == "failed" { EventKind::DrillFailed } else { EventKind::DrillEnded };
    entry.tell(kind, Some(group), message, next);
    Ok(())
}

impl DrillKind {
    /// The kind of plan that leads to the other region; none: nothing moves.
    pub(crate) fn plan(self) -> Option<PlanKind> {
        match self {
            DrillKind::Rehearsal => None,
            DrillKind::Switchover => Some(PlanKind::Switchover),
            DrillKind::RegionLoss => Some(PlanKind::Failover),
        }
    }
}
