//! How often each row of the plan table ended in which way, by the kind of plan. Knows States and
//! the table; what may be is derived from the table, and what is not asked for has its reason.

use super::world::World;
use arbiter_core::{
    Group, OnFailure, Plan, PlanEnd, PlanKind, STEPS, State, Step, StepId, StepState,
};
use std::collections::BTreeMap;

/// What a plan was opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sort {
    /// By itself or by an operator.
    Switchover,
    /// See there.
    Failover,
    /// A switchover of a drill, and the ways back.
    DrillSwitchover,
    /// The failover of a drill.
    DrillFailover,
    /// A failover back, whose target was lost.
    Supersede,
}

impl Sort {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Switchover,
        Self::Failover,
        Self::DrillSwitchover,
        Self::DrillFailover,
        Self::Supersede,
    ];

    const fn word(self) -> &'static str {
        match self {
            Self::Switchover => "switchover",
            Self::Failover => "failover",
            Self::DrillSwitchover => "drill switchover",
            Self::DrillFailover => "drill failover",
            Self::Supersede => "supersede",
        }
    }

    fn of(group: &Group, plan: &Plan) -> Self {
        let superseded = |before: &Plan| before.end == Some(PlanEnd::Superseded(plan.id));
        let drills = group.drill.iter().chain(&group.drills);
        let drilled = drills
            .into_iter()
            .any(|drill| drill.out == Some(plan.id) || drill.back == Some(plan.id));
        match plan.kind {
            _ if group.plans.iter().any(superseded) => Self::Supersede,
            PlanKind::Switchover if drilled => Self::DrillSwitchover,
            PlanKind::Failover if drilled => Self::DrillFailover,
            PlanKind::Switchover => Self::Switchover,
            PlanKind::Failover => Self::Failover,
        }
    }

    fn goes_by(self) -> PlanKind {
        match self {
            Self::Switchover | Self::DrillSwitchover => PlanKind::Switchover,
            _ => PlanKind::Failover,
        }
    }

    fn on_failure(self, row: &Step) -> OnFailure {
        match self {
            Self::Switchover | Self::DrillSwitchover => row.switchover,
            _ => row.failover,
        }
    }
}

/// What became of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    /// The plan did not open.
    Refused,
    /// It is true.
    Done,
    /// There was nothing to do.
    Skipped,
    /// The source did not answer, and the plan went on.
    Unanswered,
    /// It failed, and the plan went on degraded.
    Degraded,
    /// It failed, and the plan went on or was undone, as the table says.
    Failed,
    /// It failed and was tried again.
    Retried,
    /// The plan waited for an operator.
    Halted,
    /// An operator let it go on.
    Resumed,
    /// An operator, or policy, undid the plan.
    Undone,
    /// The plan's target was lost, and another took its place.
    Superseded,
}

impl End {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Refused,
        Self::Done,
        Self::Skipped,
        Self::Unanswered,
        Self::Degraded,
        Self::Failed,
        Self::Retried,
        Self::Halted,
        Self::Resumed,
        Self::Undone,
        Self::Superseded,
    ];

    fn of(state: StepState) -> Option<Self> {
        match state {
            StepState::Pending | StepState::Running => None,
            StepState::Done => Some(Self::Done),
            StepState::Skipped => Some(Self::Skipped),
            StepState::Unanswered => Some(Self::Unanswered),
            StepState::Degraded => Some(Self::Degraded),
            StepState::Failed => Some(Self::Failed),
        }
    }
}

/// How often each end of each row was seen.
pub type Cells = BTreeMap<(Sort, StepId, End), u64>;

/// Add what another run saw.
pub fn add(cells: &mut Cells, more: Cells) {
    for (cell, times) in more {
        *cells.entry(cell).or_default() += times;
    }
}

/// What the entry between two States made of rows.
pub fn note(cells: &mut Cells, before: &State, after: &State) {
    for (id, group) in &after.groups {
        let old = before.groups.get(id).and_then(|group| group.plan.as_ref());
        if let Some(old) = old {
            let now = group.plan.iter().chain(&group.plans).find(|plan| plan.id == old.id);
            if let Some(now) = now {
                let sort = Sort::of(group, now);
                changes(old, now, |row, end| *cells.entry((sort, row, end)).or_default() += 1);
            }
        }
        let new = group.plan.as_ref().filter(|plan| old.map(|old| old.id) != Some(plan.id));
        for record in new.iter().flat_map(|plan| &plan.steps) {
            let Some((end, plan)) = End::of(record.state).zip(new) else { continue };
            *cells.entry((Sort::of(group, plan), record.id, end)).or_default() += 1;
        }
    }
}

fn changes(old: &Plan, now: &Plan, mut saw: impl FnMut(StepId, End)) {
    for (was, is) in old.steps.iter().zip(&now.steps) {
        if was.state != is.state
            && let Some(end) = End::of(is.state)
        {
            saw(is.id, end);
        }
        if is.attempts > was.attempts {
            saw(is.id, End::Retried);
        }
    }
    let Some(row) = old.step() else { return };
    let failed = |row| now.record(row).is_some_and(|record| record.state == StepState::Failed);
    match &now.end {
        Some(PlanEnd::Aborted(_)) if !failed(row) => saw(row, End::Undone),
        Some(PlanEnd::Superseded(_)) => saw(row, End::Superseded),
        _ => {}
    }
    match (&old.halt, &now.halt) {
        (None, Some(halt)) => saw(halt.step, End::Halted),
        (Some(halt), None) if now.end.is_none() => saw(halt.step, End::Resumed),
        _ => {}
    }
}

