//! What a seed's cluster looks like: regions, hosts, groups, timers. Knows the specification only.

use super::clock::{MS, Nanos};
use super::kinds::{self, Kind};
use super::net::Node;
use super::raft::{ARBITERS, VOTERS};
use super::shape::{Cluster, GroupShape, Shape};
use arbiter_core::{
    AgentId, ArbiterId, ClusterSpec, DrillPolicy, Durability, EvidenceKind, Failback, GroupId,
    GroupSpec, OnDrift, OnIsolation, OnPrimaryFailure, OnQuorumLoss, Policy, ProbeSpec, Profile,
    RegionId, RegionKind, SignalKind, StrictAlone, Timing, Voter,
};
use std::collections::BTreeMap;
use std::time::Duration;

/// Data regions.
pub const REGIONS: [&str; 2] = ["eu", "us"];
/// All regions, the witness last.
const NAMES: [&str; 3] = [REGIONS[0], REGIONS[1], "wit"];

type GroupsOf = BTreeMap<GroupId, GroupSpec>;

/// One seed's cluster.
#[derive(Clone, Debug)]
pub struct Topology {
    /// As an operator would write it.
    pub spec: ClusterSpec,
    /// Arbiters by index.
    pub arbiters: Vec<ArbiterId>,
    /// Agents by index of their host.
    pub agents: Vec<AgentId>,
    /// Region of each node of the network.
    pub region_of: Vec<usize>,
    /// Timers of the Raft group.
    pub timing: Timing,
    /// What deadmen hold less firmly counts one class lower.
    pub expiry_counts_as: EvidenceKind,
    /// Longest ordinary delay of a message.
    pub delay_max: Nanos,
}

impl Topology {
    /// What `shape` says.
    pub fn of_shape(shape: &Shape) -> Self {
        let Cluster { pace, hosts, delay, weak_deadmen, .. } = shape.cluster;
        let timing = pace.timing();
        let mut spec = GroupsOf::new();
        for (number, group) in shape.groups.iter().enumerate() {
            // Only the first group stands on both hosts of a region.
            let hosts = if number == 0 { hosts } else { 2 };
            let instances = kinds::instances(number, hosts, &group.kinds);
            let policy = policy(group, timing);
            let name: GroupId = format!("g{}", number + 1).into();
            spec.insert(name, GroupSpec { policy, instances, probes: probes() });
        }
        let expiry_counts_as =
            if weak_deadmen { EvidenceKind::ProviderAsserted } else { EvidenceKind::LeaseExpired };
        Self { expiry_counts_as, delay_max: delay, ..Self::of(hosts, spec, timing) }
    }

    /// One group of `kinds` on two hosts, whose policy leaves nothing to chance.
    pub fn staged(kinds: &[Kind]) -> Self {
        let timing = Profile::Metro.timing();
        let instances = kinds::instances(0, 2, kinds);
        let group = GroupSpec { policy: staged_policy(timing), instances, probes: probes() };
        Self::of(2, GroupsOf::from([("g1".into(), group)]), timing)
    }

    fn of(hosts: usize, groups: GroupsOf, timing: Timing) -> Self {
        let arbiters: Vec<ArbiterId> = ["arbiter-eu", "arbiter-us", "arbiter-wit", "arbiter-wit-b"]
            .map(ArbiterId::from)
            .to_vec();
        let agents: Vec<AgentId> = (0..hosts).map(|host| agent(host).as_str().into()).collect();
        let mut region_of = vec![0, 1, 2, 2];
        region_of.extend((0..hosts).map(|host| host % 2));
        region_of.push(2);
        let mut spec = ClusterSpec {
            regions: BTreeMap::from([
                (REGIONS[0].into(), RegionKind::Data),
                (REGIONS[1].into(), RegionKind::Data),
                ("wit".into(), RegionKind::Witness),
            ]),
            groups,
            ..ClusterSpec::default()
        };
        for (index, name) in arbiters.iter().enumerate().take(VOTERS) {
            let region: RegionId = NAMES[index].into();
            let voter = Voter { node_id: index as u64 + 1, region, address: String::new() };
            spec.voters.insert(name.clone(), voter);
        }
        for (host, name) in agents.iter().enumerate() {
            spec.agents.insert(name.clone(), REGIONS[host % 2].into());
        }
        let expiry_counts_as = EvidenceKind::LeaseExpired;
        let delay_max = 2 * MS;
        Self { spec, arbiters, agents, region_of, timing, expiry_counts_as, delay_max }
    }

