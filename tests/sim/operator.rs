//! Operators: they want what people want, at good times and bad. Knows the admin face's part: each
//! request goes to whoever leads, and is refused or proposed there.

use super::clock::{MS, SECOND};
use super::event::{Carries, Due};
use super::raft::ARBITERS;
use super::scenario::At;
use super::text::words;
use super::wish::{Wish, adoption};
use super::world::World;
use arbiter_core::{
    By, Command, DrillKind, Group, GroupId, Mode, Plan, PlanKind, Proposal, RequestId,
    STATE_VERSION_MAX, State, StepId, WallMillis,
};
use std::time::Duration;

impl World {
    /// One round of what operators do.
    pub(super) fn operator(&mut self) {
        let pause = self.rounds.range(300 * MS, 3 * SECOND);
        self.after(pause, Due::Operator);
        let Some((leader, term)) = self.raft.leading() else { return };
        let state = self.raft.state(leader);
        if state.cluster_id.is_none() {
            let spec = self.topology.spec.clone();
            let command = Command::Initialize { cluster_id: "sim".into(), spec };
            return self.ask(leader, term, command);
        }
        self.unlock(&state);
        for (id, group) in &state.groups {
            if self.healed {
                if let Some(command) = self.repair(&state, leader, id, group) {
                    self.ask(leader, term, command);
                }
            } else if self.improvises
                && let Some(wish) = self.whim(&state, id, group)
            {
                self.script.wishes.push(At { at: self.now, what: (id.clone(), wish) });
                self.wished(id, wish);
            }
        }
        // After what they want: in a replay that comes first too.
        if let Some(command) = self.keep_house(&state) {
            self.ask(leader, term, command);
        }
    }

    /// An operator asks for what was wished.
    pub(super) fn wished(&mut self, id: &GroupId, wish: Wish) {
        if self.healed {
            return;
        }
        let Some((leader, term)) = self.raft.leading() else { return };
        let state = self.raft.state(leader);
        self.say(|| format!("wish {id} {}", words(&wish)));
        if let Some(command) = self.grant(wish, &state, leader, id) {
            self.ask(leader, term, command);
        }
    }

    /// An operator asks for it.
    pub(super) fn ask(&mut self, leader: usize, term: u64, command: Command) {
        let proposal = self.operators(command);
        self.propose(leader, term, proposal, Carries::Request);
    }

    /// `command`, as an operator asks for it.
    pub(super) fn operators(&mut self, command: Command) -> Proposal {
        self.requests += 1;
        Proposal {
            request: Some(RequestId(format!("r{}", self.requests))),
            by: By::Operator("op".to_owned()),
            reason: "asked".to_owned(),
            wall: WallMillis(self.now / MS),
            command,
        }
    }

    /// The specification names who votes, and State has the newest version that all voters have.
    fn keep_house(&mut self, state: &State) -> Option<Command> {
        if let Some(voters) = self.voters_to_name(state) {
            // Before version 2 there is no command of its own for them.
            if state.version >= 2 {
                return Some(Command::SetVoters { voters, joining: state.joining.clone() });
            }
            let spec = arbiter_core::ClusterSpec { voters, ..state.spec.clone() };
            return Some(Command::ApplyPolicy { spec });
        }
        let counted = |at: &usize| self.raft.is_voter(*at) || self.raft.is_learner(*at);
        let builds = (0..ARBITERS).filter(counted).map(|at| self.raft.voters[at].supports);
        // Who raises it too early asks only the one that leads.
        let early = self.planted(arbiter_core::plant::Plant::VersionRaisedTooEarly);
        let version = if early { builds.max() } else { builds.min() }.unwrap_or(STATE_VERSION_MAX);
        (version > state.version).then_some(Command::RaiseVersion { version })
    }

    /// What is done so that a cluster serves: armed, in a mode, plans ended.
    fn repair(
        &mut self,
        state: &State,
        leader: usize,
        id: &GroupId,
        group: &Group,
    ) -> Option<Command> {
        if !group.arming_wanted && group.active().is_some() {
            return Some(Command::Arm { group: id.clone(), armed: true });
        }
        if let Some(adopt) = adoption(state, id, group).filter(|_| self.people.chance(500)) {
            return Some(adopt);
        }
        if let Some(plan) = group.plan.as_ref().filter(|plan| plan.halt.is_some()) {
            let (plan_id, expected_epoch) = (plan.id, group.epoch());
            if plan.before_point_of_no_return() && self.people.chance(500) {
                let took = Duration::from_secs(1);
                let group = id.clone();
                return Some(Command::AbortPlan { group, plan: plan_id, expected_epoch, took });
            }
            if !plan.before_point_of_no_return() && self.people.chance(300) {
                let (immediate, accept_loss) = (self.people.chance(500), self.people.chance(700));
                let wish = Wish::Supersede { immediate, accept_loss };
                return self.grant(wish, state, leader, id);
            }
            let group = id.clone();
            let accept_loss = true;
            return Some(Command::ResumePlan { group, plan: plan_id, expected_epoch, accept_loss });
        }
        if group.mode == Mode::Observe && group.active().is_some() {
            let (mode, expected_epoch) = (Mode::Automatic, group.epoch());
            return Some(Command::SetMode { group: id.clone(), mode, expected_epoch });
        }
        None
    }

