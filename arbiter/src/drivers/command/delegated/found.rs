//! Which processes are a manager's and its server's.
//!
//! Knows command lines, parents and a directory. Never knows roles or why one is stopped.

use crate::drivers::processes::{self, Process};
use std::io;
use std::path::Path;

/// What runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The manager; more than one where somebody started it twice.
    pub managers: Vec<Process>,
    /// What it started, and what holds the data directory.
    pub others: Vec<Process>,
}

impl Found {
    /// Look for `manager`, by its command line, for what is below it, and for processes called
    /// `server` that stand in `data_dir`.
    ///
    /// # Errors
    /// When `/proc` cannot be read.
    pub fn look(manager: &[String], data_dir: &Path, server: &str) -> io::Result<Self> {
        let all = processes::all()?;
        let own = i32::try_from(std::process::id()).unwrap_or_default();
        let is_manager = |process: &Process| process.pid != own && runs(process, manager);
        let managers: Vec<Process> =
            all.iter().filter(|process| is_manager(process)).cloned().collect();
        let mut below: Vec<i32> = managers.iter().map(|process| process.pid).collect();
        let mut others: Vec<Process> = Vec::new();
        // Children after their parents, however their ids came about.
        loop {
            let known = |pid| below.contains(&pid);
            let next: Vec<&Process> =
                all.iter().filter(|p| known(p.parent) && !known(p.pid)).collect();
            if next.is_empty() {
                break;
            }
            below.extend(next.iter().map(|process| process.pid));
            others.extend(next.into_iter().cloned());
        }
        let holding = match processes::dir_id(data_dir) {
            Some(dir) => processes::holding(dir, |name| name.starts_with(server))?,
            None => Vec::new(),
        };
        others.extend(holding.into_iter().filter(|process| !below.contains(&process.pid)));
        Ok(Self { managers, others })
    }

    /// Nothing runs.
    pub fn is_empty(&self) -> bool {
        self.managers.is_empty() && self.others.is_empty()
    }

    /// All of it, the manager first: what it would start again is stopped after it.
    pub fn all(&self) -> impl Iterator<Item = &Process> {
        self.managers.iter().chain(&self.others)
    }
}

/// Whether its command line holds these words one behind the other: an interpreter may stand
/// before them.
fn runs(process: &Process, words: &[String]) -> bool {
    let line: Vec<&str> = process.title.split('\0').collect();
    line.windows(words.len().max(1)).any(|part| part == words)
}
