//! What is told of one bucket: its Fact, with readiness faults and what people want to see. Asks
//! nobody.

use super::canary::Canary;
use super::{Inner, Memory, Seen};
use crate::clock;
use crate::drivers::DriverError;
use crate::drivers::bucket::Provider;
use arbiter_core::{Condition, Fact, Goal, Position, Upstream};
use std::time::Duration;

impl Inner {
    /// The Fact of one look.
    pub(super) fn fact(&self, seen: &Seen) -> Fact {
        let memory = self.memory().clone();
        let goal = memory.goal.map(|(goal, ..)| goal);
        let mut fact = Fact {
            condition: match goal {
                Some(Goal::Fenced | Goal::Drained) if seen.fence.holds() => Condition::Stopped,
                _ => Condition::Healthy,
            },
            writable: !seen.fence.holds(),
            ..Fact::default()
        };
        tell(&mut fact, "place", self.settings.place.to_string());
        tell(&mut fact, "fence", fence(seen, &memory));
        tell(&mut fact, "replication", memory.direction.clone());
        if let Some(late) = &memory.late {
            tell(&mut fact, "late-writes", late.said.clone());
            fact.lost = late.loss.clone();
        }
        for name in &self.settings.unused {
            fact.faults.push(format!("the setting {name} says nothing here: take it out"));
        }
        fact.faults.extend(Some(memory.direction_fault.clone()).filter(|fault| !fault.is_empty()));
        self.fence_faults(&mut fact, seen, goal);
        match goal {
            Some(Goal::Active) => self.active(&mut fact, seen, &memory),
            Some(_) => self.standby(&mut fact, seen, &memory),
            None => {
                tell(&mut fact, "lag", "not measured: nothing was ordered of this region".into());
            }
        }
        fact
    }

    /// The Fact of a look that failed: unknown, and why as a fault, before it matters.
    pub(super) fn unseen(&self, error: &DriverError) -> Fact {
        let mut fact = Fact { condition: Condition::Unknown, ..Fact::default() };
        tell(&mut fact, "place", self.settings.place.to_string());
        tell(&mut fact, "error", error.to_string());
        fact.faults.push(error.to_string());
        fact
    }

    fn fence_faults(&self, fact: &mut Fact, seen: &Seen, goal: Option<Goal>) {
        let azure = self.settings.place.provider() == Provider::Azure;
        let place = &self.settings.place;
        if azure && self.settings.access_policies.is_empty() {
            fact.faults.push(format!(
                "{place} cannot be fenced: issue your writers' tokens by stored access policies and \
                 name them in access_policies"
            ));
        } else if matches!(goal, Some(goal) if goal != Goal::Active) && !seen.fence.holds() {
            fact.faults.push(format!(
                "{place} accepts writes though this region is not active: see who changed its \
                 policy; the fence comes back with the next order"
            ));
        } else if goal == Some(Goal::Active) && seen.fence.holds() {
            fact.faults.push(format!(
                "{place} is fenced though this region is active: see who changed its policy, and \
                 take the fence out of it"
            ));
        }
    }

    fn active(&self, fact: &mut Fact, seen: &Seen, memory: &Memory) {
        let own = memory.own.as_ref().or(seen.canaries.of(&self.settings.region));
        tell(fact, "canary", own.map_or("none yet".to_owned(), canary));
        let fault = &memory.canary_fault;
        fact.faults.extend(Some(fault.clone()).filter(|fault| !fault.is_empty()));
    }

    fn standby(&self, fact: &mut Fact, seen: &Seen, memory: &Memory) {
        if !self.settings.replicated {
            return;
        }
        let place = &self.settings.place;
        let Some(newest) = seen.canaries.arrived(&self.settings.region) else {
            tell(fact, "lag", "unknown: no canary has arrived".to_owned());
            let waited = memory.goal.map(|(.., since)| clock::now().since(since));
            if waited.is_some_and(|waited| waited > self.settings.lag_max) {
                fact.faults.push(format!(
                    "{place}: no canary of the active region has arrived in {:.0?}: see that \
                     replication runs towards it",
                    self.settings.lag_max
                ));
            }
            return;
        };
        let age = newest.age();
        let streaming = age <= self.settings.lag_max;
        let position = Position { timeline: 0, offset: newest.number };
        fact.upstream = Some(Upstream { position, age, streaming });
        tell(fact, "lag", span(age));
        tell(fact, "canary", canary(newest));
        // A drained source writes no more.
        if !streaming && !newest.last {
            fact.faults.push(format!(
                "{place} lags {} behind {}, more than {:.0?}: see that replication runs towards it",
                span(age),
                newest.region,
                self.settings.lag_max
            ));
        }
    }
}

fn tell(fact: &mut Fact, key: &str, text: String) {
    if !text.is_empty() {
        fact.detail.insert(key.to_owned(), text);
    }
}

fn fence(seen: &Seen, memory: &Memory) -> String {
    match seen.fence.token {
        Some(token) if seen.fence.whole && !memory.proof.is_empty() => {
            format!("at {token}, {}", memory.proof)
        }
        Some(token) if seen.fence.whole => format!("at {token}"),
        Some(token) => format!("changed by somebody, at {token}"),
        None => "none".to_owned(),
    }
}

fn canary(canary: &Canary) -> String {
    let Canary { number, region, .. } = canary;
    format!("{number} of {region} at {}, {} old", canary.token(), span(canary.age()))
}

pub(super) fn span(age: Duration) -> String {
    match age.as_secs() {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3600),
    }
}
