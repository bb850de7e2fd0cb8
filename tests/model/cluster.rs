//! The cluster of the model: two regions with a database each, a zone that both can write, and the
//! timers in which every bug of the lease shows: no margin, and ρ as large as the clocks differ.

use arbiter_core::{
    ClusterSpec, Control, DrillPolicy, Durability, EvidenceKind, Failback, Fencing, GroupId,
    GroupSpec, Instance, InstanceId, Layer, OnDrift, OnIsolation, OnPrimaryFailure, Policy,
    RegionKind, StrictAlone, Timing, Voter,
};
use std::collections::BTreeMap;
use std::time::Duration;

/// The one group.
pub const GROUP: &str = "g";
/// The data regions; the first is active in the beginning.
pub const REGIONS: [&str; 2] = ["eu", "us"];
/// The cluster's name.
pub const CLUSTER: &str = "model";

/// The group's name.
pub fn group() -> GroupId {
    GROUP.into()
}

/// The database of a region.
pub fn database(region: usize) -> InstanceId {
    format!("db-{}", REGIONS[region]).as_str().into()
}

/// L = 10 s, F = 2 s, K = 0.5 s, m = 0: a leader that waits L(1+ρ) has no millisecond to spare
/// against the slowest clock.
pub fn timing() -> Timing {
    let ms = Duration::from_millis;
    Timing {
        rtt: ms(0),
        heartbeat: ms(300),
        election_min: ms(1200),
        election_max: ms(1800),
        renewal: ms(1000),
        fence: ms(2000),
        lease: ms(10_000),
        margin: ms(0),
    }
}

fn policy() -> Policy {
    let secs = Duration::from_secs;
    Policy {
        timing: timing(),
        initial_active: REGIONS[0].into(),
        preferred: None,
        failback: Failback::Propose,
        detect_after: secs(5),
        signal_kinds_min: 2,
        start_limit: secs(30),
        drain_limit: secs(30),
        clean_stop_limit: secs(0),
        hold_down: secs(1),
        evidence_min: EvidenceKind::LeaseExpired,
        rpo: secs(3600),
        rto: None,
        drill: DrillPolicy::default(),
        allow_automatic: true,
        on_primary_failure: OnPrimaryFailure::Restart,
        abort_when_source_returns: true,
        supersede_by_itself: false,
        clients_decide: false,
        on_drift: OnDrift::Alert,
        durability: Durability::Async,
        strict_alone: StrictAlone::Accept,
        on_isolation: OnIsolation::Serve,
        on_quorum_loss: Default::default(),
        external_fence: BTreeMap::new(),
        step_limit: secs(60),
        step_attempts_max: 3,
    }
}

fn instance(resource: &str, region: &str, layer: Layer) -> Instance {
    let (fencing, control) = match layer {
        Layer::Data => (Fencing::Required, Control::Owned),
        _ => (Fencing::BestEffort, Control::Api),
    };
    let zone = (layer == Layer::Traffic).then(|| ("zone".to_owned(), "z".to_owned()));
    Instance {
        resource: resource.into(),
        region: region.into(),
        agent: format!("agent-{region}").as_str().into(),
        kind: "fake".to_owned(),
        layer,
        fencing,
        control,
        evidence: [EvidenceKind::Confirmed, EvidenceKind::LeaseExpired].into(),
        waits: false,
        address: String::new(),
        settings: zone.into_iter().collect(),
    }
}

/// Two data regions and a witness, one group, one database a region and, with `traffic`, a zone.
pub fn cluster(traffic: bool) -> ClusterSpec {
    let mut instances = BTreeMap::new();
    for region in REGIONS {
        instances
            .insert(format!("db-{region}").as_str().into(), instance("db", region, Layer::Data));
        if traffic {
            let dns = instance("dns", region, Layer::Traffic);
            instances.insert(format!("dns-{region}").as_str().into(), dns);
        }
    }
    let voter =
        |node_id, region: &str| Voter { node_id, region: region.into(), address: String::new() };
    let spec = GroupSpec { policy: policy(), instances, probes: BTreeMap::new() };
    ClusterSpec {
        two_person: false,
        regions: BTreeMap::from([
            (REGIONS[0].into(), RegionKind::Data),
            (REGIONS[1].into(), RegionKind::Data),
            ("wit".into(), RegionKind::Witness),
        ]),
        voters: BTreeMap::from([
            ("arbiter-eu".into(), voter(1, "eu")),
            ("arbiter-us".into(), voter(2, "us")),
            ("arbiter-wit".into(), voter(3, "wit")),
        ]),
        agents: REGIONS.map(|r| (format!("agent-{r}").as_str().into(), r.into())).into(),
        groups: BTreeMap::from([(group(), spec)]),
    }
}
