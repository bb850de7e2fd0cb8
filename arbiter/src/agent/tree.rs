//! The processes below one process, by their parents in `/proc`.
//!
//! Knows ids, parents and start times. Never knows who holds them or why they are to end. One look
//! is no proof that nothing is left, since `/proc` is no snapshot: only the subreaper above can say
//! so, once it has no child.

use super::cgroup::send_kill;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fs;
use std::io;

/// A process that others are below, told from a later one with its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Root {
    /// Its process id.
    pub pid: i32,
    /// When it began, in ticks since boot, as `/proc` says.
    pub since: u64,
}

/// What `/proc/PID/stat` says of one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    parent: i32,
    /// It runs no more: a zombie. One whose first thread ended before the others is none.
    dead: bool,
    since: u64,
}

impl Root {
    /// Process `pid` as it is now.
    ///
    /// # Errors
    /// When there is none.
    pub fn of(pid: i32) -> io::Result<Self> {
        let missing = || io::Error::new(io::ErrorKind::NotFound, format!("no process {pid}"));
        Ok(Self { pid, since: stat(pid).ok_or_else(missing)?.since })
    }

    /// Whether it is still there.
    pub fn is_there(&self) -> bool {
        stat(self.pid).is_some_and(|stat| stat.since == self.since && !stat.dead)
    }
}

/// Ids of the processes below `root`, zombies left out, and without `but` and what is below those.
/// Empty when `root` is gone.
///
/// # Errors
/// When `/proc` cannot be read.
pub fn below(root: Root, but: &BTreeSet<i32>) -> io::Result<Vec<i32>> {
    let mut pids = Vec::new();
    walk(root, but, |pid| pids.push(pid))?;
    Ok(pids)
}

/// One pass of SIGKILL over what [`below`] lists. Returns how many there were.
///
/// # Errors
/// When `/proc` cannot be read.
pub fn kill_below(root: Root, but: &BTreeSet<i32>) -> io::Result<usize> {
    // One that forks and ends all the time is another before a walk comes to it; but it is a child
    // of the root each time, and those the kernel lists by themselves.
    for pid in children(root).difference(but) {
        let _ = send_kill(*pid);
    }
    let mut seen = 0;
    walk(root, but, |pid| {
        seen += 1;
        // It may be gone already.
        let _ = send_kill(pid);
    })?;
    Ok(seen)
}

fn walk(root: Root, but: &BTreeSet<i32>, mut see: impl FnMut(i32)) -> io::Result<()> {
    if !root.is_there() {
        return Ok(());
    }
    let mut inside = BTreeSet::from([root.pid]);
    let mut others = Vec::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        let Some(stat) = stat(pid).filter(|_| !but.contains(&pid)) else { continue };
        if !inside.contains(&stat.parent) {
            others.push((pid, stat));
            continue;
        }
        inside.insert(pid);
        if !stat.dead {
            see(pid);
        }
    }
    // Ids start again from the lowest, so a parent may stand behind its child.
    loop {
        let (found, rest): (Vec<_>, Vec<_>) =
            others.into_iter().partition(|(_, stat)| inside.contains(&stat.parent));
        if found.is_empty() {
            return Ok(());
        }
        for (pid, stat) in found {
            inside.insert(pid);
            if !stat.dead {
                see(pid);
            }
        }
        others = rest;
    }
}

/// The children of `root`; none on a kernel that does not list them.
fn children(root: Root) -> BTreeSet<i32> {
    let path = format!("/proc/{0}/task/{0}/children", root.pid);
    let text = if root.is_there() { fs::read_to_string(path) } else { Ok(String::new()) };
    text.unwrap_or_default().split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

fn stat(pid: i32) -> Option<Stat> {
    parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The name may hold anything, so fields are counted from the last parenthesis: state, parent, …
pub(crate) fn parse(text: &str) -> Option<Stat> {
    let fields: Vec<&str> = text.rsplit_once(") ")?.1.split(' ').collect();
    let threads: u32 = fields.get(17)?.parse().ok()?;
    Some(Stat {
        parent: fields.get(1)?.parse().ok()?,
        dead: matches!(*fields.first()?, "Z" | "X") && threads < 2,
        since: fields.get(19)?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_parentheses_misleads_nobody() {
        let text = "7 (x) R 1 ) S 3 7 7 0 -1 4 0 0 0 0 0 0 0 0 20 0 1 0 4711 0 0\n";
        assert_eq!(parse(text), Some(Stat { parent: 3, dead: false, since: 4711 }));
        let zombie = text.replace(") S 3", ") Z 3");
        assert!(parse(&zombie).is_some_and(|stat| stat.dead));
        let led = zombie.replace(" 20 0 1 0 4711", " 20 0 2 0 4711");
        assert!(parse(&led).is_some_and(|stat| !stat.dead));
        assert_eq!(parse("7 (x) S"), None);
    }

    #[test]
    fn what_is_below_is_found_and_another_with_the_same_id_is_not_taken_for_it() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let (pid, me) = (child.id() as i32, Root::of(std::process::id() as i32).unwrap());
        let none = BTreeSet::new();
        assert!(below(me, &none).unwrap().contains(&pid));
        assert!(!below(me, &BTreeSet::from([pid])).unwrap().contains(&pid));
        let other = Root { since: me.since + 1, ..me };
        assert_eq!(below(other, &none).unwrap(), Vec::<i32>::new());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(Root::of(pid).is_err());
    }
}
