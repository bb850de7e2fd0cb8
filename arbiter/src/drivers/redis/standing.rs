//! What is known of the data while no server tells: a file beside the data.
//!
//! Redis's own files say neither which role their data had nor, of a killed server, where it
//! stands. Knows one small file. Never knows what is wanted.

use super::Redis;
use super::info::Point;
use crate::drivers::{DriverError, files};
use arbiter_core::{Loss, Role};
use serde::{Deserialize, Serialize};
use std::io;
use std::path::PathBuf;
use std::sync::Mutex;

/// The file, in the directory of the data: it goes where the data goes.
const FILE: &str = "arbiter.json";
/// Kept copies of data that are named.
const SAVED_MAX: usize = 16;

/// What is known of the data.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Standing {
    /// It led, or followed somebody, since it is known.
    pub known: bool,
    /// An operator accepts what there is, though it is less than what was.
    pub accepted: bool,
    /// It was a primary's.
    pub primary: bool,
    /// Whom it followed last.
    pub upstream: String,
    /// It held keys.
    pub had_data: bool,
    /// A replica followed it since it became a primary's: somebody else has it too.
    pub followed: bool,
    /// Changes are appended to a file, which is what a server comes up with.
    pub appends: bool,
    /// All of the data is in that file: a kill loses nothing that was acknowledged. Not so after
    /// everything was copied from an upstream, until the file is written anew.
    pub appended: bool,
    /// Why what it came up with is less than what it had; empty: it is not, or has caught up.
    pub behind: String,
    /// Name of the file that a save makes.
    pub dump: String,
    /// Name of the directory of the appended changes.
    pub append_dir: String,
    /// Where it was last seen to be. A killed one got at least so far.
    pub seen: Option<Point>,
    /// Where it stands since a clean stop.
    pub end: Option<Point>,
    /// Nothing of it is to be missed: it is on its upstream's line, or was saved.
    pub discardable: bool,
    /// Copies of data that was discarded, the newest last.
    pub saved: Vec<String>,
    /// What the newest of them cost.
    pub lost: Option<Loss>,
}

impl Standing {
    /// Role of a server that comes up with this data.
    pub fn role(&self) -> Role {
        if self.primary { Role::Primary } else { Role::Replica }
    }

    /// It led or follows: what it has now is what counts.
    pub fn is_current(&mut self) {
        self.known = true;
        self.accepted = false;
        self.behind = String::new();
        self.end = None;
    }

    /// It can be left behind: a copy is kept.
    pub fn was_saved(&mut self, lost: Loss) {
        self.discardable = true;
        self.saved.push(lost.kept.clone());
        self.lost = Some(lost);
        let surplus = self.saved.len().saturating_sub(SAVED_MAX);
        self.saved.drain(..surplus);
    }
}

/// The file, and one change of it at a time.
#[derive(Debug)]
pub struct Book {
    data_dir: PathBuf,
    turn: Mutex<()>,
}

impl Book {
    /// The book of the data in `data_dir`.
    pub fn new(data_dir: PathBuf) -> Self {
        Self { data_dir, turn: Mutex::default() }
    }

    /// Where it is.
    pub fn path(&self) -> PathBuf {
        self.data_dir.join(FILE)
    }

    /// What it says; none where there is none, or it cannot be read.
    pub fn read(&self) -> Option<Standing> {
        let text = std::fs::read_to_string(self.path()).ok()?;
        match serde_json::from_str(&text) {
            Ok(standing) => Some(standing),
            Err(error) => {
                tracing::warn!(path = %self.path().display(), %error, "cannot be read");
                None
            }
        }
    }

    /// Change what it says, on disk when this returns. Nothing is written where nothing changes.
    pub fn change(&self, change: impl FnOnce(&mut Standing)) -> io::Result<()> {
        let _one = self.turn.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let before = self.read();
        let mut after = before.clone().unwrap_or_default();
        change(&mut after);
        if before.as_ref() == Some(&after) {
            return Ok(());
        }
        let text = serde_json::to_string(&after)?;
        files::replace(&self.path(), &text, &self.data_dir)
    }
}

impl Redis {
    /// What is known of the data.
    pub(super) fn standing(&self) -> Option<Standing> {
        self.book.read()
    }

    /// Change what is known of the data, on disk when this returns.
    pub(super) fn stand(&self, change: impl FnOnce(&mut Standing)) -> Result<(), DriverError> {
        let path = self.book.path();
        let failed = |why| self.retry(format!("cannot write {}: {why}", path.display()));
        self.book.change(change).map_err(failed)
    }
}
