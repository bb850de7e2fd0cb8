//! I10: a receiver keeps the highest token it has seen on disk before it acts, and refuses a lower
//! one. A fence alone is done first.

use crate::sim::host::Key;
use crate::sim::world::World;
use arbiter_core::{Goal, Report, Token};

/// Checked when an agent asks its driver.
pub(super) fn token_is_current(
    world: &mut World,
    host: usize,
    key: &Key,
    goal: Goal,
    token: Token,
) -> Option<String> {
    let stored = world.hosts[host].disk.tokens.get(key).copied().unwrap_or_default();
    let acted = world.watch.acted.entry((host, key.clone())).or_default();
    let seen = stored.max(*acted);
    if token < seen {
        return Some(format!("I10: {} obeys {goal} at {token} after {seen}", key.1));
    }
    // The agent's own fence has the token that is stored; an ordered one is stored after it.
    if goal == Goal::Fenced {
        return None;
    }
    if stored < token {
        return Some(format!("I10: {} acts at {token} with {stored} on disk", key.1));
    }
    *acted = token;
    None
}

impl World {
    /// The disk never forgets a higher token.
    pub fn watch_store(&mut self, host: usize, key: &Key, token: Token) {
        let stored = self.hosts[host].disk.tokens.get(key).copied().unwrap_or_default();
        if token < stored {
            let line = format!("I10: {} stores {token} over {stored}", key.1);
            self.watch.seen.push(line);
        }
    }

    /// What could not be stored is never reported.
    pub fn watch_report(&mut self, host: usize, report: &Report) {
        for (group, part) in &report.groups {
            for (instance, shown) in &part.instances {
                let Some(done) = &shown.done else { continue };
                let key = (group.clone(), instance.clone());
                let stored = self.hosts[host].disk.tokens.get(&key).copied().unwrap_or_default();
                if stored < done.token {
                    let line = format!("I10: {instance} reports {} unstored", done.token);
                    self.watch.seen.push(line);
                }
            }
        }
    }
}
