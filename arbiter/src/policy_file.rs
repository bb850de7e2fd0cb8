//! The cluster file in the words of this build, from it to the core's specification, and the
//! difference between two of them.
//! Knows both vocabularies; never where the file is or what comes of it.

use crate::{drivers, probes};
use arbiter_core as core;
use cluster_config as file;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// The words that a cluster file may use in this build: one for each kind of resource and of probe.
pub fn registry() -> file::Registry {
    file::Registry {
        resources: drivers::KINDS.iter().map(|kind| &kind.config).collect(),
        probes: probes::KINDS.iter().map(|kind| &kind.config).collect(),
    }
}

/// Parse and check `text` in the words of this build. `file` names it in faults.
///
/// # Errors
/// Every fault at once.
pub fn parse(text: &str, file: &str) -> Result<file::Cluster, file::Faults> {
    file::parse(text, file, &registry())
}

/// Read, parse and check a file, in the words of this build.
///
/// # Errors
/// Every fault at once; one when the file cannot be read.
pub fn load(path: &Path) -> Result<file::Cluster, file::Faults> {
    file::load(path, &registry())
}

/// What the file says, in the core's words. `cluster-config` has checked it.
pub fn to_spec(cluster: &file::Cluster) -> core::ClusterSpec {
    core::ClusterSpec {
        regions: cluster
            .regions
            .iter()
            .map(|(id, region)| (id.as_str().into(), region_kind(region.kind)))
            .collect(),
        voters: cluster
            .arbiters
            .iter()
            .map(|(id, arbiter)| {
                let voter = core::Voter {
                    node_id: arbiter.node_id,
                    region: arbiter.region.as_str().into(),
                    address: arbiter.address.clone(),
                };
                (id.as_str().into(), voter)
            })
            .collect(),
        agents: cluster
            .agents
            .iter()
            .map(|(id, agent)| (id.as_str().into(), agent.region.as_str().into()))
            .collect(),
        groups: cluster
            .groups
            .iter()
            .map(|(id, group)| (id.as_str().into(), group_spec(cluster, group)))
            .collect(),
        two_person: cluster.two_person,
    }
}

/// The timers, in the core's type.
pub fn timing(timing: &file::Timing) -> core::Timing {
    core::Timing {
        rtt: timing.rtt,
        heartbeat: timing.heartbeat,
        election_min: timing.election_min,
        election_max: timing.election_max,
        renewal: timing.renewal,
        fence: timing.fence,
        lease: timing.lease,
        margin: timing.margin,
    }
}

fn region_kind(kind: file::RegionKind) -> core::RegionKind {
    match kind {
        file::RegionKind::Data => core::RegionKind::Data,
        file::RegionKind::Witness => core::RegionKind::Witness,
    }
}

fn group_spec(cluster: &file::Cluster, group: &file::Group) -> core::GroupSpec {
    let mut instances = BTreeMap::new();
    for (resource_id, resource) in &group.resources {
        for (id, instance) in &resource.instances {
            let region = cluster.agents.get(&instance.agent).map(|agent| agent.region.as_str());
            let instance = core::Instance {
                resource: resource_id.as_str().into(),
                region: region.unwrap_or_default().into(),
                agent: instance.agent.as_str().into(),
                kind: resource.kind.name.to_owned(),
                layer: layer(resource.kind.layer),
                fencing: match resource.fence {
                    file::Fence::Required => core::Fencing::Required,
                    file::Fence::BestEffort => core::Fencing::BestEffort,
                },
                control: control(resource.kind.control),
                evidence: resource.kind.evidence.iter().copied().map(evidence_kind).collect(),
                waits: resource.kind.waits,
                address: instance.address.clone(),
                settings: instance.settings.clone(),
            };
            instances.insert(id.as_str().into(), instance);
        }
    }
    core::GroupSpec {
        policy: policy(group),
        instances,
        probes: group.probes.iter().map(|(id, probe)| (id.clone(), probe_spec(probe))).collect(),
    }
}

fn layer(word: &str) -> core::Layer {
    match word {
        "traffic" => core::Layer::Traffic,
        "pooler" => core::Layer::Pooler,
        "watched" => core::Layer::Watched,
        "workload" => core::Layer::Workload,
        _ => core::Layer::Data,
    }
}

fn control(word: &str) -> core::Control {
    match word {
        "owned" => core::Control::Owned,
        "delegated" => core::Control::Delegated,
        _ => core::Control::Api,
    }
}

