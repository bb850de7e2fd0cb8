//! What this machine may have to hold processes with, what of it is to be left unused, and what
//! stands behind it.
//!
//! Knows names: whether each way to hold is there is found out where it is used.

use std::os::unix::fs::FileTypeExt;
use std::path::Path;

/// The device that resets the host when nobody tells it not to.
const WATCHDOG: &str = "/dev/watchdog";

/// Environment variable that names, separated by commas, what is not to be used though it is there:
/// so that a test sees what happens on a machine without it. Inherited by deadman and guards.
pub const WITHOUT: &str = "ARBITER_HOLD_WITHOUT";

/// One way to hold processes, from the firmest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Means {
    /// `cgroup.kill`: a cgroup killed in one write (Linux 5.14).
    CgroupKill,
    /// cgroup v2.
    Cgroup,
    /// PID namespaces, and the privilege to make one.
    Namespace,
}

impl Means {
    /// Its name in [`WITHOUT`].
    pub fn name(self) -> &'static str {
        match self {
            Self::CgroupKill => "cgroup.kill",
            Self::Cgroup => "cgroup",
            Self::Namespace => "namespace",
        }
    }

    /// Whether it is to be left unused.
    pub fn is_hidden(self) -> bool {
        std::env::var(WITHOUT).is_ok_and(|names| names.split(',').any(|name| name == self.name()))
    }
}

/// Whether this host has a watchdog device. Nothing here opens it: whoever does must go on telling
/// it that all is well.
pub fn has_watchdog() -> bool {
    is_device(Path::new(WATCHDOG))
}

fn is_device(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|meta| meta.file_type().is_char_device())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_told_from_a_file_and_from_nothing() {
        assert!(is_device(Path::new("/dev/null")));
        assert!(!is_device(Path::new("/proc/self/stat")));
        assert!(!is_device(Path::new("/nonexistent")));
    }
}
