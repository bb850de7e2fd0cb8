//! Lives after the first: once all is well and nothing else goes wrong, groups move again, by a
//! switchover or because their region is cut off. Knows what must come of it, and in what time.

use super::clock::{Nanos, SECOND};
use super::event::Carries;
use super::net::Link;
use super::scenario::Move;
use super::topology::REGIONS;
use super::world::World;
use arbiter_core::{Command, Epoch, GroupId, Mode, OpenRequest, PlanKind, preflight};
use std::time::Duration;

/// Moves in later lives, at most.
const MOVES_MAX: u64 = 6;
/// Seeds in a thousand that have later lives.
const SEEDS_PERMILLE: u64 = 500;
/// Moves in a thousand that a cut forces.
const CUTS_PERMILLE: u64 = 500;
/// How long all may take to be ready for the next move, before no more are made.
const READY_WITHIN: Nanos = 60 * SECOND;

/// With a shorter RPO a position may be too old before anybody knows that its region is lost.
const LONG_RPO: Duration = Duration::from_secs(30);

/// What is left of them, and the move that must come.
#[derive(Default)]
pub struct Lives {
    drawn: bool,
    left: u64,
    made: usize,
    waits_since: Option<Nanos>,
    moving: Option<Moving>,
}

/// A group that must leave its epoch.
struct Moving {
    group: GroupId,
    epoch: Epoch,
    links: Vec<Link>,
}

/// What comes after all that must be was found well.
pub(super) enum Next {
    /// Nothing.
    End,
    /// A look a little later.
    Look,
    /// Something was begun, that must have come to its end this long from now at the latest.
    Within(Nanos),
}

impl World {
    /// What is not yet as it must be: of the group that moves, else of all.
    pub(super) fn unwell(&self) -> Option<String> {
        let Some(moving) = &self.lives.moving else {
            return crate::invariants::liveness(self, None);
        };
        let id = &moving.group;
        let epoch = self.raft.newest().groups.get(id).map(|group| group.epoch());
        if epoch <= Some(moving.epoch) {
            return Some(format!("liveness: {id} had to leave epoch {}", moving.epoch));
        }
        crate::invariants::liveness(self, Some(id))
    }

    /// All is well: a move has come to its end, or the next begins.
    pub(super) fn next_life(&mut self) -> Next {
        let settle = 3 * self.longest_lease() + READY_WITHIN;
        if let Some(moving) = self.lives.moving.take() {
            self.net.mend(&moving.links);
            self.count("moves in later lives", 1);
            self.say(|| "the move is over, and all is mended".to_owned());
            return Next::Within(settle);
        }
        if !self.lives.drawn {
            self.lives.drawn = true;
            if !self.improvises {
                self.lives.left = self.script.moves.len() as u64;
            } else if self.people.chance(SEEDS_PERMILLE) {
                self.lives.left = self.people.range(1, MOVES_MAX);
            }
        }
        let since = *self.lives.waits_since.get_or_insert(self.now);
        if self.lives.left == 0 || self.now > since + READY_WITHIN {
            return Next::End;
        }
        if !self.begin_move() {
            return Next::Look;
        }
        self.lives.left -= 1;
        self.lives.waits_since = None;
        Next::Within(settle)
    }

    /// A group that is ready moves. False: none is.
    fn begin_move(&mut self) -> bool {
        let Some((leader, term)) = self.raft.leading() else { return false };
        let state = self.raft.state(leader);
        let nth = self.people.index(state.groups.len().max(1));
        let given = (!self.improvises).then(|| self.script.moves.get(self.lives.made)).flatten();
        let given = given.cloned();
        let id = match &given {
            Some(given) => Some(&given.group),
            None => state.groups.keys().nth(nth),
        };
        let Some(id) = id.cloned() else { return false };
        let (Some(group), Some(view)) = (state.groups.get(&id), self.view(leader)) else {
            return false;
        };
        // A life that is about to be bound changes what a plan was asked for.
        let bound = |agent| state.bindings.get(agent).map(|binding| binding.incarnation);
        let heard = |agent| view.reports.get(agent).filter(|heard| heard.connected);
        let speaks = |agent| heard(agent).map(|heard| heard.report.incarnation);
        if state
            .spec
            .agents
            .keys()
            .any(|agent| speaks(agent).is_none() || speaks(agent) != bound(agent))
        {
            return false;
        }
        let local = self.arbiters[leader].clock.at(self.now);
        let opens = |kind, by_policy| {
            preflight(&state, view, local, &OpenRequest::plain(&id, kind, by_policy))
        };
        let by_itself = opens(PlanKind::Failover, true).is_ok()
            && group.mode == Mode::Automatic
            && self.moves_by_itself(&id);
        let planned = opens(PlanKind::Switchover, false);
        let Ok(planned) = planned else { return false };
        let mut moving = Moving { group: id.clone(), epoch: group.epoch(), links: Vec::new() };
        let cut = match given {
            Some(given) => given.cut,
            None => by_itself && self.people.chance(CUTS_PERMILLE),
        };
        if cut && !by_itself {
            return false;
        }
        self.lives.made += 1;
        if self.improvises {
            self.script.moves.push(Move { group: id.clone(), cut });
        }
        if cut {
            let active = group
                .active()
                .and_then(|active| REGIONS.iter().position(|name| active.as_str() == *name));
            let nodes = self.topology.nodes_of(active.unwrap_or(0));
            moving.links = self.net.around(&nodes, true, true);
            self.net.cut(&moving.links);
            self.count("regions lost in later lives", 1);
            self.say(|| format!("all is well, and the active region of {id} is cut off"));
        } else {
            self.count("switchovers in later lives", 1);
            self.say(|| format!("all is well, and {id} is asked to move"));
            let proposal = self.operators(Command::OpenPlan(planned));
            self.propose(leader, term, proposal, Carries::Request);
        }
        self.lives.moving = Some(moving);
        true
    }

    /// Nothing of what its policy asks goes with the region that is lost: neither the only evidence
    /// that is strong enough, nor the only position that is young enough.
    fn moves_by_itself(&self, id: &GroupId) -> bool {
        let Some(spec) = self.raft.newest().spec.groups.get(id) else { return false };
        let policy = &spec.policy;
        let proven = self.topology.expiry_counts_as >= policy.evidence_min;
        (proven || !policy.external_fence.is_empty()) && policy.rpo > LONG_RPO
    }
}
