//! A new copy of the upstream, made beside the old data and put in its place when it is whole.
//!
//! Knows `pg_basebackup`, disk space and how directories are swapped. Never deletes data that was
//! in use: the old directory stays beside the new one until somebody removes it.

use super::rewind::{DIRTY, last_error};
use super::{Postgres, files};
use crate::clock;
use crate::drivers::{DriverError, Output};
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use nix::sys::statvfs::statvfs;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The copy while it is made.
const COPY: &str = "rebuild";
/// Its being there says that the copy is whole.
const WHOLE: &str = "rebuilt";
/// What old data is called, with the time at which it was put away.
const OLD: &str = "old-";
/// Longest copy.
pub(super) const COPY_LIMIT: Duration = Duration::from_secs(24 * 3600);
/// Left free on the file system by a copy.
const SPARE_BYTES: u64 = 256 << 20;
/// Bytes of every database of a server, as a number.
pub(super) const SIZE: &str =
    "SELECT coalesce(sum(pg_database_size(oid)), 0)::int8 FROM pg_database";

impl Postgres {
    /// Copy `upstream` anew, and put the copy in the place of the data. `why`: what spoke against
    /// less.
    pub(super) async fn rebuild(&self, upstream: &str, why: &str) -> Result<(), DriverError> {
        self.may_be_swapped(why)?;
        let bytes = self.size_of(upstream).await?;
        self.room_for_copy(bytes, why)?;
        self.make_slot(upstream).await?;
        self.tell(format!("copying {upstream} anew ({bytes} bytes): {why}"));
        let copy = self.beside(COPY);
        let failed = |error: io::Error| self.retry(format!("{}: {error}", copy.display()));
        self.save_own_files().map_err(failed)?;
        self.empty_copy(&copy).map_err(failed)?;
        let output = self.base_backup(upstream, &copy).await?;
        if output.code != Some(0) {
            return Err(self.copy_failed(&copy, why, &output));
        }
        self.restore_own_files(&copy).map_err(failed)?;
        self.prepare_standby(&copy, upstream)?;
        let inode = fs::metadata(&copy).map_err(failed)?.ino();
        let mark = format!("{why}\n{inode}");
        files::write_private(&self.beside(WHOLE), &mark, &copy).map_err(failed)?;
        self.finish_swap()?;
        self.tell(format!("copied {upstream} anew: {why}"));
        Ok(())
    }

    /// What fills the disk or is refused stays so; anything else is tried again.
    fn copy_failed(&self, copy: &Path, why: &str, output: &Output) -> DriverError {
        // It is no copy of anything, and the room may be needed.
        let _ = fs::remove_dir_all(copy);
        let said = last_error(output);
        if said.contains("No space left") {
            return self.refuse(format!(
                "{why}; a new copy does not fit: {said}; make room beside {}, its data is left as \
                 it is",
                self.set.data_dir.display()
            ));
        }
        self.retry(format!("{why}; a new copy failed: {said}"))
    }

    /// Put a whole copy in the place of the data, and the data beside it. Broken off anywhere it
    /// can be asked again.
    pub(super) fn finish_swap(&self) -> Result<(), DriverError> {
        let (copy, whole) = (self.beside(COPY), self.beside(WHOLE));
        if !whole.exists() {
            return Ok(());
        }
        let swap = || -> io::Result<()> {
            let data = &self.set.data_dir;
            // Once they are exchanged, what stands in the copy's place is the old data. The mark
            // names the copy by its inode, which a rename leaves alone.
            let inode = fs::read_to_string(&whole)?.lines().next_back().map(str::to_owned);
            let marked =
                |path: &Path| fs::metadata(path).is_ok_and(|m| Some(m.ino().to_string()) == inode);
            if marked(&copy) {
                renameat2(AT_FDCWD, &copy, AT_FDCWD, data, RenameFlags::RENAME_EXCHANGE)?;
            }
            if copy.exists() && !marked(&copy) {
                fs::rename(&copy, self.beside(&format!("{OLD}{}", clock::wall().0)))?;
            }
            if let Some(parent) = data.parent() {
                files::sync_dir(parent)?;
            }
            files::remove(&self.beside(DIRTY))?;
            files::remove(&whole)
        };
        swap().map_err(|error| {
            self.refuse(format!(
                "the new copy {} cannot be put in the place of {}: {error}; is data_dir a mount \
                 point? Put the data into a directory below it",
                copy.display(),
                self.set.data_dir.display()
            ))
        })
    }

    pub(super) fn may_be_swapped(&self, why: &str) -> Result<(), DriverError> {
        let spaces = fs::read_dir(self.set.data_dir.join("pg_tblspc"));
        if spaces.is_ok_and(|mut entries| entries.next().is_some()) {
            return Err(self.refuse(format!(
                "{why}; it has tablespaces, which are not copied by themselves: rebuild it with \
                 pg_basebackup --tablespace-mapping"
            )));
        }
        Ok(())
    }

    async fn size_of(&self, upstream: &str) -> Result<u64, DriverError> {
        let info = self.rewind_info(upstream)?;
        let args = ["-X", "-A", "-t", "-w", "-d", &info, "-c", SIZE];
        let answer = self.upstream_tool(upstream, "psql", &args).await?;
        answer.trim().parse().map_err(|_| self.retry(format!("{upstream} did not say its size")))
    }

    pub(super) fn room_for_copy(&self, bytes: u64, why: &str) -> Result<(), DriverError> {
        let parent = self.set.data_dir.parent().unwrap_or(&self.set.data_dir);
        let system = statvfs(parent).map_err(|error| self.retry(error))?;
        let free = system.blocks_available() * system.fragment_size();
        if free >= bytes + SPARE_BYTES {
            return Ok(());
        }
        Err(self.refuse(format!(
            "{why}; a new copy needs {bytes} bytes and {SPARE_BYTES} spare in {}, and {free} are \
             free: make room, its data is left as it is",
            parent.display()
        )))
    }

    /// An empty directory for a copy, of the owner of the data. What an earlier try left there is
    /// no whole copy.
    pub(super) fn empty_copy(&self, copy: &Path) -> io::Result<()> {
        match fs::remove_dir_all(copy) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        fs::create_dir(copy)?;
        let owner = fs::metadata(&self.set.data_dir)?;
        chown(copy, Some(owner.uid()), Some(owner.gid()))?;
        fs::set_permissions(copy, fs::Permissions::from_mode(0o700))
    }

    async fn base_backup(&self, upstream: &str, copy: &Path) -> Result<Output, DriverError> {
        let (info, dir) = (self.conninfo(upstream)?, copy.display().to_string());
        let mut args = vec!["-D", &dir, "-d", &info, "-w", "-c", "fast", "-X", "stream"];
        if let Some(slot) = &self.set.slot {
            args.extend(["-S", slot]);
        }
        if let Some(rate) = &self.set.rebuild_rate {
            args.extend(["--max-rate", rate]);
        }
        self.tool("pg_basebackup", &args, &[], COPY_LIMIT).await
    }

    /// Directories of old data beside the present one.
    pub(super) fn old_data(&self) -> Vec<PathBuf> {
        let prefix = self.beside(OLD);
        let Some(parent) = prefix.parent() else { return Vec::new() };
        let starts = prefix.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let entries = fs::read_dir(parent).into_iter().flatten().flatten();
        let named = entries.filter(|entry| {
            entry.file_name().to_str().is_some_and(|name| name.starts_with(starts))
        });
        let mut found: Vec<PathBuf> = named.map(|entry| entry.path()).collect();
        found.sort();
        found
    }
}
