//! Where the WAL of a stopped server ends, from `pg_waldump`.
//!
//! Knows records, pages and segments. Never starts a server, and never guesses: no end is better
//! than a wrong one.

use super::Postgres;
use super::control::{Control, DbState, parse_lsn, show_lsn};
use super::files;
use crate::clock;
use crate::drivers::DriverError;
use arbiter_core::Position;
use std::time::Duration;

/// Header of a WAL page.
const PAGE_HEADER_BYTES: u64 = 24;
/// Header of the first page of a segment.
const SEGMENT_HEADER_BYTES: u64 = 40;
/// Records asked for in one look at a segment.
const PIECE_RECORDS: &str = "2000";
/// Looks at one segment.
const PIECES_MAX: u32 = 1024;
/// Records begin and end on multiples of this.
const ALIGN_BYTES: u64 = 8;
/// Highest position that counts as one: no server comes there, and what is added to it fits.
const LSN_MAX: u64 = 1 << 62;

/// A line of `pg_waldump`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Record {
    start: u64,
    bytes: u64,
    is_switch: bool,
    is_shutdown: bool,
}

impl Record {
    fn parse(line: &str) -> Option<Self> {
        let total = line.split_once("len (rec/tot):")?.1.split_once('/')?.1;
        let start = line.split_once("lsn: ")?.1.split(',').next()?;
        let xlog = line.starts_with("rmgr: XLOG ");
        let bytes: u32 = total.split(',').next()?.trim().parse().ok()?;
        Some(Self {
            start: parse_lsn(start).filter(|start| *start <= LSN_MAX)?,
            bytes: bytes.into(),
            is_switch: xlog && line.contains("desc: SWITCH"),
            is_shutdown: xlog && line.contains("desc: CHECKPOINT_SHUTDOWN"),
        })
    }

    /// Where it ends: pages that it crosses have headers, and a switch takes the whole segment.
    fn end(&self, control: &Control) -> u64 {
        let (page, segment) = (control.page_bytes, control.segment_bytes);
        if self.is_switch {
            return (self.start / segment + 1) * segment;
        }
        let mut at = self.start;
        let mut left = self.bytes;
        loop {
            let room = page - at % page;
            if left <= room {
                at += left;
                return at.div_ceil(ALIGN_BYTES) * ALIGN_BYTES;
            }
            left -= room;
            at += room;
            at += if at.is_multiple_of(segment) { SEGMENT_HEADER_BYTES } else { PAGE_HEADER_BYTES };
        }
    }
}

/// Where the record that a line of `pg_waldump` shows ends; none where it shows none.
pub(crate) fn end_of(line: &str, control: &Control) -> Option<u64> {
    Some(Record::parse(line)?.end(control))
}

impl Postgres {
    /// Where the WAL on disk of the stopped server ends; none where that cannot be shown.
    pub(super) async fn end_of_wal(&self, control: &Control, limit: Duration) -> Option<Position> {
        if control.state == DbState::ShutDown {
            return self.end_of_shutdown(control, limit).await.ok().flatten();
        }
        self.end_of_log(control, limit).await.ok().flatten()
    }

    /// A clean stop ends with its checkpoint record; anything after it shows that it was none.
    async fn end_of_shutdown(
        &self,
        control: &Control,
        limit: Duration,
    ) -> Result<Option<Position>, DriverError> {
        let Some(wal) = self.wal_on_disk(control) else { return Ok(None) };
        let args = ["-s", &show_lsn(control.checkpoint), "-n", "2"];
        let (out, _) = self.waldump(control.timeline, wal.end, &args, limit).await?;
        let records: Vec<Record> = out.lines().filter_map(Record::parse).collect();
        Ok(match records.as_slice() {
            [last] if last.is_shutdown && last.start == control.checkpoint => {
                Some(Position { timeline: control.timeline, offset: last.end(control) })
            }
            _ => None,
        })
    }

    /// The last record that can be read, on the newest timeline that has WAL.
    async fn end_of_log(
        &self,
        control: &Control,
        limit: Duration,
    ) -> Result<Option<Position>, DriverError> {
        let Some(Wal { timeline, start, end }) = self.wal_on_disk(control) else {
            return Ok(None);
        };
        // Right after a promotion the checkpoint is still on the old timeline.
        let from = if timeline == control.timeline { control.redo } else { start };
        let (_, errors) =
            self.waldump(timeline, end, &["-q", "-s", &show_lsn(from)], limit).await?;
        let last = errors
            .split_once("error in WAL record at ")
            .and_then(|(_, rest)| parse_lsn(rest.split(':').next()?));
        let record = match last {
            Some(last) => {
                let args = ["-s", &show_lsn(last), "-n", "1"];
                let (out, _) = self.waldump(timeline, end, &args, limit).await?;
                out.lines().find_map(Record::parse)
            }
            // No error: the WAL ends with the last segment.
            None => {
                let from = from.max(end.saturating_sub(control.segment_bytes));
                self.last_record(timeline, from, end, limit).await?
            }
        };
        Ok(record.map(|record| Position { timeline, offset: record.end(control) }))
    }

