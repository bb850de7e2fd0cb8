//! What a plan's report shows beside its rows: what became of each instance, and when clients could
//! go on. Knows State; times are wall clocks of the leaders that wrote them down.

use crate::drivers::dns::ttl_seconds;
use crate::wire::{evidence_word, layer_word, plan_to_proto};
use arbiter_core::{
    GroupId, GroupSpec, Instance, InstanceId, Layer, Plan, PlanKind, State, StepId, StepState,
    WallMillis,
};
use arbiter_proto::v1 as pb;

/// A plan with all of that.
pub(super) fn report(state: &State, group: &GroupId, plan: &Plan) -> pb::Plan {
    let mut shown = plan_to_proto(group, plan);
    let Some(spec) = state.spec.groups.get(group) else { return shown };
    for lost in &mut shown.losses {
        let instance = spec.instances.get(&InstanceId::from(lost.instance.as_str()));
        lost.kind = instance.map_or(String::new(), |instance| instance.kind.clone());
    }
    shown.instances = instances(spec, plan);
    shown.rto_ms = spec.policy.rto.map_or(0, super::status::ms);
    let before = plan.loss.age.filter(|_| plan.kind == PlanKind::Failover);
    shown.heard_wall_ms =
        before.map_or(0, |age| plan.opened.0.saturating_sub(super::status::ms(age)));
    shown.fenced_wall_ms = ended(plan, StepId::ProveFence).map_or(0, |wall| wall.0);
    shown.first_write = first_write(spec, plan);
    shown.last_client = last_client(spec, plan);
    shown
}

/// When a row ended as it should.
fn ended(plan: &Plan, step: StepId) -> Option<WallMillis> {
    let done = plan.record(step).is_some_and(|record| record.state == StepState::Done);
    plan.times.ended.get(&step).copied().filter(|_| done)
}

/// Those of the source by their fence, then everything that is to serve.
fn instances(spec: &GroupSpec, plan: &Plan) -> Vec<pb::PlanInstance> {
    let source = spec.instances.iter().filter(|(_, i)| i.region == plan.source);
    let source = source.filter_map(|(id, instance)| fenced(plan, id, instance));
    let serving = plan.times.serving.iter();
    let serving = serving.map(|(id, at)| serves(id, spec.instances.get(id), *at));
    source.chain(serving).collect()
}

fn one(id: &InstanceId, instance: Option<&Instance>) -> pb::PlanInstance {
    let text = |of: fn(&Instance) -> &str| instance.map_or("", of).to_owned();
    pb::PlanInstance {
        instance: id.0.clone(),
        resource: text(|i| &i.resource.0),
        kind: text(|i| &i.kind),
        layer: text(|i| layer_word(i.layer)),
        region: text(|i| &i.region.0),
        ..pb::PlanInstance::default()
    }
}

fn fenced(plan: &Plan, id: &InstanceId, instance: &Instance) -> Option<pb::PlanInstance> {
    let shown = one(id, Some(instance));
    if let Some(evidence) = plan.evidence.get(id) {
        return Some(pb::PlanInstance {
            became: "fenced".to_owned(),
            by: evidence_word(evidence.kind).to_owned(),
            wall_ms: ended(plan, StepId::ProveFence).map_or(0, |wall| wall.0),
            ..shown
        });
    }
    let unfenced = plan.times.unfenced.get(id)?;
    Some(pb::PlanInstance {
        became: "unfenced".to_owned(),
        by: "nothing proves that it took no writes".to_owned(),
        wall_ms: unfenced.since.0,
        until_wall_ms: unfenced.until.map_or(0, |wall| wall.0),
        ..shown
    })
}

fn serves(
    id: &InstanceId,
    instance: Option<&Instance>,
    at: Option<WallMillis>,
) -> pb::PlanInstance {
    let (became, by) = match instance.map(|instance| instance.layer) {
        Some(Layer::Data) if instance.is_some_and(Instance::needs_evidence) => {
            ("promoted", "it took a write")
        }
        Some(Layer::Data) => ("promoted", "it says so"),
        Some(Layer::Workload) => ("activated", "it says so"),
        Some(Layer::Traffic) => ("switched", "read back from the authority"),
        Some(Layer::Pooler) => ("led", "its clients go on"),
        Some(Layer::Watched) | None => ("", "it is configured no more"),
    };
    pb::PlanInstance {
        became: if at.is_some() { became } else { "awaited" }.to_owned(),
        by: by.to_owned(),
        wall_ms: at.map_or(0, |at| at.0),
        ..one(id, instance)
    }
}

