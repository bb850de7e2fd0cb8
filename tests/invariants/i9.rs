//! I9: without quorum nothing is promoted, and no change of mode is reported as in effect. (That an
//! armed active region serves only as long as its lease allows is I4's.)

use crate::sim::clock::{Nanos, SECOND};
use crate::sim::face::Told;
use crate::sim::host::Key;
use crate::sim::world::World;
use arbiter_core::{Epoch, GroupId, Layer, Mode, RegionId, State, Token};
use std::collections::BTreeMap;

/// No question is on its way for longer.
const ASKED_MAX: Nanos = 600 * SECOND;

/// What was decided, and when.
#[derive(Default)]
pub(super) struct Decided {
    actives: BTreeMap<(GroupId, Epoch), RegionId>,
    /// Modes that were State's, each with the time at which it ended to be.
    modes: Vec<(GroupId, Mode, Nanos)>,
}

/// Keep what each entry decided.
pub(super) fn remember(world: &mut World, before: &State, after: &State) {
    let (now, decided) = (world.now, &mut world.watch.decided);
    for (id, group) in &after.groups {
        if let Some(active) = group.active() {
            decided.actives.insert((id.clone(), group.epoch()), active.clone());
        }
        let was = before.groups.get(id).map(|group| group.mode);
        if let Some(was) = was.filter(|was| *was != group.mode) {
            decided.modes.push((id.clone(), was, now));
        }
    }
    decided.modes.retain(|(_, _, ended)| now < ended + ASKED_MAX);
}

impl World {
    /// A server is promoted now, for an order at `token`.
    pub fn watch_promotion(&mut self, key: &Key, token: Token) {
        let (group, instance) = key;
        let region = &self.topology.spec.groups[group].instances[instance].region;
        if self.watch.decided.actives.get(&(group.clone(), token.epoch)) != Some(region) {
            let line = format!("I9: {instance} is promoted at {token}, which no quorum decided");
            self.watch.seen.push(line);
        }
    }

    /// A client is told that a mode is in effect, from `state`: it was so since it asked, and
    /// whoever the mode counts on is armed.
    pub fn watch_told(&mut self, told: &Told, state: &State) {
        let Told { group, mode, asked } = told;
        let now = self.raft.newest().groups.get(group).map(|group| group.mode);
        let modes = &self.watch.decided.modes;
        let lately = modes.iter().any(|(id, was, end)| id == group && was == mode && end >= asked);
        let mut broken = Vec::new();
        if now != Some(*mode) && !lately {
            broken.push(format!("I9: {group} is told to be in mode {mode:?}, and is in {now:?}"));
        }
        let data = state.spec.groups[group].instances.values().filter(|i| i.layer == Layer::Data);
        let unarmed = data.map(|i| &i.agent).find(|agent| state.arming(agent, group).is_none());
        if let Some(agent) = unarmed.filter(|_| *mode != Mode::Observe) {
            broken.push(format!("I9: {mode:?} of {group} is told as in effect, {agent} unarmed"));
        }
        self.watch.seen.extend(broken);
    }
}
