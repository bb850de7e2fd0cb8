//! Whom commits wait for, in orders and Reports.

use super::WireError;
use arbiter_core::{CommitWait, Commits};
use arbiter_proto::v1::{self as pb, commit_wait::Kind};
use std::collections::BTreeSet;

pub(super) fn wait_out(wait: &CommitWait) -> pb::CommitWait {
    let (kind, standbys) = match wait {
        CommitWait::Configured => (Kind::Configured, None),
        CommitWait::Alone => (Kind::Alone, None),
        CommitWait::Blocked => (Kind::Blocked, None),
        CommitWait::Standbys(names) => (Kind::Standbys, Some(names)),
        CommitWait::Isolated(names) => (Kind::Isolated, Some(names)),
    };
    let standbys = standbys.into_iter().flatten().cloned().collect();
    pb::CommitWait { kind: kind.into(), standbys }
}

pub(super) fn wait_in(wait: pb::CommitWait) -> Result<CommitWait, WireError> {
    let names = wait.standbys.into_iter().collect();
    match Kind::try_from(wait.kind) {
        Ok(Kind::Configured) => Ok(CommitWait::Configured),
        Ok(Kind::Alone) => Ok(CommitWait::Alone),
        Ok(Kind::Blocked) => Ok(CommitWait::Blocked),
        Ok(Kind::Standbys) => Ok(CommitWait::Standbys(names)),
        Ok(Kind::Isolated) => Ok(CommitWait::Isolated(names)),
        Ok(Kind::Unspecified) | Err(_) => Err(WireError::Missing("commit_wait.kind")),
    }
}

pub(super) fn names_out(names: &BTreeSet<String>) -> pb::Names {
    pb::Names { names: names.iter().cloned().collect() }
}

pub(super) fn names_in(names: pb::Names) -> BTreeSet<String> {
    names.names.into_iter().collect()
}

pub(super) fn commits_out(commits: &Commits) -> pb::Commits {
    pb::Commits {
        wait: Some(wait_out(&commits.wait)),
        isolated: commits.isolated.as_ref().map(names_out),
    }
}

pub(super) fn commits_in(commits: pb::Commits) -> Result<Commits, WireError> {
    Ok(Commits {
        wait: wait_in(commits.wait.ok_or(WireError::Missing("commits.wait"))?)?,
        isolated: commits.isolated.map(names_in),
    })
}
