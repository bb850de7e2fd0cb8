//! What the leader does about an open plan: one proposal ends, fails or retries the row whose turn
//! it is. Knows Reports and the clock; what a row means in State is in `apply`.

mod fence;
mod furthest;
mod pooler;
mod rescue;
mod service;
mod target;

pub(crate) use fence::waited_for;
pub(crate) use service::unseen;

use super::context::Context;
use crate::{
    Command, DoneReport, Durability, ErrorReport, Goal, Halt, InstanceId, Layer, Plan, PlanKind,
    RegionId, StepId, StepOutcome, StepState, Token,
};

/// An open plan, and its group as the leader sees it.
#[derive(Clone, Copy)]
pub(super) struct Row<'a> {
    pub context: &'a Context<'a>,
    pub plan: &'a Plan,
    pub step: StepId,
}

impl Row<'_> {
    /// Only a synchronous standby may be promoted: `strict`, and no loss was accepted. // I11
    pub fn asks_counted(&self) -> bool {
        self.context.group.durability_of(self.context.spec, self.plan.id) == Durability::Strict
            && self.plan.kind == PlanKind::Failover
            && !self.plan.accept_loss
    }
}

/// How far the instances of a row are.
pub(super) enum Progress {
    /// All have reached it.
    Reached,
    /// One never will by itself, and why.
    Refused(String),
    /// What is waited for.
    Waiting(String),
}

/// What to propose about the open plan.
pub(super) fn drive(context: &Context) -> Vec<Command> {
    let Some(plan) = &context.group.plan else { return Vec::new() };
    let Some(step) = plan.step() else { return Vec::new() };
    let row = Row { context, plan, step };
    if let Some(rescue) = rescue::rescue(&row) {
        return vec![rescue];
    }
    if plan.halt.is_some() {
        return fence::evidence(&row);
    }
    match step {
        StepId::Preflight => Vec::new(),
        StepId::StopLease => pooler::stop_lease(&row),
        StepId::FenceSource => fence::fence_source(&row),
        StepId::ProveFence => fence::prove_fence(&row),
        StepId::CatchUp => fence::or_else(&row, target::catch_up),
        StepId::AdvanceEpoch => fence::or_else(&row, target::advance_epoch),
        StepId::PromoteData => target::promote_data(&row),
        StepId::ActivateWorkloads | StepId::VerifyTarget | StepId::SwitchTraffic => {
            target::settle(&row)
        }
        StepId::VerifyService => service::verify_service(&row),
    }
}

/// What the row whose turn it is waits for, by name; none where evidence says it, or where nothing
/// is waited for.
pub(crate) fn waits_for(context: &Context) -> Option<String> {
    let plan = context.group.plan.as_ref()?;
    let row = Row { context, plan, step: plan.step()? };
    match row.step {
        StepId::CatchUp => target::behind(&row),
        StepId::VerifyService => {
            let unseen = service::unseen(context, &plan.target).into_iter();
            unseen.map(|one| one.text).reduce(|all, one| format!("{all}; {one}"))
        }
        _ => match target::progress(&row)? {
            Progress::Reached => None,
            Progress::Refused(why) | Progress::Waiting(why) => Some(why),
        },
    }
}

impl Row<'_> {
    /// The row ended.
    pub fn end(&self, state: StepState, note: impl Into<String>) -> Command {
        self.end_with(StepOutcome { state, note: note.into(), ..StepOutcome::default() })
    }

    /// The row ended, and this was learned.
    pub fn end_with(&self, outcome: StepOutcome) -> Command {
        Command::EndStep {
            group: self.context.id.clone(),
            plan: self.plan.id,
            step: self.step,
            outcome,
            took: self.context.row_ran(),
        }
    }

    /// An attempt at the row failed.
    pub fn retry(&self, note: impl Into<String>) -> Command {
        Command::RetryStep {
            group: self.context.id.clone(),
            plan: self.plan.id,
            step: self.step,
            note: note.into(),
        }
    }

    /// The plan waits for an operator.
    pub fn halt(&self, reason: impl Into<String>, next: impl Into<String>) -> Command {
        let halt = Halt { step: self.step, reason: reason.into(), next: next.into() };
        Command::HaltPlan { group: self.context.id.clone(), plan: self.plan.id, halt }
    }

    /// The token of the goal that this plan set for `layer` in `region`.
    pub fn token(&self, region: &RegionId, layer: Layer) -> Option<Token> {
        Some(self.context.group.goal(region, layer)?.token)
    }

    /// What the instance reached for exactly this goal and token.
    pub fn done(&self, id: &InstanceId, goal: Goal, token: Token) -> Option<&DoneReport> {
        let done = self.context.instance(id)?.done.as_ref()?;
        (done.goal == goal && done.token == token).then_some(done)
    }

    /// What the instance says against this token.
    pub fn error(&self, id: &InstanceId, token: Token) -> Option<&ErrorReport> {
        self.context.instance(id)?.error.as_ref().filter(|error| error.token == token)
    }

    /// How far `ids` are, where `reached` says when one is there.
    pub fn progress<'i>(
        &self,
        ids: impl Iterator<Item = &'i InstanceId>,
        token: Token,
        reached: impl Fn(&InstanceId) -> bool,
    ) -> Progress {
        let mut waiting = None;
        for id in ids.filter(|id| !reached(id)) {
            match self.error(id, token) {
                Some(error) if error.refused => {
                    return Progress::Refused(format!("{id}: {}", error.message));
                }
                Some(error) => waiting = Some(format!("{id}: {}", error.message)),
                None => waiting = waiting.or_else(|| Some(format!("{id} is not there yet"))),
            }
        }
        waiting.map_or(Progress::Reached, Progress::Waiting)
    }

    /// Whether the present attempt has run longer than policy lets it.
    pub fn attempt_over(&self) -> bool {
        self.context.row_ran() >= self.context.spec.policy.step_limit
    }

    /// What the table's rows after the point of no return have in common: done, and what `note`
    /// names; refused; or tried again when the attempt is over.
    pub fn settle(&self, progress: Progress, note: impl FnOnce() -> String) -> Vec<Command> {
        match progress {
            Progress::Reached => vec![self.end(StepState::Done, note())],
            Progress::Refused(why) => vec![self.end(StepState::Failed, why)],
            Progress::Waiting(why) if self.attempt_over() => vec![self.retry(why)],
            Progress::Waiting(_) => Vec::new(),
        }
    }
}
