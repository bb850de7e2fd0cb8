//! Two persons for one action. Knows who asked and who agreed; never what the action is.

use super::entry::{Entry, Outcome, refuse, stale};
use crate::{APPROVAL_LASTS, APPROVALS_MAX, Agreement, Approval, By, Command, EventKind, Waited};

/// One line a command.
pub(super) fn run(entry: &mut Entry) -> Outcome {
    match &entry.proposal.command {
        Command::AskApproval { action } => ask(entry, action),
        Command::Approve { id } => approve(entry, *id),
        Command::UseApproval { action } => consume(entry, action),
        Command::EndApproval { id, waited } => end(entry, *id, *waited),
        _ => stale("it is about no approval"),
    }
}

/// Only people ask and agree.
fn person(entry: &Entry) -> Result<String, crate::Rejected> {
    match &entry.proposal.by {
        By::Operator(name) => Ok(name.clone()),
        By::Policy => stale("only a person asks or approves"),
    }
}

fn ask(entry: &mut Entry, action: &str) -> Outcome {
    let by = person(entry)?;
    let mut open = entry.next.approvals.iter();
    if let Some((id, _)) = open.find(|(_, known)| known.action == action && known.by == by) {
        return refuse(
            "already-asked",
            format!("{by} has asked to {action} already: request {id}"),
            format!("another person: arbiter approve {id} --reason TEXT"),
        );
    }
    if entry.next.approvals.len() >= APPROVALS_MAX {
        return refuse(
            "too-many-requests",
            format!("{APPROVALS_MAX} requests wait for a second person"),
            "arbiter approvals, which lists them; each ends by itself within the hour",
        );
    }
    let id = entry.at.index;
    let request = Approval {
        action: action.to_owned(),
        by: by.clone(),
        reason: entry.proposal.reason.clone(),
        asked: entry.proposal.wall,
        approved: None,
    };
    entry.next.approvals.insert(id, request);
    let message = format!("{by} asks to {action}: a second person must agree");
    let next = format!("another person: arbiter approve {id} --reason TEXT");
    entry.tell(EventKind::ApprovalAsked, None, message, next);
    Ok(())
}

fn approve(entry: &mut Entry, id: u64) -> Outcome {
    let by = person(entry)?;
    let Some(request) = entry.next.approvals.get(&id) else {
        return refuse(
            "no-such-request",
            format!("no request {id} waits: it was used, or it ended"),
            "arbiter approvals, which lists those that wait",
        );
    };
    if request.by == by {
        return refuse(
            "same-person",
            format!("{by} asked for it: another person must agree"),
            format!("another person: arbiter approve {id} --reason TEXT"),
        );
    }
    if let Some(before) = &request.approved {
        return refuse(
            "already-approved",
            format!("{} has agreed already", before.by),
            format!("{}: ask again for what was approved", request.by),
        );
    }
    let message = format!("{by} agrees that {} may {}", request.by, request.action);
    let next = format!("{}: ask again for what was approved", request.by);
    let (reason, at) = (entry.proposal.reason.clone(), entry.proposal.wall);
    if let Some(request) = entry.next.approvals.get_mut(&id) {
        request.approved = Some(Agreement { by, reason, at });
    }
    entry.tell(EventKind::Approved, None, message, next);
    Ok(())
}

/// An agreement is good for one doing, by the one who asked.
fn consume(entry: &mut Entry, action: &str) -> Outcome {
    let by = person(entry)?;
    let mut open = entry.next.approvals.iter();
    let asked = open.find(|(_, known)| known.action == action && known.by == by);
    match asked.map(|(id, known)| (*id, known.approved.is_some())) {
        Some((id, true)) => {
            entry.next.approvals.remove(&id);
            Ok(())
        }
        Some((id, false)) => refuse(
            "not-approved",
            format!("nobody has agreed yet that {by} may {action}"),
            format!("another person: arbiter approve {id} --reason TEXT"),
        ),
        None => refuse(
            "not-asked",
            format!("{by} has not asked to {action}, or the request ended"),
            "ask again: the request is made with it",
        ),
    }
}

fn end(entry: &mut Entry, id: u64, waited: Waited) -> Outcome {
    let Some(request) = entry.next.approvals.get(&id) else {
        return stale(format!("no request {id} waits"));
    };
    if waited.term != entry.at.term || waited.elapsed < APPROVAL_LASTS {
        return stale("its time has not passed in this term");
    }
    let message = format!("the request of {} to {} ended unused", request.by, request.action);
    entry.next.approvals.remove(&id);
    entry.tell(EventKind::ApprovalEnded, None, message, String::new());
    Ok(())
}
