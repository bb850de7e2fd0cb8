//! A small world for this crate's tests: two regions and a witness, agents that obey at once, and a
//! leader that proposes what `decide` says. It knows no latency and no loss; the simulator does.

mod agent;

pub use agent::FakeAgent;

use crate::*;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

pub const EU: &str = "eu-west";
pub const US: &str = "us-east";
pub const GROUP: &str = "default";
const STEP: Duration = Duration::from_millis(250);
const ROUNDS_MAX: usize = 64;

pub fn group() -> GroupId {
    GROUP.into()
}

pub fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn instance(resource: &str, region: &str, layer: Layer, fencing: Fencing) -> Instance {
    Instance {
        resource: resource.into(),
        region: region.into(),
        agent: format!("agent-{region}").into(),
        kind: "fake".to_owned(),
        layer,
        fencing,
        control: Control::Owned,
        evidence: [EvidenceKind::Confirmed, EvidenceKind::LeaseExpired].into(),
        waits: layer == Layer::Data && fencing == Fencing::Required,
        address: format!("{resource}.{region}:5432"),
        settings: (resource == "dns").then(|| ("zone".into(), "dns".into())).into_iter().collect(),
    }
}

pub fn policy() -> Policy {
    Policy {
        timing: Profile::Wan.timing(),
        initial_active: EU.into(),
        preferred: None,
        failback: Failback::Propose,
        detect_after: ms(4000),
        signal_kinds_min: 2,
        start_limit: ms(30_000),
        drain_limit: ms(10_000),
        clean_stop_limit: ms(1000),
        hold_down: ms(900_000),
        evidence_min: EvidenceKind::LeaseExpired,
        rpo: ms(60_000),
        allow_automatic: true,
        on_primary_failure: OnPrimaryFailure::Restart,
        abort_when_source_returns: true,
        supersede_by_itself: false,
        clients_decide: false,
        on_drift: OnDrift::Alert,
        rto: None,
        drill: DrillPolicy { limit: ms(60_000), ..DrillPolicy::default() },
        durability: Durability::Async,
        strict_alone: StrictAlone::Accept,
        on_isolation: OnIsolation::Serve,
        on_quorum_loss: OnQuorumLoss::Fence,
        external_fence: BTreeMap::new(),
        step_limit: ms(30_000),
        step_attempts_max: 3,
    }
}

/// A probe of a region that gives a kind of signal.
pub fn probe(region: &str, signal: SignalKind) -> ProbeSpec {
    ProbeSpec {
        region: region.into(),
        kind: "fake".to_owned(),
        signal,
        target: format!("db.{region}:5432"),
        limit: ms(1000),
        settings: BTreeMap::new(),
    }
}

pub fn spec() -> ClusterSpec {
    let mut instances = BTreeMap::new();
    for region in [EU, US] {
        let mut add = |resource: &str, layer, fencing| {
            instances.insert(
                format!("{resource}-{region}").into(),
                instance(resource, region, layer, fencing),
            );
        };
        add("db", Layer::Data, Fencing::Required);
        add("bucket", Layer::Data, Fencing::BestEffort);
        add("web", Layer::Workload, Fencing::BestEffort);
        add("dns", Layer::Traffic, Fencing::BestEffort);
    }
    let probes = [("eu-db", EU), ("us-db", US)]
        .map(|(name, region)| (name.to_owned(), probe(region, SignalKind::Health)));
    let voter = |node_id, region: &str| Voter {
        node_id,
        region: region.into(),
        address: format!("{region}:7400"),
    };
    ClusterSpec {
        regions: BTreeMap::from([
            (EU.into(), RegionKind::Data),
            (US.into(), RegionKind::Data),
            ("witness".into(), RegionKind::Witness),
        ]),
        voters: BTreeMap::from([
            ("arbiter-eu".into(), voter(1, EU)),
            ("arbiter-us".into(), voter(2, US)),
            ("arbiter-wi".into(), voter(3, "witness")),
        ]),
        agents: [EU, US].map(|r| (format!("agent-{r}").into(), r.into())).into(),
        groups: BTreeMap::from([(
            group(),
            GroupSpec { policy: policy(), instances, probes: probes.into() },
        )]),
        two_person: false,
    }
}

/// State, View and a clock, with agents.
pub struct World {
    pub state: State,
    pub view: View,
    pub now: Instant,
    pub at: LogId,
    pub agents: BTreeMap<AgentId, FakeAgent>,
    /// Regions that every other region's arbiter finds down.
    pub down: BTreeSet<RegionId>,
    /// What probes show, whatever is down; by probe.
    pub shown: BTreeMap<String, Option<bool>>,
    /// Where the primary's stream ends.
    pub written: u64,
    /// Nobody can read the token in the zone.
    pub tokenless: bool,
    /// The standby receives nothing.
    pub link_cut: bool,
    /// What was applied, in order.
    pub log: Vec<Command>,
}

impl World {
    /// A cluster that was initialised and activated, in `observe`, unarmed.
    pub fn observing() -> Self {
        Self::with(spec())
    }

