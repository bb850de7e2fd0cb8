//! An operator's word: the truthful one, before which the power is cut by hand, and mistakes, which
//! must all be refused.

use super::topology::{REGIONS, Topology};
use super::world::World;
use arbiter_core::{
    Command, GroupId, InstanceId, Plan, PlanId, Rejected, Revision, State, Token, Waited, attest,
};
use std::time::Duration;

impl World {
    /// The power is cut by hand, and nobody switches it on again while the plan is open.
    pub(super) fn truthful(
        &mut self,
        state: &State,
        leader: usize,
        id: &GroupId,
        plan: &Plan,
        nth: usize,
    ) -> Option<Command> {
        self.cut_power(&plan.source);
        for host in 0..self.hosts.len() {
            if REGIONS[self.topology.region(Topology::node(host))] == plan.source.as_str() {
                self.hosts[host].locked = true;
            }
        }
        let spec = state.spec.groups.get(id)?;
        let needing: Vec<&InstanceId> =
            spec.needing_evidence(&plan.source).map(|(id, _)| id).collect();
        let instance = needing.get(nth % needing.len().max(1))?;
        let local = self.arbiters[leader].clock.at(self.now);
        let asked = attest(state, self.view(leader)?, id, plan.id, instance, local);
        if matches!(&asked, Err(Rejected::Refused { code, .. }) if code == "lease-alive") {
            self.count("attestations refused: the lease may live", 1);
        }
        asked.ok()
    }

    /// Switched on again are regions that no open plan leaves.
    pub(super) fn unlock(&mut self, state: &State) {
        for host in 0..self.hosts.len() {
            let region = REGIONS[self.topology.region(Topology::node(host))];
            let mut plans = state.groups.values().filter_map(|group| group.plan.as_ref());
            if plans.all(|plan| plan.source.as_str() != region) {
                self.hosts[host].locked = false;
            }
        }
    }

    /// Another plan, another fence goal, or what a Report shows to be up.
    pub(super) fn mistaken(
        &mut self,
        state: &State,
        leader: usize,
        id: &GroupId,
        plan: &Plan,
        nth: usize,
    ) -> Option<Command> {
        let instances = &state.spec.groups.get(id)?.instances;
        let up = instances.keys().find(|instance| self.shown_up(state, leader, id, instance));
        let any = instances.keys().nth(nth % instances.len().max(1))?;
        let local = self.arbiters[leader].clock.at(self.now);
        let view = self.view(leader)?;
        let of_another = attest(state, view, id, PlanId(plan.id.0 + 1), any, local);
        let unfenced = up.map(|up| (up, attest(state, view, id, plan.id, up, local)));
        let term = view.term;
        if of_another.is_ok() {
            self.watch.seen.push(format!("I3: {any} is attested for a plan that is not open"));
        }
        self.count("attestations refused: another plan", 1);
        if let Some((up, attested)) = unfenced {
            if attested.is_ok() {
                let line = format!("I3: {up} is attested as fenced, and its agent shows it up");
                self.watch.seen.push(line);
            }
            self.count("attestations refused: it is up", 1);
        }
        let Token { epoch, revision } = plan.fence_token;
        let token = Token { epoch, revision: Revision(revision.0.saturating_sub(1)) };
        let waited = Waited { term, elapsed: Duration::from_secs(3600) };
        let (group, plan, instance) = (id.clone(), plan.id, any.clone());
        Some(Command::Attest { group, plan, instance, token, waited })
    }

    /// A Report of the bound life, heard within a renewal, shows that it accepts writes.
    fn shown_up(&self, state: &State, leader: usize, id: &GroupId, of: &InstanceId) -> bool {
        let spec = &state.spec.groups[id];
        let agent = &spec.instances[of].agent;
        let heard = self.view(leader).and_then(|view| view.reports.get(agent));
        let now = self.arbiters[leader].clock.at(self.now);
        heard.is_some_and(|heard| {
            let bound = state.bindings.get(agent).map(|bound| bound.incarnation);
            let shown = heard.report.groups.get(id).and_then(|part| part.instances.get(of));
            bound == Some(heard.report.incarnation)
                && now.since(heard.at) < spec.policy.timing.renewal
                && shown.is_some_and(|shown| shown.fact.writable)
        })
    }

    /// An attestation counted: for the plan that is open, and for its own fence goal.
    pub(super) fn attested(&mut self, command: &Command) {
        let Command::Attest { plan, instance, token, .. } = command else { return };
        let newest = self.raft.newest().clone();
        let found = newest.plan(*plan).map(|(_, plan)| plan);
        if found.is_none_or(|plan| plan.fence_token != *token) {
            let line = format!("I3: an attestation of {instance} at {token} counts for {plan}");
            self.watch.seen.push(line);
        }
    }
}
