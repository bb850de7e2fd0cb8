//! One case, played to its end: a group is set up, something breaks, a plan is asked for, what
//! comes of it is held against the world, all is mended, and it must end well. Knows the plan table
//! only by where a row is.

use super::{Case, Course, Ending, Part, Played};
use crate::invariants::astray;
use crate::sim::Options;
use crate::sim::broken::{Broken, How};
use crate::sim::clock::{MS, Nanos, SECOND};
use crate::sim::event::Due;
use crate::sim::fault::Fault;
use crate::sim::kinds::Kind;
use crate::sim::topology::Topology;
use crate::sim::world::World;
use arbiter_core::{
    Actor, Command, Group, GroupId, LagMark, Mode, OpenRequest, Plan, PlanEnd, PlanKind, Reason,
    StepId, Topic, explain_group, preflight,
};

/// How long a group may take to be ready for a plan.
const READY: Nanos = 60 * SECOND;
/// How long a driver that does not answer may take to be seen.
const SEEN: Nanos = 12 * SECOND;
/// How long a plan may run before it counts as waiting.
const PATIENCE: Nanos = 40 * SECOND;
/// How long after a plan all that can be said may take to be said.
const SETTLED: Nanos = 8 * SECOND;
/// How long after everything was mended nothing may be left to be said.
const WELL: Nanos = 120 * SECOND;
/// An agent that fails once is back after this.
const BACK: Nanos = SECOND;
/// The hosts of the source and of the target.
const SOURCE: usize = 0;
const TARGET: usize = 1;

/// The world of a case.
pub(super) struct Stage {
    world: World,
    case: Case,
    group: GroupId,
    /// The agent was struck, and whether it is back.
    struck: Option<bool>,
}

impl Stage {
    pub(super) fn new(case: Case, trace: bool) -> Self {
        // Every group has the others.
        let kinds = Kind::ALL.into_iter();
        let kinds = kinds.filter(|kind| !matches!(kind, Kind::Postgres | Kind::Dns));
        let topology = Topology::staged(&kinds.collect::<Vec<_>>());
        let world = World::staged(topology, Options { trace, ..Options::default() });
        Self { world, case, group: "g1".into(), struck: None }
    }

    pub(super) fn play(mut self) -> Played {
        let ending = self.acts();
        if let Err(why) = &ending {
            let line = format!("BROKEN {why}");
            self.world.say(|| line);
        }
        let cells = std::mem::take(&mut self.world.watch.cells);
        Played { ending, trace: self.world.transcript(), cells }
    }

    fn acts(&mut self) -> Result<Ending, String> {
        self.prepare()?;
        if self.case.course == Course::RegionLost {
            self.world.power_fails(SOURCE);
            self.world.kill_arbiter(SOURCE);
            self.pass(SECOND)?;
        }
        self.breaks();
        if self.case.row == StepId::Preflight {
            self.pass(SEEN)?;
        }
        let refused = self.opens()?;
        if let Some(why) = refused {
            self.names("the gate", &why)?;
            self.mend();
            self.reaches("the plan does not open, though all is mended", READY, |stage| {
                stage.may_open().is_ok()
            })?;
            if self.opens()?.is_some() {
                return Err("the plan did not open, though it might".to_owned());
            }
            self.must_complete()?;
            self.ends_well()?;
            return Ok(Ending::Refused);
        }
        let ending = self.plan_ends()?;
        self.is_said(ending)?;
        self.mend();
        if let Ending::Halted(_) = ending {
            self.resume()?;
        }
        if matches!(ending, Ending::Halted(_) | Ending::Waited(_)) {
            self.must_complete()?;
        }
        self.ends_well()?;
        Ok(ending)
    }

    // What there is.

    fn found(&self) -> Group {
        self.world.raft.newest().groups.get(&self.group).cloned().unwrap_or_default()
    }

    fn plan(&self) -> Option<Plan> {
        self.found().plan
    }

    fn leader(&self) -> Option<(usize, u64)> {
        self.world.raft.leading()
    }

    /// What `status` says now.
    fn said(&self) -> Vec<Reason> {
        let Some((leader, _)) = self.leader() else { return Vec::new() };
        let Some(view) = self.world.view(leader) else { return Vec::new() };
        let state = self.world.raft.state(leader);
        let now = self.world.arbiters[leader].clock.at(self.world.now);
        explain_group(&state, view, now, &self.group)
    }

    fn degraded(&self) -> Vec<Reason> {
        let said = self.said().into_iter();
        said.filter(|reason| reason.topic == Topic::Degraded && !reason.open).collect()
    }

    /// Nothing is left to be done or said.
    fn is_well(&self) -> bool {
        let group = self.found();
        group.plan.is_none()
            && group.lag == LagMark::Within
            && group.unfenced.is_empty()
            && astray(&self.world, self.world.raft.newest(), &self.group).is_empty()
            && self.world.dns.read(&self.group).is_some()
            && self.leader().is_some()
            && self.degraded().is_empty()
    }

    // How it goes on.

