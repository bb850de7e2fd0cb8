//! How a server whose changes left its upstream's line comes back: what it has that the upstream
//! has not is kept first; then it is rewound, or copied anew.
//!
//! Knows the order of these, and what may be tried where. Never knows why it lost, and never
//! deletes the only copy of anything.

use super::control::DbState;
use super::{Postgres, files, history};
use crate::drivers::DriverError;
use arbiter_core::Position;
use std::path::PathBuf;

/// What may be done with diverged data, as the setting `rejoin` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejoin {
    /// Rewind it; where that cannot be, copy the upstream anew beside it.
    Rebuild,
    /// Rewind it, or leave it.
    Rewind,
    /// Leave it as it is.
    Refuse,
}

impl Rejoin {
    /// The setting of this word.
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "rebuild" => Some(Self::Rebuild),
            "rewind" => Some(Self::Rewind),
            "refuse" => Some(Self::Refuse),
            _ => None,
        }
    }
}

/// Why this server cannot follow as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Apart {
    /// Where its changes left the upstream's line, and where they end; none where that cannot be
    /// shown.
    pub left: Option<(Position, Position)>,
    /// Whether pg_rewind can bring it back.
    pub rewinds: bool,
    /// In words.
    pub why: String,
}

impl Apart {
    /// Its changes left the line of `upstream` at `at`.
    pub fn diverged(upstream: &str, at: Position, end: Position, rewinds: bool) -> Self {
        let why = format!(
            "its changes and {upstream}'s diverged at {}, and it has changes up to {}",
            history::show(at),
            history::show(end)
        );
        Self { left: Some((at, end)), rewinds, why }
    }

    /// Only a new copy helps.
    pub fn unusable(why: impl Into<String>) -> Self {
        Self { left: None, rewinds: false, why: why.into() }
    }
}

impl Postgres {
    /// A path beside the data directory, on the same file system as its parent.
    pub(super) fn beside(&self, what: &str) -> PathBuf {
        let mut path = self.set.data_dir.clone().into_os_string();
        path.push(format!(".arbiter-{what}"));
        path.into()
    }

    /// Bring the stopped server's data onto the line of `upstream`.
    pub(super) async fn rejoin(&self, upstream: &str, apart: &Apart) -> Result<(), DriverError> {
        let may = self.set.rejoin;
        if may == Rejoin::Refuse {
            return Err(self.refuse(format!(
                "{}; its data is left as it is, as the setting rejoin says: rebuild it with \
                 pg_basebackup (or pg_rewind) once these changes are not needed",
                apart.why
            )));
        }
        if let Some((at, end)) = apart.left {
            self.keep(at, end).await?;
        }
        let mut why = apart.why.clone();
        if apart.rewinds
            && let Some((at, _)) = apart.left
        {
            match self.rewind(upstream, at).await? {
                Rewound::Yes => return Ok(()),
                Rewound::Never(reason) => why = format!("{why}; it cannot be rewound: {reason}"),
            }
        }
        if may == Rejoin::Rewind {
            return Err(self.refuse(format!(
                "{why}; its data is left as it is: rebuild it with pg_basebackup, or set rejoin to \
                 rebuild"
            )));
        }
        self.rebuild(upstream, &why).await
    }

    /// What an earlier call that was broken off left to be done first.
    pub(super) async fn unfinished(&self, upstream: &str) -> Result<(), DriverError> {
        self.finish_swap()?;
        if self.beside(super::rewind::DIRTY).exists() {
            let apart = Apart::unusable("a rewind of its data was broken off half-way");
            return self.rejoin(upstream, &apart).await;
        }
        let lacks = self.lacks_wal.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
        if lacks.is_some_and(|of| of == upstream) {
            let why = format!("{upstream} has not kept the WAL that it needs to catch up");
            return self.rejoin(upstream, &Apart::unusable(why)).await;
        }
        Ok(())
    }

    /// Tell people what goes on.
    pub(super) fn tell(&self, what: impl Into<String>) {
        let what = what.into();
        tracing::info!(instance = %self.set.id, %what, "rejoining");
        *self.rejoining.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = what;
    }

    /// What goes on, or went on last; empty when nothing did.
    pub(super) fn told(&self) -> String {
        self.rejoining.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }

    /// The stopped server's control file says that it was stopped cleanly.
    pub(super) async fn is_clean(&self) -> Result<bool, DriverError> {
        let state = self.control().await?.state;
        Ok(matches!(state, DbState::ShutDown | DbState::ShutDownInRecovery))
    }

    /// Configuration files that are this server's own, whatever a copy of another's brings.
    pub(super) fn own_files(&self) -> Vec<PathBuf> {
        let dir = &self.set.data_dir;
        let own = |name: &str| name.ends_with(".conf");
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let mut found: Vec<PathBuf> =
            names.filter(|name| own(name)).map(|name| dir.join(name)).collect();
        found.retain(|path| path.is_file());
        found.sort();
        found
    }

    /// Prepare `dir` to be started as a standby of `upstream`, on disk when this returns.
    pub(super) fn prepare_standby(
        &self,
        dir: &std::path::Path,
        upstream: &str,
    ) -> Result<(), DriverError> {
        let info = self.conninfo(upstream)?;
        let slot = self.set.slot.as_deref().unwrap_or("");
        let write = || {
            files::set_auto(dir, &[("primary_conninfo", &info), ("primary_slot_name", slot)])?;
            // On disk before any start: without it this would be a second primary.
            files::make_standby(dir)
        };
        write().map_err(|error| self.retry(format!("cannot prepare the standby: {error}")))
    }
}

/// What became of a rewind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Rewound {
    /// It is on the upstream's line.
    Yes,
    /// It can never be, and why; its data is as it was.
    Never(String),
}
