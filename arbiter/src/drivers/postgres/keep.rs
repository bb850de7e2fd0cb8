//! What only this server has is kept, and told, before anything touches it: the WAL from where it
//! left the other's line, and the transactions that were committed there.
//!
//! Knows files and what `pg_waldump` prints. Never knows what becomes of the data afterwards.

use super::control::{Control, parse_lsn, show_lsn};
use super::history::Lineage;
use super::{Postgres, files};
use crate::clock;
use crate::drivers::DriverError;
use arbiter_core::{Loss, LostTransaction, Position};
use nix::sys::statvfs::statvfs;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where it is kept, beside the data directory unless the setting `keep_dir` names a place.
const KEPT: &str = "kept";
/// What was lost, in words for machines; written last, so that its being there says that all is.
pub(super) const LOSS: &str = "loss.json";
/// Transactions that are told one by one; the others are counted, and stand in [`LOSS`]'s
/// neighbour [`ALL`].
const LISTED_MAX: usize = 1000;
/// Every lost transaction, one a line.
const ALL: &str = "transactions.txt";
/// Transactions asked for in one look.
const PIECE_RECORDS: &str = "2000";
/// Looks at one timeline.
const PIECES_MAX: u32 = 100_000;
/// Limit of one look.
const LOOK_LIMIT: Duration = Duration::from_secs(60);
/// Left free on the file system by what is kept.
const SPARE_BYTES: u64 = 64 << 20;

impl Postgres {
    /// Keep everything from `at` to `end`, which no other server has. Twice is once.
    pub(super) async fn keep(&self, at: Position, end: Position) -> Result<(), DriverError> {
        let control = self.control().await?;
        let place = self.kept_dir().join(name(at, end));
        if place.join(LOSS).exists() {
            return Ok(());
        }
        self.tell(format!("keeping what it has from {} to {}", show(at), show(end)));
        let failed = |error: io::Error| {
            self.refuse(format!(
                "what only it has cannot be kept in {}: {error}; make room there, or set keep_dir",
                place.display()
            ))
        };
        fs::create_dir_all(&place).map_err(failed)?;
        private(&place).map_err(failed)?;
        let sources = self.worth_keeping(&control, at).map_err(failed)?;
        room(&place, &sources).map_err(failed)?;
        for source in &sources {
            copy(source, &place).map_err(failed)?;
        }
        let line = self.lineage(end);
        let lost = self.lost(&control, &line, at).await?;
        let text: String = lost.iter().map(|one| format!("{one}\n")).collect();
        write(&place.join(ALL), &text).map_err(failed)?;
        let loss = loss(at, end, &lost, &place);
        let text = serde_json::to_string_pretty(&loss).map_err(|error| self.retry(error))?;
        write(&place.join(LOSS), &text).map_err(failed)?;
        *self.lost.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = None;
        Ok(())
    }

    fn kept_dir(&self) -> PathBuf {
        self.set.keep_dir.clone().unwrap_or_else(|| self.beside(KEPT))
    }

    /// WAL segments from the one of `at` on, of every timeline from there, with the histories, the
    /// control file and the configuration.
    fn worth_keeping(&self, control: &Control, at: Position) -> io::Result<Vec<PathBuf>> {
        let dir = &self.set.data_dir;
        let first = format!("{:016X}", segment_number(control, at.offset));
        let mut found = vec![dir.join("global/pg_control")];
        found.extend(self.own_files());
        for entry in fs::read_dir(dir.join("pg_wal"))?.flatten() {
            let Ok(file) = entry.file_name().into_string() else { continue };
            let timeline = file.get(..8).and_then(|text| u32::from_str_radix(text, 16).ok());
            let from_here = timeline.is_some_and(|timeline| timeline >= at.timeline);
            let segment = file.len() == 24 && file.get(8..).is_some_and(|rest| *rest >= *first);
            if from_here && (segment || file.ends_with(".history")) {
                found.push(entry.path());
            }
        }
        Ok(found)
    }

    /// Every transaction that was committed on `line` after `at`, in the order of the log. That
    /// one is here does not say that its client was told: one that waited for its standby, or whose
    /// server died first, was not.
    async fn lost(
        &self,
        control: &Control,
        line: &Lineage,
        at: Position,
    ) -> Result<Vec<LostTransaction>, DriverError> {
        let mut found = Vec::new();
        let mut from = at.offset;
        for part in line.0.iter().filter(|part| part.timeline >= at.timeline) {
            self.commits(control, part.timeline, from..part.offset, &mut found).await?;
            from = part.offset;
        }
        Ok(found)
    }

    async fn commits(
        &self,
        control: &Control,
        timeline: u32,
        range: std::ops::Range<u64>,
        found: &mut Vec<LostTransaction>,
    ) -> Result<(), DriverError> {
        let Some(wal_end) = self.wal_end(control, timeline) else {
            return Err(self.retry(format!("it has no WAL of timeline {timeline}")));
        };
        let mut from = range.start;
        for _ in 0..PIECES_MAX {
            let args = ["-r", "Transaction", "-n", PIECE_RECORDS, "-s", &show_lsn(from)];
            let (out, _) = self.waldump(timeline, wal_end, &args, LOOK_LIMIT).await?;
            // The output may have been cut within a line.
            let whole = out.rsplit_once('\n').map_or("", |(whole, _)| whole);
            let records: Vec<(u64, Option<LostTransaction>)> =
                whole.lines().filter_map(transaction).collect();
            let new = records.iter().filter(|(at, _)| *at > from || *at == range.start);
            let new: Vec<_> = new.filter(|(at, _)| *at < range.end).collect();
            found.extend(new.iter().filter_map(|(_, commit)| commit.clone()));
            match records.last() {
                Some((last, _)) if *last > from && *last < range.end => from = *last,
                _ => return Ok(()),
            }
        }
        Err(self.retry("there is more WAL than can be read"))
    }

