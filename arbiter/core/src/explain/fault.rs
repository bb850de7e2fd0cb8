//! Everything that is wrong with a group that serves, each with what an operator can do about it.
//! Knows words; finds none of them.

use super::reason;
use crate::{Reason, Topic, decide::Context};

/// What is wrong. One more here asks for its remedy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// An agent that does not report.
    AgentSilent,
    /// A restored group of which it is not known yet that nobody else serves.
    NotSettled,
    /// A standby that does not receive.
    NotStreaming,
    /// A loss that would be over the RPO.
    Lag,
    /// A strict primary without a synchronous standby.
    StrictAlone,
    /// WAL that does not reach the archive.
    Archive,
    /// An agent that is not armed.
    NotArmed,
    /// A best-effort instance that nothing fences.
    Unfenced,
    /// An old side that is no standby again.
    NotStandbyYet,
    /// What was not seen to serve under the public name.
    Verify,
    /// Records that name another region.
    Traffic,
    /// Records that could not be written.
    Unwritten,
    /// Records that somebody else changed.
    Drift,
    /// A pooler that does not do what it is told.
    Pooler,
    /// What is ordered to serve and does not yet.
    NotActive,
    /// What a driver says is missing.
    Resource,
    /// Two sides that differ.
    Parity,
    /// A fence that could not be proven.
    Fence,
    /// A fence that was not proven for long.
    FenceOld,
}

impl Fault {
    /// All of them, for tests.
    #[cfg(test)]
    pub const ALL: [Self; 19] = {
        use Fault::*;
        [
            AgentSilent,
            NotSettled,
            NotStreaming,
            Lag,
            StrictAlone,
            Archive,
            NotArmed,
            Unfenced,
            NotStandbyYet,
            Verify,
            Traffic,
            Unwritten,
            Drift,
            Pooler,
            NotActive,
            Resource,
            Parity,
            Fence,
            FenceOld,
        ]
    };

    /// What is told of `it`, with its remedy.
    pub fn told(self, context: &Context, it: &str, text: String) -> Reason {
        let remedy = self.remedy(&context.id.0, it);
        reason(self.topic(), self.code(), false, text, remedy)
    }

    fn topic(self) -> Topic {
        match self {
            Self::Resource | Self::Parity | Self::Fence | Self::FenceOld => Topic::Readiness,
            _ => Topic::Degraded,
        }
    }