    pub fn with(spec: ClusterSpec) -> Self {
        let agents = spec.agents.keys().enumerate();
        let agents = agents.map(|(n, id)| (id.clone(), FakeAgent::new(n as u64 + 100))).collect();
        let mut world = Self {
            state: State::default(),
            view: View::elected(1, Instant::from_millis(1_000_000)),
            now: Instant::from_millis(1_000_000),
            at: LogId { term: 1, index: 0 },
            agents,
            down: BTreeSet::new(),
            shown: BTreeMap::new(),
            written: 1000,
            tokenless: false,
            link_cut: false,
            log: Vec::new(),
        };
        world.operator(Command::Initialize { cluster_id: "test".into(), spec }).unwrap();
        world.state.version = STATE_VERSION_MAX;
        world.run(ms(3000));
        world
    }

    /// The same, armed and in `mode`.
    pub fn in_mode(mode: Mode) -> Self {
        let mut world = Self::observing();
        world.enter(mode);
        world
    }

    /// Arm, and set the mode.
    pub fn enter(&mut self, mode: Mode) {
        self.operator(Command::Arm { group: group(), armed: true }).unwrap();
        self.run(ms(3000));
        let expected_epoch = self.group().epoch();
        self.operator(Command::SetMode { group: group(), mode, expected_epoch }).unwrap();
        self.run(ms(3000));
    }

    pub fn group(&self) -> &Group {
        &self.state.groups[&group()]
    }

    pub fn plan(&self) -> &Plan {
        self.group().plan.as_ref().expect("a plan is open")
    }

    pub fn last_plan(&self) -> &Plan {
        self.group().plans.last().expect("a plan has ended")
    }

    pub fn agent(&mut self, region: &str) -> &mut FakeAgent {
        self.agents.get_mut(&AgentId(format!("agent-{region}"))).expect("an agent a region")
    }

    /// Cut a region off: its agent is silent, and its probes fail.
    pub fn cut(&mut self, region: &str) {
        self.agent(region).alive = false;
        self.down.insert(region.into());
    }

    pub fn heal(&mut self, region: &str) {
        self.agent(region).alive = true;
        self.down.remove(&RegionId::from(region));
    }

    /// The leader's wall clock is its other one.
    pub fn propose(&mut self, proposal: &Proposal) -> Result<(), Rejected> {
        self.at.index += 1;
        let proposal = Proposal { wall: self.wall(), ..proposal.clone() };
        self.state = apply(&self.state, &proposal, self.at)?.0;
        self.log.push(proposal.command.clone());
        Ok(())
    }

    pub fn operator(&mut self, command: Command) -> Result<(), Rejected> {
        let by = By::Operator("ada".to_owned());
        let reason = "a test".to_owned();
        self.propose(&Proposal { request: None, by, reason, wall: WallMillis(0), command })
    }

    pub fn wall(&self) -> WallMillis {
        WallMillis(self.now.since(Instant::default()).as_millis() as u64)
    }

    pub fn request(&self, kind: PlanKind) -> OpenRequest {
        OpenRequest::plain(&group(), kind, false)
    }

    pub fn open(&mut self, request: &OpenRequest) -> Result<(), Vec<Reason>> {
        let open = preflight(&self.state, &self.view, self.now, request)?;
        self.operator(Command::OpenPlan(open)).expect("preflight found nothing against it");
        Ok(())
    }

    /// Another leader is elected, which knows nothing.
    pub fn elect(&mut self) {
        self.at.term += 1;
        self.view = View::elected(self.at.term, self.now);
    }

