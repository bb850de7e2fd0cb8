//! Files of a data directory.
//!
//! Knows bytes and names. Never knows why.

pub use crate::drivers::files::{remove, replace, sync_dir, write_private};

use std::io;
use std::path::{Path, PathBuf};

/// Makes a running PostgreSQL, and one started later, a standby.
pub const STANDBY_SIGNAL: &str = "standby.signal";
/// Asks for a recovery that ends by itself in a primary.
pub const RECOVERY_SIGNAL: &str = "recovery.signal";
/// What `ALTER SYSTEM` writes.
pub const AUTO_CONF: &str = "postgresql.auto.conf";

/// Whether a server started on `data_dir` would be a standby.
pub fn is_standby(data_dir: &Path) -> bool {
    data_dir.join(STANDBY_SIGNAL).exists()
}

/// Make a server started on `data_dir` a standby.
pub fn make_standby(data_dir: &Path) -> io::Result<()> {
    remove(&data_dir.join(RECOVERY_SIGNAL))?;
    if is_standby(data_dir) {
        return Ok(());
    }
    replace(&data_dir.join(STANDBY_SIGNAL), "", &data_dir.join("PG_VERSION"))
}

/// Set `settings` in the stopped server's `postgresql.auto.conf`, as `ALTER SYSTEM` would.
pub fn set_auto(data_dir: &Path, settings: &[(&str, &str)]) -> io::Result<()> {
    let path = data_dir.join(AUTO_CONF);
    let before = match std::fs::read_to_string(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        other => other?,
    };
    let ours = |line: &str| {
        let key = line.split(['=', ' ', '\t']).next().unwrap_or("");
        settings.iter().any(|(name, _)| key.eq_ignore_ascii_case(name))
    };
    let mut after: String =
        before.lines().filter(|line| !ours(line.trim())).map(|line| format!("{line}\n")).collect();
    for (name, value) in settings {
        let value = value.replace('\\', "\\\\").replace('\'', "''");
        after.push_str(&format!("{name} = '{value}'\n"));
    }
    if after == before { Ok(()) } else { replace(&path, &after, &data_dir.join("PG_VERSION")) }
}

/// What a running server wrote about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PidFile {
    /// Process id, as the server sees itself.
    pub pid: i32,
    /// Port.
    pub port: u16,
    /// Directory of the Unix socket.
    pub socket_dir: PathBuf,
    /// `starting`, `standby`, `ready` or `stopping`.
    pub status: String,
}

/// Read `postmaster.pid`; none when it is not there or half written.
pub fn pid_file(data_dir: &Path) -> Option<PidFile> {
    pid_of(&std::fs::read_to_string(data_dir.join("postmaster.pid")).ok()?)
}

/// What stands in a `postmaster.pid`; none where it is half written.
pub fn pid_of(text: &str) -> Option<PidFile> {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    Some(PidFile {
        pid: lines.first()?.parse().ok()?,
        port: lines.get(3)?.parse().ok()?,
        socket_dir: lines.get(4).copied().unwrap_or("").into(),
        status: lines.get(7).copied().unwrap_or("").to_owned(),
    })
}

/// The newest timeline of which `data_dir` has WAL, and its first and last segments' names.
pub fn newest_wal(data_dir: &Path) -> Option<(u32, String, String)> {
    let newest = segments(data_dir).into_iter().map(|(timeline, _)| timeline).max()?;
    let (first, last) = wal_of(data_dir, newest)?;
    Some((newest, first, last))
}

/// First and last segments' names of the WAL of `timeline` that `data_dir` has.
pub fn wal_of(data_dir: &Path, timeline: u32) -> Option<(String, String)> {
    let mut names: Vec<String> = segments(data_dir)
        .into_iter()
        .filter(|(of, _)| *of == timeline)
        .map(|(_, name)| name)
        .collect();
    names.sort();
    Some((names.first()?.clone(), names.last()?.clone()))
}

/// Every WAL segment's timeline and name.
fn segments(data_dir: &Path) -> Vec<(u32, String)> {
    let entries = std::fs::read_dir(data_dir.join("pg_wal")).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let hex = |name: &String| name.len() == 24 && name.bytes().all(|b| b.is_ascii_hexdigit());
    names
        .filter(hex)
        .filter_map(|name| Some((u32::from_str_radix(&name[..8], 16).ok()?, name)))
        .collect()
}

/// Text of the history file of `timeline`; empty where there is none.
pub fn history(data_dir: &Path, timeline: u32) -> String {
    let path = data_dir.join("pg_wal").join(format!("{timeline:08X}.history"));
    std::fs::read_to_string(path).unwrap_or_default()
}
