//! Overrides: an operator goes through a closed gate by its name. Knows gates by their codes, and
//! which of them may be gone through; judges none.

use super::entry::{Entry, Outcome, refusal, stale};
use crate::{By, EventKind, GroupId, OpenPlan, Plan, PlanId, Rejected, Waited, WallMillis};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// How long an override holds for its plan, by the clock of one leader; past the point of no return
/// it has been used.
pub const OVERRIDE_LASTS: Duration = Duration::from_secs(60 * 60);

/// Gates about what a failover loses.
const OF_LOSS: [&str; 4] = ["rpo", "position-unknown", "candidate-behind", "strict"];

/// Every gate that an operator may override: what it guards is loss or comfort, never a fence.
pub const OVERRIDABLE: [&str; 7] =
    ["rpo", "position-unknown", "candidate-behind", "strict", "lag", "checksum", "obstacle"];

/// What guards against two regions that accept writes, or is no gate at all without it: nobody goes
/// through these.
pub const NEVER_OVERRIDDEN: [&str; 15] = [
    "fence",
    "evidence",
    "quorum",
    "epoch",
    "lease-alive",
    "not-fenced",
    "not-armed",
    "not-activated",
    "never-confirmed",
    "wrong-epoch",
    "plan-open",
    "witness",
    "target-not-ready",
    "source-silent",
    "source-not-healthy",
];

/// That an operator went through a gate, for one plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Override {
    /// Who.
    pub by: By,
    /// When, for people.
    pub at: WallMillis,
    /// The gate was closed.
    pub needed: bool,
    /// It holds no longer: see [`OVERRIDE_LASTS`].
    pub lapsed: bool,
}

/// Whether `gate` is about what a failover loses.
pub fn of_loss(gate: &str) -> bool {
    OF_LOSS.contains(&gate)
}

/// Whether these may be overridden.
///
/// # Errors
/// The first that may not, or that is no gate, with the list.
pub fn check_overrides<'a>(gates: impl IntoIterator<Item = &'a str>) -> Result<(), Rejected> {
    for gate in gates {
        if OVERRIDABLE.contains(&gate) {
            continue;
        }
        let next = format!("one of: {}", OVERRIDABLE.join(", "));
        if NEVER_OVERRIDDEN.contains(&gate) {
            let reason =
                format!("{gate} keeps two regions from accepting writes; nobody overrides it");
            return Err(refusal("never-overridden", reason, next));
        }
        let reason = format!("there is no gate {gate:?} that can be overridden");
        return Err(refusal("unknown-gate", reason, next));
    }
    Ok(())
}

impl OpenPlan {
    /// Whether the asker goes through `gate`. One that accepts any loss goes through all of those.
    pub(crate) fn overrides(&self, gate: &str) -> bool {
        self.overrides.contains_key(gate) || self.accept_loss && of_loss(gate)
    }

    /// What its plan keeps of it.
    pub(super) fn kept_overrides(&self, by: &By, at: WallMillis) -> BTreeMap<String, Override> {
        let kept = |(gate, needed): (&String, &bool)| {
            (gate.clone(), Override { by: by.clone(), at, needed: *needed, lapsed: false })
        };
        self.overrides.iter().map(kept).collect()
    }

    /// Its plan goes on with a loss over the RPO.
    pub(super) fn accepts_loss(&self) -> bool {
        self.accept_loss || self.overrides.keys().any(|gate| of_loss(gate))
    }
}

impl Plan {
    /// What was overridden still holds, and has not been used yet.
    pub(crate) fn may_lapse(&self) -> bool {
        let holds = self.overrides.values().any(|known| !known.lapsed);
        self.before_point_of_no_return() && (self.accept_loss || holds)
    }
}

/// An operator resumes a plan and accepts its loss.
pub(super) fn again(plan: &mut Plan, by: &By, at: WallMillis) {
    plan.accept_loss = true;
    let given = Override { by: by.clone(), at, needed: true, lapsed: false };
    plan.overrides.insert("rpo".to_owned(), given);
}

pub(super) fn lapse(entry: &mut Entry, group: &GroupId, id: PlanId, waited: Waited) -> Outcome {
    let plan = entry.plan(group, id)?;
    if !plan.may_lapse() {
        return stale(format!("nothing that plan {id} overrides can lapse"));
    }
    if waited.term != entry.at.term || waited.elapsed < OVERRIDE_LASTS {
        return stale("its time has not passed in this term");
    }
    let plan = entry.plan_mut(group, id)?;
    plan.accept_loss = false;
    plan.overrides.values_mut().for_each(|known| known.lapsed = true);
    let gates: Vec<&str> = plan.overrides.keys().map(String::as_str).collect();
    let what = if gates.is_empty() { "loss".to_owned() } else { gates.join(", ") };
    let message = format!("plan {id} of group {group}: the override of {what} lapsed");
    let next = format!("arbiter plan resume --group {group} --override rpo, once it is halted");
    entry.tell(EventKind::OverridesLapsed, Some(group), message, next);
    Ok(())
}
