//! The kinds of resources that a cluster may have here, as a policy names them. Knows what each
//! real driver declares; never how one answers.

use super::rng::Rng;
use super::topology::{REGIONS, agent};
use arbiter_core::{Control, EvidenceKind, Fencing, GroupSpec, Instance, InstanceId, Layer};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A kind of resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A database, that every group has.
    Postgres,
    /// A second database, whose histories have names and no numbers.
    Redis,
    /// Object storage: nothing waits for its fence.
    Bucket,
    /// Services that run on the data.
    Workload,
    /// What clients of the database share connections through.
    Pooler,
    /// The public name, that every group has.
    Dns,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Postgres, Self::Redis, Self::Bucket, Self::Workload, Self::Pooler, Self::Dns];

    /// The resource of this kind in a group.
    pub const fn resource(self) -> &'static str {
        match self {
            Self::Postgres => "db",
            Self::Redis => "redis",
            Self::Bucket => "bucket",
            Self::Workload => "app",
            Self::Pooler => "pool",
            Self::Dns => "dns",
        }
    }

    /// The kind of `instance`.
    pub fn of(instance: &Instance) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.resource() == instance.resource.0)
    }

    /// Whether it is a server whose processes agent and deadman hold.
    pub const fn is_server(self) -> bool {
        matches!(self, Self::Postgres | Self::Redis)
    }

    /// Whether an API alone changes it, and it outlives the host of its agent.
    pub const fn is_outside(self) -> bool {
        matches!(self, Self::Bucket | Self::Workload | Self::Pooler)
    }

    const fn driver(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Redis => "redis",
            Self::Bucket => "object_store",
            Self::Workload => "kubernetes",
            Self::Pooler => "pgbouncer",
            Self::Dns => "rfc2136",
        }
    }

    const fn layer(self) -> Layer {
        match self {
            Self::Postgres | Self::Redis | Self::Bucket => Layer::Data,
            Self::Workload => Layer::Workload,
            Self::Pooler => Layer::Pooler,
            Self::Dns => Layer::Traffic,
        }
    }

    const fn evidence(self) -> &'static [EvidenceKind] {
        match self {
            Self::Postgres | Self::Redis => &[EvidenceKind::Confirmed, EvidenceKind::LeaseExpired],
            Self::Bucket | Self::Workload => &[EvidenceKind::ProviderAsserted],
            Self::Pooler | Self::Dns => &[],
        }
    }

    /// The instance beside the agent of `host`.
    pub fn instance(self, id: &InstanceId, host: usize) -> Instance {
        let required = self.is_server();
        let settings: &[(&str, &str)] = match self {
            Self::Postgres | Self::Redis => &[("start", "agent")],
            Self::Pooler => &[("pools", "db")],
            Self::Dns => &[("zone", "dns")],
            Self::Bucket | Self::Workload => &[],
        };
        let settings = settings.iter().map(|(key, value)| ((*key).into(), (*value).into()));
        Instance {
            resource: self.resource().into(),
            region: REGIONS[host % 2].into(),
            agent: agent(host).as_str().into(),
            kind: self.driver().to_owned(),
            layer: self.layer(),
            fencing: if required { Fencing::Required } else { Fencing::BestEffort },
            control: if self.is_server() { Control::Owned } else { Control::Api },
            evidence: self.evidence().iter().copied().collect(),
            waits: self == Self::Postgres,
            address: if self.is_server() { id.0.clone() } else { String::new() },
            settings: settings.collect(),
        }
    }
}

/// The instances of group `number`: a server on each of `hosts`, of `more` one in each region.
///
pub fn instances(number: usize, hosts: usize, more: &[Kind]) -> BTreeMap<InstanceId, Instance> {
    let mut found = BTreeMap::new();
    let mut add = |kind: Kind, host: usize, place: &str| {
        let id: InstanceId = format!("{}{}-{place}", kind.resource(), number + 1).into();
        found.insert(id.clone(), kind.instance(&id, host));
    };
    (0..hosts).for_each(|host| add(Kind::Postgres, host, &agent(host)));
    for (host, region) in REGIONS.iter().enumerate() {
        more.iter().for_each(|kind| add(*kind, host, region));
        add(Kind::Dns, host, region);
    }
    found
}

/// What else a group of a seed has. Few have much: each seed has its time.
pub fn draw(rng: &mut Rng) -> Vec<Kind> {
    let drawn =
        [(Kind::Redis, 120), (Kind::Bucket, 150), (Kind::Workload, 150), (Kind::Pooler, 150)];
    drawn.into_iter().filter(|(_, share)| rng.chance(*share)).map(|(kind, _)| kind).collect()
}

/// Whether a group has any of `kind`.
pub fn has(spec: &GroupSpec, kind: Kind) -> bool {
    spec.instances.values().any(|instance| Kind::of(instance) == Some(kind))
}
