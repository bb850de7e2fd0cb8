//! Refusals as gRPC statuses: a code, a sentence, a machine-readable reason in the trailer
//! `arbiter-reason` and the next command in `arbiter-next`. Knows no call.

use crate::raft::{ProposeError, ReadError};
use arbiter_core::{Reason, Rejected};
use tonic::metadata::MetadataValue;
use tonic::{Code, Status};

/// Trailer with the machine-readable reason.
pub const REASON: &str = "arbiter-reason";
/// Trailer with the command to run next.
pub const NEXT: &str = "arbiter-next";
/// Longest trailer, in bytes.
const TRAILER_BYTES_MAX: usize = 1024;

/// A status with both trailers.
pub fn refusal(code: Code, reason: &str, text: impl Into<String>, next: &str) -> Status {
    let mut status = Status::new(code, text);
    for (name, value) in [(REASON, reason), (NEXT, next)] {
        // A header holds visible ASCII only.
        let visible: String = value
            .chars()
            .map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' })
            .take(TRAILER_BYTES_MAX)
            .collect();
        if let Ok(value) = MetadataValue::try_from(visible) {
            status.metadata_mut().insert(name, value);
        }
    }
    status
}

/// What kind of refusal a reason is.
fn code_of(reason: &str) -> Code {
    match reason {
        "unknown-group" | "unknown-region" | "unknown-instance" | "unknown-agent"
        | "unknown-zone" | "no-such-plan" | "no-such-voter" => Code::NotFound,
        "witness" | "already-active" | "bad-policy" => Code::InvalidArgument,
        _ => Code::FailedPrecondition,
    }
}

/// As things stand, no.
pub fn precondition(reason: &str, text: impl Into<String>, next: &str) -> Status {
    refusal(code_of(reason), reason, text, next)
}

/// The call itself is wrong.
pub fn invalid(reason: &str, text: impl Into<String>, next: &str) -> Status {
    refusal(Code::InvalidArgument, reason, text, next)
}

/// No arbiter is known to lead.
pub fn no_leader() -> Status {
    let text = "no arbiter leads: no quorum, or an election is under way";
    refusal(Code::Unavailable, "no-leader", text, "arbiter status")
}

/// The leader cannot confirm that it leads.
pub fn no_quorum() -> Status {
    let text = "no quorum of arbiters answers: nothing can be confirmed or changed";
    refusal(Code::Unavailable, "no-quorum", text, "arbiter members list")
}

/// A forwarded call reached an arbiter that does not lead.
pub fn not_leader() -> Status {
    let text = "this arbiter does not lead any more";
    refusal(Code::Unavailable, "not-leader", text, "ask again")
}

/// Nobody named this cluster yet.
pub fn not_initialized() -> Status {
    let text = "the cluster is not initialized";
    precondition("not-initialized", text, "arbiter members initialize --config FILE")
}

/// There is no such group.
pub fn unknown_group(group: &str) -> Status {
    precondition("unknown-group", format!("there is no group {group}"), "arbiter status")
}

/// Why a read was not confirmed.
pub fn unread(error: &ReadError) -> Status {
    match error {
        ReadError::NotLeader(_) => not_leader(),
        ReadError::NoQuorum => no_quorum(),
        ReadError::Stopped(_) => {
            refusal(Code::Unavailable, "stopping", error.to_string(), "ask another arbiter")
        }
    }
}

/// Why a proposal has no outcome.
pub fn unproposed(error: &ProposeError) -> Status {
    let text = error.to_string();
    match error {
        ProposeError::NotLeader { .. } => not_leader(),
        ProposeError::Unknown(_) => {
            let text = format!("{text}; asking again with the same request id is safe");
            refusal(Code::Unavailable, "no-quorum", text, "ask again, or: arbiter status")
        }
        ProposeError::TooLarge { .. } => invalid("too-large", text, "make it smaller"),
        ProposeError::Fatal(_) => {
            refusal(Code::Unavailable, "stopping", text, "ask another arbiter")
        }
    }
}

/// Why `apply` refused.
pub fn rejected(rejected: &Rejected) -> Status {
    match rejected {
        Rejected::Refused { code, reason, next } => precondition(code, reason.clone(), next),
        Rejected::Stale(why) => {
            precondition("stale", format!("things have changed: {why}"), "arbiter status")
        }
        Rejected::Breach { invariant, .. } => {
            let reason = format!("breach-{}", invariant.to_ascii_lowercase());
            precondition(&reason, rejected.to_string(), "arbiter explain")
        }
        Rejected::Unsupported { .. } => {
            precondition("unsupported", rejected.to_string(), "update every arbiter")
        }
    }
}

/// What is wrong with the question itself names the refusal before what is so just now; the
/// sentence tells every closed gate.
pub fn closed(reasons: &[Reason]) -> Status {
    const QUESTION: [&str; 7] = [
        "unknown-group",
        "unknown-region",
        "witness",
        "already-active",
        "not-activated",
        "wrong-epoch",
        "plan-open",
    ];
    let rank = |reason: &&Reason| QUESTION.iter().position(|code| *code == reason.code);
    let first = reasons.iter().min_by_key(|reason| rank(reason).unwrap_or(QUESTION.len()));
    let Some(first) = first else {
        return precondition("refused", "it cannot be opened now", "arbiter explain");
    };
    let others = reasons.iter().filter(|reason| *reason != first);
    let sentences: Vec<&str> =
        std::iter::once(first).chain(others).map(|reason| reason.text.as_str()).collect();
    precondition(&first.code, sentences.join("; "), &first.next)
}
