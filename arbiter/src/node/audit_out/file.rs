//! A copy in a file: lines appended and on disk before they count. Renamed away, it is begun anew.

use super::Copy;
use crate::audit_file::Line;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::PathBuf;

/// The end of a file that is read to find its last line, in bytes: longer than any line.
const TAIL_BYTES_MAX: u64 = 256 * 1024;

pub(super) struct FileCopy {
    path: PathBuf,
    open: Option<File>,
    reached: Option<u64>,
}

impl FileCopy {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, open: None, reached: None }
    }

    /// The file as it is at its path now: another one there was rotated in.
    fn file(&mut self) -> io::Result<&mut File> {
        let there = std::fs::metadata(&self.path).ok().map(|there| (there.dev(), there.ino()));
        let ours = self.open.as_ref().and_then(|file| file.metadata().ok());
        if ours.is_none_or(|ours| Some((ours.dev(), ours.ino())) != there) {
            self.open = None;
        }
        let file = match self.open.take() {
            Some(file) => file,
            None => self.opened()?,
        };
        Ok(self.open.insert(file))
    }

    fn opened(&mut self) -> io::Result<File> {
        let mut options = OpenOptions::new();
        let mut file = options.read(true).append(true).create(true).mode(0o600).open(&self.path)?;
        if let Some(parent) = self.path.parent() {
            // The name is durable too.
            File::open(parent)?.sync_all()?;
        }
        let found = end(&mut file)?;
        // A file that was begun anew goes on where the one before ended.
        self.reached = Some(self.reached.unwrap_or(0).max(found));
        Ok(file)
    }
}

/// The number of the last line. A line without an end was never on disk whole: it goes.
fn end(file: &mut File) -> io::Result<u64> {
    let size = file.metadata()?.len();
    let from = size.saturating_sub(TAIL_BYTES_MAX);
    file.seek(SeekFrom::Start(from))?;
    let mut tail = Vec::new();
    file.read_to_end(&mut tail)?;
    let whole = tail.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    if whole < tail.len() {
        file.set_len(from + whole as u64)?;
        file.sync_all()?;
    }
    let text = String::from_utf8_lossy(&tail[..whole]);
    let last = text.lines().rev().find(|line| !line.trim().is_empty());
    let Some(last) = last else { return Ok(0) };
    let line: Line = serde_json::from_str(last).map_err(|error| {
        let what = format!("its last line is none of an audit log ({error}); move the file away");
        io::Error::new(io::ErrorKind::InvalidData, what)
    })?;
    Ok(line.seq())
}

impl Copy for FileCopy {
    fn reached(&mut self) -> io::Result<u64> {
        if self.reached.is_none() {
            self.file()?;
        }
        Ok(self.reached.unwrap_or(0))
    }

    fn take(&mut self, lines: &[Line]) -> io::Result<()> {
        let mut text = String::new();
        for line in lines {
            text.push_str(&line.text()?);
        }
        let file = self.file()?;
        let before = file.metadata()?.len();
        let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_data());
        if let Err(error) = written {
            // What is half there would break the copy; all of it is written again.
            let _ = file.set_len(before);
            return Err(error);
        }
        self.reached = lines.last().map(Line::seq);
        Ok(())
    }

    fn place(&self) -> String {
        self.path.display().to_string()
    }
}
