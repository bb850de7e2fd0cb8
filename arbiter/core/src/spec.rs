//! Questions about a specification. Knows what policy names; never what became of it.

use crate::{
    AgentId, ClusterSpec, Control, GroupSpec, Instance, InstanceId, Layer, RegionId, RegionKind,
    ResourceId,
};
use std::collections::{BTreeMap, BTreeSet};

impl GroupSpec {
    /// Instances of `layer` in `region`.
    pub fn instances_of(
        &self,
        region: &RegionId,
        layer: Layer,
    ) -> impl Iterator<Item = (&InstanceId, &Instance)> {
        self.instances.iter().filter(move |(_, i)| i.region == *region && i.layer == layer)
    }

    /// Instances in `region` that could become primary, so that I3 asks evidence for each.
    pub fn needing_evidence(
        &self,
        region: &RegionId,
    ) -> impl Iterator<Item = (&InstanceId, &Instance)> {
        self.instances.iter().filter(move |(_, i)| i.region == *region && i.needs_evidence())
    }

    /// Resources that have an instance for which I3 asks evidence.
    pub fn required_resources(&self) -> BTreeSet<&ResourceId> {
        self.instances.values().filter(|i| i.needs_evidence()).map(|i| &i.resource).collect()
    }

    /// Agents with an instance in `region`.
    pub fn agents_in(&self, region: &RegionId) -> BTreeSet<&AgentId> {
        self.instances.values().filter(|i| i.region == *region).map(|i| &i.agent).collect()
    }

    /// Agents in `region` beside an instance for which I3 asks evidence.
    pub fn fencing_agents(&self, region: &RegionId) -> BTreeSet<&AgentId> {
        self.needing_evidence(region).map(|(_, i)| &i.agent).collect()
    }

    /// Agents in `region` that hold processes which must be armed. An API's resource has none.
    pub fn agents_to_arm(&self, region: &RegionId) -> BTreeSet<&AgentId> {
        self.needing_evidence(region)
            .filter(|(_, i)| i.control != Control::Api)
            .map(|(_, i)| &i.agent)
            .collect()
    }

    /// Regions in which the group has instances.
    pub fn regions(&self) -> BTreeSet<&RegionId> {
        self.instances.values().map(|i| &i.region).collect()
    }

    /// The poolers of the group, in every region: each leads to the active one.
    pub(crate) fn poolers(&self) -> impl Iterator<Item = (&InstanceId, &Instance)> {
        self.instances.iter().filter(|(_, i)| i.layer == Layer::Pooler)
    }

    /// Regions other than `active` that hold data of the group.
    pub fn standby_regions<'a>(
        &'a self,
        active: &'a RegionId,
    ) -> impl Iterator<Item = &'a RegionId> {
        let with_data: BTreeSet<&RegionId> =
            self.instances.values().filter(|i| i.layer == Layer::Data).map(|i| &i.region).collect();
        with_data.into_iter().filter(move |region| *region != active)
    }

    /// Whether `agent` stands beside an instance of this group.
    pub fn serves(&self, agent: &AgentId) -> bool {
        self.instances.values().any(|i| i.agent == *agent)
    }

    /// Instances beside `agent`.
    pub fn beside(&self, agent: &AgentId) -> impl Iterator<Item = (&InstanceId, &Instance)> {
        self.instances.iter().filter(move |(_, i)| i.agent == *agent)
    }

    /// The name under which an instance replicates: its `application_name` setting, else its id.
    pub fn replicates_as(&self, id: &InstanceId) -> String {
        let set = self.instances.get(id).and_then(|i| i.settings.get(REPLICATES_AS));
        set.unwrap_or(&id.0).clone()
    }

    /// The zone of a traffic instance: its `zone` setting, else its resource.
    pub fn zone(instance: &Instance) -> String {
        zone_name(instance.settings.get(ZONE).unwrap_or(&instance.resource.0))
    }

    /// Whether a zone of the group holds the token where everybody can read it. A kind without
    /// zones keeps it where only its agents do.
    pub fn shows_token(&self) -> bool {
        let mut traffic = self.instances.values().filter(|i| i.layer == Layer::Traffic);
        traffic.any(|i| i.settings.contains_key(ZONE))
    }
}

/// The instance setting that names the zone of its records; kinds without zones do not have it.
const ZONE: &str = "zone";
/// The instance setting that names it to its upstream.
const REPLICATES_AS: &str = "application_name";

/// One text for one zone, however it is written: lower case, without the dot at the end.
pub fn zone_name(text: &str) -> String {
    text.trim_end_matches('.').to_ascii_lowercase()
}

impl ClusterSpec {
    /// The first thing in this specification that refers to nothing, or that an invariant forbids.
    /// Files are checked in full, with lines and remedies, before they come here.
    pub fn fault(&self) -> Option<String> {
        self.agent_fault()
            .or_else(|| self.groups.iter().find_map(|(id, g)| self.group_fault(&id.0, g)))
    }

    fn is_data(&self, region: &RegionId) -> bool {
        self.regions.get(region) == Some(&RegionKind::Data)
    }

    fn agent_fault(&self) -> Option<String> {
        self.agents
            .iter()
            .find(|(_, region)| !self.regions.contains_key(*region))
            .map(|(agent, region)| format!("agent {agent} stands in the unknown region {region}"))
    }

    fn group_fault(&self, name: &str, group: &GroupSpec) -> Option<String> {
        // I8
        if !self.is_data(&group.policy.initial_active) {
            return Some(format!(
                "group {name}: initial_active {} is not a data region",
                group.policy.initial_active
            ));
        }
        for (id, instance) in &group.instances {
            if !self.is_data(&instance.region) {
                return Some(format!(
                    "group {name}: instance {id} stands in {}, which is not a data region",
                    instance.region
                ));
            }
            if self.agents.get(&instance.agent) != Some(&instance.region) {
                return Some(format!(
                    "group {name}: agent {} of instance {id} does not stand in {}",
                    instance.agent, instance.region
                ));
            }
        }
        if group.policy.timing.fence >= group.policy.timing.lease {
            return Some(format!("group {name}: fence must be shorter than lease"));
        }
        resource_fault(name, &group.instances)
    }
}

/// All instances of a resource are alike in layer and fencing.
fn resource_fault(group: &str, instances: &BTreeMap<InstanceId, Instance>) -> Option<String> {
    let mut seen: BTreeMap<&ResourceId, &Instance> = BTreeMap::new();
    for instance in instances.values() {
        let first = *seen.entry(&instance.resource).or_insert(instance);
        if first.layer != instance.layer || first.fencing != instance.fencing {
            return Some(format!(
                "group {group}: instances of resource {} differ in layer or fence",
                instance.resource
            ));
        }
    }
    None
}
