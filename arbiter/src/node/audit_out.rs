//! Copies of the audit log, as it grows: to a file, and to syslog, at least once each record. Knows
//! records and where a copy has got to; never what a record says.

mod file;
mod syslog;

use crate::audit_file::{Gap, Line};
use crate::raft::RaftHandle;
use arbiter_core::State;
use cluster_config::Audit;
use file::FileCopy;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use syslog::SyslogCopy;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::sleep;

/// Pause before a copy that failed is tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// Lines handed over at once.
const LINES_MAX: usize = 64;

/// Where lines go.
trait Copy: Send + 'static {
    /// The number that it has got to, as it knows itself.
    ///
    /// # Errors
    /// It cannot be reached now.
    fn reached(&mut self) -> io::Result<u64>;

    /// Take these; once this returns they are there.
    ///
    /// # Errors
    /// Some may be there, and all are handed over again.
    fn take(&mut self, lines: &[Line]) -> io::Result<()>;

    /// For the log.
    fn place(&self) -> String;
}

/// Copy for ever what `audit` asks for.
pub(super) async fn copy(raft: RaftHandle, name: String, audit: Option<Audit>, dir: PathBuf) {
    let Some(audit) = audit else { return };
    let mut copies = JoinSet::new();
    if let Some(file) = audit.file {
        copies.spawn(follow(raft.clone(), FileCopy::new(dir.join(Path::new(&file)))));
    }
    if let Some(place) = audit.syslog {
        copies.spawn(follow(raft, SyslogCopy::new(&place, &name, &dir)));
    }
    while copies.join_next().await.is_some() {}
}

async fn follow<C: Copy>(raft: RaftHandle, mut copy: C) {
    let mut index = raft.state().watch_index();
    let mut failed = false;
    loop {
        let state = raft.state().get();
        let (back, ended) = match spawn_blocking(move || step(copy, &state)).await {
            Ok(ended) => ended,
            // Only a panic ends it so: nothing is left that could copy.
            Err(error) => return tracing::error!(%error, "the audit log is copied no more"),
        };
        copy = back;
        match ended {
            Ok(true) => {
                if std::mem::take(&mut failed) {
                    tracing::info!(place = %copy.place(), "the audit log is copied again");
                }
            }
            Ok(false) => {
                if index.changed().await.is_err() {
                    return;
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut failed, true) {
                    tracing::warn!(place = %copy.place(), %error, "the audit log is not copied");
                }
                sleep(AGAIN).await;
            }
        }
    }
}

/// Hand over what is next. False: nothing is.
fn step<C: Copy>(mut copy: C, state: &State) -> (C, io::Result<bool>) {
    let ended = copy.reached().and_then(|reached| {
        let lines = next(state, reached);
        if lines.is_empty() {
            return Ok(false);
        }
        copy.take(&lines).map(|()| true)
    });
    (copy, ended)
}

/// What follows `reached`: a gap where it is no longer kept, then records.
fn next(state: &State, reached: u64) -> Vec<Line> {
    let records = state.audit.after(reached);
    let Some(first) = records.first() else { return Vec::new() };
    let gap = Gap { from: reached + 1, to: first.seq - 1 };
    let gap = (gap.from <= gap.to).then_some(Line::Gap { gap });
    let records = records.iter().take(LINES_MAX);
    gap.into_iter().chain(records.map(|r| Line::Record(Box::new(r.clone())))).collect()
}

#[cfg(test)]
mod tests;