    fn code(self) -> &'static str {
        match self {
            Self::AgentSilent => "agent-silent",
            Self::NotSettled => "not-settled",
            Self::NotStreaming => "not-streaming",
            Self::Lag => "lag",
            Self::StrictAlone => "strict-alone",
            Self::Archive => "archive",
            Self::NotArmed => "not-armed",
            Self::Unfenced => "unfenced",
            Self::NotStandbyYet => "not-standby-yet",
            Self::Verify => "verify",
            Self::Traffic | Self::Unwritten => "traffic",
            Self::Drift => "drift",
            Self::Pooler => "pooler",
            Self::NotActive => "not-active",
            Self::Resource => "resource",
            Self::Parity => "parity",
            Self::Fence | Self::FenceOld => "fence",
        }
    }

    /// What an operator can do: a command, or where to look and what changes by itself then. `it`
    /// is what the text is about: an agent, an instance, a zone.
    fn remedy(self, group: &str, it: &str) -> String {
        match self {
            Self::AgentSilent => format!(
                "start {it} on its host, or mend its way to the arbiters; if the region is gone: \
                 arbiter failover --group {group} --to REGION"
            ),
            Self::NotSettled => format!(
                "see what it waits for, and the log of that agent: arbiter explain --group {group}"
            ),
            Self::NotStreaming => "see the link between the regions".to_owned(),
            Self::Lag => "see replication".to_owned(),
            Self::StrictAlone => "see the standby and the link to it".to_owned(),
            Self::Archive => "see archive_command and the server's log".to_owned(),
            Self::NotArmed => format!("arbiter arm --group {group}"),
            Self::Unfenced => "it is fenced when it can be reached".to_owned(),
            Self::NotStandbyYet => format!(
                "it comes back by itself; where it does not, see the log of the agent beside {it}"
            ),
            Self::Verify => format!(
                "look up the public name from where it was not seen: arbiter traffic show --group \
                 {group}"
            ),
            Self::Traffic => format!(
                "{it} moves it by itself; if it does not: arbiter traffic show --group {group}"
            ),
            Self::Unwritten => format!(
                "mend what it names: {it} tries again by itself; arbiter traffic show --group \
                 {group}"
            ),
            Self::Drift => format!("arbiter traffic adopt {it} --group {group}"),
            Self::Pooler => "see the pooler and its settings".to_owned(),
            Self::NotActive => format!("see the log of the agent beside {it}"),
            Self::Resource => {
                format!("do as it says, then: arbiter check --group {group}")
            }
            Self::Parity => {
                format!("make {it} alike before it serves, then: arbiter check --group {group}")
            }
            Self::Fence => format!(
                "mend what it names on the host of {it}: the agent there tries again by itself"
            ),
            Self::FenceOld => format!(
                "see the log of the agent beside {it}: it rehearses by itself while its group is \
                 armed"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;
    use crate::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_fault_has_a_remedy_and_names_what_it_is_about() {
        for fault in Fault::ALL {
            let remedy = fault.remedy("shop", "it-self");
            assert!(!remedy.trim().is_empty(), "{fault:?}");
            for command in remedy.match_indices("arbiter ").map(|(at, _)| &remedy[at..]) {
                assert!(command.contains("--group shop"), "{fault:?}: {remedy}");
            }
        }
    }

    /// What is said of a world, by code.
    fn missing(world: &World) -> Vec<Reason> {
        let reasons = explain_group(&world.state, &world.view, world.now, &group());
        let faults = reasons.into_iter().filter(|reason| !reason.open);
        faults.filter(|r| matches!(r.topic, Topic::Degraded | Topic::Readiness)).collect()
    }

    /// Change what is shown of an instance.
    fn show(world: &mut World, id: &str, change: impl Fn(&mut InstanceReport)) {
        let reports = world.view.reports.values_mut();
        let groups = reports.flat_map(|heard| heard.report.groups.values_mut());
        groups.filter_map(|part| part.instances.get_mut(&id.into())).for_each(change);
    }

    fn error(message: &str) -> Option<ErrorReport> {
        let (token, message) = (Token::default(), message.to_owned());
        Some(ErrorReport { token, refused: false, stale: None, message })
    }

    /// One world after the other, until every code was said.
    #[test]
    fn whatever_is_told_to_be_wrong_is_told_with_a_remedy() {
        let mut said = Vec::new();
        let mut world = World::in_mode(Mode::Manual);
        world.link_cut = true;
        world.run(ms(1000));
        show(&mut world, "db-eu-west", |db| {
            db.fact.detail.insert(ARCHIVE_FAILS.into(), "no room".into());
            db.fact.detail.insert(FENCE_FAULT.into(), "no cgroup".into());
            db.fact.detail.insert(format!("{PARITY}lc"), "C".into());
        });
        show(&mut world, "db-us-east", |db| {
            db.fact.detail.insert(FENCE_PROVEN_MS.into(), "99999999".into());
            db.fact.detail.insert(format!("{PARITY}lc"), "de".into());
            db.fact.faults.push("its disk is full: make room".into());
        });
        show(&mut world, "dns-eu-west", |dns| {
            let names = Some(US.into());
            let drift = "A is 192.0.2.9".to_owned();
            dns.fact.traffic = Some(TrafficFact { names, drift, ..TrafficFact::default() });
            dns.error = error("NOTAUTH");
        });
        world.state.groups.get_mut(&group()).unwrap().lag = LagMark::Over;
        said.extend(missing(&world));

        let mut lost = World::in_mode(Mode::Manual);
        lost.cut(EU);
        lost.run(ms(6000));
        lost.open(&lost.request(PlanKind::Failover)).unwrap();
        lost.run(ms(40_000));
        let plan = lost.state.groups.get_mut(&group()).unwrap().plans.last_mut().unwrap();
        plan.steps.last_mut().unwrap().state = StepState::Degraded;
        lost.view.service.clear();
        said.extend(missing(&lost));

        let mut strict = spec();
        let shared = strict.groups.get_mut(&group()).unwrap();
        shared.policy.durability = Durability::Strict;
        let pooler = Instance {
            layer: Layer::Pooler,
            fencing: Fencing::BestEffort,
            resource: "pool".into(),
            ..shared.instances[&"db-eu-west".into()].clone()
        };
        shared.instances.insert("pool-eu-west".into(), pooler);
        let mut world = World::with(strict);
        world.operator(Command::Arm { group: group(), armed: true }).unwrap();
        world.state.groups.get_mut(&group()).unwrap().synchronous.clear();
        said.extend(missing(&world));
        world.enter(Mode::Manual);
        show(&mut world, "pool-eu-west", |pool| {
            (pool.done, pool.error) = (None, error("no console"));
        });
        said.extend(missing(&world));

        world.state.groups.get_mut(&group()).unwrap().unsettled = Some(Epoch(1));
        world.state.bindings.values_mut().for_each(|binding| binding.foreign = true);
        said.extend(missing(&world));

        let codes: BTreeSet<&str> = said.iter().map(|reason| reason.code.as_str()).collect();
        let all: BTreeSet<&str> = Fault::ALL.iter().map(|fault| fault.code()).collect();
        let unsaid: Vec<_> = all.difference(&codes).collect();
        assert!(unsaid.is_empty(), "no world has {unsaid:?}");
        for reason in said {
            assert!(!reason.next.is_empty(), "{reason:?}");
        }
    }
}
