//! One log entry on its way into State: what every command's code uses. Knows no command.

use crate::{
    Event, EventKind, Group, GroupId, GroupSpec, LogId, Plan, PlanId, Proposal, Rejected, State,
};

/// The entry that is applied, and the State that it makes.
pub(super) struct Entry<'a> {
    pub proposal: &'a Proposal,
    pub at: LogId,
    pub next: State,
    pub events: Vec<Event>,
}

/// What a command's code returns.
pub(super) type Outcome = Result<(), Rejected>;

impl<'a> Entry<'a> {
    pub fn new(state: &State, proposal: &'a Proposal, at: LogId) -> Self {
        Self { proposal, at, next: state.clone(), events: Vec::new() }
    }

    /// The group and its specification, to read.
    pub fn group(&self, id: &GroupId) -> Result<(&GroupSpec, &Group), Rejected> {
        self.next.group(id).ok_or_else(|| unknown_group(id))
    }

    /// The group, to change.
    pub fn group_mut(&mut self, id: &GroupId) -> Result<&mut Group, Rejected> {
        self.next.groups.get_mut(id).ok_or_else(|| unknown_group(id))
    }

    /// The open plan, which must be `id`.
    pub fn plan(&self, group: &GroupId, id: PlanId) -> Result<&Plan, Rejected> {
        let (_, found) = self.group(group)?;
        found.plan.as_ref().filter(|plan| plan.id == id).ok_or_else(|| not_open(id))
    }

    /// The open plan, which must be `id`, to change.
    pub fn plan_mut(&mut self, group: &GroupId, id: PlanId) -> Result<&mut Plan, Rejected> {
        self.group_mut(group)?
            .plan
            .as_mut()
            .filter(|plan| plan.id == id)
            .ok_or_else(|| not_open(id))
    }

    /// Tell people.
    pub fn tell(
        &mut self,
        kind: EventKind,
        group: Option<&GroupId>,
        message: String,
        next: String,
    ) {
        let plan = group.and_then(|id| Some(self.next.groups.get(id)?.plan.as_ref()?.id));
        self.events.push(Event {
            id: format!("{}.{}", self.at.index, self.events.len()),
            kind,
            group: group.cloned(),
            plan,
            message,
            next,
            wall: self.proposal.wall,
        });
    }
}

/// What the command expected is no longer so.
pub(super) fn stale<T>(why: impl Into<String>) -> Result<T, Rejected> {
    Err(Rejected::Stale(why.into()))
}

/// Not as things stand.
pub(crate) fn refusal(code: &str, reason: impl Into<String>, next: impl Into<String>) -> Rejected {
    Rejected::Refused { code: code.to_owned(), reason: reason.into(), next: next.into() }
}

/// As [`refusal`], as a result.
pub(super) fn refuse<T>(
    code: &str,
    reason: impl Into<String>,
    next: impl Into<String>,
) -> Result<T, Rejected> {
    Err(refusal(code, reason, next))
}

pub(crate) fn unknown_group(id: &GroupId) -> Rejected {
    refusal(
        "unknown-group",
        format!("there is no group {id}"),
        "arbiter status, which lists the groups",
    )
}

fn not_open(id: PlanId) -> Rejected {
    Rejected::Stale(format!("plan {id} is not open"))
}
