//! Which processes are a Redis server's.
//!
//! Knows names and titles. Never knows roles or why one is stopped.

pub use crate::drivers::processes::{DirId, Process, dir_id, is_anothers, send, wait_gone};

use crate::drivers::processes;

/// Every live process of a Redis server whose working directory is `dir`: the server, and what it
/// forks to save. A Sentinel may stand there too, and holds no data.
pub fn holding(dir: DirId) -> std::io::Result<Vec<Process>> {
    let mut found = processes::holding(dir, processes::is_redis)?;
    found.retain(|process| !process.title.contains("[sentinel]"));
    Ok(found)
}

/// The server among them: what it forks is its child, and titled by what it does.
pub fn server(found: &[Process]) -> Option<&Process> {
    let saves = |process: &Process| {
        process.title.is_empty()
            || process.title.starts_with("redis-rdb-")
            || process.title.starts_with("redis-aof-")
    };
    processes::parent_of(found, |process| !saves(process))
}
