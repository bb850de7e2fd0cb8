//! Which processes are PostgreSQL's.
//!
//! Knows names and titles. Never knows roles or why one is stopped.

pub use crate::drivers::processes::{DirId, Process, dir_id, is_anothers, send, wait_gone};

use crate::drivers::processes;

/// Every live PostgreSQL process whose working directory is `dir`.
pub fn holding(dir: DirId) -> std::io::Result<Vec<Process>> {
    processes::holding(dir, |name| name.contains("postgres") || name.contains("postmaster"))
}

/// The postmaster among them: neither titled as a child (`postgres: …`) nor the child of another.
/// One that is exiting has no title any more, and is nobody's postmaster.
pub fn postmaster(found: &[Process]) -> Option<&Process> {
    let child =
        |process: &Process| process.title.is_empty() || process.title.starts_with("postgres: ");
    processes::parent_of(found, |process| !child(process))
}
