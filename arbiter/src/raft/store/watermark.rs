//! How far the database is known to be durable. Knows one number; never what it counts.
//!
//! RocksDB cannot tell a record that a crash left unfinished from one whose length was damaged
//! afterwards: it takes both for the end of the log, and what follows would be gone without a word,
//! acknowledged or not. So after each sync, before anything is acknowledged, the sequence number
//! reached is noted here. It is not synced itself, which would double the cost of a commit: after a
//! power cut it may be old, and then asks for less, never for more than was durable.

use super::rocks::{Store, StoreError, refused};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

const FILE: &str = "durable";
/// Sequence number and its crc32c, both little endian.
const BYTES: usize = 12;

/// The file, open.
pub struct Watermark {
    file: File,
}

impl Watermark {
    /// Opens the file in `dir`, or makes it, and checks that the database has reached it.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] where it has not.
    pub fn open(dir: &Path, store: &Store) -> Result<Self, StoreError> {
        let damaged = |what| StoreError::Damaged { dir: dir.to_owned(), what };
        let failed = |error: io::Error| refused(dir, &error.to_string());
        let path = dir.join(FILE);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(failed)?;
        let reached = store.db.latest_sequence_number();
        if file.metadata().map_err(failed)?.len() == 0 {
            // Its length never changes again, so that a power cut cannot leave it empty.
            write(&file, reached).map_err(failed)?;
            file.sync_all().map_err(failed)?;
            File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed)?;
            return Ok(Self { file });
        }
        let mut bytes = [0; BYTES];
        file.read_exact_at(&mut bytes, 0)
            .map_err(|error| damaged(format!("{}: {error}", path.display())))?;
        let noted =
            decode(bytes).ok_or_else(|| damaged(format!("{}: checksum", path.display())))?;
        if reached < noted {
            let lost = noted - reached;
            return Err(damaged(format!(
                "the write-ahead log ends {lost} writes before what this node had synced and \
                 acknowledged"
            )));
        }
        Ok(Self { file })
    }

    /// Notes that everything up to `sequence` is durable.
    ///
    /// # Errors
    /// The file system's.
    pub fn note(&self, sequence: u64) -> io::Result<()> {
        write(&self.file, sequence)
    }
}

fn write(file: &File, sequence: u64) -> io::Result<()> {
    let mut bytes = [0; BYTES];
    bytes[..8].copy_from_slice(&sequence.to_le_bytes());
    let crc = crc32c::crc32c(&bytes[..8]);
    bytes[8..].copy_from_slice(&crc.to_le_bytes());
    file.write_all_at(&bytes, 0)
}

fn decode(bytes: [u8; BYTES]) -> Option<u64> {
    let (sequence, crc) = bytes.split_at(8);
    let crc = u32::from_le_bytes(crc.try_into().ok()?);
    (crc32c::crc32c(sequence) == crc)
        .then(|| sequence.try_into().ok().map(u64::from_le_bytes))
        .flatten()
}