    pub fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.tick();
        }
    }

    /// One period: agents report and are answered, arbiters probe, the leader decides until it has
    /// nothing left to say.
    pub fn tick(&mut self) {
        self.now = self.now + STEP;
        self.probe();
        let ids: Vec<AgentId> = self.agents.keys().cloned().collect();
        ids.iter().for_each(|id| self.report(id));
        for _ in 0..ROUNDS_MAX {
            self.view.note(&self.state, self.now);
            let accepted = self.decide_once();
            ids.iter().for_each(|id| self.push(id));
            if !accepted {
                return;
            }
        }
        panic!("decide does not come to rest: {:?}", &self.log[self.log.len() - 5..]);
    }

    /// Run, entry by entry, until it is the turn of `step`. False: the plan went past it, or ended.
    pub fn until(&mut self, step: StepId) -> bool {
        let ids: Vec<AgentId> = self.agents.keys().cloned().collect();
        for _ in 0..400 {
            match self.group().plan.as_ref().and_then(Plan::step) {
                Some(at) if at == step => return true,
                Some(at) if at < step => {}
                _ => return false,
            }
            self.view.note(&self.state, self.now);
            let proposals = decide(&self.state, &self.view, self.now);
            if !proposals.iter().any(|proposal| self.propose(proposal).is_ok()) {
                self.now = self.now + STEP;
                self.probe();
                ids.iter().for_each(|id| self.report(id));
            }
            ids.iter().for_each(|id| self.push(id));
        }
        panic!("{step} is never reached: {:#?}", self.group().plan);
    }

    /// Propose what `decide` says; says whether anything was accepted.
    pub fn decide_once(&mut self) -> bool {
        let proposals = decide(&self.state, &self.view, self.now);
        let accept = |proposal: &Proposal| self.propose(proposal).is_ok();
        proposals.iter().map(accept).fold(false, |any, one| any | one)
    }

    fn probe(&mut self) {
        let region = self.group_active();
        for (arbiter, voter) in self.state.spec.voters.clone() {
            if self.down.contains(&voter.region) {
                continue;
            }
            let now = self.now;
            for (name, probe) in self.state.spec.groups[&group()].probes.clone() {
                // Nobody alerts of a region, and no provider speaks of it, unless a test says so.
                let seen = probe.signal == SignalKind::Health && self.down.contains(&probe.region);
                let up = self.shown.get(&name).copied().unwrap_or(Some(!seen));
                self.view.probe(&arbiter, &group(), &name, up, String::new(), now);
            }
            let seen = ServiceSeen {
                at: now,
                region: region.clone(),
                token: self.traffic_token().filter(|_| !self.tokenless),
                reached: true,
                detail: "the name".to_owned(),
            };
            self.view.service_seen(&arbiter, &group(), seen);
        }
    }

    /// What the active region's agent has written into the zone.
    fn traffic_token(&self) -> Option<Token> {
        let group = self.state.groups.get(&group())?;
        Some(group.goal(group.active()?, Layer::Traffic)?.token)
    }

    fn group_active(&self) -> Option<RegionId> {
        self.state.groups.get(&group())?.active().cloned()
    }

    pub fn report(&mut self, id: &AgentId) {
        let Some(report) = self.report_of(id) else { return };
        if report.cluster_id != self.state.cluster_id {
            return;
        }
        self.view.hear(report.clone(), self.now);
        self.view.note(&self.state, self.now);
        for proposal in lag_crossing(&self.state, &self.view, &report, self.now) {
            self.propose(&proposal).expect("the crossing is news");
        }
        let answer = self.view.answer(&self.state, &report, self.now);
        self.obey(id, answer);
    }

    /// State changed: the agent is told, and its Report comes at once.
    fn push(&mut self, id: &AgentId) {
        if !self.agents[id].alive {
            return;
        }
        let Some(directive) = push(&self.state, &self.view, id) else { return };
        self.obey(id, directive);
        if let Some(report) = self.report_of(id) {
            self.view.hear(report, self.now);
        }
    }

    fn obey(&mut self, id: &AgentId, directive: Directive) {
        let agent = self.agents.get_mut(id).expect("known");
        for part in directive.groups.into_values() {
            agent.obeyed = agent.obeyed.max(part.revision);
            agent.leased = directive.answers.map_or(agent.leased, |_| part.lease.is_some());
            agent.leased &= !part.serves_on;
            let counts = Arming { expiry_counts_as: EvidenceKind::LeaseExpired };
            agent.arming = part.arm.then_some(agent.arming.unwrap_or(counts));
            for order in part.orders {
                agent.orders.insert(order.instance.clone(), order);
            }
        }
    }

    pub fn report_of(&mut self, id: &AgentId) -> Option<Report> {
        let spec = self.state.spec.groups.get(&group())?.clone();
        let primaries = self.group().primaries.clone();
        let (written, cut) = (self.written, self.link_cut);
        let source = self.group_active().unwrap_or_else(|| EU.into());
        let streams = !cut && self.agents[&format!("agent-{source}").as_str().into()].alive;
        let agent = self.agents.get_mut(id).filter(|agent| agent.alive)?;
        agent.sequence += 1;
        let own = spec.beside(id).map(|(name, instance)| (name.clone(), instance.clone()));
        let all = own.chain(external_fences_beside(&spec, id)).chain(drills_beside(&spec, id));
        let instances = all.map(|(name, instance)| {
            let primary = match primaries.get(&instance.resource) {
                Some(primary) if instance.control == Control::Delegated => {
                    spec.instances[primary].region == instance.region
                }
                Some(primary) => *primary == name,
                None => instance.region == RegionId::from(EU),
            };
            let shown = agent.shown(&name, &instance, primary, written, cut, streams);
            (name, shown)
        });
        let part = GroupReport {
            arming: agent.arming,
            deadline_running: agent.leased,
            lapsed: agent.lapsed,
            obeyed: agent.obeyed,
            instances: instances.collect(),
            ..GroupReport::default()
        };
        Some(Report {
            cluster_id: Some(agent.cluster.clone().unwrap_or_else(|| "test".into())),
            agent: id.clone(),
            incarnation: agent.life,
            boot_id: "boot".to_owned(),
            sequence: agent.sequence,
            groups: BTreeMap::from([(group(), part)]),
            watchdog: None,
            gaps: agent.gaps.clone(),
        })
    }
}