    /// The last record that can be read between two places, looked for piece by piece: a whole
    /// segment's text is more than a tool's output may be. A record that goes on in a segment that
    /// is not there is none, and is not printed.
    async fn last_record(
        &self,
        timeline: u32,
        mut from: u64,
        end: u64,
        limit: Duration,
    ) -> Result<Option<Record>, DriverError> {
        let until = clock::now() + limit;
        for _ in 0..PIECES_MAX {
            let left = until.since(clock::now());
            let args = ["-s", &show_lsn(from), "-n", PIECE_RECORDS];
            let (out, _) = self.waldump(timeline, end, &args, left).await?;
            // The output may have been cut within a line.
            let whole = out.rsplit_once('\n').map_or("", |(whole, _)| whole);
            let last = whole.lines().rev().find_map(Record::parse);
            match last {
                // Nothing but the record that the look began with.
                Some(record) if record.start == from => return Ok(Some(record)),
                Some(record) => from = record.start,
                None => return Ok(None),
            }
        }
        Ok(None)
    }

    fn wal_on_disk(&self, control: &Control) -> Option<Wal> {
        let (timeline, first, last) = files::newest_wal(&self.set.data_dir)?;
        let bytes = control.segment_bytes;
        let start = segment_start(&first, bytes)?;
        Some(Wal { timeline, start, end: segment_start(&last, bytes)?.checked_add(bytes)? })
    }

    /// Where the WAL on disk of `timeline` ends, with its last segment; none where there is none.
    pub(super) fn wal_end(&self, control: &Control, timeline: u32) -> Option<u64> {
        let (_, last) = files::wal_of(&self.set.data_dir, timeline)?;
        segment_start(&last, control.segment_bytes)?.checked_add(control.segment_bytes)
    }

    /// Standard output and error. It is told where the last segment ends: a missing one it would
    /// wait for, five seconds.
    pub(super) async fn waldump(
        &self,
        timeline: u32,
        end: u64,
        args: &[&str],
        limit: Duration,
    ) -> Result<(String, String), DriverError> {
        let wal = self.set.data_dir.join("pg_wal").display().to_string();
        let (timeline, end) = (timeline.to_string(), show_lsn(end));
        let all = [&["-p", &wal, "-t", &timeline, "-e", &end], args].concat();
        let output = self.tool("pg_waldump", &all, &[], limit).await?;
        Ok((output.stdout, output.stderr))
    }
}

/// The WAL that is on disk of the newest timeline.
struct Wal {
    timeline: u32,
    start: u64,
    end: u64,
}

/// First byte of the segment of this name.
fn segment_start(name: &str, segment_bytes: u64) -> Option<u64> {
    let part = |range| u64::from_str_radix(name.get(range)?, 16).ok();
    (part(8..16)? << 32).checked_add(part(16..24)?.checked_mul(segment_bytes)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drivers::postgres::control;

    fn sizes() -> Control {
        Control {
            system_id: String::new(),
            state: control::DbState::ShutDown,
            checkpoint: 0,
            redo: 0,
            timeline: 1,
            segment_bytes: 16 << 20,
            page_bytes: 8192,
            capacities: Default::default(),
            rewindable: false,
        }
    }

    #[test]
    fn a_record_ends_after_the_headers_of_the_pages_it_crosses() {
        let line = "rmgr: XLOG        len (rec/tot):    114/   114, tx:          0, \
            lsn: 0/01500790, prev 0/01500718, desc: CHECKPOINT_SHUTDOWN redo 0/1500790; tli 1";
        let record = Record::parse(line).unwrap();
        assert!(record.is_shutdown);
        assert_eq!(record.end(&sizes()), 0x150_0808);
        // 114 bytes from 64 before a page's end: 50 more after the next page's header.
        let crossing = Record { start: 0x1501FC0, ..record.clone() };
        assert_eq!(crossing.end(&sizes()), 0x1502000 + 24 + 56);
        let into_segment = Record { start: 0x1FFFFC0, ..record.clone() };
        assert_eq!(into_segment.end(&sizes()), 0x2000000 + 40 + 56);
        let switch = Record { start: 0x1500790, bytes: 24, is_switch: true, is_shutdown: false };
        assert_eq!(switch.end(&sizes()), 0x2000000);
        let beyond = line.replace("lsn: 0/01500790", "lsn: FFFFFFFF/FFFFFFF0");
        assert_eq!(Record::parse(&beyond), None, "no server comes there");
    }

    #[test]
    fn a_segment_begins_where_its_name_says() {
        assert_eq!(segment_start("000000030000000200000005", 16 << 20), Some(0x2_0500_0000));
        assert_eq!(segment_start("00000003FFFFFFFFFFFFFFFF", 1 << 30), None, "beyond every number");
    }
}