    /// The node of an agent's host.
    pub fn node(host: usize) -> Node {
        ARBITERS + host
    }

    /// The node of the DNS server.
    pub fn dns(&self) -> Node {
        ARBITERS + self.agents.len()
    }

    /// The region in which an arbiter or host stands, by index in [`REGIONS`]; 2: the witness.
    pub fn region(&self, node: Node) -> usize {
        self.region_of[node]
    }

    /// The name of the region in which a node stands.
    pub fn region_name(&self, node: Node) -> RegionId {
        NAMES[self.region(node)].into()
    }

    /// Nodes of a region.
    pub fn nodes_of(&self, region: usize) -> Vec<Node> {
        (0..self.region_of.len()).filter(|node| self.region_of[*node] == region).collect()
    }
}

/// The name of the agent of a host.
pub fn agent(host: usize) -> String {
    let region = REGIONS[host % 2];
    if host < 2 { format!("agent-{region}") } else { format!("agent-{region}-b") }
}

fn probes() -> BTreeMap<String, ProbeSpec> {
    let probe = |region: &str| ProbeSpec {
        region: region.into(),
        kind: "tcp".to_owned(),
        target: String::new(),
        signal: SignalKind::Health,
        limit: Duration::from_secs(1),
        settings: BTreeMap::new(),
    };
    BTreeMap::from(REGIONS.map(|region| (format!("{region}-db"), probe(region))))
}

fn policy(shape: &GroupShape, timing: Timing) -> Policy {
    let patient = !shape.only_power_off;
    let seconds = |whole: u64| Duration::from_secs(whole);
    let external = REGIONS.map(|region| (region.into(), BTreeMap::new()));
    super::drill::policed(Policy {
        rto: None,
        drill: DrillPolicy::default(),
        timing,
        initial_active: REGIONS[shape.active].into(),
        preferred: None,
        failback: Failback::Propose,
        detect_after: timing.lease / 2,
        signal_kinds_min: 1 + u8::from(shape.two_signals),
        start_limit: seconds(5),
        drain_limit: seconds(4),
        clean_stop_limit: seconds(1),
        hold_down: seconds(5),
        evidence_min: if shape.only_power_off {
            EvidenceKind::PowerOff
        } else {
            EvidenceKind::LeaseExpired
        },
        // The least that configuration accepts, or much.
        rpo: if shape.short_rpo { timing.lease / 2 + 2 * timing.renewal } else { seconds(60) },
        allow_automatic: true,
        on_primary_failure: if shape.restart_then_failover {
            OnPrimaryFailure::RestartThenFailover
        } else {
            OnPrimaryFailure::Restart
        },
        abort_when_source_returns: !shape.no_abort_on_return,
        supersede_by_itself: shape.supersede_by_itself,
        clients_decide: shape.clients_decide,
        on_drift: if shape.repair { OnDrift::Repair } else { OnDrift::Alert },
        durability: if shape.strict { Durability::Strict } else { Durability::Async },
        strict_alone: if shape.block_alone { StrictAlone::Block } else { StrictAlone::Accept },
        on_isolation: OnIsolation::Serve,
        on_quorum_loss: OnQuorumLoss::Fence,
        external_fence: if shape.power_switch { external.into() } else { BTreeMap::new() },
        step_limit: seconds(if patient { 8 } else { 3 }),
        step_attempts_max: if patient { 3 } else { 1 },
    })
}

/// Who opens plans is an operator, and each row has its time.
fn staged_policy(timing: Timing) -> Policy {
    let plain = policy(&GroupShape::default(), timing);
    Policy { step_limit: Duration::from_secs(6), step_attempts_max: 2, ..plain }
}
