//! A fake authority for DNS: one record and one token per group, changed only by compare-and-swap
//! on
//! exact old values. Knows nothing of who asks.

use arbiter_core::{GroupId, RegionId, Token};
use std::collections::BTreeMap;

/// What stands for one group.
pub type Record = (Token, RegionId);

/// A request as it goes over the wire: what must stand, and what shall.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Swap {
    /// The group.
    pub group: GroupId,
    /// Exactly what must stand; none: nothing.
    pub old: Option<Record>,
    /// What shall stand.
    pub new: Record,
}

/// The authority.
#[derive(Clone, Debug, Default)]
pub struct Dns {
    records: BTreeMap<GroupId, Record>,
    /// Every request that ever arrived, to be replayed.
    pub seen: Vec<Swap>,
}

impl Dns {
    /// What stands.
    pub fn read(&self, group: &GroupId) -> Option<Record> {
        self.records.get(group).cloned()
    }

    /// All that stands.
    pub fn records(&self) -> &BTreeMap<GroupId, Record> {
        &self.records
    }

    /// Swap, if exactly the old stands. Says whether the new stands now.
    pub fn swap(&mut self, swap: &Swap) -> bool {
        if !self.seen.contains(swap) {
            self.seen.push(swap.clone());
        }
        if self.records.get(&swap.group) == swap.old.as_ref() {
            self.records.insert(swap.group.clone(), swap.new.clone());
        }
        self.records.get(&swap.group) == Some(&swap.new)
    }
}
