//! Operators: they ask for what people ask for, at good times and bad. Knows the admin face's part:
//! each request goes to whoever leads, and is refused or proposed there.

use super::clock::{MS, SECOND};
use super::event::{Carries, Due};
use super::raft::VOTERS;
use super::world::World;
use arbiter_core::{
    By, Command, Group, GroupId, GroupSpec, Layer, Mode, OpenRequest, PlanKind, Proposal,
    RequestId, State, StepId, WallMillis, preflight, supersede,
};
use std::time::Duration;

impl World {
    /// One thing that an operator does.
    pub(super) fn operator(&mut self) {
        let pause = self.rng.range(300 * MS, 3 * SECOND);
        self.after(pause, Due::Operator);
        let leader = (0..VOTERS).find(|&arbiter| {
            let voter = &self.raft.voters[arbiter];
            voter.up && !voter.frozen && voter.leads.is_some()
        });
        let Some(leader) = leader else { return };
        let Some(term) = self.raft.voters[leader].leads else { return };
        let state = self.raft.state(leader);
        let Some(cluster) = &state.cluster_id else {
            let spec = self.topology.spec.clone();
            let command = Command::Initialize { cluster_id: "sim".into(), spec };
            return self.ask(leader, term, command);
        };
        let _ = cluster;
        self.unlock(&state);
        let groups: Vec<GroupId> = state.groups.keys().cloned().collect();
        for id in groups {
            let Some(group) = state.groups.get(&id) else { continue };
            let command = if self.healed {
                self.repair(&state, leader, &id, group)
            } else {
                self.whim(&state, leader, &id, group)
            };
            if let Some(command) = command {
                self.ask(leader, term, command);
            }
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
        if let Some(adopt) = adoption(state, id, group).filter(|_| self.rng.chance(500)) {
            return Some(adopt);
        }
        if let Some(plan) = group.plan.as_ref().filter(|plan| plan.halt.is_some()) {
            let (plan_id, expected_epoch) = (plan.id, group.epoch());
            if plan.before_point_of_no_return() && self.rng.chance(500) {
                let took = Duration::from_secs(1);
                let group = id.clone();
                return Some(Command::AbortPlan { group, plan: plan_id, expected_epoch, took });
            }
            if !plan.before_point_of_no_return() && self.rng.chance(300) {
                return self.superseding(state, leader, id);
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

    /// What people do.
    fn whim(
        &mut self,
        state: &State,
        leader: usize,
        id: &GroupId,
        group: &Group,
    ) -> Option<Command> {
        let expected_epoch = group.epoch();
        let group_id = id.clone();
        group.active()?;
        if !group.arming_wanted {
            let armed = true;
            return self.rng.chance(700).then_some(Command::Arm { group: group_id, armed });
        }
        if group.mode == Mode::Observe && self.rng.chance(600) {
            let mode = if self.rng.chance(700) { Mode::Automatic } else { Mode::Manual };
            return Some(Command::SetMode { group: group_id, mode, expected_epoch });
        }
        if let Some(plan) = &group.plan {
            return self.whim_in_plan(state, leader, id, group, plan.id);
        }
        if self.rng.chance(100)
            && let Some(adopt) = adoption(state, id, group)
        {
            return Some(adopt);
        }
        match self.rng.range(0, 29) {
            0 | 1 => self.opening(state, leader, id, PlanKind::Switchover),
            2 | 3 => self.opening(state, leader, id, PlanKind::Failover),
            4 => Some(Command::SetMode { group: group_id, mode: Mode::Observe, expected_epoch }),
            5 => Some(Command::Arm { group: group_id, armed: false }),
            6 | 7 => self.other_lease(state, id),
            8..=10 => self.drilling(id, group),
            _ => None,
        }
    }

    fn whim_in_plan(
        &mut self,
        state: &State,
        leader: usize,
        id: &GroupId,
        group: &Group,
        plan: arbiter_core::PlanId,
    ) -> Option<Command> {
        let (expected_epoch, group_id) = (group.epoch(), id.clone());
        if let Some(open) = group.plan.as_ref()
            && let Some(asked) = self.attesting(state, leader, id, open)
        {
            return asked;
        }
        match self.rng.range(0, 15) {
            0 | 1 => {
                let took = Duration::from_secs(1);
                Some(Command::AbortPlan { group: group_id, plan, expected_epoch, took })
            }
            2..=4 => {
                let accept_loss = self.rng.chance(500);
                Some(Command::ResumePlan { group: group_id, plan, expected_epoch, accept_loss })
            }
            5 => Some(Command::Arm { group: group_id, armed: false }),
            6 => self.superseding(state, leader, id),
            7 => self.other_lease(state, id),
            _ => None,
        }
    }

    fn opening(
        &mut self,
        state: &State,
        leader: usize,
        id: &GroupId,
        kind: PlanKind,
    ) -> Option<Command> {
        let request = self.request(id, kind);
        let local = self.arbiters[leader].clock.at(self.now);
        match preflight(state, self.view(leader)?, local, &request) {
            Ok(open) => Some(Command::OpenPlan(open)),
            Err(gates) => {
                self.say(|| format!("{kind:?} does not open: {gates:?}"));
                None
            }
        }
    }

    fn superseding(&mut self, state: &State, leader: usize, id: &GroupId) -> Option<Command> {
        let request = self.request(id, PlanKind::Failover);
        let local = self.arbiters[leader].clock.at(self.now);
        supersede(state, self.view(leader)?, local, &request).ok()
    }

    fn request(&mut self, id: &GroupId, kind: PlanKind) -> OpenRequest {
        OpenRequest {
            group: id.clone(),
            kind,
            target: None,
            expected_epoch: None,
            immediate: kind == PlanKind::Failover && self.rng.chance(500),
            accept_loss: self.rng.chance(700),
            by_policy: false,
            by_drill: false,
        }
    }

    /// Another L for one group.
    fn other_lease(&mut self, state: &State, id: &GroupId) -> Option<Command> {
        let mut spec = state.spec.clone();
        let longest = self.rng.range(1, 4) as u32;
        let policy = &mut spec.groups.get_mut(id)?.policy;
        let timing = self.topology.spec.groups.get(id)?.policy.timing;
        policy.timing.lease = timing.lease * longest;
        Some(Command::ApplyPolicy { spec })
    }
}

/// What an operator runs who reads of drift, or that a zone's token is gone.
fn adoption(state: &State, id: &GroupId, group: &Group) -> Option<Command> {
    let halted = group.plan.as_ref().is_some_and(|plan| {
        plan.halt.as_ref().is_some_and(|halt| halt.step == StepId::SwitchTraffic)
    });
    if group.drift.is_empty() && !halted {
        return None;
    }
    let mut instances = state.spec.groups.get(id)?.instances.values();
    let zone = GroupSpec::zone(instances.find(|instance| instance.layer == Layer::Traffic)?);
    Some(Command::AdoptTraffic { group: id.clone(), zone, expected_epoch: group.epoch() })
}
