//! Commands made from choices: each names what State has, or nearly so.

use super::Input;
use super::worlds::LIFE;
use arbiter_core::*;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What commands can name.
struct Names<'a, 'b> {
    input: &'a mut Input<'b>,
    state: &'a State,
    group: GroupId,
}

/// A proposal of one command.
pub fn proposal(input: &mut Input<'_>, state: &State) -> Proposal {
    let groups: Vec<GroupId> = state.spec.groups.keys().cloned().collect();
    let group = input.one_of(&groups).unwrap_or_else(|| "none".into());
    let asked = input.below(8);
    let request = (asked == 1).then(|| RequestId(format!("request-{}", input.below(4))));
    let by = if asked > 5 { By::Policy } else { By::Operator("ann".to_owned()) };
    let mut names = Names { input, state, group };
    let command = names.command();
    let wall = WallMillis(names.input.number());
    Proposal { request, by, reason: "because".to_owned(), wall, command }
}

impl Names<'_, '_> {
    /// One of `known`, and seldom one that nobody knows.
    fn named<T: Clone + From<&'static str>>(&mut self, known: Vec<T>) -> T {
        if self.input.below(16) == 15 {
            return "nobody".into();
        }
        self.input.one_of(&known).unwrap_or_else(|| "none".into())
    }

    fn spec(&self) -> Option<&GroupSpec> {
        self.state.spec.groups.get(&self.group)
    }

    fn found(&self) -> Option<&Group> {
        self.state.groups.get(&self.group)
    }

    fn region(&mut self) -> RegionId {
        self.named(self.state.spec.regions.keys().cloned().collect())
    }

    fn agent(&mut self) -> AgentId {
        self.named(self.state.spec.agents.keys().cloned().collect())
    }

    fn instance(&mut self) -> InstanceId {
        let known = self.spec().map(|spec| spec.instances.keys().cloned().collect());
        self.named(known.unwrap_or_default())
    }

    fn resource(&mut self) -> ResourceId {
        let known = self.spec().into_iter().flat_map(|spec| spec.instances.values());
        let known = known.map(|one| one.resource.clone()).collect();
        self.named(known)
    }

    fn life(&mut self) -> Incarnation {
        if self.input.below(8) == 7 { Incarnation(self.input.number()) } else { LIFE }
    }

    fn duration(&mut self) -> Duration {
        match self.input.below(8) {
            7 => Duration::MAX,
            6 => Duration::from_nanos(self.input.number()),
            5 => Duration::from_secs(self.input.number()),
            4 => Duration::from_secs(30),
            _ => Duration::from_millis(self.input.number()),
        }
    }

    fn waited(&mut self) -> Waited {
        let term = if self.input.flip() { super::worlds::behind(0).term } else { 9 };
        Waited { term, elapsed: self.duration() }
    }

    fn epoch(&mut self) -> Epoch {
        let now = self.found().map_or(0, |found| found.epoch().0);
        if self.input.below(8) == 7 { Epoch(self.input.number()) } else { Epoch(now) }
    }

    fn plan(&mut self) -> PlanId {
        let open = self.found().and_then(|found| found.plan.as_ref().or(found.plans.last()));
        let open = open.map(|plan| plan.id);
        match self.input.below(8) {
            7 => PlanId(self.input.number()),
            _ => open.unwrap_or(PlanId(1)),
        }
    }

    fn drill(&mut self) -> DrillId {
        let open = self.found().and_then(|found| found.drill.as_ref()).map(|drill| drill.id);
        open.unwrap_or(DrillId(self.input.number()))
    }

    fn token(&mut self) -> Token {
        let open = self.found().and_then(|found| found.plan.as_ref()).map(|plan| plan.fence_token);
        match (open, self.input.below(8)) {
            (Some(token), 0..=5) => token,
            _ => Token::new(self.input.number(), self.input.number()),
        }
    }

    fn step(&mut self) -> StepId {
        let turn = self.found().and_then(|found| found.plan.as_ref()).and_then(Plan::step);
        match (turn, self.input.below(8)) {
            (Some(step), 0..=5) => step,
            _ => STEPS[self.input.below(STEPS.len())].id,
        }
    }

    fn position(&mut self) -> Position {
        Position { timeline: self.input.below(4) as u32, offset: self.input.number() }
    }

    fn positions(&mut self) -> BTreeMap<ResourceId, Position> {
        (0..self.input.below(3)).map(|_| (self.resource(), self.position())).collect()
    }

    fn candidates(&mut self) -> BTreeMap<ResourceId, InstanceId> {
        let target = self.found().and_then(|found| found.plan.as_ref()).map(|p| p.target.clone());
        if self.input.below(4) != 3 {
            let target = target.unwrap_or_else(|| self.region());
            let all = self.spec().into_iter().flat_map(|spec| &spec.instances);
            let there = all.filter(|(_, one)| one.region == target && one.layer == Layer::Data);
            return there.map(|(id, one)| (one.resource.clone(), id.clone())).collect();
        }
        (0..self.input.below(3)).map(|_| (self.resource(), self.instance())).collect()
    }

    fn instances(&mut self) -> BTreeSet<InstanceId> {
        (0..self.input.below(4)).map(|_| self.instance()).collect()
    }

    fn kind(&mut self) -> EvidenceKind {
        use EvidenceKind::*;
        [Attested, ProviderAsserted, LeaseExpired, PowerOff, Confirmed][self.input.below(5)]
    }

    fn loss(&mut self) -> LossBound {
        let bytes = self.input.flip().then(|| self.input.number());
        LossBound { bytes, age: self.input.flip().then(|| self.duration()) }
    }

    fn words(&mut self) -> String {
        ["", "a word", "zeile\nzwei", "ü"][self.input.below(4)].to_owned()
    }

    fn open(&mut self) -> OpenPlan {
        let kind = if self.input.flip() { PlanKind::Failover } else { PlanKind::Switchover };
        OpenPlan {
            group: self.group.clone(),
            kind,
            target: self.region(),
            expected_epoch: self.epoch(),
            immediate: self.input.flip(),
            accept_loss: self.input.flip(),
            overrides: Default::default(),
            candidates: self.candidates(),
            source_end: self.positions(),
            loss: self.loss(),
            compared: vec![self.words()],
        }
    }

    fn outcome(&mut self) -> StepOutcome {
        use StepState::*;
        let states = [Done, Done, Done, Skipped, Unanswered, Degraded, Failed, Pending, Running];
        StepOutcome {
            state: states[self.input.below(states.len())],
            note: self.words(),
            source_end: self.positions(),
            candidates: self.candidates(),
            target_end: self.positions(),
            loss: self.input.flip().then(|| self.loss()),
        }
    }

    fn evidence(&mut self) -> Evidence {
        let instance = self.instance();
        let known = self.spec().and_then(|spec| spec.instances.get(&instance));
        let agent = known.map(|one| one.agent.clone());
        Evidence {
            kind: self.kind(),
            agent: agent.unwrap_or_else(|| self.agent()),
            instance,
            incarnation: self.life(),
            token: self.token(),
            term: super::worlds::behind(0).term,
            waited: self.input.flip().then(|| self.duration()),
            clean: self.input.flip(),
            note: self.words(),
        }
    }

    fn command(&mut self) -> Command {
        let which = self.input.below(COMMANDS);
        let group = self.group.clone();
        let flip = self.input.flip();
        match which {
            0..=11 => self.of_group(which, group, flip),
            12..=22 => self.of_plan(which, group, flip),
            23..=26 => self.of_drill(which, group, flip),
            _ => self.of_record(which, group),
        }
    }

    fn of_group(&mut self, which: usize, group: GroupId, armed: bool) -> Command {
        match which {
            0 => Command::Initialize { cluster_id: "x".into(), spec: self.state.spec.clone() },
            1 => Command::ApplyPolicy { spec: self.changed_spec() },
            2 => Command::RaiseVersion { version: self.input.below(4) as u32 },
            3 => {
                let (region, primaries) = (self.region(), self.candidates());
                Command::ActivateFirst { group, region, primaries }
            }
            4 => Command::Bind {
                agent: self.agent(),
                incarnation: self.life(),
                boot_id: self.words(),
                former_dead: armed.then(|| self.waited()),
            },
            5 => Command::Arm { group, armed },
            6 => {
                let (agent, incarnation) = (self.agent(), self.life());
                let arming = Arming { expiry_counts_as: self.kind() };
                Command::RecordArmed { group, agent, incarnation, arming }
            }
            7 => {
                let (agent, incarnation) = (self.agent(), self.life());
                Command::RecordUnarmed { group, agent, incarnation }
            }
            8 => {
                let mode = [Mode::Observe, Mode::Manual, Mode::Automatic][self.input.below(3)];
                Command::SetMode { group, mode, expected_epoch: self.epoch() }
            }
            9 => Command::RaiseLease { group, lease: self.duration() },
            10 => {
                let (lease, since) = (self.duration(), self.input.number());
                Command::LowerLease { group, lease, since, waited: self.waited() }
            }
            _ => {
                let (resource, primary) = (self.resource(), self.instance());
                let known = self.found().and_then(|found| found.synchronous.get(&resource));
                let since = known.map_or(0, |set| set.since);
                let (named, counted) = (self.instances(), self.instances());
                let set = Synchronous { named, counted, since };
                Command::SetSynchronous { group, resource, primary, set }
            }
        }
    }

    fn of_plan(&mut self, which: usize, group: GroupId, accept_loss: bool) -> Command {
        let (plan, took) = (self.plan(), self.duration());
        let expected_epoch = self.epoch();
        match which {
            12 => Command::OpenPlan(self.open()),
            13 | 14 => {
                let (step, outcome) = (self.step(), self.outcome());
                Command::EndStep { group, plan, step, outcome, took }
            }
            15 => Command::RetryStep { group, plan, step: self.step(), note: self.words() },
            16 | 17 => {
                let evidence = self.evidence();
                let end = accept_loss.then(|| self.position());
                Command::RecordEvidence { group, plan, evidence, end, took }
            }
            18 => {
                let halt = Halt { step: self.step(), reason: self.words(), next: self.words() };
                Command::HaltPlan { group, plan, halt }
            }
            19 => Command::ResumePlan { group, plan, expected_epoch, accept_loss },
            20 => Command::AbortPlan { group, plan, expected_epoch, took },
            21 => {
                let (open, stands) = (self.open(), self.positions());
                Command::Supersede { plan, open, stands, took }
            }
            _ => {
                let (instance, token) = (self.instance(), self.token());
                Command::Attest { group, plan, instance, token, waited: self.waited() }
            }
        }
    }

    fn of_drill(&mut self, which: usize, group: GroupId, accept_loss: bool) -> Command {
        use DrillPhase::*;
        let (drill, expected_epoch) = (self.drill(), self.epoch());
        match which {
            23 => {
                let kind = DrillKind::ALL[self.input.below(3)];
                Command::RunDrill { group, kind, accept_loss, expected_epoch }
            }
            24 => Command::OpenDrillPlan { drill, open: self.open() },
            25 => {
                let phase = [Rehearse, Execute, Check, FailBack][self.input.below(4)];
                let said = self.instances().into_iter().map(|id| (id, self.words())).collect();
                let failed = accept_loss.then(|| self.words());
                Command::EndDrillPhase { group, drill, phase, said, failed }
            }
            _ => Command::AbortDrill { group, drill, expected_epoch, took: self.duration() },
        }
    }

    fn of_record(&mut self, which: usize, group: GroupId) -> Command {
        let instance = self.instance();
        match which {
            27 => Command::RecordFenced { group, instance },
            28 => Command::RecordStandby { group, instance },
            29 => {
                let (from, end) = (self.position(), self.position());
                let loss = Loss::untold(from, end, WallMillis(self.input.number()));
                Command::RecordLoss { group, plan: self.plan(), instance, loss }
            }
            30 => {
                let (plan, instances) = (self.plan(), self.instances());
                Command::RecordServing { group, plan, instances }
            }
            31 => Command::RecordZone { group, zone: self.zone() },
            32 => Command::RecordDrift { group, instance, drift: self.words() },
            33 => {
                let (zone, expected_epoch) = (self.zone(), self.epoch());
                Command::AdoptTraffic { group, zone, expected_epoch }
            }
            34 => {
                let lag = [LagMark::Unknown, LagMark::Within, LagMark::Over][self.input.below(3)];
                Command::MarkLag { group, lag }
            }
            35 => Command::EndHoldDown { group, waited: self.waited() },
            _ => Command::RecordJudgement { group, would_have: self.words() },
        }
    }

    fn zone(&mut self) -> String {
        let known = self.spec().into_iter().flat_map(|spec| spec.instances.values());
        let known = known.filter(|one| one.layer == Layer::Traffic);
        let known: Vec<String> = known.map(GroupSpec::zone).collect();
        self.input.one_of(&known).unwrap_or_else(|| "example.test.".to_owned())
    }

    /// The specification in force with something else in it.
    fn changed_spec(&mut self) -> ClusterSpec {
        let mut spec = self.state.spec.clone();
        let (region, agent, instance) = (self.region(), self.agent(), self.instance());
        let (duration, which) = (self.duration(), self.input.below(8));
        let Some(group) = spec.groups.get_mut(&self.group) else { return spec };
        match which {
            0 => drop(spec.regions.remove(&region)),
            1 => drop(spec.agents.remove(&agent)),
            2 => drop(group.instances.remove(&instance)),
            3 => group.policy.initial_active = region,
            4 => group.policy.hold_down = duration,
            5 => group.policy.step_limit = duration,
            6 => drop(spec.groups.remove(&self.group)),
            _ => group.policy.preferred = Some(region),
        }
        spec
    }
}

/// Kinds of command, the likelier ones twice.
const COMMANDS: usize = 37;
