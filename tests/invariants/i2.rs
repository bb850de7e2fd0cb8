//! I2: the epoch never decreases, and rises exactly when `active` changes. I8: a witness is never
//! active.

use arbiter_core::{RegionKind, State};

/// Checked on each entry.
pub(super) fn epochs(before: &State, after: &State) -> Option<String> {
    for (id, group) in &after.groups {
        let Some(old) = before.groups.get(id) else { continue };
        let (was, is) = (old.epoch().0, group.epoch().0);
        let moved = old.active() != group.active();
        if is != was + u64::from(moved) {
            return Some(format!("I2: {id} went from epoch {was} to {is}, active moved: {moved}"));
        }
        if let Some(active) = group.active()
            && after.spec.regions.get(active) != Some(&RegionKind::Data)
        {
            return Some(format!("I8: {active} is active for {id}"));
        }
    }
    None
}
