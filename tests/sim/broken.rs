//! A resource whose driver fails, from one row of a plan on: once, or until it is mended. Knows the
//! row that State has reached; never what the plan makes of it.

use super::clock::{Nanos, SECOND};
use super::event::{Due, Work};
use super::host::Key;
use super::kinds::Kind;
use super::topology::Topology;
use super::world::World;
use arbiter_core::agent::{AgentEvent, Failure};
use arbiter_core::{Condition, Fact, StepId};

/// How long an agent waits for a driver that does not answer: longer than any plan of the
/// simulator has patience.
const SILENCE: Nanos = 60 * SECOND;

/// How a driver fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum How {
    /// It says that it may be tried again.
    Errs,
    /// It says that no retry helps.
    Refuses,
    /// It does not answer.
    Hangs,
}

impl How {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Errs, Self::Refuses, Self::Hangs];
}

/// What is broken, and when.
#[derive(Clone, Debug)]
pub struct Broken {
    /// The resource; none: it only says when.
    pub kind: Option<Kind>,
    /// Only its instances in this region, by index; none: everywhere.
    pub region: Option<usize>,
    /// It begins when the plan reaches this row; `preflight`: before there is a plan.
    pub from: StepId,
    /// How it fails.
    pub how: How,
    /// How many attempts are left that fail; none: all.
    pub left: Option<u32>,
    /// It has begun.
    pub begun: bool,
}

impl World {
    /// The row from which on it is broken was reached.
    pub fn breaking(&mut self) -> bool {
        let state = self.raft.newest().clone();
        let Some(broken) = &mut self.broken else { return false };
        let steps = state.groups.values().filter_map(|group| group.plan.as_ref()?.step());
        broken.begun |= broken.from == StepId::Preflight || steps.max() >= Some(broken.from);
        broken.begun
    }

    /// What an attempt of the driver of `key` meets; none: it is sound. A write is tried as soon as
    /// the goal is reached: what fails from `verify-target` on fails it before its row.
    fn meets(&mut self, host: usize, key: &Key, verifies: bool) -> Option<How> {
        let early = verifies && self.broken.as_ref()?.from == StepId::VerifyTarget;
        if !self.breaking() && !early {
            return None;
        }
        let region = self.topology.region(Topology::node(host));
        let instance = self.hosts[host].instances.get(key)?;
        let broken = self.broken.as_mut()?;
        let here = broken.kind.is_some()
            && Kind::of(instance) == broken.kind
            && broken.region.is_none_or(|broken| broken == region);
        if !here || broken.left == Some(0) {
            return None;
        }
        broken.left = broken.left.map(|left| left - 1);
        Some(broken.how)
    }

    /// The attempt fails, if its driver is broken.
    pub(super) fn fails(&mut self, work: &Work) -> Option<Result<(), Failure>> {
        let key = (work.group.clone(), work.instance.clone());
        let how = self.meets(work.host, &key, false)?;
        let text = format!("{} is broken", work.instance);
        Some(match how {
            How::Errs => Err(Failure::Retry(text)),
            How::Refuses => Err(Failure::Refused(text)),
            How::Hangs => {
                self.after(SILENCE, Due::WorkHung(work.clone()));
                Ok(())
            }
        })
    }

    /// What a broken driver sees, or does not see; the outer none: it is sound.
    pub(super) fn blinds(&mut self, host: usize, key: &Key) -> Option<Option<Fact>> {
        // Only of who is broken before there is a plan is anything read: attempts fail in a row.
        self.broken.as_ref().filter(|broken| broken.from == StepId::Preflight)?;
        Some(match self.meets(host, key, false)? {
            How::Hangs => None,
            How::Errs | How::Refuses => {
                let faults = vec![format!("{} is broken", key.1)];
                Some(Fact { condition: Condition::Unknown, faults, ..Fact::default() })
            }
        })
    }

    /// A verification fails, if its driver is broken. True: it does.
    pub(super) fn misses(&mut self, due: Due) -> bool {
        let Due::Verify { host, process, group, instance, token, .. } = due else { return false };
        let Some(how) = self.meets(host, &(group.clone(), instance.clone()), true) else {
            return false;
        };
        let text = format!("{instance} is broken");
        let failure = match how {
            How::Errs => Failure::Retry(text),
            How::Refuses => Failure::Refused(text),
            How::Hangs => {
                let hung = true;
                let due = Due::Verify { host, process, group, instance, token, hung };
                self.after(SILENCE, due);
                return true;
            }
        };
        let result = Err(failure);
        let event = AgentEvent::VerifyEnded { group, instance, token, result };
        self.agent_step(host, process, event);
        true
    }

    /// Whether arbiters cannot read the public name.
    pub(super) fn name_is_lost(&mut self) -> bool {
        let hidden = |broken: &Broken| {
            broken.kind == Some(Kind::Dns)
                && broken.from == StepId::VerifyService
                && broken.left.is_none()
        };
        self.breaking() && self.broken.as_ref().is_some_and(hidden)
    }
}