fn probe_spec(probe: &file::Probe) -> core::ProbeSpec {
    core::ProbeSpec {
        region: probe.region.as_str().into(),
        kind: probe.kind.name.to_owned(),
        signal: match probe.kind.signal {
            file::Signal::Health => core::SignalKind::Health,
            file::Signal::Alerts => core::SignalKind::Alerts,
            file::Signal::Provider => core::SignalKind::Provider,
        },
        target: probe.target.clone(),
        limit: probe.limit,
        settings: probe.settings.clone(),
    }
}

fn policy(group: &file::Group) -> core::Policy {
    let keys = &group.policy;
    core::Policy {
        timing: timing(&group.timing),
        initial_active: keys.initial_active.as_str().into(),
        preferred: keys.preferred.as_deref().map(core::RegionId::from),
        failback: match keys.failback {
            file::Failback::Propose => core::Failback::Propose,
            file::Failback::Automatic => core::Failback::Automatic,
        },
        detect_after: group.detect_after(),
        signal_kinds_min: u8::try_from(keys.signal_kinds_min).unwrap_or(u8::MAX),
        start_limit: keys.start_limit,
        drain_limit: keys.drain_limit,
        clean_stop_limit: keys.clean_stop_limit,
        hold_down: keys.hold_down,
        evidence_min: evidence_kind(keys.evidence_min),
        rpo: keys.rpo,
        rto: keys.rto,
        drill: drill_policy(&group.drill),
        allow_automatic: keys.allow_automatic,
        on_primary_failure: match keys.on_primary_failure {
            file::OnPrimaryFailure::Restart => core::OnPrimaryFailure::Restart,
            file::OnPrimaryFailure::RestartThenFailover => {
                core::OnPrimaryFailure::RestartThenFailover
            }
            file::OnPrimaryFailure::Failover => core::OnPrimaryFailure::Failover,
        },
        abort_when_source_returns: keys.abort_when_source_returns,
        supersede_by_itself: keys.supersede_by_itself,
        clients_decide: keys.clients_decide,
        on_drift: match keys.on_drift {
            file::OnDrift::Alert => core::OnDrift::Alert,
            file::OnDrift::Repair => core::OnDrift::Repair,
        },
        durability: match keys.durability {
            file::Durability::Async => core::Durability::Async,
            file::Durability::Strict => core::Durability::Strict,
        },
        strict_alone: match keys.strict_alone {
            file::StrictAlone::Accept => core::StrictAlone::Accept,
            file::StrictAlone::Block => core::StrictAlone::Block,
        },
        on_isolation: match keys.on_isolation {
            file::OnIsolation::Serve => core::OnIsolation::Serve,
            file::OnIsolation::Stall => core::OnIsolation::Stall,
        },
        on_quorum_loss: match keys.on_quorum_loss {
            file::OnQuorumLoss::Fence => core::OnQuorumLoss::Fence,
            file::OnQuorumLoss::Hold => core::OnQuorumLoss::Hold,
        },
        external_fence: group
            .external_fence
            .iter()
            .map(|(region, fence)| (region.as_str().into(), fence_settings(fence)))
            .collect(),
        step_limit: keys.step_limit,
        step_attempts_max: u32::try_from(keys.step_attempts_max).unwrap_or(u32::MAX),
    }
}

fn drill_policy(drill: &file::Drill) -> core::DrillPolicy {
    let check = drill.check.as_ref().map(|command| {
        let limit = drill.check_limit.as_millis().to_string();
        BTreeMap::from([("command".to_owned(), command.clone()), ("limit_ms".to_owned(), limit)])
    });
    let window = |w: &file::Window| core::Window { days: w.days, from: w.from, to: w.to };
    core::DrillPolicy {
        every: std::time::Duration::from_secs(drill.every_days.saturating_mul(24 * 60 * 60)),
        limit: drill.limit,
        check: check.unwrap_or_default(),
        abort_after: drill.abort_after,
        blocked: drill.blocked.0.iter().map(window).collect(),
    }
}

fn evidence_kind(kind: file::EvidenceKind) -> core::EvidenceKind {
    match kind {
        file::EvidenceKind::Attested => core::EvidenceKind::Attested,
        file::EvidenceKind::ProviderAsserted => core::EvidenceKind::ProviderAsserted,
        file::EvidenceKind::LeaseExpired => core::EvidenceKind::LeaseExpired,
        file::EvidenceKind::PowerOff => core::EvidenceKind::PowerOff,
        file::EvidenceKind::Confirmed => core::EvidenceKind::Confirmed,
    }
}