/// The last of those whose write was verified; with one resource, the first write of all.
fn first_write(spec: &GroupSpec, plan: &Plan) -> Option<pb::Recovered> {
    let required = |id: &InstanceId| spec.instances.get(id).is_some_and(Instance::needs_evidence);
    all_of(plan, required, "took a write")
}

/// Clients of a pooler go on when it says so. Others follow the name, when they ask for it anew.
fn last_client(spec: &GroupSpec, plan: &Plan) -> Option<pb::Recovered> {
    let of =
        |layer| move |id: &InstanceId| spec.instances.get(id).is_some_and(|i| i.layer == layer);
    if let Some(led) = all_of(plan, of(Layer::Pooler), "let clients go on") {
        return Some(led);
    }
    let switched = all_of(plan, of(Layer::Traffic), "switched")?;
    let traffic = plan.times.serving.keys().filter_map(|id| spec.instances.get(id));
    let traffic = traffic.filter(|instance| instance.layer == Layer::Traffic);
    let kept: Option<Vec<u32>> = traffic.map(ttl_seconds).collect();
    let Some(ttl) = kept.and_then(|kept| kept.into_iter().max()) else {
        let by = format!("{}; how long clients keep the old answer is not known", switched.by);
        return Some(pb::Recovered { by, ..switched });
    };
    let wall_ms = match switched.wall_ms {
        0 => 0,
        wall => wall + u64::from(ttl) * 1000,
    };
    let by = format!("{}, and clients keep an answer for {ttl} s", switched.by);
    Some(pb::Recovered { wall_ms, at_most: true, by })
}

/// When the last of `which` did `what`; none: there is none.
fn all_of(plan: &Plan, which: impl Fn(&InstanceId) -> bool, what: &str) -> Option<pb::Recovered> {
    let those = || plan.times.serving.iter().filter(|(id, _)| which(id));
    let names = |awaited: bool| {
        let of = those().filter(|(_, at)| at.is_none() == awaited);
        of.map(|(id, _)| id.0.as_str()).collect::<Vec<_>>().join(", ")
    };
    let last = those().map(|(_, at)| *at).max()?;
    let awaited = names(true);
    let (wall_ms, by) = match (last, awaited.as_str()) {
        (Some(last), "") => (last.0, format!("{} {what}", names(false))),
        _ => (0, format!("awaited: {awaited}")),
    };
    Some(pb::Recovered { wall_ms, at_most: false, by })
}

#[cfg(test)]
mod tests {
    use super::*;
    use arbiter_core::*;
    use std::collections::{BTreeMap, BTreeSet};
    use std::time::Duration;

    fn instance(layer: Layer, kind: &str, region: &str) -> Instance {
        let required = layer == Layer::Data && kind == "postgres";
        Instance {
            resource: kind.into(),
            region: region.into(),
            agent: "agent".into(),
            kind: kind.to_owned(),
            layer,
            fencing: if required { Fencing::Required } else { Fencing::BestEffort },
            control: Control::Api,
            evidence: BTreeSet::new(),
            waits: false,
            address: String::new(),
            settings: BTreeMap::new(),
        }
    }

    fn state() -> State {
        let file = include_str!("../policy_file/example.toml");
        let cluster = crate::policy_file::parse(file, "example.toml").expect("a good file");
        let mut spec = crate::policy_file::to_spec(&cluster);
        let group = spec.groups.get_mut(&"default".into()).expect("a group");
        group.policy.rto = Some(Duration::from_secs(30));
        group.instances = BTreeMap::from([
            ("db-eu".into(), instance(Layer::Data, "postgres", "eu-west")),
            ("db-us".into(), instance(Layer::Data, "postgres", "us-east")),
            ("files-eu".into(), instance(Layer::Data, "object-store", "eu-west")),
            ("dns-us".into(), instance(Layer::Traffic, "rfc2136", "us-east")),
        ]);
        State { spec, ..State::default() }
    }

