//! From a run that breaks something to the least that still breaks it: fewer faults and wishes,
//! shorter ones, a plainer cluster. Each trial is a run; it knows nothing of what any of it means.

use super::clock::{MS, Nanos, SECOND};
use super::file::{File, LUCKS, code};
use super::raft::ARBITERS;
use super::scenario::{At, Scenario};
use super::shape::{Cluster, GroupShape};
use super::{Options, Outcome, replay};

/// Rounds of all trials; one in which nothing more went away is the last.
const ROUNDS_MAX: u32 = 6;
/// What a run may go on after what it broke before.
const AFTER: Nanos = 2 * SECOND;

/// Trials of one shrink.
struct Shrink {
    options: Options,
    best: Scenario,
    /// It is about the end of a run: nothing may be cut off there.
    liveness: bool,
    trials: u64,
}

/// The least that breaks what `broken` broke. `say`: told how it goes on.
pub fn shrink(broken: &Outcome, options: Options, say: &mut dyn FnMut(String)) -> Option<File> {
    let what = broken.broken.as_ref()?;
    let breaks = if options.only.is_empty() { code(what) } else { options.only.to_owned() };
    let only: &'static str = breaks.clone().leak();
    let options = Options { only, trace: false, ..options };
    let liveness = breaks.starts_with("liveness");
    let mut shrink = Shrink { options, best: broken.script.clone(), liveness, trials: 0 };
    if !shrink.accepts(broken.script.clone()) {
        say("written down and replayed, it does not break: chance alone differs".to_owned());
        return None;
    }
    for round in 1..=ROUNDS_MAX {
        let before = shrink.best.clone();
        shrink.fewer(|of| &mut of.moves);
        shrink.fewer(|of| &mut of.wishes);
        shrink.fewer(|of| &mut of.faults);
        shrink.plainer();
        shrink.shorter();
        let Scenario { faults, wishes, moves, .. } = &shrink.best;
        say(format!(
            "round {round}: {} faults, {} wishes, {} moves left after {} runs",
            faults.len(),
            wishes.len(),
            moves.len(),
            shrink.trials
        ));
        if shrink.best == before {
            break;
        }
    }
    shrink.luckier();
    let plant = options.plant;
    Some(File { about: Vec::new(), plant, breaks: Some(breaks), scenario: shrink.best })
}

impl Shrink {
    /// Whether it still breaks; then it is the best so far, cut off behind that.
    fn accepts(&mut self, trial: Scenario) -> bool {
        self.trials += 1;
        let outcome = replay(trial.clone(), self.options);
        if outcome.broken.is_none() {
            return false;
        }
        self.best = trial;
        if !self.liveness {
            let end = outcome.ended;
            self.best.faults.retain(|one| one.at <= end);
            self.best.wishes.retain(|one| one.at <= end);
            if end <= self.best.heal {
                self.best.moves.clear();
                let until = (end + AFTER).div_ceil(SECOND) * SECOND;
                (self.best.heal, self.best.until) = (until, Some(until));
            }
        }
        true
    }

    fn tries(&mut self, change: impl FnOnce(&mut Scenario)) -> bool {
        let mut trial = self.best.clone();
        change(&mut trial);
        trial != self.best && self.accepts(trial)
    }

    /// Leave out what can be, large parts first (delta debugging).
    fn fewer<T>(&mut self, of: impl Fn(&mut Scenario) -> &mut Vec<T>) {
        let mut part = of(&mut self.best).len();
        while part > 0 {
            let mut from = 0;
            while from < of(&mut self.best).len() {
                let mut trial = self.best.clone();
                let items = of(&mut trial);
                let to = (from + part).min(items.len());
                items.drain(from..to);
                if !self.accepts(trial) {
                    from += part;
                }
            }
            part /= 2;
        }
    }

    /// A cluster with less that is unusual.
    fn plainer(&mut self) {
        if self.best.shape.groups.len() > 1 {
            self.tries(|of| {
                of.shape.groups.truncate(1);
                of.wishes.retain(|one| one.what.0.0 == "g1");
                of.moves.retain(|one| one.group.0 == "g1");
            });
        }
        if self.best.shape.cluster.hosts > 2 {
            self.tries(|of| {
                of.shape.cluster.hosts = 2;
                of.shape.cluster.clocks.truncate(ARBITERS + 2);
                of.faults.retain(|one| one.what.names().0 < 2);
            });
        }
        let plain: [fn(&mut Cluster); 4] = [
            |of| of.weak_deadmen = false,
            |of| of.switch_broken = false,
            |of| of.upgrades = false,
            |of| of.delay = 2 * MS,
        ];
        plain.into_iter().for_each(|plain| {
            self.tries(|of| plain(&mut of.shape.cluster));
        });
        for clock in 0..self.best.shape.cluster.clocks.len() {
            self.tries(|of| of.shape.cluster.clocks[clock] = 0);
        }
        for group in 0..self.best.shape.groups.len() {
            self.plainer_group(group);
        }
    }

    fn plainer_group(&mut self, group: usize) {
        if self.tries(|of| of.shape.groups[group] = GroupShape::default()) {
            return;
        }
        let plain: [fn(&mut GroupShape); 12] = [
            |of| of.kinds.clear(),
            |of| of.two_signals = false,
            |of| (of.power_switch, of.only_power_off) = (false, false),
            |of| of.only_power_off = false,
            |of| of.short_rpo = false,
            |of| of.restart_then_failover = false,
            |of| of.no_abort_on_return = false,
            |of| of.supersede_by_itself = false,
            |of| of.clients_decide = false,
            |of| of.repair = false,
            |of| (of.strict, of.block_alone) = (false, false),
            |of| of.block_alone = false,
        ];
        plain.into_iter().for_each(|plain| {
            self.tries(|of| plain(&mut of.shape.groups[group]));
        });
    }

    /// What lasts lasts shorter; times become round.
    fn shorter(&mut self) {
        for at in 0..self.best.faults.len() {
            for _ in 0..4 {
                if !self.tries(|of| {
                    if let Some(time) = of.faults.get_mut(at).and_then(|one| one.what.lasts()) {
                        *time /= 2;
                    }
                }) {
                    break;
                }
            }
        }
        for unit in [SECOND, 100 * MS, MS] {
            for at in 0..self.best.faults.len() {
                self.tries(|of| {
                    let Some(fault) = of.faults.get_mut(at) else { return };
                    fault.at = round(fault.at, unit);
                    if let Some(time) = fault.what.lasts() {
                        *time = round(*time, unit).max(unit);
                    }
                });
            }
            for at in 0..self.best.wishes.len() {
                self.tries(|of| {
                    let Some(At { at, .. }) = of.wishes.get_mut(at) else { return };
                    *at = round(*at, unit);
                });
            }
        }
    }

    /// The least luck that breaks it, and one after which most others do too.
    fn luckier(&mut self) {
        let breaks = |luck: &u64, of: &Self| {
            let trial = Scenario { luck: *luck, ..of.best.clone() };
            replay(trial, of.options).broken.is_some()
        };
        let found: Vec<u64> = (1..=2 * LUCKS).filter(|luck| breaks(luck, self)).collect();
        if let Some(luck) = found.first() {
            self.best.luck = luck.saturating_sub(1).max(1);
        }
    }
}

fn round(time: Nanos, unit: Nanos) -> Nanos {
    (time + unit / 2) / unit * unit
}
