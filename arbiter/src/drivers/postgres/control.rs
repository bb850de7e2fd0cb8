//! What `pg_controldata` says of a data directory.
//!
//! Knows its text. Never starts anything and never decides.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// Sizes of a WAL segment, in bytes, each a power of two (`initdb --wal-segsize`).
const SEGMENT_BYTES: RangeInclusive<u64> = 1 << 20..=1 << 30;
/// Sizes of a page of WAL, in bytes, each a power of two (`configure --with-wal-blocksize`).
const PAGE_BYTES: RangeInclusive<u64> = 1 << 10..=1 << 16;
const TIMELINE: &str = "Latest checkpoint's TimeLineID";

/// State of the cluster as the control file records it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DbState {
    /// A primary, stopped cleanly.
    ShutDown,
    /// A standby, stopped cleanly.
    ShutDownInRecovery,
    /// A primary that runs, or that was killed.
    InProduction,
    /// A standby that runs, or that was killed.
    InArchiveRecovery,
    /// Replaying after a crash, or killed while it did.
    InCrashRecovery,
    /// Another word, as it stands there.
    Other(String),
}

impl DbState {
    fn parse(text: &str) -> Self {
        match text {
            "shut down" => Self::ShutDown,
            "shut down in recovery" => Self::ShutDownInRecovery,
            "in production" => Self::InProduction,
            "in archive recovery" => Self::InArchiveRecovery,
            "in crash recovery" => Self::InCrashRecovery,
            other => Self::Other(other.to_owned()),
        }
    }

    /// The words of `pg_controldata`.
    pub fn as_str(&self) -> &str {
        match self {
            Self::ShutDown => "shut down",
            Self::ShutDownInRecovery => "shut down in recovery",
            Self::InProduction => "in production",
            Self::InArchiveRecovery => "in archive recovery",
            Self::InCrashRecovery => "in crash recovery",
            Self::Other(text) => text,
        }
    }

    /// Whether the last stop was a clean one.
    pub fn is_clean(&self) -> bool {
        matches!(self, Self::ShutDown | Self::ShutDownInRecovery)
    }
}

/// The parts of the control file that matter here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    /// Identity of the data.
    pub system_id: String,
    /// State.
    pub state: DbState,
    /// Start of the latest checkpoint record.
    pub checkpoint: u64,
    /// Where replay would begin.
    pub redo: u64,
    /// Timeline of that checkpoint: right after a promotion still the old one.
    pub timeline: u32,
    /// Bytes of a WAL segment.
    pub segment_bytes: u64,
    /// Bytes of a WAL page.
    pub page_bytes: u64,
    /// Capacities that a standby must not be below, as its primary last had them.
    pub capacities: BTreeMap<&'static str, u64>,
    /// Data checksums, or `wal_log_hints`: what pg_rewind needs.
    pub rewindable: bool,
}

/// `pg_controldata`'s words and the setting that each stands for.
const CAPACITIES: &[(&str, &str)] = &[
    ("max_connections setting", "max_connections"),
    ("max_worker_processes setting", "max_worker_processes"),
    ("max_wal_senders setting", "max_wal_senders"),
    ("max_prepared_xacts setting", "max_prepared_transactions"),
    ("max_locks_per_xact setting", "max_locks_per_transaction"),
];

/// Parse the output of `pg_controldata` under `LC_ALL=C`.
///
/// # Errors
/// Names the line that is missing or cannot be read.
pub fn parse(text: &str) -> Result<Control, String> {
    let lines: BTreeMap<&str, &str> = text
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(key, value)| (key.trim(), value.trim()))
        .collect();
    let get = |key: &str| {
        lines.get(key).copied().ok_or_else(|| format!("pg_controldata printed no {key:?}"))
    };
    let number = |key: &str| {
        get(key)?.parse::<u64>().map_err(|_| format!("pg_controldata printed a bad {key:?}"))
    };
    let size = |key: &str, sizes: RangeInclusive<u64>| {
        let fits = |size: &u64| size.is_power_of_two() && sizes.contains(size);
        let size = Some(number(key)?).filter(fits);
        size.ok_or_else(|| format!("pg_controldata printed a bad {key:?}"))
    };
    let lsn = |key: &str| {
        parse_lsn(get(key)?).ok_or_else(|| format!("pg_controldata printed a bad {key:?}"))
    };
    let timeline = u32::try_from(number(TIMELINE)?);
    let capacities = CAPACITIES
        .iter()
        .filter_map(|(key, setting)| Some((*setting, lines.get(key)?.parse().ok()?)))
        .collect();
    let checksums = lines.get("Data page checksum version").is_some_and(|value| *value != "0");
    let hints = lines.get("wal_log_hints setting") == Some(&"on");
    Ok(Control {
        system_id: get("Database system identifier")?.to_owned(),
        state: DbState::parse(get("Database cluster state")?),
        checkpoint: lsn("Latest checkpoint location")?,
        redo: lsn("Latest checkpoint's REDO location")?,
        timeline: timeline.map_err(|_| format!("pg_controldata printed a bad {TIMELINE:?}"))?,
        segment_bytes: size("Bytes per WAL segment", SEGMENT_BYTES)?,
        page_bytes: size("WAL block size", PAGE_BYTES)?,
        capacities,
        rewindable: checksums || hints,
    })
}

/// An LSN as PostgreSQL writes it, `high/low` in hexadecimal.
pub fn parse_lsn(text: &str) -> Option<u64> {
    let (high, low) = text.trim().split_once('/')?;
    let part = |text: &str| u32::from_str_radix(text, 16).ok();
    Some(u64::from(part(high)?) << 32 | u64::from(part(low)?))
}

/// As PostgreSQL writes an LSN.
pub fn show_lsn(lsn: u64) -> String {
    format!("{:X}/{:X}", lsn >> 32, lsn as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRINTED: &str = "Database system identifier: 7\nDatabase cluster state: shut down\n\
        Latest checkpoint location: 0/1500790\nLatest checkpoint's REDO location: 0/1500790\n\
        Latest checkpoint's TimeLineID: 1\nBytes per WAL segment: 16777216\n\
        WAL block size: 8192\n";

    #[test]
    fn sizes_that_no_server_has_are_refused() {
        assert_eq!(parse(PRINTED).map(|found| found.page_bytes), Ok(8192));
        for (good, bad) in [
            ("size: 8192", "size: 0"),
            ("size: 8192", "size: 8191"),
            ("size: 8192", "size: 131072"),
            ("segment: 16777216", "segment: 0"),
            ("segment: 16777216", "segment: 8589934592"),
            ("TimeLineID: 1", "TimeLineID: 4294967296"),
        ] {
            let why = parse(&PRINTED.replace(good, bad)).expect_err(bad);
            assert!(why.contains("a bad"), "{bad}: {why}");
        }
    }
}
