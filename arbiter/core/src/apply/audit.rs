//! Every call of a person that reaches the log leaves a record, done or refused. Knows no command.

use crate::audit::{AUDIT_DONE, AuditRecord, Described, describe};
use crate::{By, Command, LogId, Proposal, Rejected, State};

/// The `State.version` from which there is an audit log.
const AUDIT_FROM: u32 = 2;

/// The entry was done. `before`: State as the asker found it.
pub(super) fn done(next: &mut State, before: &State, proposal: &Proposal, at: LogId) {
    // What was only noted says itself what became of it.
    let result = match &proposal.command {
        Command::NoteCall { result, .. } => result,
        _ => AUDIT_DONE,
    };
    record(next, before, proposal, at, result);
}

/// The entry was refused; nothing but its record and the answer to its request is kept.
pub(super) fn refused(
    next: &mut State,
    before: &State,
    proposal: &Proposal,
    at: LogId,
    why: &Rejected,
) {
    record(next, before, proposal, at, why.code());
}

fn record(next: &mut State, before: &State, proposal: &Proposal, at: LogId, result: &str) {
    let By::Operator(who) = &proposal.by else { return };
    // A replica of the version before keeps none, and States must be equal.
    if before.version < AUDIT_FROM {
        return;
    }
    let Described { what, group, detail } = describe(before, &proposal.command);
    next.audit.add(AuditRecord {
        seq: 0,
        index: at.index,
        wall: proposal.wall,
        who: who.clone(),
        what,
        detail,
        group,
        reason: proposal.reason.clone(),
        result: result.to_owned(),
        previous: String::new(),
        hash: String::new(),
    });
}