    /// What the newest divergence cost, where one was kept.
    pub(super) fn newest_loss(&self) -> Option<Loss> {
        let mut known = self.lost.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        known.get_or_insert_with(|| read_newest(&self.kept_dir())).clone()
    }
}

fn read_newest(dir: &Path) -> Option<Loss> {
    let entries = fs::read_dir(dir).ok()?.flatten();
    let dated = entries.filter_map(|entry| {
        let file = entry.path().join(LOSS);
        Some((fs::metadata(&file).ok()?.modified().ok()?, file))
    });
    let (_, newest) = dated.max()?;
    serde_json::from_str(&fs::read_to_string(newest).ok()?).ok()
}

fn loss(at: Position, end: Position, lost: &[LostTransaction], place: &Path) -> Loss {
    Loss {
        from: at,
        end,
        count: Some(lost.len() as u64),
        first: lost.first().map(|one| one.at.clone()).unwrap_or_default(),
        last: lost.last().map(|one| one.at.clone()).unwrap_or_default(),
        listed: lost.iter().take(LISTED_MAX).cloned().collect(),
        kept: place.display().to_string(),
        found: clock::wall(),
        late: None,
    }
}

/// A line of `pg_waldump -r Transaction`: where the record is, and what it commits.
pub(crate) fn transaction(line: &str) -> Option<(u64, Option<LostTransaction>)> {
    let lsn = line.split_once("lsn: ")?.1.split(',').next()?.trim();
    let at = parse_lsn(lsn)?;
    let id = line.split_once("tx:")?.1.split(',').next()?.trim().parse().ok()?;
    let (kind, rest) = line.split_once("desc: ")?.1.split_once(' ')?;
    let commits = kind.starts_with("COMMIT");
    let time = rest.split(';').next()?.trim();
    // A prepared one names its own id.
    let id = match time.split_once(": ") {
        Some((prepared, _)) => prepared.trim().parse().unwrap_or(id),
        None => id,
    };
    let time = time.rsplit(": ").next()?.to_owned();
    let commit = LostTransaction { id, lsn: lsn.to_owned(), at: time };
    Some((at, commits.then_some(commit)))
}

pub(crate) fn segment_number(control: &Control, offset: u64) -> u64 {
    // A name counts segments within each 4 GiB of the log.
    let per_id = (1u64 << 32) / control.segment_bytes;
    let number = offset / control.segment_bytes;
    (number / per_id) << 32 | (number % per_id)
}

fn show(at: Position) -> String {
    super::history::show(at)
}

/// The same divergence has the same name.
fn name(at: Position, end: Position) -> String {
    let (low, high) = (format!("{:016X}", at.offset), format!("{:016X}", end.offset));
    format!("timeline-{}-from-{low}-to-{high}", at.timeline)
}

fn room(place: &Path, sources: &[PathBuf]) -> io::Result<()> {
    let bytes: u64 =
        sources.iter().filter_map(|path| fs::metadata(path).ok()).map(|m| m.len()).sum();
    let system = statvfs(place).map_err(io::Error::from)?;
    let free = system.blocks_available() * system.fragment_size();
    if free >= bytes + SPARE_BYTES {
        return Ok(());
    }
    let what = format!("it needs {bytes} bytes and {SPARE_BYTES} spare, and {free} are free");
    Err(io::Error::new(io::ErrorKind::StorageFull, what))
}

fn private(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700))
}

/// A copy, since the server goes on using the file itself. On disk when this returns.
fn copy(source: &Path, into: &Path) -> io::Result<()> {
    let Some(name) = source.file_name() else { return Err(io::ErrorKind::InvalidInput.into()) };
    let target = into.join(name);
    fs::copy(source, &target)?;
    File::open(&target)?.sync_all()
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    let like = path.parent().unwrap_or(path);
    files::write_private(path, text, like)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_is_told_with_its_id_place_and_time() {
        let line = "rmgr: Transaction len (rec/tot):     34/    34, tx:        735, \
            lsn: 0/0301A5C8, prev 0/0301A588, desc: COMMIT 2026-11-22 10:11:12.131415 UTC";
        let (at, commit) = transaction(line).unwrap();
        assert_eq!(at, 0x0301_A5C8);
        let commit = commit.unwrap();
        assert_eq!((commit.id, commit.lsn.as_str()), (735, "0/0301A5C8"));
        assert_eq!(commit.at, "2026-11-22 10:11:12.131415 UTC");
        let aborted = line.replace("COMMIT", "ABORT");
        assert_eq!(transaction(&aborted).unwrap().1, None);
        let more = line.replace(" UTC", " UTC; inval msgs: catcache 80; sync");
        assert_eq!(transaction(&more).unwrap().1, Some(commit));
        let prepared = line.replace("COMMIT ", "COMMIT_PREPARED 733: ");
        assert_eq!(transaction(&prepared).unwrap().1.unwrap().id, 733);
    }
}
