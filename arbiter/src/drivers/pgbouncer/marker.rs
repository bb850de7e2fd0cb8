//! Which databases were paused by the arbiter, on disk: what somebody else paused is never resumed.
//! Knows names and one file; never a pooler.

use crate::drivers::DriverError;
use crate::drivers::files;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The file beside the one with the databases.
pub struct Marker {
    path: PathBuf,
    like: PathBuf,
}

impl Marker {
    /// The marker beside `databases_file`.
    pub fn beside(databases_file: &Path) -> Self {
        let mut name = databases_file.to_path_buf().into_os_string();
        name.push(".arbiter-paused");
        Self { path: name.into(), like: databases_file.to_path_buf() }
    }

    /// The databases that are paused by us, or were about to be.
    pub fn names(&self) -> Result<BTreeSet<String>, DriverError> {
        match std::fs::read_to_string(&self.path) {
            Ok(text) => Ok(text.lines().map(str::to_owned).collect()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(BTreeSet::new()),
            Err(error) => Err(self.failed("read", &error)),
        }
    }

    /// Write them down, on disk when this returns; no file where there is none.
    pub fn set(&self, names: &BTreeSet<String>) -> Result<(), DriverError> {
        let lines: String = names.iter().map(|name| format!("{name}\n")).collect();
        let written = match names.is_empty() {
            true => files::remove(&self.path),
            false => files::write_private(&self.path, &lines, &self.like),
        };
        written.map_err(|error| self.failed("written", &error))
    }

    fn failed(&self, what: &str, error: &std::io::Error) -> DriverError {
        DriverError::Retry(format!("{} cannot be {what}: {error}", self.path.display()))
    }
}