impl World {
    /// No plan opened.
    pub(super) fn note_refused(&mut self, kind: PlanKind) {
        let sort = match kind {
            PlanKind::Switchover => Sort::Switchover,
            PlanKind::Failover => Sort::Failover,
        };
        *self.watch.cells.entry((sort, StepId::Preflight, End::Refused)).or_default() += 1;
    }
}

/// Aligned: a line for each row and kind of plan that allows anything, a column for each end. A
/// point: the table allows it, and it was not seen; a dash: nor is it asked for; blank: the table
/// does not allow it.
pub fn text(cells: &Cells) -> String {
    let mut out = format!("{:<19}{:<17}", "row", "plan");
    let heads = End::ALL.map(|end| format!("{:>11}", format!("{end:?}").to_lowercase()));
    out.push_str(&(heads.concat() + "\n"));
    for row in STEPS {
        for sort in Sort::ALL {
            let ends = End::ALL.map(|end| match cells.get(&(sort, row.id, end)) {
                Some(times) => format!("{times:>11}"),
                None if !is_allowed(sort, row, end) => format!("{:>11}", ""),
                None if spared(sort, row.id, end).is_some() => format!("{:>11}", "-"),
                None => format!("{:>11}", "."),
            });
            let line = format!("{:<19}{:<17}{}", row.name, sort.word(), ends.concat());
            out.push_str(line.trim_end());
            out.push('\n');
        }
    }
    out
}

/// Cells that the table allows, that are asked for and that were not seen; and cells that were seen
/// and are not allowed.
pub fn faults(cells: &Cells) -> Vec<String> {
    let all = STEPS.iter().flat_map(|row| {
        let ends = move |sort| End::ALL.map(move |end| (sort, row, end));
        Sort::ALL.into_iter().flat_map(ends)
    });
    let wrong = all.filter_map(|(sort, row, end)| {
        let seen = cells.contains_key(&(sort, row.id, end));
        let fault = match (seen, is_allowed(sort, row, end), spared(sort, row.id, end)) {
            (true, false, _) => "the table does not allow it",
            (false, true, None) => "it was never seen",
            _ => return None,
        };
        Some(format!("{} of a {}, {end:?}: {fault}", row.name, sort.word()))
    });
    wrong.collect()
}

/// Why a cell that the table allows is not asked of seeds and product; none: it is.
pub fn spared(sort: Sort, row: StepId, end: End) -> Option<&'static str> {
    let plain = matches!(sort, Sort::Switchover | Sort::Failover);
    let forward = sort.goes_by() == PlanKind::Switchover;
    match (row, end) {
        (StepId::ActivateWorkloads, End::Skipped) | (_, End::Done) => None,
        (_, End::Skipped) => {
            Some("every group here has a database and a name, and no evidence before its plan")
        }
        (StepId::Preflight, _) if !plain => Some("it ends the drill, or leaves the plan open"),
        (StepId::ProveFence, End::Failed | End::Undone) if forward => {
            Some("the source confirmed all in the row before, which ends both in one entry")
        }
        (StepId::StopLease, _) => Some("done when it opens, or waits for poolers: moments"),
        (StepId::AdvanceEpoch, End::Undone) => Some("it begins and ends within milliseconds"),
        (_, End::Superseded) => Some("a target must be lost in just that row: long runs see it"),
        (StepId::ProveFence, End::Halted | End::Resumed) => {
            Some("only where policy asks for more than a lease proves: counted as attested")
        }
        (StepId::FenceSource | StepId::ProveFence, End::Undone) if !forward => {
            Some("the row ends before people look: long runs see it")
        }
        (StepId::FenceSource, End::Unanswered)
        | (StepId::FenceSource | StepId::CatchUp, End::Failed | End::Undone)
            if plain || sort == Sort::DrillSwitchover =>
        {
            None
        }
        (StepId::VerifyService, End::Degraded) => None,
        _ if !plain => Some("the row's code is that of the plain plan, of which it is asked"),
        _ => None,
    }
}

/// Whether the table lets `row` end so in such a plan.
pub fn is_allowed(sort: Sort, row: &Step, end: End) -> bool {
    let on_failure = sort.on_failure(row);
    let undoable = StepId::Preflight < row.id && row.id <= StepId::AdvanceEpoch;
    match end {
        End::Refused => on_failure == OnFailure::Refuse,
        End::Done => true,
        End::Skipped => matches!(
            row.id,
            StepId::FenceSource
                | StepId::CatchUp
                | StepId::PromoteData
                | StepId::ActivateWorkloads
                | StepId::VerifyTarget
                | StepId::SwitchTraffic
                | StepId::VerifyService
        ),
        End::Unanswered => on_failure == OnFailure::NextRow,
        End::Degraded => on_failure == OnFailure::Degrade,
        End::Failed => matches!(on_failure, OnFailure::Abort | OnFailure::NextRow),
        End::Retried => matches!(on_failure, OnFailure::RetryThenHalt | OnFailure::RetryForEver),
        End::Halted | End::Resumed => matches!(
            on_failure,
            OnFailure::Halt | OnFailure::RetryThenHalt | OnFailure::RetryForEver
        ),
        End::Undone => undoable,
        End::Superseded => row.id > StepId::AdvanceEpoch,
    }
}
