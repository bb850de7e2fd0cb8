//! What a seed's cluster looks like: regions, hosts, groups, timers. Knows the specification only.

use super::clock::{MS, Nanos};
use super::kinds::{self, Kind};
use super::net::Node;
use super::raft::VOTERS;
use super::rng::Rng;
use arbiter_core::{
    AgentId, ArbiterId, ClusterSpec, DrillPolicy, Durability, EvidenceKind, Failback, GroupId,
    GroupSpec, OnDrift, OnIsolation, OnPrimaryFailure, Policy, ProbeSpec, Profile, RegionId,
    RegionKind, SignalKind, StrictAlone, Timing, Voter,
};
use std::collections::BTreeMap;
use std::time::Duration;

/// Data regions.
pub const REGIONS: [&str; 2] = ["eu", "us"];

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
    /// Drawn by `rng`.
    pub fn draw(rng: &mut Rng) -> Self {
        let timing = timing(rng);
        let delay_max = match rng.range(0, 2) {
            0 => 2 * MS,
            1 => (timing.rtt.as_nanos() as u64 / 4).max(MS),
            _ => (timing.rtt.as_nanos() as u64 / 2).max(MS),
        };
        let hosts = if rng.chance(300) { 4 } else { 2 };
        let groups = if rng.chance(500) { 2 } else { 1 };
        let mut spec = GroupsOf::new();
        for group in 0..groups {
            let active = if group == 0 { 0 } else { rng.index(2) };
            // Only the first group stands on both hosts of a region.
            let hosts = if group == 0 { hosts } else { 2 };
            let name: GroupId = format!("g{}", group + 1).into();
            spec.insert(name, draw_group(group, active, hosts, timing, rng));
        }
        let weak = rng.chance(150);
        let expiry_counts_as =
            if weak { EvidenceKind::ProviderAsserted } else { EvidenceKind::LeaseExpired };
        Self { expiry_counts_as, delay_max, ..Self::of(hosts, spec, timing) }
    }

    /// One group of `kinds` on two hosts, whose policy leaves nothing to chance.
    pub fn staged(kinds: &[Kind]) -> Self {
        let timing = Profile::Metro.timing();
        let instances = kinds::instances(0, 2, kinds);
        let group = GroupSpec { policy: staged_policy(timing), instances, probes: probes() };
        Self::of(2, GroupsOf::from([("g1".into(), group)]), timing)
    }

    fn of(hosts: usize, groups: GroupsOf, timing: Timing) -> Self {
        let arbiters: Vec<ArbiterId> =
            ["arbiter-eu", "arbiter-us", "arbiter-wit"].map(ArbiterId::from).to_vec();
        let agents: Vec<AgentId> = (0..hosts).map(|host| agent(host).as_str().into()).collect();
        let mut region_of = vec![0, 1, 2];
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
        for (index, name) in arbiters.iter().enumerate() {
            let region: RegionId = ["eu", "us", "wit"][index].into();
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
        VOTERS + host
    }

    /// The node of the DNS server.
    pub fn dns(&self) -> Node {
        VOTERS + self.agents.len()
    }

    /// The region in which an arbiter or host stands, by index in [`REGIONS`]; 2: the witness.
    pub fn region(&self, node: Node) -> usize {
        self.region_of[node]
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

fn timing(rng: &mut Rng) -> Timing {
    match rng.range(0, 5) {
        0 | 5 => Profile::Metro.timing(),
        1 => Profile::Wan.timing(),
        // A long lease makes a wait that forgets ρ visible.
        2 => Timing { lease: Duration::from_secs(30), ..Profile::Wan.timing() },
        _ => Profile::Regional.timing(),
    }
}

fn draw_group(
    number: usize,
    active: usize,
    hosts: usize,
    timing: Timing,
    rng: &mut Rng,
) -> GroupSpec {
    let more = kinds::draw(rng);
    let policy = policy(active, timing, rng);
    GroupSpec { policy, instances: kinds::instances(number, hosts, &more), probes: probes() }
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

fn policy(active: usize, timing: Timing, rng: &mut Rng) -> Policy {
    let external = rng.chance(400);
    // What a lease proves is not enough for some: they wait for a switch, or for an operator.
    let only_power_off = external && rng.chance(500);
    super::drill::policed(Policy {
        rto: None,
        drill: DrillPolicy::default(),
        timing,
        initial_active: REGIONS[active].into(),
        preferred: None,
        failback: Failback::Propose,
        detect_after: timing.lease / 2,
        signal_kinds_min: 1 + rng.chance(500) as u8,
        start_limit: Duration::from_secs(5),
        drain_limit: Duration::from_secs(4),
        clean_stop_limit: Duration::from_secs(1),
        hold_down: Duration::from_secs(5),
        evidence_min: if only_power_off {
            EvidenceKind::PowerOff
        } else {
            EvidenceKind::LeaseExpired
        },
        // The least that configuration accepts, or much.
        rpo: if rng.chance(500) && !only_power_off {
            timing.lease / 2 + 2 * timing.renewal
        } else {
            Duration::from_secs(60)
        },
        allow_automatic: true,
        on_primary_failure: if rng.chance(500) {
            OnPrimaryFailure::Restart
        } else {
            OnPrimaryFailure::RestartThenFailover
        },
        abort_when_source_returns: rng.chance(700),
        supersede_by_itself: rng.chance(300),
        clients_decide: rng.chance(200),
        on_drift: if rng.chance(300) { OnDrift::Repair } else { OnDrift::Alert },
        durability: Durability::Async,
        strict_alone: StrictAlone::Accept,
        on_isolation: OnIsolation::Serve,
        external_fence: if external {
            REGIONS.map(|region| (region.into(), BTreeMap::new())).into()
        } else {
            BTreeMap::new()
        },
        step_limit: Duration::from_secs(if only_power_off { 3 } else { 8 }),
        step_attempts_max: if only_power_off { 1 } else { 3 },
    })
}

/// Who opens plans is an operator, and each row has its time.
fn staged_policy(timing: Timing) -> Policy {
    let drawn = policy(0, timing, &mut Rng::new(0));
    Policy {
        evidence_min: EvidenceKind::LeaseExpired,
        rpo: Duration::from_secs(60),
        on_primary_failure: OnPrimaryFailure::Restart,
        abort_when_source_returns: true,
        supersede_by_itself: false,
        clients_decide: false,
        on_drift: OnDrift::Alert,
        external_fence: BTreeMap::new(),
        step_limit: Duration::from_secs(6),
        step_attempts_max: 2,
        ..drawn
    }
}
