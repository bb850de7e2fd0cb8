//! What an operator wants, as data, and the command that the admin face makes of it from what the
//! leader knows. Knows nobody's reasons.

use super::world::World;
use arbiter_core::{
    Command, DrillKind, Durability, Group, GroupId, GroupSpec, Layer, Mode, OnDrift,
    OnPrimaryFailure, OpenRequest, PlanKind, Policy, State, StepId, StrictAlone, preflight,
    supersede,
};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How long a row ran that an operator ends, for people.
const TOOK: Duration = Duration::from_secs(1);

/// What an operator wants of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", rename_all_fields = "kebab-case")]
#[allow(missing_docs, reason = "named by the command that it asks for")]
pub enum Wish {
    Arm {},
    Disarm {},
    Mode {
        mode: Mode,
    },
    Open {
        kind: PlanKind,
        #[serde(default)]
        immediate: bool,
        #[serde(default)]
        accept_loss: bool,
    },
    Abort {},
    Resume {
        #[serde(default)]
        accept_loss: bool,
    },
    Supersede {
        #[serde(default)]
        immediate: bool,
        #[serde(default)]
        accept_loss: bool,
    },
    Adopt {},
    Drill {
        kind: DrillKind,
        #[serde(default)]
        accept_loss: bool,
    },
    EndDrill {},
    /// Power is cut by hand, and the fence of the nth instance that needs it attested.
    Attest {
        nth: usize,
    },
    /// Attestations that must be refused, one of the nth instance.
    Mistake {
        nth: usize,
    },
    /// L becomes so many times that of the profile.
    Lease {
        times: u32,
    },
    /// The RPO becomes the least that configuration accepts, or a minute.
    Rpo {
        #[serde(default)]
        short: bool,
    },
    /// Commits wait for a standby, or no more.
    Strict {
        #[serde(default)]
        on: bool,
        #[serde(default)]
        block: bool,
    },
    /// Drift is put in order, or left.
    Repair {
        #[serde(default)]
        on: bool,
    },
    /// How many kinds of signal make a region lost, and whether clients' word does.
    Signals {
        kinds: u8,
        #[serde(default)]
        clients: bool,
    },
    /// A primary that does not come back moves the group, or not.
    DeadPrimary {
        #[serde(default)]
        moves: bool,
    },
}

impl World {
    /// The command that `wish` comes to; none: as things stand there is none.
    pub(super) fn grant(
        &mut self,
        wish: Wish,
        state: &State,
        leader: usize,
        id: &GroupId,
    ) -> Option<Command> {
        let group = state.groups.get(id)?;
        let (expected_epoch, name) = (group.epoch(), id.clone());
        let plan = group.plan.as_ref().map(|plan| plan.id);
        Some(match wish {
            Wish::Arm {} => Command::Arm { group: name, armed: true },
            Wish::Disarm {} => Command::Arm { group: name, armed: false },
            Wish::Mode { mode } => Command::SetMode { group: name, mode, expected_epoch },
            Wish::Open { kind, immediate, accept_loss } => {
                let request =
                    OpenRequest { immediate, accept_loss, ..OpenRequest::plain(id, kind, false) };
                return self.opening(state, leader, &request);
            }
            Wish::Abort {} => {
                Command::AbortPlan { group: name, plan: plan?, expected_epoch, took: TOOK }
            }
            Wish::Resume { accept_loss } => {
                Command::ResumePlan { group: name, plan: plan?, expected_epoch, accept_loss }
            }
            Wish::Supersede { immediate, accept_loss } => {
                let plain = OpenRequest::plain(id, PlanKind::Failover, false);
                let request = OpenRequest { immediate, accept_loss, ..plain };
                let local = self.arbiters[leader].clock.at(self.now);
                return supersede(state, self.view(leader)?, local, &request).ok();
            }
            Wish::Adopt {} => return adoption(state, id, group),
            Wish::Drill { kind, accept_loss } => {
                Command::RunDrill { group: name, kind, accept_loss, expected_epoch }
            }
            Wish::EndDrill {} => {
                let drill = group.drill.as_ref()?.id;
                Command::AbortDrill { group: name, drill, expected_epoch, took: Duration::ZERO }
            }
            Wish::Attest { nth } => {
                return self.truthful(state, leader, id, group.plan.as_ref()?, nth);
            }
            Wish::Mistake { nth } => {
                return self.mistaken(state, leader, id, group.plan.as_ref()?, nth);
            }
            policy => return self.another_policy(policy, state, id),
        })
    }

    fn opening(&mut self, state: &State, leader: usize, request: &OpenRequest) -> Option<Command> {
        let local = self.arbiters[leader].clock.at(self.now);
        match preflight(state, self.view(leader)?, local, request) {
            Ok(open) => Some(Command::OpenPlan(open)),
            Err(gates) => {
                let kind = request.kind;
                self.note_refused(kind);
                self.say(|| format!("{kind:?} does not open: {gates:?}"));
                None
            }
        }
    }

    /// The specification with one thing of a group's policy changed.
    fn another_policy(&mut self, wish: Wish, state: &State, id: &GroupId) -> Option<Command> {
        let mut spec = state.spec.clone();
        let first = self.topology.timing;
        let policy = &mut spec.groups.get_mut(id)?.policy;
        let what = change(policy, wish, first.lease, 2 * first.renewal);
        self.count(what, 1);
        Some(Command::ApplyPolicy { spec })
    }
}

/// Change `policy`; says what, for the counts. `lease` is that of the profile.
fn change(policy: &mut Policy, wish: Wish, lease: Duration, renewals: Duration) -> &'static str {
    let least = |policy: &Policy| policy.detect_after + renewals;
    match wish {
        Wish::Lease { times } => {
            policy.timing.lease = lease * times;
            policy.rpo = policy.rpo.max(least(policy));
            "policies with another L"
        }
        Wish::Rpo { short } => {
            policy.rpo = if short { least(policy) } else { Duration::from_secs(60) };
            "policies with another RPO"
        }
        Wish::Strict { on, block } => {
            policy.durability = if on { Durability::Strict } else { Durability::Async };
            policy.strict_alone = if block { StrictAlone::Block } else { StrictAlone::Accept };
            "policies with another durability"
        }
        Wish::Repair { on } => {
            policy.on_drift = if on { OnDrift::Repair } else { OnDrift::Alert };
            "policies that treat drift otherwise"
        }
        Wish::Signals { kinds, clients } => {
            (policy.signal_kinds_min, policy.clients_decide) = (kinds, clients);
            "policies with other signals"
        }
        _ => {
            let moves = matches!(wish, Wish::DeadPrimary { moves: true });
            policy.on_primary_failure = if moves {
                OnPrimaryFailure::RestartThenFailover
            } else {
                OnPrimaryFailure::Restart
            };
            "policies that treat a dead primary otherwise"
        }
    }
}

/// What an operator runs who reads of drift, or that a zone's token is gone.
pub(super) fn adoption(state: &State, id: &GroupId, group: &Group) -> Option<Command> {
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
