//! Files of a server: written so that a crash leaves the old or the new one, never a part.
//!
//! Knows bytes, owners and names. Never knows why.

use nix::libc;
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

/// Replace `path` by `text`, on disk when this returns. Owner and mode are those of the file that
/// was there, else those of `like` without execute bits.
pub fn replace(path: &Path, text: &str, like: &Path) -> io::Result<()> {
    let path = followed(path)?;
    let model = std::fs::metadata(&path).or_else(|_| std::fs::metadata(like))?;
    write(&path, text, &model, model.mode() & 0o666)
}

/// Where `path` leads. The agent may be root and the directory another's: a link that is not root's
/// leads only to files of its own owner.
fn followed(path: &Path) -> io::Result<PathBuf> {
    let link = match std::fs::symlink_metadata(path) {
        Ok(meta) if meta.is_symlink() => meta,
        _ => return Ok(path.to_path_buf()),
    };
    let real = std::fs::canonicalize(path)?;
    if link.uid() == 0 || std::fs::symlink_metadata(&real)?.uid() == link.uid() {
        return Ok(real);
    }
    let what = format!("{} is a link to another user's file", path.display());
    Err(io::Error::new(io::ErrorKind::PermissionDenied, what))
}

/// The same for a file that nobody but the owner of `like` reads.
pub fn write_private(path: &Path, text: &str, like: &Path) -> io::Result<()> {
    write(path, text, &std::fs::metadata(like)?, 0o600)
}

fn write(path: &Path, text: &str, owner: &std::fs::Metadata, mode: u32) -> io::Result<()> {
    let parent = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let mut name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
    name.push(".arbiter-new");
    let temporary = parent.join(name);
    // What stands there was left by a crash, or planted by whoever owns the directory: neither it
    // nor what it leads to is written to.
    match std::fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC)
        .mode(0o600)
        .open(&temporary)?;
    file.write_all(text.as_bytes())?;
    fchown(&file, Some(owner.uid()), Some(owner.gid()))?;
    file.set_permissions(std::fs::Permissions::from_mode(mode))?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)?;
    sync_dir(parent)
}

/// Remove `path` if it is there, on disk when this returns.
pub fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Ok(()) => path.parent().map_or(Ok(()), sync_dir),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Put the names in `dir` on disk.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    std::fs::File::open(dir)?.sync_all()
}

/// Whether `path`, which is there, may be removed. It is not: a file beside it is made and removed.
///
/// # Errors
/// Naming the file, where it is not there, or its directory cannot be changed.
pub fn may_be_removed(path: &Path) -> io::Result<()> {
    let beside = path.with_extension("rehearsal");
    let tried = std::fs::metadata(path).and_then(|_| std::fs::write(&beside, ""));
    let tried = tried.and_then(|()| std::fs::remove_file(&beside));
    tried.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{lchown, symlink};

    #[test]
    fn a_planted_link_is_neither_written_to_nor_given_away() {
        let dir = tempfile::tempdir().unwrap();
        let (file, theirs) = (dir.path().join("conf"), dir.path().join("theirs"));
        std::fs::write(&file, "old").unwrap();
        std::fs::write(&theirs, "secret").unwrap();
        let before = std::fs::metadata(&theirs).unwrap();
        symlink(&theirs, dir.path().join("conf.arbiter-new")).unwrap();
        replace(&file, "new", &file).unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "new");
        assert!(!std::fs::symlink_metadata(&file).unwrap().is_symlink());
        let after = std::fs::metadata(&theirs).unwrap();
        assert_eq!(std::fs::read_to_string(&theirs).unwrap(), "secret");
        assert_eq!((after.uid(), after.mode()), (before.uid(), before.mode()));
        assert!(!dir.path().join("conf.arbiter-new").exists());
    }

    #[test]
    fn a_link_leads_only_to_files_of_its_owner() {
        if !nix::unistd::Uid::effective().is_root() {
            eprintln!("a_link_leads_only_to_files_of_its_owner: left out, since it needs root");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let (link, real) = (dir.path().join("link"), dir.path().join("real"));
        std::fs::write(&real, "old").unwrap();
        symlink(&real, &link).unwrap();
        replace(&link, "ours", &real).unwrap();
        assert_eq!(std::fs::read_to_string(&real).unwrap(), "ours");
        lchown(&link, Some(1), Some(1)).unwrap();
        let refused = replace(&link, "theirs", &real).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
        assert_eq!(std::fs::read_to_string(&real).unwrap(), "ours");
    }
}