    fn step(&mut self) -> Result<(), String> {
        if let Some(broken) = self.world.step() {
            return Err(broken);
        }
        if self.case.part == Part::Agent && self.struck.is_none() && self.world.breaking() {
            self.strike();
        }
        Ok(())
    }

    fn pass(&mut self, time: Nanos) -> Result<(), String> {
        let until = self.world.now + time;
        while self.world.now < until {
            self.step()?;
        }
        Ok(())
    }

    /// Whether `is` comes to be so within `limit`.
    fn within(&mut self, limit: Nanos, is: impl Fn(&Self) -> bool) -> Result<bool, String> {
        let until = self.world.now + limit;
        while self.world.now < until {
            // It costs much to look at everything after each thing that happens.
            self.pass(50 * MS)?;
            if is(self) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn reaches(
        &mut self,
        or: &str,
        limit: Nanos,
        is: impl Fn(&Self) -> bool,
    ) -> Result<(), String> {
        if self.within(limit, is)? { Ok(()) } else { Err(or.to_owned()) }
    }

    fn ask(&mut self, command: Command) {
        if let Some((leader, term)) = self.leader() {
            self.world.ask(leader, term, command);
        }
    }

    fn prepare(&mut self) -> Result<(), String> {
        self.reaches("nobody leads", READY, |stage| stage.leader().is_some())?;
        let spec = self.world.topology.spec.clone();
        self.ask(Command::Initialize { cluster_id: "sim".into(), spec });
        self.reaches("no region is active", READY, |stage| stage.found().active().is_some())?;
        self.ask(Command::Arm { group: self.group.clone(), armed: true });
        let mut tries = 0..20;
        while self.found().mode != Mode::Manual {
            let (group, mode) = (self.group.clone(), Mode::Manual);
            let expected_epoch = self.found().epoch();
            tries.next().ok_or("the group gets no mode")?;
            self.ask(Command::SetMode { group, mode, expected_epoch });
            self.pass(SECOND)?;
        }
        self.reaches("it is never ready", READY, Self::is_well)
    }

    /// The plan as it would open, or the gates that are closed.
    fn may_open(&self) -> Result<arbiter_core::OpenPlan, String> {
        let kind = match self.case.course {
            Course::Switchover => PlanKind::Switchover,
            Course::Failover | Course::RegionLost => PlanKind::Failover,
        };
        let request = OpenRequest::plain(&self.group, kind, false);
        let (leader, _) = self.leader().ok_or("nobody leads")?;
        let view = self.world.view(leader).ok_or("nobody leads")?;
        let now = self.world.arbiters[leader].clock.at(self.world.now);
        preflight(&self.world.raft.state(leader), view, now, &request)
            .map_err(|gates| gates.into_iter().map(|gate| gate.text + "; ").collect::<String>())
    }

    /// Ask for the plan. Some: why it does not open.
    fn opens(&mut self) -> Result<Option<String>, String> {
        let open = match self.may_open() {
            Ok(open) => open,
            Err(why) => return Ok(Some(why)),
        };
        let plans = self.found().plans.len();
        self.ask(Command::OpenPlan(open));
        self.reaches("the plan did not open", SECOND, |stage| {
            stage.plan().is_some() || stage.found().plans.len() > plans
        })?;
        Ok(None)
    }

    fn plan_ends(&mut self) -> Result<Ending, String> {
        let over = |stage: &Self| stage.plan().is_none_or(|plan| plan.halt.is_some());
        self.within(PATIENCE, over)?;
        self.pass(SETTLED)?;
        if let Some(plan) = self.plan() {
            let step = plan.step().ok_or("an open plan has ended")?;
            return Ok(match plan.halt {
                Some(_) => Ending::Halted(step),
                None => Ending::Waited(step),
            });
        }
        match self.found().plans.last().and_then(|plan| plan.end.clone()) {
            Some(PlanEnd::Completed) if self.degraded().iter().all(|r| self.is_expected(r)) => {
                Ok(Ending::Completed)
            }
            Some(PlanEnd::Completed) => Ok(Ending::CompletedSaying),
            Some(PlanEnd::Aborted(_)) => Ok(Ending::Aborted),
            end => Err(format!("the plan ended as {end:?}")),
        }
    }

    /// That a region without power is not as it should be is said of it whatever else fails.
    fn is_expected(&self, reason: &Reason) -> bool {
        let of_it = reason.text.contains("-eu") && !reason.text.contains("-us");
        self.case.course == Course::RegionLost && (of_it || reason.code == "lag")
    }

    fn must_complete(&mut self) -> Result<(), String> {
        self.within(READY, |stage| stage.plan().is_none_or(|plan| plan.halt.is_some()))?;
        match self.plan() {
            None => {}
            Some(plan) => {
                let (step, halt) = (plan.step(), plan.halt.map(|halt| halt.reason));
                return Err(format!("mended, the plan does not go on from {step:?}: {halt:?}"));
            }
        }
        let end = self.found().plans.last().and_then(|plan| plan.end.clone());
        if end == Some(PlanEnd::Completed) { Ok(()) } else { Err(format!("it ended as {end:?}")) }
    }

    fn resume(&mut self) -> Result<(), String> {
        let plan = self.plan().ok_or("no plan is halted")?;
        let (group, expected_epoch) = (self.group.clone(), self.found().epoch());
        let (plan, accept_loss) = (plan.id, false);
        self.ask(Command::ResumePlan { group, plan, expected_epoch, accept_loss });
        self.reaches("the plan is not resumed", SECOND, |stage| {
            stage.plan().is_none_or(|plan| plan.halt.is_none())
        })
    }

    fn ends_well(&mut self) -> Result<(), String> {
        if self.case.course == Course::RegionLost {
            self.world.fault_now(Fault::Boot { host: SOURCE });
            self.world.fault_now(Fault::StartArbiter { arbiter: SOURCE, reboot: true });
        }
        if self.within(WELL, Self::is_well)? {
            return Ok(());
        }
        let left = astray(&self.world, self.world.raft.newest(), &self.group);
        let said: Vec<String> = self.degraded().into_iter().map(|reason| reason.text).collect();
        Err(format!("all is mended, and not well: {left:?}, {said:?}"))
    }

    // What fails.

    /// Whose side it is on: the one whose turn the row is.
    fn side(&self) -> usize {
        match self.case.row.row().on {
            Actor::Source => SOURCE,
            Actor::Target | Actor::Arbiters => TARGET,
            Actor::Leader => match self.case.row {
                StepId::StopLease | StepId::ProveFence => SOURCE,
                _ => TARGET,
            },
        }
    }

    fn breaks(&mut self) {
        let Case { part, row: from, how, for_good, .. } = self.case;
        let kind = match part {
            Part::Of(kind) => Some(kind),
            Part::Agent => None,
        };
        let left = if for_good { None } else { Some(1) };
        let region = Some(self.side());
        self.world.broken = Some(Broken { kind, region, from, how, left, begun: false });
    }

    fn strike(&mut self) {
        let host = self.side();
        match self.case.how {
            How::Errs => self.world.kill_agent(host),
            How::Refuses => self.world.power_fails(host),
            How::Hangs => self.world.freeze_agent(host),
        }
        self.struck = Some(false);
        if !self.case.for_good {
            let end = match self.case.how {
                How::Errs => Due::AgentStart { host },
                How::Refuses => Due::Fault(Fault::Boot { host }),
                How::Hangs => Due::Fault(Fault::ThawAgent { host }),
            };
            self.world.after(BACK, end);
        }
    }

    fn mend(&mut self) {
        self.world.say(|| "all is mended".to_owned());
        self.world.broken = None;
        if self.struck.is_some() && self.case.for_good {
            let host = self.side();
            match self.case.how {
                How::Errs => self.world.after(0, Due::AgentStart { host }),
                How::Refuses => self.world.fault_now(Fault::Boot { host }),
                How::Hangs => self.world.thaw_agent(host),
            }
        }
    }

    // What must be said.

    /// `text` names what fails.
    fn names(&self, what: &str, text: &str) -> Result<(), String> {
        let spec = &self.world.topology.spec.groups[&self.group];
        let agent = &self.world.topology.agents[self.side()];
        let mut named = spec.instances.iter().filter(|(_, instance)| match self.case.part {
            Part::Of(kind) => Kind::of(instance) == Some(kind),
            Part::Agent => instance.agent == *agent,
        });
        let resource = match self.case.part {
            Part::Of(kind) => format!("{} in ", kind.resource()),
            Part::Agent => agent.0.clone(),
        };
        if named.any(|(id, _)| text.contains(&id.0)) || text.contains(&resource) {
            return Ok(());
        }
        Err(format!("{what} does not name what failed: {text:?}"))
    }

    /// Nothing is half moved without a word of it.
    fn is_said(&self, ending: Ending) -> Result<(), String> {
        let said = self.said();
        let closed = |topic| {
            let texts = said.iter().filter(move |r| r.topic == topic && !r.open);
            texts.map(|r| r.text.clone() + "; ").collect::<String>()
        };
        match ending {
            Ending::Halted(_) => return self.names("the halt", &closed(Topic::Plan)),
            Ending::Waited(_) => {
                let waits = said.iter().filter(|r| r.topic == Topic::Plan);
                let waits: String = waits.map(|r| r.text.clone()).collect();
                return self.names("what the plan waits for", &waits);
            }
            Ending::Aborted => {
                let end = self.found().plans.last().and_then(|plan| plan.end.clone());
                self.names("the end", &format!("{end:?}"))?;
            }
            _ => {}
        }
        let degraded = closed(Topic::Degraded);
        for one in astray(&self.world, self.world.raft.newest(), &self.group) {
            let spec = &self.world.topology.spec.groups[&self.group];
            let agent = &spec.instances[&one.id].agent;
            let silent = format!("agent {agent} does not report");
            if !degraded.contains(&one.id.0) && !degraded.contains(&silent) {
                let what = format!("{} {}", one.id, one.what);
                return Err(format!("{ending:?}, {what}, and status does not say so: {degraded}"));
            }
        }
        Ok(())
    }
}
