//! States to begin with: what a new cluster has, and what became of it.

use arbiter::policy_file;
use arbiter_core::*;
use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;

/// Cluster files whose States are worth a start.
const FILES: &[&str] = &[
    include_str!("../../cluster-config/examples/three-nodes.toml"),
    include_str!("../../cluster-config/examples/drills.toml"),
    include_str!("../../cluster-config/examples/pgbouncer.toml"),
    include_str!("../../cluster-config/examples/bind.toml"),
    include_str!("../../arbiter/src/policy_file/example.toml"),
];
/// The life of every agent here.
pub const LIFE: Incarnation = Incarnation(7);
/// Term of every entry here.
const TERM: u64 = 3;

static WORLDS: LazyLock<Vec<State>> = LazyLock::new(|| {
    let mut worlds = vec![State::default()];
    for spec in FILES.iter().map(|file| spec(file)) {
        let mut world = World { state: State::default(), index: 0 };
        world.must(Command::Initialize { cluster_id: "fuzz".into(), spec: spec.clone() });
        worlds.push(world.state.clone());
        let groups: Vec<GroupId> = spec.groups.keys().cloned().collect();
        for group in &groups {
            world.serve(&spec, group);
        }
        worlds.push(world.state.clone());
        for group in &groups {
            world.open(&spec, group);
        }
        worlds.push(world.state.clone());
        for _ in 0..STEPS.len() {
            groups.iter().for_each(|group| world.go_on(group));
            worlds.push(world.state.clone());
        }
    }
    worlds.dedup();
    worlds
});

/// Every State here, each another: of no cluster, of new ones, and along the way of a plan.
pub fn worlds() -> &'static [State] {
    &WORLDS
}

/// A position in the log behind everything that a State here was made of.
pub fn behind(index: u64) -> LogId {
    LogId { term: TERM, index: 1_000_000 + index }
}

/// The cluster file that `state` is of, for a cluster of the name `id`.
pub fn file_of(state: &State, id: &str) -> String {
    let of = FILES.iter().find(|file| spec(file).groups == state.spec.groups);
    let file = of.expect("every State here is of a file");
    let line = file.lines().find(|line| line.starts_with("id = ")).expect("its name");
    file.replacen(line, &format!("id = \"{id}\""), 1)
}

fn spec(file: &str) -> ClusterSpec {
    let cluster = policy_file::parse(file, "cluster.toml");
    policy_file::to_spec(&cluster.unwrap_or_else(|faults| panic!("{faults}")))
}

struct World {
    state: State,
    index: u64,
}

impl World {
    fn propose(&mut self, command: Command) -> Result<u64, Rejected> {
        self.index += 1;
        let by = By::Operator("fuzz".to_owned());
        let (request, reason, wall) = (None, String::new(), WallMillis(self.index * 1000));
        let proposal = Proposal { request, by, reason, wall, command };
        let settled = settle(&self.state, &proposal, LogId { term: TERM, index: self.index });
        self.state = settled.state;
        settled.outcome
    }

    fn must(&mut self, command: Command) {
        if let Err(refused) = self.propose(command.clone()) {
            panic!("{command:?} is refused: {refused}");
        }
    }

    /// Its first region is active, every agent bound and armed, and the mode manual.
    fn serve(&mut self, spec: &ClusterSpec, group: &GroupId) {
        let of = &spec.groups[group];
        let (region, id) = (of.policy.initial_active.clone(), group.clone());
        let data = of.instances.iter().filter(|(_, one)| one.region == region);
        let data = data.filter(|(_, one)| one.layer == Layer::Data);
        let primaries = data.map(|(id, one)| (one.resource.clone(), id.clone())).collect();
        for agent in spec.agents.keys().cloned() {
            let boot_id = "boot".to_owned();
            let _ = self.propose(Command::Bind {
                agent,
                incarnation: LIFE,
                boot_id,
                former_dead: None,
            });
        }
        let _ = self.propose(Command::ActivateFirst { group: id.clone(), region, primaries });
        let _ = self.propose(Command::Arm { group: id.clone(), armed: true });
        for agent in spec.agents.keys().cloned() {
            let arming = Arming { expiry_counts_as: EvidenceKind::LeaseExpired };
            let (group, incarnation) = (id.clone(), LIFE);
            let _ = self.propose(Command::RecordArmed { group, agent, incarnation, arming });
        }
        let _ = self.propose(Command::SetMode {
            group: id,
            mode: Mode::Manual,
            expected_epoch: Epoch(1),
        });
    }

    /// A failover to the other region opens.
    fn open(&mut self, spec: &ClusterSpec, group: &GroupId) {
        let Some(found) = self.state.groups.get(group) else { return };
        let active = found.active().cloned();
        let data = spec.regions.iter().filter(|(_, kind)| **kind == RegionKind::Data);
        let Some(target) = data.map(|(id, _)| id).find(|id| Some(*id) != active.as_ref()) else {
            return;
        };
        let of = &spec.groups[group];
        let there = of.instances.iter().filter(|(_, one)| one.region == *target);
        let there = there.filter(|(_, one)| one.layer == Layer::Data);
        let candidates: BTreeMap<ResourceId, InstanceId> =
            there.map(|(id, one)| (one.resource.clone(), id.clone())).collect();
        let _ = self.propose(Command::OpenPlan(OpenPlan {
            group: group.clone(),
            kind: PlanKind::Failover,
            target: target.clone(),
            expected_epoch: found.epoch(),
            immediate: false,
            accept_loss: true,
            overrides: Default::default(),
            candidates,
            source_end: BTreeMap::new(),
            loss: LossBound { bytes: Some(100), age: Some(Duration::from_secs(1)) },
            compared: vec!["both have 7 tables".to_owned()],
        }));
    }

    /// The row whose turn it is ends as it should.
    fn go_on(&mut self, group: &GroupId) {
        let Some(plan) = self.state.groups.get(group).and_then(|found| found.plan.clone()) else {
            return;
        };
        let Some(step) = plan.step() else { return };
        let took = Duration::from_millis(250);
        let (id, of) = (group.clone(), self.state.spec.groups.get(group).cloned());
        let source = of.iter().flat_map(|of| &of.instances);
        let source = source.filter(|(_, one)| one.region == plan.source && one.needs_evidence());
        if matches!(step, StepId::FenceSource | StepId::ProveFence) {
            for (instance, one) in source.map(|(id, one)| (id.clone(), one.clone())) {
                let evidence = Evidence {
                    kind: EvidenceKind::Confirmed,
                    instance,
                    agent: one.agent,
                    incarnation: LIFE,
                    token: plan.fence_token,
                    term: TERM,
                    waited: None,
                    clean: true,
                    note: "stopped cleanly".to_owned(),
                };
                let end = Some(Position { timeline: 1, offset: 0x500_0000 });
                let (group, plan) = (id.clone(), plan.id);
                let _ = self.propose(Command::RecordEvidence { group, plan, evidence, end, took });
            }
            return;
        }
        let outcome = StepOutcome {
            state: StepState::Done,
            note: "done".to_owned(),
            candidates: plan.candidates.clone(),
            loss: Some(plan.loss),
            ..StepOutcome::default()
        };
        let _ = self.propose(Command::EndStep { group: id, plan: plan.id, step, outcome, took });
    }
}
