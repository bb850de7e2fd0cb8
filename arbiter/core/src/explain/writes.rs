//! When a write is acknowledged: whom each primary is told to wait for. It holds up no plan.

use super::reason;
use crate::{CommitWait, Reason, Topic, decide::Context, orders::commits};
use std::collections::BTreeSet;

pub(super) fn writes(context: &Context) -> Vec<Reason> {
    let primaries = context.group.primaries.iter().filter(|_| context.group.plan.is_none());
    let said = primaries.filter_map(|(resource, id)| {
        let instance = context.spec.instances.get(id)?;
        let commits = commits(context.spec, context.group, instance)?;
        let text = format!("{resource}: {}", sentence(&commits.wait, commits.isolated.as_ref()));
        Some(reason(Topic::Readiness, "writes", true, text, String::new()))
    });
    said.collect()
}

fn sentence(wait: &CommitWait, isolated: Option<&BTreeSet<String>>) -> String {
    let all = |names: &BTreeSet<String>| names.iter().cloned().collect::<Vec<_>>();
    match (wait, isolated) {
        (CommitWait::Standbys(names), _) => {
            format!("acknowledged once {} has it", all(names).join(" and "))
        }
        (CommitWait::Isolated(names), _) => {
            format!("cut off: acknowledged once {} has it", all(names).join(" or "))
        }
        (CommitWait::Alone, _) => {
            "acknowledged by the primary alone: no standby to wait for".into()
        }
        (CommitWait::Blocked, _) => "not acknowledged until a standby is back".into(),
        (CommitWait::Configured, Some(names)) => format!(
            "acknowledged by the primary alone; once it misses two renewals, when {} has it",
            all(names).join(" or ")
        ),
        (CommitWait::Configured, None) => "acknowledged by the primary alone".into(),
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::*;
    use crate::*;

    fn said(world: &World) -> String {
        let reasons = explain_group(&world.state, &world.view, world.now, &group());
        let of = reasons.into_iter().filter(|reason| reason.code == "writes");
        of.map(|reason| reason.text).collect::<Vec<_>>().join("; ")
    }

    fn of(change: impl FnOnce(&mut Policy)) -> String {
        let mut spec = spec();
        change(&mut spec.groups.get_mut(&group()).unwrap().policy);
        let mut world = World::with(spec);
        world.enter(Mode::Manual);
        said(&world)
    }

    #[test]
    fn whom_a_write_waits_for_is_said_of_each_durability() {
        assert_eq!(of(|_| {}), "db: acknowledged by the primary alone");
        let stalls = of(|policy| policy.on_isolation = OnIsolation::Stall);
        assert!(stalls.ends_with("two renewals, when db-us-east has it"), "{stalls}");
        let strict = of(|policy| policy.durability = Durability::Strict);
        assert_eq!(strict, "db: acknowledged once db-us-east has it");
    }
}
