//! What is not where it belongs: where the active region's resources serve, those of others do not,
//! and whatever points clients at one points at the active. The truth, whatever anybody says of it.

use crate::sim::kinds::Kind;
use crate::sim::world::World;
use arbiter_core::{Group, GroupId, GroupSpec, Instance, InstanceId, State};

/// An instance that is not where it belongs.
#[derive(Clone, Debug)]
pub struct Astray {
    /// The instance.
    pub id: InstanceId,
    /// What is so of it instead.
    pub what: &'static str,
}

/// Every instance of `id` that is not where the active region wants it.
pub fn astray(world: &World, state: &State, id: &GroupId) -> Vec<Astray> {
    let Some((spec, group)) = state.group(id) else { return Vec::new() };
    let instances = spec.instances.iter();
    let found = instances.filter_map(|(name, instance)| {
        let what = wrong(world, (id, spec, group), name, instance)?;
        Some(Astray { id: name.clone(), what })
    });
    found.collect()
}

fn wrong(
    world: &World,
    (id, spec, group): (&GroupId, &GroupSpec, &Group),
    name: &InstanceId,
    instance: &Instance,
) -> Option<&'static str> {
    let key = (id.clone(), name.clone());
    let active = group.active() == Some(&instance.region);
    let host = world.topology.agents.iter().position(|agent| *agent == instance.agent)?;
    let primary = group.primaries.get(&instance.resource);
    match Kind::of(instance)? {
        Kind::Postgres | Kind::Redis => {
            let server = world.hosts[host].servers.get(&key)?;
            let leads = active && primary == Some(name);
            match (leads, server.accepts()) {
                (true, false) => Some("accepts no write"),
                (false, true) => Some("accepts writes"),
                (false, false) if !server.running => Some("does not run"),
                (false, false) if !server.streaming => Some("does not follow"),
                _ => None,
            }
        }
        Kind::Bucket | Kind::Workload => {
            let open = world.hosts[host].outside.get(&key)?.open;
            match (active, open) {
                (true, false) => Some("does not serve"),
                (false, true) => Some("serves"),
                _ => None,
            }
        }
        Kind::Pooler => {
            let pooler = world.hosts[host].outside.get(&key)?;
            let mut databases = spec.instances.iter().filter(|(_, i)| i.resource.0 == "db");
            let to = databases.find(|(id, i)| group.primaries.get(&i.resource) == Some(*id));
            let leads = pooler.leads_to.as_ref();
            match (pooler.open, leads == to.map(|(id, _)| id)) {
                (false, _) => Some("holds its clients back"),
                (true, false) => Some("leads its clients elsewhere"),
                (true, true) => None,
            }
        }
        // One of the active region writes it.
        Kind::Dns => {
            let record = world.dns.read(id).filter(|_| active)?;
            (Some(&record.names) != group.active()).then_some("names another region")
        }
    }
}