fn fence_settings(fence: &file::ExternalFence) -> BTreeMap<String, String> {
    BTreeMap::from([
        ("fence_command".to_owned(), fence.fence_command.clone()),
        ("fence_check".to_owned(), fence.fence_check.clone()),
        ("limit_ms".to_owned(), fence.limit.as_millis().to_string()),
    ])
}

/// What changes from `old` to `new`: a line a key, `path: old → new`, empty when nothing does.
pub fn diff(old: &core::ClusterSpec, new: &core::ClusterSpec) -> Vec<String> {
    let (old, new) = (flat(old), flat(new));
    let mut lines = Vec::new();
    for (path, value) in &new {
        match old.get(path) {
            None => lines.push(format!("+ {path}: {value}")),
            Some(before) if before != value => lines.push(format!("~ {path}: {before} → {value}")),
            Some(_) => {}
        }
    }
    for (path, value) in old.iter().filter(|(path, _)| !new.contains_key(*path)) {
        lines.push(format!("- {path}: {value}"));
    }
    lines
}

fn flat(spec: &core::ClusterSpec) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    let value = serde_json::to_value(spec).unwrap_or(Value::Null);
    flatten("", &value, &mut out);
    out
}

fn flatten(path: &str, value: &Value, out: &mut BTreeMap<String, String>) {
    let Value::Object(fields) = value else {
        out.insert(path.to_owned(), value.to_string());
        return;
    };
    if let Some(duration) = as_duration(fields) {
        out.insert(path.to_owned(), duration);
        return;
    }
    for (name, field) in fields {
        let below = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        flatten(&below, field, out);
    }
}

/// How serde writes a `Duration`.
fn as_duration(fields: &serde_json::Map<String, Value>) -> Option<String> {
    let secs = fields.get("secs")?.as_u64()?;
    let nanos = u32::try_from(fields.get("nanos")?.as_u64()?).ok()?;
    (fields.len() == 2).then(|| format!("{:?}", std::time::Duration::new(secs, nanos)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = include_str!("policy_file/example.toml");

    fn spec(text: &str) -> core::ClusterSpec {
        to_spec(&parse(text, "example.toml").unwrap_or_else(|faults| panic!("{faults}")))
    }

    #[test]
    fn what_the_file_says_arrives_in_the_core() {
        let spec = spec(FILE);
        assert_eq!(spec.voters.len(), 3);
        let group = spec.groups.get(&"default".into()).expect("default");
        let db = group.instances.get(&"db-eu".into()).expect("db-eu");
        assert_eq!(db.region, "eu-west".into());
        assert!(db.needs_evidence());
        assert_eq!(group.policy.timing, core::Profile::Regional.timing());
        let fence = group.policy.external_fence.get(&"eu-west".into()).expect("fence");
        assert_eq!(fence.get("limit_ms").map(String::as_str), Some("3000"));
        assert_eq!(spec.fault(), None);
    }

    #[test]
    fn a_probe_carries_its_kind_of_signal_and_its_settings() {
        let provider = FILE.to_owned()
            + "[groups.default.probes.cloud]\nregion = \"eu-west\"\nkind = \"provider-status\"\n\
               target = \"https://status.test/history.rss\"\nlimit = \"9s\"\n\
               match = \"eu-west-1\"\n";
        let spec = spec(&provider);
        let probes = &spec.groups[&"default".into()].probes;
        assert_eq!(probes["eu-db"].signal, core::SignalKind::Health);
        assert_eq!(probes["cloud"].signal, core::SignalKind::Provider);
        assert_eq!(probes["cloud"].settings["match"], "eu-west-1");
    }

    #[test]
    fn a_probe_written_before_there_were_kinds_of_signal_is_one_of_health() {
        let old = r#"{"region":"eu","kind":"tcp","target":"db:1","limit":{"secs":1,"nanos":0}}"#;
        let spec: core::ProbeSpec = serde_json::from_str(old).expect("it was written once");
        assert_eq!((spec.signal, spec.settings.len()), (core::SignalKind::Health, 0));
    }

    #[test]
    fn a_diff_names_each_key_that_changes_and_nothing_else() {
        let old = spec(FILE);
        assert!(diff(&old, &old).is_empty());
        let new = spec(&FILE.replace("rpo = \"30s\"", "rpo = \"45s\""));
        assert_eq!(diff(&old, &new), ["~ groups.default.policy.rpo: 30s → 45s"]);
    }
}
