//! What looks at one target leave for the next: since when each thing has been seen, by this
//! host's clock. Knows names and instants; never what they name.

use arbiter_core::Instant;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// After this long without a look that could read, what was seen before says nothing: it may have
/// gone and come again.
const GAP_MAX: Duration = Duration::from_secs(15);

/// The memory of one probe.
#[derive(Debug, Default)]
pub struct Memory {
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    read: Option<Instant>,
    since: BTreeMap<String, Instant>,
}

impl Memory {
    /// All that is seen `now`; since when each has been, without a gap. The rest is forgotten.
    pub fn seen(&self, names: BTreeSet<String>, now: Instant) -> BTreeMap<String, Instant> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.read.is_none_or(|read| now.since(read) > GAP_MAX) {
            kept.since.clear();
        }
        let before = std::mem::take(&mut kept.since);
        let named = names.into_iter().map(|name| {
            let since = before.get(&name).copied().unwrap_or(now);
            (name, since)
        });
        kept.since = named.collect();
        kept.read = Some(now);
        kept.since.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_seen_again_keeps_its_beginning_unless_there_was_a_gap() {
        let memory = Memory::default();
        let seen = |names: &[&str], at: u64| {
            let names = names.iter().map(|name| (*name).to_owned()).collect();
            let seen = memory.seen(names, Instant::from_millis(at));
            seen.into_iter().map(|(name, at)| (name, at.0 / 1_000_000)).collect::<Vec<_>>()
        };
        let of = |pairs: &[(&str, u64)]| {
            pairs.iter().map(|(name, at)| ((*name).to_owned(), *at)).collect::<Vec<_>>()
        };
        assert_eq!(seen(&["cart"], 1000), of(&[("cart", 1000)]));
        assert_eq!(seen(&["cart", "login"], 9000), of(&[("cart", 1000), ("login", 9000)]));
        assert_eq!(seen(&["login"], 20_000), of(&[("login", 9000)]));
        assert_eq!(seen(&["cart", "login"], 21_000), of(&[("cart", 21_000), ("login", 9000)]));
        assert_eq!(
            seen(&["login"], 36_001),
            of(&[("login", 36_001)]),
            "nobody looked for too long"
        );
    }
}