    /// It opened at 100 s, its fence was proven at 108 s, the database took a write at 109 s.
    fn plan(serving: &[(&str, Option<u64>)]) -> Plan {
        let done = |id| StepRecord {
            id,
            state: StepState::Done,
            attempts: 0,
            took: Duration::ZERO,
            note: String::new(),
        };
        let wall = WallMillis;
        let evidence = Evidence {
            kind: EvidenceKind::LeaseExpired,
            instance: "db-eu".into(),
            agent: "agent".into(),
            incarnation: Incarnation(1),
            token: Token::default(),
            term: 1,
            waited: None,
            clean: false,
            note: String::new(),
        };
        let times = PlanTimes {
            ended: BTreeMap::from([(StepId::ProveFence, wall(108_000))]),
            serving: serving.iter().map(|(id, at)| ((*id).into(), at.map(wall))).collect(),
            unfenced: BTreeMap::from([(
                "files-eu".into(),
                Unfenced { since: wall(108_200), until: None },
            )]),
        };
        Plan {
            id: PlanId(7),
            kind: PlanKind::Failover,
            source: "eu-west".into(),
            target: "us-east".into(),
            epoch: Epoch(3),
            by: By::Policy,
            reason: String::new(),
            immediate: false,
            accept_loss: false,
            overrides: BTreeMap::new(),
            opened: wall(100_000),
            steps: vec![done(StepId::ProveFence), done(StepId::AdvanceEpoch)],
            cursor: 2,
            fence_token: Token::default(),
            evidence: BTreeMap::from([("db-eu".into(), evidence)]),
            source_end: BTreeMap::new(),
            candidates: BTreeMap::new(),
            target_end: BTreeMap::new(),
            loss: LossBound { bytes: Some(0), age: Some(Duration::from_secs(4)) },
            lost: BTreeMap::new(),
            halt: None,
            end: None,
            took: Duration::ZERO,
            times,
        }
    }

    fn shown(serving: &[(&str, Option<u64>)]) -> pb::Plan {
        report(&state(), &"default".into(), &plan(serving))
    }

    #[test]
    fn recovery_counts_from_the_last_word_the_opening_and_the_fence() {
        let shown = shown(&[("db-us", Some(109_000)), ("dns-us", Some(111_000))]);
        assert_eq!((shown.heard_wall_ms, shown.fenced_wall_ms), (96_000, 108_000));
        assert_eq!(shown.rto_ms, 30_000);
        let first = shown.first_write.unwrap();
        assert_eq!((first.wall_ms, first.at_most), (109_000, false));
        assert_eq!(first.by, "db-us took a write");
        // No pooler: whoever follows the name has the new answer 5 s after that at the latest.
        let last = shown.last_client.unwrap();
        assert_eq!((last.wall_ms, last.at_most), (116_000, true));
        assert!(last.by.ends_with("clients keep an answer for 5 s"), "{}", last.by);
    }

    #[test]
    fn the_last_client_is_that_of_the_last_pooler_which_may_still_be_awaited() {
        let mut state = state();
        let group = state.spec.groups.get_mut(&"default".into()).unwrap();
        for pooler in ["pool-eu", "pool-us"] {
            group.instances.insert(pooler.into(), instance(Layer::Pooler, "pgbouncer", "us-east"));
        }
        let last = |late: Option<u64>| {
            let serving = [("db-us", Some(109_000)), ("pool-eu", Some(110_000)), ("pool-us", late)];
            report(&state, &"default".into(), &plan(&serving)).last_client.unwrap()
        };
        assert_eq!((last(None).wall_ms, last(None).by.as_str()), (0, "awaited: pool-us"));
        assert_eq!(last(Some(112_000)).wall_ms, 112_000);
        assert_eq!(last(Some(112_000)).by, "pool-eu, pool-us let clients go on");
    }

    #[test]
    fn each_instance_has_what_became_of_it_with_the_proof_or_that_there_is_none() {
        let found = shown(&[("db-us", Some(109_000)), ("dns-us", None)]).instances;
        let said: Vec<(&str, &str, u64)> =
            found.iter().map(|i| (i.instance.as_str(), i.became.as_str(), i.wall_ms)).collect();
        let wanted = [
            ("db-eu", "fenced", 108_000),
            ("files-eu", "unfenced", 108_200),
            ("db-us", "promoted", 109_000),
            ("dns-us", "awaited", 0),
        ];
        assert_eq!(said, wanted);
        assert_eq!((found[0].by.as_str(), found[0].kind.as_str()), ("lease-expired", "postgres"));
    }

    #[test]
    fn a_plan_that_moved_nothing_yet_tells_of_no_recovery() {
        let shown = shown(&[]);
        assert_eq!((shown.first_write, shown.last_client), (None, None));
    }
}
