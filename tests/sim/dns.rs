//! A fake authority for DNS: one record and one token per group, changed by compare-and-swap on
//! exact old values, or by somebody's hand. Knows nothing of who asks.

use super::clock::Nanos;
use arbiter_core::{GroupId, RegionId, Token};
use std::collections::BTreeMap;

/// What stands for one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The token; none: somebody deleted it.
    pub token: Option<Token>,
    /// The region whose values stand there.
    pub names: RegionId,
    /// Counts the changes that raise no token, so that none can be repeated.
    pub guard: u64,
}

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

/// What somebody does to a record by hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ByHand {
    /// The token is deleted.
    TokenDeleted,
    /// The values of this region, or nobody's, are put there.
    Names(RegionId),
}

/// The authority.
#[derive(Clone, Debug, Default)]
pub struct Dns {
    records: BTreeMap<GroupId, Record>,
    /// Every request that ever arrived, to be replayed.
    pub seen: Vec<Swap>,
    /// What was last swapped in.
    swapped: BTreeMap<GroupId, Record>,
    /// Records that are not as they were last swapped, and since when.
    pub changed: BTreeMap<GroupId, Nanos>,
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

    /// Whether exactly the old stands, so that a swap would be made.
    pub fn takes(&self, swap: &Swap) -> bool {
        self.records.get(&swap.group) == swap.old.as_ref()
    }

    /// Swap, if exactly the old stands.
    pub fn swap(&mut self, swap: &Swap) {
        if !self.seen.contains(swap) {
            self.seen.push(swap.clone());
        }
        if self.takes(swap) {
            self.records.insert(swap.group.clone(), swap.new.clone());
            self.swapped.insert(swap.group.clone(), swap.new.clone());
            self.changed.remove(&swap.group);
        }
    }

    /// Somebody changes a record by hand. Says whether that changed anything.
    pub fn by_hand(&mut self, group: &GroupId, how: &ByHand, now: Nanos) -> bool {
        let Some(record) = self.records.get_mut(group) else { return false };
        let before = record.clone();
        match how {
            ByHand::TokenDeleted => record.token = None,
            ByHand::Names(region) => record.names.clone_from(region),
        }
        let changes = *record != before;
        if self.swapped.get(group) == Some(&*record) {
            self.changed.remove(group);
        } else if changes {
            self.changed.insert(group.clone(), now);
        }
        changes
    }
}
