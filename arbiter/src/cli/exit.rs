//! How a command ends: exit codes, and refusals that say why and what to run next.
//! Knows gRPC statuses; never what was asked.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use tonic::{Code, Status};

/// A command that did its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    /// Yes, or done.
    Yes,
    /// The answer is no.
    No,
}

/// A command that did not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fail {
    /// The cluster said no: why, a machine-readable code, and the command to run next.
    Refused { why: String, reason: String, next: String },
    /// It could not be asked, or it is not known what became of it.
    Error { what: String, next: String },
}

impl Fail {
    pub(super) fn error(what: impl Into<String>, next: impl Into<String>) -> Self {
        Self::Error { what: what.into(), next: next.into() }
    }

    pub(super) fn refused(reason: &str, why: impl Into<String>, next: impl Into<String>) -> Self {
        Self::Refused { why: why.into(), reason: reason.to_owned(), next: next.into() }
    }
}

/// A trailer of a refusal, or nothing where it is absent.
pub(super) fn trailer(status: &Status, name: &str) -> String {
    status.metadata().get(name).and_then(|value| value.to_str().ok()).unwrap_or("").to_owned()
}

/// Whether another arbiter may answer better: nothing was decided about the request itself.
pub(super) fn try_another(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Unknown
    )
}

impl From<Status> for Fail {
    fn from(status: Status) -> Self {
        let (reason, next) = (trailer(&status, "arbiter-reason"), trailer(&status, "arbiter-next"));
        match status.code() {
            Code::FailedPrecondition
            | Code::InvalidArgument
            | Code::NotFound
            | Code::AlreadyExists
            | Code::Aborted
            | Code::OutOfRange
            | Code::PermissionDenied
            | Code::Unauthenticated => {
                Self::Refused { why: status.message().to_owned(), reason, next }
            }
            Code::Unimplemented => {
                Self::error("this arbiter does not serve that", "update the arbiters, then again")
            }
            _ => Self::Error { what: status.message().to_owned(), next },
        }
    }
}

/// Print to standard output. A reader that left early, such as `head`, is no error.
pub(super) fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let written = writeln!(out, "{}", text.trim_end_matches('\n')).and_then(|()| out.flush());
    if written.is_err() {
        std::process::exit(0);
    }
}

/// Whether colour and redrawing make sense.
pub(super) fn on_terminal() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

/// Print how a command ended; its exit code.
pub(super) fn code(ended: Result<Exit, Fail>) -> ExitCode {
    match ended {
        Ok(Exit::Yes) => ExitCode::SUCCESS,
        Ok(Exit::No) => ExitCode::from(1),
        Err(fail) => {
            let (text, code) = told(&fail);
            let _ = writeln!(std::io::stderr().lock(), "{text}");
            ExitCode::from(code)
        }
    }
}

/// What is printed of a failure, and its exit code.
fn told(fail: &Fail) -> (String, u8) {
    let (head, next, code) = match fail {
        Fail::Refused { why, reason, next } if reason.is_empty() => {
            (format!("refused: {why}"), next, 1)
        }
        Fail::Refused { why, reason, next } => (format!("refused ({reason}): {why}"), next, 1),
        Fail::Error { what, next } => (format!("error: {what}"), next, 2),
    };
    let next = if next.is_empty() { "arbiter status" } else { next };
    (format!("{head}\nNEXT: {next}"), code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_why_and_what_next() {
        let mut status = Status::failed_precondition("plan 7 is open for default");
        status.metadata_mut().insert("arbiter-reason", "plan-open".parse().unwrap());
        status.metadata_mut().insert("arbiter-next", "arbiter report 7".parse().unwrap());
        let (text, code) = told(&status.into());
        assert_eq!(code, 1);
        assert_eq!(text, "refused (plan-open): plan 7 is open for default\nNEXT: arbiter report 7");
    }

    #[test]
    fn what_could_not_be_asked_is_an_error() {
        let (text, code) = told(&Status::unavailable("no quorum").into());
        assert_eq!((text.as_str(), code), ("error: no quorum\nNEXT: arbiter status", 2));
    }
}
