//! Checks of poolers: whose primary each leads to. Knows resources and regions; never a pooler's
//! own files.

use super::traffic::place;
use super::{data_region, dialled, region_of};
use crate::fault::{Book, suggest};
use crate::schema::{Cluster, Fence, Group, Instance};
use std::collections::BTreeSet;

/// The setting that names a resource.
const POOLS: &str = "pools";
/// What the settings of the regions' servers begin with.
const SERVER: &str = "server.";

pub(super) fn check(cluster: &Cluster, path: &str, group: &Group, book: &mut Book<'_>) {
    let data = group.resources.iter().filter(|(_, resource)| resource.kind.layer == "data");
    let names: Vec<&str> = data.clone().map(|(name, _)| name.as_str()).collect();
    let required = data.filter(|(_, resource)| resource.fence == Fence::Required).count();
    for (name, resource) in &group.resources {
        if resource.kind.layer != "pooler" {
            continue;
        }
        let at = format!("{path}.resources.{name}");
        for (id, instance) in &resource.instances {
            let here = format!("{at}.instances.{id}");
            servers(cluster, &here, &at, instance, book);
            match instance.settings.get(POOLS) {
                Some(pooled) if !names.contains(&pooled.as_str()) => {
                    let what = format!("no resource {pooled:?} with data in this group");
                    let key = place(&here, &at, POOLS, book);
                    book.fault(&key, what, suggest(pooled, &names));
                }
                Some(_) => {}
                None if required == 1 || leads_everywhere(cluster, group, instance) => {}
                None => {
                    let what = format!(
                        "the group has {required} resources with a primary: whose clients it pools \
                         is not said"
                    );
                    let remedy = format!("add {POOLS} = \"RESOURCE\": one of {}", names.join(", "));
                    book.fault(&format!("{here}.{POOLS}"), what, remedy);
                }
            }
        }
    }
}

fn servers(
    cluster: &Cluster,
    here: &str,
    resource: &str,
    instance: &Instance,
    book: &mut Book<'_>,
) {
    for (setting, address) in &instance.settings {
        let Some(region) = setting.strip_prefix(SERVER) else { continue };
        let key = place(here, resource, setting, book);
        data_region(cluster, &key, region, "no primary is ever there", book);
        dialled(&key, address, book);
    }
}

/// Where the primary of each of the group's regions is reached is said.
fn leads_everywhere(cluster: &Cluster, group: &Group, instance: &Instance) -> bool {
    let all = group.resources.values().flat_map(|resource| resource.instances.values());
    let mut regions: BTreeSet<&str> =
        all.filter_map(|instance| region_of(cluster, &instance.agent)).collect();
    regions.retain(|region| !instance.settings.contains_key(&format!("{SERVER}{region}")));
    regions.is_empty()
}
