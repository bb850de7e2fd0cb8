//! What agents do in a drill: parts beside the instances of a cluster file, each with an order of
//! its own. Knows who does which; never what a rehearsal or a check is.

use super::{DrillKind, DrillPhase};
use crate::{
    AgentId, Control, Drill, Fencing, Goal, Group, GroupId, GroupSpec, Instance, InstanceId, Layer,
    Order, RegionId, Terms,
};
use std::collections::BTreeSet;

/// The kind of driver that runs the user's checks.
pub const DRILL_CHECK: &str = "drill-check";
/// What the kind of a rehearsal begins with; the kind of what is rehearsed follows.
pub const REHEARSAL: &str = "rehearsal:";
/// In a Fact's detail: what a part of a drill says of itself.
pub const DRILL_SAID: &str = "drill";

/// In a part's settings, after [`DRILL_SAID`] and a dot: the kind of what it is a part of.
pub const DRILL_KIND: &str = "kind";
/// The setting that says as whom something runs.
const USER: &str = "user";

/// Under which name an agent runs the user's checks of `region`. No name in a cluster file holds a
/// colon.
pub fn check_id(region: &RegionId) -> InstanceId {
    InstanceId(format!("check:{region}"))
}

/// Under which name an agent rehearses the promotion of `instance`.
pub fn rehearsal_id(instance: &InstanceId) -> InstanceId {
    InstanceId(format!("rehearsal:{instance}"))
}

/// The parts that `agent` may be ordered to play. The commands are those of its own file: none
/// ever crosses the wire.
pub fn drills_beside(spec: &GroupSpec, agent: &AgentId) -> Vec<(InstanceId, Instance)> {
    let mut parts: Vec<_> = spec
        .beside(agent)
        .filter(|(_, instance)| is_rehearsed(instance))
        .map(|(id, own)| (rehearsal_id(id), part(spec, own, format!("{REHEARSAL}{}", own.kind))))
        .collect();
    let own = spec.beside(agent).map(|(_, instance)| instance).find(|i| i.needs_evidence());
    if let Some(own) = own.filter(|own| checker(spec, &own.region) == Some(agent)) {
        // As whom a rehearsal runs them too: what they may do is the same in both.
        let user = own.settings.get(USER).map(|user| (USER.to_owned(), user.clone()));
        let check = Instance { settings: user.into_iter().collect(), ..own.clone() };
        parts.push((check_id(&own.region), part(spec, &check, DRILL_CHECK.to_owned())));
    }
    parts
}

fn is_rehearsed(instance: &Instance) -> bool {
    matches!(instance.layer, Layer::Data | Layer::Workload | Layer::Watched)
}

fn part(spec: &GroupSpec, own: &Instance, kind: String) -> Instance {
    let mut settings = own.settings.clone();
    let checks = spec.policy.drill.check.iter();
    settings.extend(checks.map(|(key, value)| (format!("{DRILL_SAID}.{key}"), value.clone())));
    settings.insert(format!("{DRILL_SAID}.{DRILL_KIND}"), own.kind.clone());
    Instance {
        kind,
        layer: Layer::Data,
        // Never what an agent fences by itself, and nothing that a plan waits for.
        fencing: Fencing::BestEffort,
        control: Control::Api,
        evidence: BTreeSet::new(),
        waits: false,
        settings,
        ..own.clone()
    }
}

/// Who runs the checks of a region: the first agent beside its required data.
fn checker<'a>(spec: &'a GroupSpec, region: &RegionId) -> Option<&'a AgentId> {
    spec.needing_evidence(region).map(|(_, instance)| &instance.agent).min()
}

/// The parts of the present phase, and who plays each.
pub(crate) fn drill_parts(spec: &GroupSpec, drill: &Drill) -> Vec<(InstanceId, AgentId)> {
    match drill.phase {
        DrillPhase::Rehearse => {
            let there = spec.instances.iter().filter(|(_, i)| i.region == drill.away);
            let there = there.filter(|(_, i)| is_rehearsed(i));
            there.map(|(id, i)| (rehearsal_id(id), i.agent.clone())).collect()
        }
        DrillPhase::Check => {
            let agent = checker(spec, &drill.away);
            agent.map(|agent| (check_id(&drill.away), agent.clone())).into_iter().collect()
        }
        DrillPhase::Execute | DrillPhase::FailBack => Vec::new(),
    }
}

/// What `agent` is ordered for a drill: its parts of the open one; and to remove what the last
/// rehearsal may have left.
pub(crate) fn drill_orders(
    spec: &GroupSpec,
    group: &Group,
    id: &GroupId,
    agent: &AgentId,
) -> Vec<Order> {
    let order = |instance, goal, token| Order {
        group: id.clone(),
        instance,
        layer: Layer::Data,
        goal,
        token,
        verify: false,
        terms: Terms::default(),
        commits: None,
    };
    let last = group.drills.last().filter(|drill| drill.kind == DrillKind::Rehearsal);
    let (drill, goal) = match (&group.drill, last) {
        (Some(open), _) => (open, Goal::Active),
        (None, Some(last)) => (last, Goal::Standby),
        (None, None) => return Vec::new(),
    };
    let parts = drill_parts(spec, drill).into_iter().filter(|(_, who)| who == agent);
    parts.map(|(part, _)| order(part, goal, drill.token)).collect()
}