    /// What people want.
    fn whim(&mut self, state: &State, id: &GroupId, group: &Group) -> Option<Wish> {
        group.active()?;
        let people = &mut self.people;
        if !group.arming_wanted {
            return people.chance(700).then_some(Wish::Arm {});
        }
        if group.mode == Mode::Observe && people.chance(600) {
            let mode = if people.chance(700) { Mode::Automatic } else { Mode::Manual };
            return Some(Wish::Mode { mode });
        }
        if let Some(plan) = &group.plan {
            let instances = state.spec.groups.get(id)?.instances.len();
            return self.whim_in_plan(plan, instances);
        }
        if people.chance(100) && adoption(state, id, group).is_some() {
            return Some(Wish::Adopt {});
        }
        match people.range(0, 33) {
            0 | 1 => Some(self.open(PlanKind::Switchover)),
            2 | 3 => Some(self.open(PlanKind::Failover)),
            4 => Some(Wish::Mode { mode: Mode::Observe }),
            5 => Some(Wish::Disarm {}),
            6 | 7 => Some(Wish::Lease { times: people.range(1, 4) as u32 }),
            8..=10 => self.drilling(group),
            11 | 12 => Some(self.another()),
            _ => None,
        }
    }

    fn open(&mut self, kind: PlanKind) -> Wish {
        let immediate = kind == PlanKind::Failover && self.people.chance(500);
        Wish::Open { kind, immediate, accept_loss: self.people.chance(700) }
    }

    /// Another policy.
    fn another(&mut self) -> Wish {
        let people = &mut self.people;
        match people.range(0, 5) {
            0 => Wish::Rpo { short: people.chance(500) },
            1 | 2 => Wish::Strict { on: people.chance(500), block: people.chance(200) },
            3 => Wish::Repair { on: people.chance(500) },
            4 => Wish::Signals { kinds: people.range(1, 2) as u8, clients: people.chance(200) },
            _ => Wish::DeadPrimary { moves: people.chance(500) },
        }
    }

    fn whim_in_plan(&mut self, plan: &Plan, instances: usize) -> Option<Wish> {
        if let Some(asked) = self.attesting(plan, instances) {
            return asked;
        }
        let people = &mut self.people;
        match people.range(0, 15) {
            0 | 1 => Some(Wish::Abort {}),
            2..=4 => Some(Wish::Resume { accept_loss: people.chance(500) }),
            5 => Some(Wish::Disarm {}),
            6 => {
                let (immediate, accept_loss) = (people.chance(500), people.chance(700));
                Some(Wish::Supersede { immediate, accept_loss })
            }
            7 => Some(Wish::Lease { times: people.range(1, 4) as u32 }),
            8 => Some(self.another()),
            _ => None,
        }
    }

    /// What an operator wants who looks at the open plan of a group. None: nothing of that kind;
    /// some: that, and whether a wish comes of it.
    fn attesting(&mut self, plan: &Plan, instances: usize) -> Option<Option<Wish>> {
        let people = &mut self.people;
        let before = plan.kind == PlanKind::Failover && plan.before_point_of_no_return();
        if before && people.chance(200) {
            return Some(Some(Wish::Mistake { nth: people.index(instances.max(1)) }));
        }
        let waits = plan.step() == Some(StepId::ProveFence) && plan.halt.is_some();
        if before && waits && people.chance(800) {
            return Some(Some(Wish::Attest { nth: people.index(instances.max(1)) }));
        }
        // Who sees that evidence is waited for does not undo the plan at once.
        (plan.step() == Some(StepId::ProveFence) && people.chance(800)).then_some(None)
    }

    /// Run a drill, or end the open one.
    fn drilling(&mut self, group: &Group) -> Option<Wish> {
        let people = &mut self.people;
        if group.drill.is_some() {
            return people.chance(200).then_some(Wish::EndDrill {});
        }
        let kind = DrillKind::ALL[people.index(DrillKind::ALL.len())];
        let accept_loss = kind == DrillKind::RegionLoss && people.chance(500);
        Some(Wish::Drill { kind, accept_loss })
    }
}
