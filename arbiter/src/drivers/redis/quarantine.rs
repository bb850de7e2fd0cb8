//! Keeping the data of a stopped server before it is discarded.
//!
//! Knows files and their copies. Never removes a finished one, and never touches the original.

use super::Redis;
use super::standing::Standing;
use crate::clock;
use crate::drivers::{DriverError, files};
use arbiter_core::Token;
use nix::libc;
use nix::sys::statvfs::statvfs;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};

/// What is copied at a time: in between the copy can be given up.
const CHUNK_BYTES: u64 = 4 << 20;
/// Room that must be left on the file system of the copies.
const ROOM_LEFT_BYTES: u64 = 64 << 20;
/// Ends the name of a copy that is not finished.
const PARTIAL: &str = ".partial";
/// What Redis calls its files where it was not asked.
const DUMP: &str = "dump.rdb";
const APPEND_DIR: &str = "appendonlydir";

impl Redis {
    /// The file that a save makes.
    pub(super) fn dump_file(&self, standing: &Standing) -> PathBuf {
        self.set.data_dir.join(plain_name(&standing.dump).unwrap_or(DUMP))
    }

    /// The directory of the appended changes.
    pub(super) fn append_dir(&self, standing: &Standing) -> PathBuf {
        self.set.data_dir.join(plain_name(&standing.append_dir).unwrap_or(APPEND_DIR))
    }

    /// Copy the data of the stopped server to a directory of its own; on disk when this returns its
    /// path. Begun again it begins anew: what a copy that was given up left is removed.
    pub(super) async fn keep(&self, token: Token) -> Result<PathBuf, DriverError> {
        let seconds = clock::wall().0 / 1000;
        let place = self.set.quarantine_dir.join(format!("{token}-{seconds}"));
        let failed = |error: io::Error| {
            self.retry(format!("the data cannot be saved to {}: {error}", place.display()))
        };
        let found = self.data_files().map_err(failed)?;
        self.make_place().map_err(failed)?;
        self.has_room(&found)?;
        let partial = self.set.quarantine_dir.join(format!("{token}-{seconds}{PARTIAL}"));
        private_dir(&partial).map_err(failed)?;
        for path in &found {
            let below = path.strip_prefix(&self.set.data_dir).unwrap_or(path);
            let to = partial.join(below);
            if let Some(parent) = to.parent().filter(|parent| *parent != partial) {
                private_dir(parent).map_err(failed)?;
            }
            copy(path, &to).await.map_err(failed)?;
        }
        finish(&partial, &place).map_err(failed)?;
        Ok(place)
    }

    /// Every file that holds data.
    fn data_files(&self) -> io::Result<Vec<PathBuf>> {
        let standing = self.standing().unwrap_or_default();
        let mut found = Vec::new();
        let dump = self.dump_file(&standing);
        if dump.exists() {
            found.push(dump);
        }
        let appended = self.append_dir(&standing);
        if appended.is_dir() {
            for entry in std::fs::read_dir(appended)? {
                found.push(entry?.path());
            }
        }
        Ok(found)
    }

    /// The directory of the copies, without what was given up.
    fn make_place(&self) -> io::Result<()> {
        private_dir(&self.set.quarantine_dir)?;
        for entry in std::fs::read_dir(&self.set.quarantine_dir)?.flatten() {
            let ours = entry.file_name().to_string_lossy().ends_with(PARTIAL);
            if ours && entry.file_type()?.is_dir() {
                std::fs::remove_dir_all(entry.path())?;
            }
        }
        Ok(())
    }

    fn has_room(&self, found: &[PathBuf]) -> Result<(), DriverError> {
        let dir = &self.set.quarantine_dir;
        let sizes = found.iter().filter_map(|path| Some(path.metadata().ok()?.len()));
        let needed = sizes.sum::<u64>() + ROOM_LEFT_BYTES;
        let room = statvfs(dir.as_path());
        let room = room.map_err(|error| self.retry(format!("{}: {error}", dir.display())))?;
        let free = room.blocks_available() as u64 * room.fragment_size() as u64;
        if free >= needed {
            return Ok(());
        }
        Err(self.retry(format!(
            "it has data that its upstream lacks, and {} has no room to save it: {needed} bytes are \
             needed, {free} are free; make room, or set quarantine_dir",
            dir.display()
        )))
    }
}

/// `name`, where it is the name of a file and leads nowhere else.
fn plain_name(name: &str) -> Option<&str> {
    (!name.is_empty() && !name.contains('/') && name != "..").then_some(name)
}

fn private_dir(path: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Copy one file, on disk when this returns. The server's user owns the directory, and the agent
/// may be root: nothing but a file of its own is read.
async fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let mut read = OpenOptions::new();
    let mut from = read.read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(from)?;
    let meta = from.metadata()?;
    if !meta.is_file() {
        return Err(io::Error::other("no plain file is among the data"));
    }
    let mut write = OpenOptions::new();
    let mut to = write.write(true).create_new(true).mode(0o600).open(to)?;
    fchown(&to, Some(meta.uid()), Some(meta.gid()))?;
    // The kernel shares the blocks where the file system can.
    while io::copy(&mut (&mut from).take(CHUNK_BYTES), &mut to)? > 0 {
        tokio::task::yield_now().await;
    }
    to.sync_all()
}

/// Give the copy its name, once all of it is on disk.
fn finish(partial: &Path, place: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(partial)? {
        let path = entry?.path();
        if path.is_dir() {
            files::sync_dir(&path)?;
        }
    }
    files::sync_dir(partial)?;
    std::fs::rename(partial, place)?;
    match place.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}
