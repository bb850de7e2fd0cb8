//! Whether what is asked of a fence can ever be proven. Knows kinds by the evidence they give.

use super::region_of;
use crate::fault::Book;
use crate::schema::{Cluster, EvidenceKind, Fence, Group};

/// A required fence that no failover by itself could ever prove in a region that is lost.
pub(super) fn check(cluster: &Cluster, path: &str, group: &Group, book: &mut Book<'_>) {
    let least = group.policy.evidence_min;
    for (name, resource) in &group.resources {
        let required = resource.fence == Fence::Required && resource.kind.layer == "data";
        let own: Option<EvidenceKind> = resource.kind.evidence.iter().max().copied();
        let cut_off = |region: &str| group.external_fence.contains_key(region);
        let regions = resource.instances.values().filter_map(|i| region_of(cluster, &i.agent));
        let open = regions.filter(|region| !cut_off(region)).min();
        let Some(region) = open.filter(|_| required && own.is_none_or(|own| own < least)) else {
            continue;
        };
        let can = own.map_or("nothing", EvidenceKind::as_str);
        let kind = resource.kind.name;
        let what = format!(
            "is \"required\", and of a {kind} in {region} the strongest proof that can come is \
             {can}: evidence_min is {least}"
        );
        let remedy = format!("leave fence out, or add [{path}.external_fence.{region}]");
        book.fault(&format!("{path}.resources.{name}.fence"), what, remedy);
    }
}
