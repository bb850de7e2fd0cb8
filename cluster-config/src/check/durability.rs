//! Whether commits can be made to wait as policy says. Knows kinds by what they can; never how.

use crate::fault::Book;
use crate::schema::{Durability, Fence, Group, OnIsolation};

/// The setting that says whom a promoted server waits for.
const NAMES: &str = "synchronous_standby_names";

pub(super) fn check(path: &str, group: &Group, book: &mut Book<'_>) {
    let policy = &group.policy;
    let strict = policy.durability == Durability::Strict;
    let stalls = policy.on_isolation == OnIsolation::Stall;
    if strict && stalls {
        let what = "is \"stall\" in a strict group, whose commits wait always";
        book.fault(&format!("{path}.on_isolation"), what, "leave it out");
    }
    if stalls && !group.resources.values().any(|resource| resource.kind.waits) {
        let what = "is \"stall\", and the group has nothing that can be told to wait";
        book.fault(&format!("{path}.on_isolation"), what, "leave it out");
    }
    if !strict {
        return;
    }
    for (name, resource) in &group.resources {
        let at = format!("{path}.resources.{name}");
        if resource.fence == Fence::Required
            && resource.kind.layer == "data"
            && !resource.kind.waits
        {
            let what = format!(
                "nothing makes a {} wait for a standby, and durability is \"strict\"",
                resource.kind.name
            );
            let remedy = "give it a group of its own, or fence = \"best-effort\"";
            book.fault(&format!("{at}.kind"), what, remedy);
        }
        for (id, instance) in &resource.instances {
            if instance.settings.contains_key(NAMES) {
                let at = format!("{at}.instances.{id}.{NAMES}");
                let what = "is set, and in a strict group the arbiter says whom commits wait for";
                book.fault(&at, what, "leave it out");
            }
        }
    }
}
